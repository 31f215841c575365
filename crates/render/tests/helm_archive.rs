//! Packed charts and chart trees written to do harm: refused with an error, in bounded time and memory.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use lotse_render::{
    Error, MemoryTree,
    helm::{Chart, Offline, Options, render_files},
};
use tar::{Builder, EntryType, Header};

const CHART: &[u8] = b"apiVersion: v2\nname: packed\nversion: 1.0.0\n";

/// An entry whose name is written as it is, however bad.
fn entry(name: &[u8], kind: EntryType, link: &[u8], content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut out = header.as_bytes().to_vec();
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    entry(name.as_bytes(), EntryType::Regular, b"", content)
}

fn packed(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    entries.iter().for_each(|entry| encoder.write_all(entry).unwrap());
    encoder.write_all(&[0; 1024]).unwrap();
    encoder.finish().unwrap()
}

fn load(entries: &[Vec<u8>]) -> Result<Chart, Error> {
    Chart::from_archive("packed.tgz", &packed(entries))
}

#[test]
fn a_packed_chart_is_read() {
    let chart = load(&[
        file("packed/Chart.yaml", CHART),
        file("./packed/templates/a.txt", b"{{ .Chart.Name }} {{ .Files.Get \"x\" }}"),
        file("packed//x", b"content"),
    ]);
    let rendered = render_files(&chart.unwrap(), &Options::default(), &Offline).unwrap();
    assert_eq!(rendered.files["packed/templates/a.txt"], b"packed content");
}

#[test]
fn names_that_leave_the_archive_or_are_no_names_are_refused() {
    for name in [
        &b"../Chart.yaml"[..],
        b"packed/../../etc/passwd",
        b"packed/../templates/x",
        b"/etc/passwd",
        b"/packed/x",
        b"packed\\..\\x",
        b"C:\\packed\\x",
        b"packed/a\nb",
        b"packed/\x1b[31m",
        b"packed/\xff\xfe",
        b"alone",
        b"packed/..",
    ] {
        let outcome = load(&[file("packed/Chart.yaml", CHART), entry(name, EntryType::Regular, b"", b"x")]);
        let error = outcome.expect_err(&String::from_utf8_lossy(name)).to_string();
        assert!(error.starts_with("packed.tgz"), "{error}");
    }
}

#[test]
fn a_name_from_an_extended_header_is_checked_like_any_other() {
    let mut builder = Builder::new(Vec::new());
    let record = "26 path=packed/../../evil\n";
    assert_eq!(record.len(), 26);
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::XHeader);
    header.set_size(record.len() as u64);
    header.set_path("pax").unwrap();
    header.set_cksum();
    builder.append(&header, record.as_bytes()).unwrap();
    let head = builder.into_inner().unwrap();
    let head = head.get(..1024).unwrap().to_vec();
    assert!(load(&[file("packed/Chart.yaml", CHART), head, file("packed/good", b"x")]).is_err());
}

#[test]
fn links_and_devices_are_refused() {
    let kinds = [EntryType::Symlink, EntryType::Link, EntryType::Char, EntryType::Block, EntryType::Fifo];
    for kind in kinds {
        let outcome =
            load(&[file("packed/Chart.yaml", CHART), entry(b"packed/values.yaml", kind, b"/etc/passwd", b"")]);
        assert!(outcome.is_err(), "{kind:?}");
    }
}

#[test]
fn archives_that_unpack_to_far_more_than_they_are_end_at_the_limit() {
    // 300 MB of zeros in one file, and in many.
    let one = packed(&[file("packed/Chart.yaml", CHART), file("packed/zeros", &vec![0; 300 << 20])]);
    assert!(one.len() < 4 << 20);
    assert!(matches!(Chart::from_archive("bomb.tgz", &one), Err(Error::Limit { .. })));
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&file("packed/Chart.yaml", CHART)).unwrap();
    let zeros = vec![0; 30 << 20];
    for number in 0..10 {
        encoder.write_all(&file(&format!("packed/zeros{number}"), &zeros)).unwrap();
    }
    assert!(Chart::from_archive("bomb.tgz", &encoder.finish().unwrap()).is_err());
}

#[test]
fn archives_with_more_files_than_any_chart_has_are_refused() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&file("packed/Chart.yaml", CHART)).unwrap();
    for number in 0..60_000 {
        encoder.write_all(&file(&format!("packed/{number}"), b"")).unwrap();
    }
    assert!(matches!(Chart::from_archive("many.tgz", &encoder.finish().unwrap()), Err(Error::Limit { .. })));
}

#[test]
fn charts_packed_inside_each_other_end_at_a_depth() {
    let mut inner = packed(&[file("packed/Chart.yaml", CHART)]);
    for level in 0..40 {
        inner = packed(&[file("packed/Chart.yaml", CHART), file("packed/charts/inner.tgz", &inner)]);
        let loaded = Chart::from_archive("nested.tgz", &inner);
        assert_eq!(loaded.is_ok(), level < 15, "{level}");
    }
}

#[test]
fn damaged_archives_are_errors() {
    let good = packed(&[file("packed/Chart.yaml", CHART), file("packed/templates/a.txt", b"text")]);
    assert!(Chart::from_archive("good.tgz", &good).is_ok());
    for length in 0..good.len() {
        let _ = Chart::from_archive("cut.tgz", good.get(..length).unwrap());
    }
    for index in 0..good.len() {
        let mut damaged = good.clone();
        damaged[index] ^= 0x40;
        let _ = Chart::from_archive("damaged.tgz", &damaged);
    }
    for bytes in [&b""[..], b"\x1f\x8b", b"PK\x03\x04", b"not an archive"] {
        assert!(Chart::from_archive("bad.tgz", bytes).is_err());
    }
    let mut liar = entry(b"packed/Chart.yaml", EntryType::Regular, b"", CHART);
    // A size of eight gigabytes, with nothing behind it.
    liar[124..136].copy_from_slice(b"77777777777\0");
    let sum: u32 = liar[..512]
        .iter()
        .enumerate()
        .map(|(index, byte)| if (148..156).contains(&index) { 32 } else { u32::from(*byte) })
        .sum();
    liar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert!(Chart::from_archive("liar.tgz", &packed(&[liar])).is_err());
}

fn tree(files: &[(&str, String)]) -> MemoryTree {
    let mut tree = MemoryTree::default();
    for (path, content) in files {
        tree.insert(path, content.as_str()).unwrap();
    }
    tree
}

#[test]
fn aliases_that_multiply_charts_end_at_a_number() {
    let mut files = Vec::new();
    let mut directory = String::new();
    for level in 0..10 {
        let mut description = format!("apiVersion: v2\nname: level{level}\nversion: 1.0.0\ndependencies:\n");
        (0..10).for_each(|alias| {
            description.push_str(&format!("- {{name: level{}, version: 1.0.0, alias: a{alias}}}\n", level + 1));
        });
        files.push((format!("{directory}Chart.yaml"), description));
        directory.push_str(&format!("charts/level{}/", level + 1));
    }
    files.push((format!("{directory}Chart.yaml"), "apiVersion: v2\nname: level10\nversion: 1.0.0\n".to_owned()));
    let files: Vec<(&str, String)> = files.iter().map(|(path, content)| (path.as_str(), content.clone())).collect();
    let chart = Chart::load(&tree(&files), "").unwrap();
    let start = std::time::Instant::now();
    assert!(render_files(&chart, &Options::default(), &Offline).is_err());
    assert!(start.elapsed().as_secs() < 60);
}

#[test]
fn a_chart_that_depends_on_itself_is_rendered_once() {
    let description = "apiVersion: v2\nname: self\nversion: 1.0.0\ndependencies:\n- {name: self, version: 1.0.0}\n";
    let chart =
        Chart::load(&tree(&[("Chart.yaml", description.to_owned()), ("templates/a.txt", "once".to_owned())]), "");
    let chart = chart.unwrap();
    assert_eq!(chart.missing_dependencies(), ["self"]);
    assert_eq!(render_files(&chart, &Options::default(), &Offline).unwrap().files.len(), 1);
}

#[test]
fn schemas_that_refer_to_themselves_or_elsewhere_end() {
    for schema in [
        r##"{"$ref": "#"}"##,
        r##"{"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}"##,
        r##"{"allOf": [{"$ref": "#"}, {"$ref": "#"}]}"##,
        r#"{"$ref": "https://example.com/schema.json"}"#,
        r#"{"$ref": "file:///etc/passwd"}"#,
        r#"{"properties": {"text": {"pattern": "^(a+)+$"}}}"#,
        r#"{"properties": {"text": {"pattern": "(a*)*\\1b"}}}"#,
        r#"{"$schema": "https://example.com/unknown"}"#,
        "[",
        "1",
        "\u{0}",
    ] {
        let files = [
            ("Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n".to_owned()),
            ("values.yaml", format!("text: {}!", "a".repeat(64))),
            ("values.schema.json", schema.to_owned()),
            ("templates/a.txt", String::new()),
        ];
        let start = std::time::Instant::now();
        let outcome =
            Chart::load(&tree(&files), "").and_then(|chart| render_files(&chart, &Options::default(), &Offline));
        assert!(start.elapsed().as_secs() < 30, "{schema}");
        let text = outcome.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(!text.contains("root:"), "{schema}: {text}");
    }
    let nested = format!("{}{}", r#"{"not":"#.repeat(100_000), "}".repeat(100_000));
    let files =
        [("Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n".to_owned()), ("values.schema.json", nested)];
    let chart = Chart::load(&tree(&files), "").unwrap();
    assert!(render_files(&chart, &Options::default(), &Offline).is_err());
}

#[test]
fn arguments_that_ask_for_giant_lists_are_refused() {
    let chart =
        Chart::load(&tree(&[("Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n".to_owned())]), "").unwrap();
    let many = |argument: &dyn Fn(usize) -> String| (0..50_000).map(argument).collect::<Vec<String>>();
    for arguments in [
        vec!["a[1000000000]=1".to_owned()],
        vec!["a[-1]=1".to_owned()],
        vec![format!("{}=1", "a.".repeat(100_000))],
        vec![format!("a{}=1", "[0]".repeat(100_000))],
        vec![format!("a{}=1", "[65536]".repeat(1000))],
        vec![many(&|number| format!("a{number}[65536]=1")).join(",")],
        many(&|number| format!("a{number}[65536]=1")),
    ] {
        let shown: String = arguments[0].chars().take(60).collect();
        let mut options = Options::default();
        options.values.set = arguments;
        assert!(render_files(&chart, &options, &Offline).is_err(), "{shown}");
    }
}
