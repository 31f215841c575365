//! Cross-origin resource sharing (the Fetch standard) as `enable-cors` asks for it.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

use crate::{annotations::Cors, body::EdgeBody, respond};

/// The request's origin, when `cors` admits it.
pub(crate) fn admitted(cors: &Cors, request: &HeaderMap) -> Option<HeaderValue> {
    let origin = request.get(header::ORIGIN)?;
    let text = origin.to_str().ok()?;
    cors.origins.iter().any(|pattern| matches(pattern, text)).then(|| origin.clone())
}

/// The answer to a preflight request; `None` when it is none.
pub(crate) fn preflight(
    cors: &Cors,
    method: &Method,
    request: &HeaderMap,
    origin: Option<&HeaderValue>,
) -> Option<Response<EdgeBody>> {
    let asks = *method == Method::OPTIONS && request.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if !asks {
        return None;
    }
    let mut response = respond::empty(StatusCode::NO_CONTENT);
    if let Some(origin) = origin {
        decorate(cors, origin, response.headers_mut());
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, cors.methods.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, cors.headers.clone());
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(cors.max_age));
    }
    Some(response)
}

/// Adds what an admitted `origin` needs to every response; the backend's own CORS fields are replaced.
pub(crate) fn decorate(cors: &Cors, origin: &HeaderValue, headers: &mut HeaderMap) {
    const OWN: [HeaderName; 2] = [header::ACCESS_CONTROL_ALLOW_CREDENTIALS, header::ACCESS_CONTROL_EXPOSE_HEADERS];
    for name in &OWN {
        headers.remove(name);
    }
    let anyone = cors.origins.iter().any(|pattern| pattern == "*");
    if anyone {
        // Credentials with any origin would hand every site the user's session; browsers refuse `*` with credentials.
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    } else {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        if cors.credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
    if let Some(expose) = &cors.expose {
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
    }
}

/// `https://*.example.org` matches one or more labels in place of the star.
fn matches(pattern: &str, origin: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let origin = origin.to_ascii_lowercase();
    match pattern.split_once("*.") {
        None => origin == pattern,
        Some((before, after)) => origin
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after))
            .and_then(|labels| labels.strip_suffix('.'))
            .is_some_and(|labels| {
                !labels.is_empty() && labels.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
            }),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_wildcard_origin_matches_only_below_its_domain() {
        for (pattern, origin, expected) in [
            ("*", "https://x.org", true),
            ("https://a.org", "https://a.org", true),
            ("https://a.org", "http://a.org", false),
            ("https://*.a.org", "https://b.a.org", true),
            ("https://*.a.org", "https://a.org", false),
            ("https://*.a.org", "https://evila.org", false),
            ("https://*.a.org", "https://evil.org/.a.org", false),
            ("https://*.a.org:8443", "https://b.a.org:8443", true),
            ("https://*.a.org:8443", "https://b.a.org", false),
        ] {
            assert_eq!(matches(pattern, origin), expected, "{pattern} {origin}");
        }
    }
}
