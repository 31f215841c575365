#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

fn value(text: &str, dialect: Dialect) -> Value {
    let mut documents = parse_documents(text.as_bytes(), dialect).unwrap();
    documents.pop().unwrap()
}

fn written(text: &str) -> String {
    String::from_utf8(emit(&value(text, Dialect::V2), EmitStyle::V2)).unwrap()
}

#[test]
fn words_mean_what_the_dialect_says() {
    for (text, old, new) in [
        ("yes", Value::Bool(true), Value::string("yes")),
        ("off", Value::Bool(false), Value::string("off")),
        ("y", Value::Bool(true), Value::string("y")),
        ("0644", Value::Int(420), Value::Int(420)),
        ("0o644", Value::Int(420), Value::Int(420)),
        ("1_000", Value::Int(1000), Value::Int(1000)),
        ("0x1f", Value::Int(31), Value::Int(31)),
        ("1e3", Value::Float(1000.0), Value::Float(1000.0)),
        (".5", Value::Float(0.5), Value::Float(0.5)),
        ("2024-01-02", Value::string("2024-01-02"), Value::string("2024-01-02T00:00:00Z")),
        (
            "2001-12-14t21:59:43.10-05:00",
            Value::string("2001-12-14t21:59:43.10-05:00"),
            Value::string("2001-12-14T21:59:43.1-05:00"),
        ),
        ("18446744073709551615", Value::Uint(u64::MAX), Value::Uint(u64::MAX)),
        ("12:30", Value::string("12:30"), Value::string("12:30")),
        ("'yes'", Value::string("yes"), Value::string("yes")),
        ("~", Value::Null, Value::Null),
        ("!!str 12", Value::string("12"), Value::string("12")),
        ("!!float 3", Value::Float(3.0), Value::Float(3.0)),
        (".1_0", Value::Float(0.1), Value::Float(0.1)),
        ("._1", Value::string("._1"), Value::string("._1")),
        ("1.2.3", Value::string("1.2.3"), Value::string("1.2.3")),
        ("-", Value::List(vec![Value::Null]), Value::List(vec![Value::Null])),
    ] {
        assert_eq!(value(text, Dialect::V2), old, "{text}");
        assert_eq!(value(text, Dialect::V3), new, "{text}");
    }
}

#[test]
fn text_is_written_as_sigs_yaml_writes_it() {
    for (text, expected) in [
        ("{b: [1, {x: 1, 'y': []}], a: {}}", "a: {}\nb:\n- 1\n- x: 1\n  \"y\": []\n"),
        ("[[1, 2], [], [[3]]]", "- - 1\n  - 2\n- []\n- - - 3\n"),
        ("{a10: 1, a2: 2, a: 3, A: 4, _: 5}", "_: 5\nA: 4\na: 3\na2: 2\na10: 1\n"),
        ("a: \"x\\ny\\n\"", "a: |\n  x\n  y\n"),
        ("a: \"x\\ny\"", "a: |-\n  x\n  y\n"),
        ("a: \"x\\n\\n\"", "a: |+\n  x\n\n"),
        ("a: \" x\\ny\"", "a: |2-\n   x\n  y\n"),
        ("a: \"x \\ny\"", "a: \"x \\ny\"\n"),
        ("a: \"x\\ty\"", "a: \"x\\ty\"\n"),
        ("a: 'yes'", "a: \"yes\"\n"),
        ("a: '.1_0'", "a: \".1_0\"\n"),
        ("a: ''", "a: \"\"\n"),
        ("a: ' b'", "a: ' b'\n"),
        ("a: 'b: c'", "a: 'b: c'\n"),
        ("a: 'it''s # x'", "a: 'it''s # x'\n"),
        ("a: '12:30'", "a: \"12:30\"\n"),
        ("a: \"\\U0001F600\"", "a: \"\\U0001F600\"\n"),
        ("a: é", "a: é\n"),
        (
            "? aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n: b",
            "? aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n: b\n",
        ),
        ("just text", "just text\n"),
        (
            "a: one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen",
            "a: one two three four five six seven eight nine ten eleven twelve thirteen fourteen\n  fifteen sixteen seventeen\n",
        ),
    ] {
        assert_eq!(written(text), expected, "{text}");
    }
}

#[test]
fn what_was_written_reads_back_and_is_written_again_alike() {
    for text in [
        "a: \"\\n\"",
        "a: \"\\n x\"",
        "- '-'\n- '- a'\n- '?'\n- ':'\n- '...'\n- '---'",
        "\"a\\nb\": 1",
        "a: \"\\r\\n\"",
        "a: [\"\\u2028\", \"\\u0085\"]",
    ] {
        let first = value(text, Dialect::V2);
        let printed = emit(&first, EmitStyle::V2);
        let again = parse_documents(&printed, Dialect::V2).unwrap();
        assert_eq!(again, [first], "{text}: {}", String::from_utf8_lossy(&printed));
        assert_eq!(emit(&again[0], EmitStyle::V2), printed);
    }
}

#[test]
fn block_scalars_at_the_end_need_no_line_end() {
    for (text, expected) in [
        ("a: |\n  x", "x"),
        ("a: |-\n  x", "x"),
        ("a: |+\n  x", "x"),
        ("a: >\n  x\n  y", "x y"),
        ("a: |\n  x\n", "x\n"),
    ] {
        assert_eq!(value(text, Dialect::V3).get("a").unwrap(), &Value::string(expected), "{text:?}");
    }
}

#[test]
fn merge_keys_and_aliases_expand_within_limits() {
    let merged = value("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nc: {<<: [*a, {z: 1}]}", Dialect::V3);
    assert_eq!(merged.get("b"), Some(&value("{x: 3, y: 2}", Dialect::V3)));
    assert_eq!(merged.get("c"), Some(&value("{x: 1, y: 2, z: 1}", Dialect::V3)));
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 10].join(",")));
    }
    for text in [bomb.as_str(), "a: *b", "{a: 1", "a: &x [*x]", "\t- a", "%", "a: \"\\", "!<", "? [a]\n: b"] {
        assert!(parse_documents(text.as_bytes(), Dialect::V2).is_err(), "{text}");
    }
    let deep = "[".repeat(100_000);
    assert!(parse_documents(deep.as_bytes(), Dialect::V2).is_err());
    assert!(parse_documents(&[0xff, 0xfe, 0xfd], Dialect::V2).is_err());
    // go-yaml 2 takes the last one, go-yaml 3 refuses.
    assert_eq!(value("a: 1\na: 2", Dialect::V2), value("a: 2", Dialect::V2));
    let error = parse_documents(b"a: 1\nb: 2\na: 3\n", Dialect::V3).unwrap_err();
    assert_eq!(error.line, 3);
}

#[test]
fn what_once_made_the_scanner_panic_is_read_or_refused() {
    let map = |text: &str| {
        parse_documents(text.as_bytes(), Dialect::V3).map(|found| found.iter().map(to_json_value).collect::<Vec<_>>())
    };
    assert_eq!(map("a: [!b, c]"), Ok(vec![serde_json::json!({"a": ["", "c"]})]));
    assert_eq!(map("{name: !s, other: x}"), Ok(vec![serde_json::json!({"name": "", "other": "x"})]));
    for text in ["a: \"\\", "a: ''|\n 0", "[!,", "a: |", "a: >-", "? |", "\"\\x", "!<", "%", "%TAG", "&", "*"] {
        for line_end in ["", "\n"] {
            let refused = map(&format!("{text}{line_end}"));
            assert_ne!(refused, Err(Error::new(0, 0, "malformed document")), "{text:?}");
        }
    }
}

#[test]
fn utf_16_with_a_byte_order_mark_is_text() {
    let text = "a: gr\u{fc}n \u{1f6a2}\n";
    let little: Vec<u8> = [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let big: Vec<u8> = [0xfe, 0xff].into_iter().chain(text.encode_utf16().flat_map(u16::to_be_bytes)).collect();
    let expected = parse_documents(text.as_bytes(), Dialect::V3);
    assert_eq!(parse_documents(&little, Dialect::V3), expected);
    assert_eq!(parse_documents(&big, Dialect::V3), expected);
    for broken in [&little[..little.len() - 1], &[0xff, 0xfe, 0x00, 0xd8], &[0xfe, 0xff, 0xdc]] {
        assert_eq!(parse_documents(broken, Dialect::V3), Err(Error::new(0, 0, "invalid UTF-16")));
    }
}
