//! What names may look like (`k8s.io/apimachinery/pkg/util/validation`). Every error is the API's own sentence, to be put
//! after `Invalid value: "…": `.

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const QUALIFIED: &str = "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const C_IDENTIFIER: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";
const ENVIRONMENT: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

/// An RFC 1123 label of at most 63 characters: names of namespaces, containers, volumes.
///
/// # Errors
/// The sentence that says what is wrong.
pub fn dns1123_label(name: &str) -> Result<(), String> {
    at_most(name, 63)?;
    holds(is_label(name), LABEL)
}

/// An RFC 1123 subdomain of at most 253 characters: names of most objects.
///
/// # Errors
/// The sentence that says what is wrong.
pub fn dns1123_subdomain(name: &str) -> Result<(), String> {
    at_most(name, 253)?;
    holds(name.split('.').all(is_label), SUBDOMAIN)
}

/// An RFC 1123 subdomain that may start with `*.`: hosts of an Ingress.
///
/// # Errors
/// The sentence that says what is wrong.
pub fn wildcard_dns1123_subdomain(name: &str) -> Result<(), String> {
    at_most(name, 253)?;
    let rest = name.strip_prefix("*.");
    holds(
        rest.is_some_and(|rest| rest.split('.').all(is_label)),
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
    )
}

/// An RFC 1035 label of at most 63 characters: names of services.
///
/// # Errors
/// The sentence that says what is wrong.
pub fn dns1035_label(name: &str) -> Result<(), String> {
    at_most(name, 63)?;
    holds(is_label(name) && name.starts_with(|first: char| first.is_ascii_lowercase()), LABEL_1035)
}

/// `name` or `prefix.example.com/name`: keys of labels and annotations, resources, finalizers.
///
/// # Errors
/// The sentence that says what is wrong.
pub fn qualified_name(name: &str) -> Result<(), String> {
    let part = match name.split_once('/') {
        None => name,
        Some((_, rest)) if rest.contains('/') => return Err(QUALIFIED.to_owned()),
        Some(("", _)) => return Err("prefix part must be non-empty".to_owned()),
        Some((prefix, rest)) => {
            dns1123_subdomain(prefix).map_err(|error| format!("prefix part {error}"))?;
            rest
        }
    };
    if part.is_empty() {
        return Err("name part must be non-empty".to_owned());
    }
    at_most(part, 63).map_err(|error| format!("name part {error}"))?;
    holds(is_part(part), NAME_PART)
}

/// The value of a label: empty, or at most 63 characters.
///
/// # Errors
/// The sentence that says what is wrong.
pub fn label_value(value: &str) -> Result<(), String> {
    at_most(value, 63)?;
    holds(value.is_empty() || is_part(value), VALUE)
}

/// An identifier of C.
///
/// # Errors
/// The sentence that says what is wrong.
pub fn c_identifier(name: &str) -> Result<(), String> {
    let starts = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    holds(starts && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), C_IDENTIFIER)
}

/// The name of an environment variable: printable ASCII without `=` (KEP-4369).
///
/// # Errors
/// The sentence that says what is wrong.
pub fn env_var_name(name: &str) -> Result<(), String> {
    holds(!name.is_empty() && name.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'='), ENVIRONMENT)
}

/// A key of a ConfigMap or Secret.
///
/// # Errors
/// The sentence that says what is wrong.
pub fn config_map_key(name: &str) -> Result<(), String> {
    at_most(name, 253)?;
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    holds(plain, CONFIG_KEY)?;
    match name {
        "." => Err("must not be '.'".to_owned()),
        ".." => Err("must not be '..'".to_owned()),
        _ if name.starts_with("..") => Err("must not start with '..'".to_owned()),
        _ => Ok(()),
    }
}

/// The name of a port (IANA service name): at most 15 characters with at least one letter.
///
/// # Errors
/// The sentence that says what is wrong.
pub fn port_name(name: &str) -> Result<(), String> {
    at_most(name, 15)?;
    holds(
        name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
    )?;
    holds(name.bytes().any(|byte| byte.is_ascii_lowercase()), "must contain at least one letter (a-z)")?;
    holds(!name.contains("--"), "must not contain consecutive hyphens")?;
    holds(!name.starts_with('-') && !name.ends_with('-'), "must not begin or end with a hyphen")
}

/// The name of a field manager: at most 128 printable characters.
///
/// # Errors
/// The sentence that says what is wrong.
pub fn field_manager(name: &str) -> Result<(), String> {
    if name.len() > 128 {
        return Err("may not be more than 128 bytes".to_owned());
    }
    holds(!name.chars().any(char::is_control), "should only contain printable characters")
}

fn at_most(name: &str, most: usize) -> Result<(), String> {
    if name.len() > most { Err(format!("must be no more than {most} bytes")) } else { Ok(()) }
}

fn holds(condition: bool, sentence: &str) -> Result<(), String> {
    if condition { Ok(()) } else { Err(sentence.to_owned()) }
}

fn is_label(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn is_part(name: &str) -> bool {
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && ends(name.as_bytes().first())
        && ends(name.as_bytes().last())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn names_are_judged_as_kubernetes_judges_them() {
        type Rule = fn(&str) -> Result<(), String>;
        let long = "a".repeat(64);
        let table: [(Rule, &[&str], &[&str]); 8] = [
            (dns1123_label, &["a", "0a", "a-b"], &["", "-a", "a-", "A", "a.b", "a_b", "ä", &long]),
            (dns1123_subdomain, &["a.b", "0.1", &long], &["", ".a", "a.", "a..b", "a.-b", "A.b"]),
            (dns1035_label, &["a", "a-1"], &["", "1a", "a.b", "a-"]),
            (
                qualified_name,
                &["app", "a.b/C_d.e", "kubernetes.io/x"],
                &["", "/a", "a/", "a/b/c", "-a", "A.b/c", "a/-b", &long],
            ),
            (label_value, &["", "A", "a_b.c-d"], &["-", "a/b", "a-", &long]),
            (c_identifier, &["a", "_A1"], &["", "1a", "a-b"]),
            (env_var_name, &["A", "a-b.c", "1 %"], &["", "a=b", "ä", "a\n"]),
            (config_map_key, &["a", ".a", "A_b-c.d"], &["", ".", "..", "..a", "a/b", "a b"]),
        ];
        for (index, (rule, good, bad)) in table.iter().enumerate() {
            for name in *good {
                assert_eq!(rule(name), Ok(()), "rule {index}, {name}");
            }
            for name in *bad {
                assert!(rule(name).is_err(), "rule {index}, {name}");
            }
        }
        assert!(
            port_name("http-1").is_ok()
                && port_name("80").is_err()
                && port_name("a--b").is_err()
                && port_name("-a").is_err()
        );
        assert!(wildcard_dns1123_subdomain("*.a.b").is_ok() && wildcard_dns1123_subdomain("*").is_err());
    }
}
