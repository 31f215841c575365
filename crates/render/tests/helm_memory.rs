//! Charts that want all the memory there is end with an error long before they have it.
//!
//! Each chart is rendered with the usual limits in a process of its own, whose peak of resident memory the kernel tells.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{env, fs, process::Command};

use lotse_render::{
    MemoryTree,
    helm::{Chart, Offline, Options, render},
};

/// More than any of them may take, in MiB: HELM.md promises it.
const MOST: u64 = 600;

/// Which chart the child renders.
const CASE: &str = "LOTSE_HOSTILE_CHART";

/// What it is about, and the template.
const CHARTS: [(&str, &str); 23] = [
    ("lists kept in a list", r#"{{ $l := list }}{{ range until 1000 }}{{ $l = append $l (until 100000) }}{{ end }}"#),
    ("a list that doubles", r#"{{ $l := list 1 2 3 4 }}{{ range until 60 }}{{ $l = concat $l $l }}{{ end }}"#),
    ("a list cut into lists of one", r#"{{ chunk 1 (until 4000000) }}"#),
    ("numbers as texts", r#"{{ toStrings (until 4000000) }}"#),
    ("a text that doubles", r#"{{ $s := "x" }}{{ range until 60 }}{{ $s = cat $s $s }}{{ end }}"#),
    (
        "long texts kept in a list",
        r#"{{ $s := repeat 3000000 "x" }}{{ $l := list }}{{ range until 1000 }}{{ $l = append $l (print $s) }}{{ end }}"#,
    ),
    (
        "short texts kept in lists",
        r#"{{ $l := list }}{{ range until 5000 }}{{ $l = append $l (splitList "" (repeat 1000 "x")) }}{{ end }}"#,
    ),
    (
        "a map that grows",
        r#"{{ $d := dict }}{{ range $i := until 3000 }}{{ range $j := until 1000 }}{{ $_ := set $d (printf "%d-%d" $i $j) (dict "a" $j) }}{{ end }}{{ end }}"#,
    ),
    (
        "maps that are changed and thrown away",
        r#"{{ range until 3000 }}{{ range until 1000 }}{{ $_ := set (dict) "a" (dict) }}{{ end }}{{ end }}"#,
    ),
    (
        "a map that holds itself twice, as YAML",
        r#"{{ $d := dict "a" "x" }}{{ range until 60 }}{{ $d = dict "a" $d "b" $d }}{{ end }}{{ toYaml $d }}"#,
    ),
    (
        "a map that holds itself twice, as TOML",
        r#"{{ $d := dict "a" "x" }}{{ range until 60 }}{{ $d = dict "a" $d "b" $d }}{{ end }}{{ toToml $d }}"#,
    ),
    (
        "a map that holds itself twice, copied",
        r#"{{ $d := dict "a" "x" }}{{ range until 60 }}{{ $d = dict "a" $d "b" $d }}{{ end }}{{ deepCopy $d }}"#,
    ),
    (
        "tables with long names inside each other, as TOML",
        r#"{{ $k := repeat 10000 "k" }}{{ $d := dict }}{{ range until 900 }}{{ $d = dict $k $d }}{{ end }}{{ toToml $d }}"#,
    ),
    (
        "the same long text many times, as YAML",
        r#"{{ $s := repeat 10000000 "x" }}{{ $l := list }}{{ range until 300 }}{{ $l = append $l $s }}{{ end }}{{ toYaml $l }}"#,
    ),
    ("characters that JSON escapes", r#"{{ toJson (repeat 10000000 "\u0001") }}"#),
    ("YAML of many numbers", r#"{{ fromYaml (printf "a: [%s]" (repeat 7000000 "1,")) }}"#),
    ("YAML of many maps", r#"{{ fromYaml (printf "a: [%s]" (repeat 5000000 "{},")) }}"#),
    ("JSON of many maps", r#"{{ fromJsonArray (printf "[%s1]" (repeat 5000000 "{},")) }}"#),
    ("TOML of many numbers", r#"{{ fromToml (printf "a = [%s]" (repeat 7000000 "1,")) }}"#),
    ("a template of many actions", r#"{{ tpl (repeat 1000000 "{{ print 1 }}") $ }}"#),
    (
        "many templates of many actions",
        r#"{{ range $i := until 100 }}{{ tpl (printf "%s%d" (repeat 100000 "{{ 1 }}") $i) $ }}{{ end }}"#,
    ),
    (
        "a long text that is a template of itself",
        r#"{{ $s := printf "%s{{ tpl .s . }}" (repeat 300000 "x") }}{{ tpl $s (dict "s" $s) }}"#,
    ),
    (
        "output inside output",
        r#"{{ define "r" }}{{ repeat 300000 "x" }}{{ include "r" . }}{{ end }}{{ include "r" . }}"#,
    ),
];

/// The child: renders the chart that the environment names, and says what it took.
#[test]
#[ignore = "run by the other test, in a process of its own"]
fn child() {
    let Ok(number) = env::var(CASE) else { return };
    let (_, template) = CHARTS[number.parse::<usize>().unwrap()];
    let mut tree = MemoryTree::default();
    tree.insert("Chart.yaml", "apiVersion: v2\nname: hostile\nversion: 1.0.0\n").unwrap();
    tree.insert("templates/t.yaml", template).unwrap();
    let failure = render(&Chart::load(&tree, "").unwrap(), &Options::default(), &Offline).err();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let length = failure.as_ref().map_or(0, |error| error.to_string().len());
    println!("\nchild: {} {length}", peak.trim().trim_end_matches(" kB"));
}

#[test]
fn no_chart_takes_more_memory_than_promised() {
    for (number, (about, _)) in CHARTS.iter().enumerate() {
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env(CASE, number.to_string())
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&child.stdout).into_owned();
        assert!(child.status.success(), "{about}: {printed}");
        let line = printed.lines().find_map(|line| line.strip_prefix("child: ")).expect(about);
        let (kibibytes, length) = line.split_once(' ').unwrap();
        let peak = kibibytes.parse::<u64>().unwrap() / 1024;
        println!("{peak:4} MiB  {about}");
        assert!(peak < MOST, "{about}: {peak} MiB");
        let length = length.parse::<usize>().unwrap();
        assert!(length > 0, "{about}: rendered without an error");
        assert!(length < 200_000, "{about}: a message of {length} bytes");
    }
}
