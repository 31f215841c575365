//! YAML as Kubernetes reads it: YAML 1.1 booleans and octal numbers, duplicate keys refused, aliases with a budget.

use serde_json::Value;
use serde_saphyr::Options;

use crate::Error;

/// Larger files are refused; the API server would not take an object of that size either.
pub const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;

/// Deeper documents are refused.
const MAX_DEPTH: usize = 100;

/// All documents of a file, empty ones included as `null`. `path` is for messages only.
pub fn documents(path: &str, content: &[u8]) -> Result<Vec<Value>, Error> {
    if content.len() > MAX_FILE_BYTES {
        return Err(Error::Limit { path: path.to_owned(), what: "size in bytes", limit: MAX_FILE_BYTES as u64 });
    }
    let error = |line, column, message: String| Error::Yaml { path: path.to_owned(), line, column, message };
    let text = std::str::from_utf8(content).map_err(|invalid| {
        let line = content.iter().take(invalid.valid_up_to()).filter(|byte| **byte == b'\n').count() as u64 + 1;
        error(line, 0, "not UTF-8".to_owned())
    })?;
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options()).map_err(|failure| {
        let (line, column) = failure.location().map_or((0, 0), |location| (location.line(), location.column()));
        error(line, column, failure.without_snippet().to_string())
    })?;
    if documents.iter().any(|document| depth_exceeds(document, MAX_DEPTH)) {
        return Err(Error::Limit { path: path.to_owned(), what: "nesting", limit: MAX_DEPTH as u64 });
    }
    Ok(documents)
}

fn options() -> Options {
    serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
    }
}

fn depth_exceeds(value: &Value, left: usize) -> bool {
    match value {
        Value::Array(items) => left == 0 || items.iter().any(|item| depth_exceeds(item, left - 1)),
        Value::Object(fields) => left == 0 || fields.values().any(|field| depth_exceeds(field, left - 1)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn scalars_are_read_as_kubectl_reads_them() {
        for (text, expected) in [
            ("a: yes", json!({"a": true})),
            ("a: 'yes'", json!({"a": "yes"})),
            ("a: off", json!({"a": false})),
            ("a: 0644", json!({"a": 420})),
            ("a: 0o644", json!({"a": 420})),
            ("a: ~", json!({"a": null})),
            ("a: 1.5", json!({"a": 1.5})),
            ("a: 2024-01-01", json!({"a": "2024-01-01"})),
            ("a: |\n  x\n  y\n", json!({"a": "x\ny\n"})),
            ("a: &x {b: 1}\nc: *x", json!({"a": {"b": 1}, "c": {"b": 1}})),
            ("a: &x {b: 1}\nc:\n  <<: *x\n  d: 2", json!({"a": {"b": 1}, "c": {"b": 1, "d": 2}})),
        ] {
            assert_eq!(documents("t", text.as_bytes()).unwrap(), [expected], "{text}");
        }
    }

    #[test]
    fn errors_name_the_line() {
        let error = documents("deploy/x.yaml", b"a: 1\nb: 2\na: 3\n").unwrap_err();
        assert!(matches!(&error, Error::Yaml { line: 3, .. }), "{error:?}");
        assert!(error.to_string().starts_with("deploy/x.yaml:3:"), "{error}");
    }

    #[test]
    fn bombs_are_refused() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..12 {
            let alias = format!("*a{}", level - 1);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 10].join(",")));
        }
        assert!(documents("t", bomb.as_bytes()).is_err());
        let deep = "[".repeat(5000) + &"]".repeat(5000);
        assert!(documents("t", deep.as_bytes()).is_err());
        assert!(documents("t", &vec![b' '; MAX_FILE_BYTES + 1]).is_err());
        assert!(documents("t", &[0xff, 0xfe, 0x00]).is_err());
    }

    #[test]
    fn documents_are_separated_and_empty_ones_do_not_matter() {
        let found = documents("t", b"---\na: 1\n---\n---\n# only a comment\n---\nb: 2\n").unwrap();
        let found: Vec<_> = found.into_iter().filter(|document| !document.is_null()).collect();
        assert_eq!(found, [json!({"a": 1}), json!({"b": 2})]);
    }
}
