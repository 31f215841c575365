//! Charts written to do harm: each ends with an error or a result, soon, and never takes the process along.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::{Duration, Instant};

use lotse_render::{
    Error, MemoryTree,
    helm::{Chart, Limits, Offline, Options, Rendered, render, render_files},
};

/// Even without optimisation, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// Bytes of a message: it tells of every template that it came through, a thousand at most.
const LONGEST_MESSAGE: usize = 200_000;

fn chart(files: &[(&str, &[u8])]) -> Result<Chart, Error> {
    let mut tree = MemoryTree::default();
    tree.insert("Chart.yaml", "apiVersion: v2\nname: hostile\nversion: 1.0.0\n").unwrap();
    for (path, content) in files {
        tree.insert(path, *content).unwrap();
    }
    Chart::load(&tree, "")
}

fn printed(template: &str, options: &Options) -> Result<Vec<u8>, Error> {
    let start = Instant::now();
    let chart = chart(&[("templates/t.txt", template.as_bytes())])?;
    let rendered = render_files(&chart, options, &Offline);
    let shown: String = template.chars().take(200).collect();
    println!("{:?} {shown}", start.elapsed());
    assert!(start.elapsed() < SOON, "{:?} for {shown}", start.elapsed());
    rendered.map(|rendered| rendered.files.into_values().next().unwrap())
}

/// A tenth of the usual limits: what is stopped is the same, and the tests take a tenth of the time.
fn small() -> Options {
    let limits = Limits { steps: 5_000_000, text: 3 << 20, bytes: 100 << 20, output: 6 << 20, ..Limits::default() };
    Options { limits, ..Options::default() }
}

/// The templates fail, and the message is not as long as what they wanted to make.
fn refused(templates: &[&str]) {
    for template in templates {
        let shown: String = template.chars().take(200).collect();
        match printed(template, &small()) {
            Err(error) => {
                let length = error.to_string().len();
                assert!(length < LONGEST_MESSAGE, "a message of {length} bytes for {shown}");
            }
            Ok(output) => panic!("{shown} printed {} bytes", output.len()),
        }
    }
}

/// The templates end somehow.
fn bounded(templates: &[&str]) {
    for template in templates {
        let _ = printed(template, &small());
    }
}

fn with_values(template: &str, values: &str) -> Result<Rendered, Error> {
    let start = Instant::now();
    let chart = chart(&[("templates/t.txt", template.as_bytes())])?;
    let mut options = Options::default();
    options.values.files.push(("values.yaml".to_owned(), values.into()));
    let rendered = render_files(&chart, &options, &Offline);
    assert!(start.elapsed() < SOON, "{:?} for {template}", start.elapsed());
    rendered
}

#[test]
fn templates_that_include_themselves_end_with_an_error() {
    refused(&[
        r#"{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}"#,
        r#"{{ define "a" }}{{ include "a" . }}{{ end }}{{ include "a" . }}"#,
        r#"{{ define "a" }}{{ include "b" . }}{{ end }}{{ define "b" }}{{ include "a" . }}{{ end }}{{ include "a" . }}"#,
        r#"{{ define "a" }}{{ tpl "{{ include \"a\" . }}" . }}{{ end }}{{ include "a" . }}"#,
        r#"{{ include "hostile/templates/t.txt" . }}"#,
        r#"{{ define "a" }}{{ include "a" . }}{{ include "a" . }}{{ end }}{{ include "a" . }}"#,
        r#"{{ define "a" }}{{ range until 10 }}{{ with (include "a" $) }}{{ end }}{{ end }}{{ end }}{{ include "a" . }}"#,
    ]);
    assert!(with_values("{{ tpl .Values.t . }}", "t: '{{ tpl .Values.t . }}'").is_err());
    assert!(
        with_values("{{ tpl .Values.t . }}", "t: '{{ tpl (print .Values.t \"x\") . }}{{ tpl .Values.t . }}'").is_err()
    );
}

#[test]
fn endless_loops_run_out_of_steps() {
    refused(&[
        "{{ range 9000000000000000000 }}{{ end }}",
        "{{ range until 100000 }}{{ range until 100000 }}{{ end }}{{ end }}",
        "{{ range 1000000 }}{{ range 1000000 }}{{ continue }}{{ end }}{{ end }}",
        "{{ $x := until 30000 }}{{ range 30000 }}{{ $y := without $x 1 2 3 }}{{ end }}",
        "{{ $x := until 30000 }}{{ range 300000 }}{{ $y := has -1 $x }}{{ end }}",
        "{{ $x := until 200000 }}{{ uniq $x }}",
        "{{ range 3000000 }}{{ $x := bcrypt \"x\" }}{{ end }}",
        "{{ range 3000000 }}{{ $x := genCA \"x\" 1 }}{{ end }}",
        "{{ range 3000000 }}{{ $x := genPrivateKey \"ed25519\" }}{{ end }}",
        "{{ range 3000000 }}{{ $x := derivePassword 1 \"long\" \"a\" \"b\" \"c\" }}{{ end }}",
    ]);
}

#[test]
fn a_million_elements_are_ranged_over() {
    let output =
        printed("{{ $n := 0 }}{{ range until 1000000 }}{{ $n = . }}{{ end }}{{ $n }}", &Options::default()).unwrap();
    assert_eq!(output, b"999999");
}

#[test]
fn loops_that_add_to_a_map_or_a_list_one_by_one_stay_within_the_limits() {
    let map = "{{ $d := dict }}{{ range $i := until 20000 }}{{ $_ := set $d (toString $i) $i }}{{ end }}{{ len $d }}";
    assert_eq!(printed(map, &Options::default()).unwrap(), b"20000");
    let list = "{{ $l := list }}{{ range $i := until 5000 }}{{ $l = append $l $i }}{{ end }}{{ len $l }}";
    assert_eq!(printed(list, &Options::default()).unwrap(), b"5000");
}

#[test]
fn numbers_that_ask_for_giant_texts_or_lists_are_refused() {
    refused(&[
        r#"{{ repeat 1000000000 "x" }}"#,
        r#"{{ repeat 9223372036854775807 "xyz" }}"#,
        r#"{{ indent 1000000000 "x" }}"#,
        r#"{{ nindent 1000000000 "x" }}"#,
        r#"{{ "a\nb\nc" | repeat 100000 | indent 100000 }}"#,
        r#"{{ until 1000000000000 }}"#,
        r#"{{ untilStep 0 1000000000000 1 }}"#,
        r#"{{ seq 1 10000000000 }}"#,
        r#"{{ seq 1 1 9223372036854775807 }}"#,
        r#"{{ randAlphaNum 1000000000 }}"#,
        r#"{{ randBytes 1000000000 }}"#,
        r#"{{ wrapWith 1 (repeat 1000000 "x") (repeat 1000000 "y ") }}"#,
        r#"{{ join (repeat 1000000 "x") (until 1000000) }}"#,
        r#"{{ replace "a" (repeat 1000000 "x") (repeat 1000000 "a") }}"#,
        r#"{{ regexReplaceAll "a" (repeat 1000000 "a") (repeat 1000000 "x") }}"#,
        r#"{{ regexReplaceAll "(a*)" (repeat 100000 "a") (repeat 100000 "$1") }}"#,
    ]);
}

#[test]
fn widths_beyond_what_go_prints_are_errors_in_the_text_or_refused() {
    bounded(&[
        r#"{{ printf "%1000000000d" 1 }}"#,
        r#"{{ printf "%*d" 1000000000 1 }}"#,
        r#"{{ printf "%.1000000000f" 1.0 }}"#,
        r#"{{ printf "%.999999f" 1.5 }}"#,
        r#"{{ printf "%[1000000000]d" 1 }}"#,
        r#"{{ printf "%[99999999999999999999]*d" 1 }}"#,
        r#"{{ printf "%999999d%999999d%999999d" 1 2 3 }}"#,
        r#"{{ printf "%-+# 0999999.999999x" "abc" }}"#,
        r#"{{ printf "%" }}"#,
        r#"{{ printf "%![" 1 }}"#,
        r#"{{ abbrev 9223372036854775807 "abcdef" }}{{ abbrevboth 9223372036854775807 9223372036854775807 "abcdef" }}"#,
        r#"{{ substr -9223372036854775808 9223372036854775807 "abc" }}{{ trunc -9223372036854775808 "abc" }}"#,
        r#"{{ untilStep 0 9223372036854775807 4611686018427387904 }}"#,
        r#"{{ untilStep 0 10 0 }}{{ untilStep 0 -10 -9223372036854775808 }}"#,
        r#"{{ seq 0 0 5 }}{{ seq 9223372036854775806 9223372036854775807 }}"#,
        r#"{{ add 9223372036854775807 1 }}{{ mul 9223372036854775807 9223372036854775807 }}{{ sub -9223372036854775808 1 }}"#,
        r#"{{ div -9223372036854775808 -1 }}"#,
        r#"{{ mod -9223372036854775808 -1 }}"#,
        r#"{{ div 1 0 }}"#,
        r#"{{ mod 1 0 }}"#,
        r#"{{ round 1.5 1000000000 }}{{ round 1.5 -1000000000 }}"#,
        r#"{{ slice (list 1 2) 5 }}"#,
        r#"{{ slice (list 1 2) 2 1 }}"#,
        r#"{{ index (list 1 2) -1 }}"#,
        r#"{{ chunk 0 (list 1 2) }}"#,
        r#"{{ chunk -1 (list 1 2) }}"#,
        r#"{{ splitn "," 9223372036854775807 "a,b" }}{{ splitn "," -1 "a,b" }}"#,
        r#"{{ dateModify "9999999999h" now }}{{ ago now }}{{ duration 9223372036854775807 }}{{ durationRound "9999999h" }}"#,
        r#"{{ date (repeat 100000 "2006Z07:00.999999999") now | len }}"#,
        r#"{{ htmlDate 9223372036854775807 }}{{ unixEpoch now }}"#,
        r#"{{ toDate "2006-01-02" "99999-99-99" }}"#,
        r#"{{ genCA "x" 9223372036854775807 }}"#,
        r#"{{ semver (repeat 100000 "9") }}"#,
        r#"{{ semverCompare (repeat 100000 ">1 ") "1.2.3" }}{{ semverCompare (repeat 100000 ">1||") "1.2.3" }}"#,
        r#"{{ toDecimal 777777777777777777777 }}{{ atoi "99999999999999999999" }}{{ int64 "1e400" }}{{ float64 "1e999" }}"#,
    ]);
}

#[test]
fn texts_and_lists_that_double_are_stopped() {
    refused(&[
        "{{ $x := \"xx\" }}{{ range until 60 }}{{ $x = print $x $x }}{{ end }}",
        "{{ $x := \"xx\" }}{{ range until 60 }}{{ $x = cat $x $x }}{{ end }}",
        "{{ $x := \"xx\" }}{{ range until 60 }}{{ $x = printf \"%s%s\" $x $x }}{{ end }}",
        "{{ $x := \"xx\" }}{{ range until 60 }}{{ $x = join $x (list $x $x $x) }}{{ end }}",
        "{{ $x := \"xx\" }}{{ range until 60 }}{{ $x = $x | b64enc | b64enc }}{{ end }}",
        "{{ $x := \"xx\" }}{{ range until 60 }}{{ $x = $x | b32enc }}{{ end }}",
        "{{ $x := \"\\\"\" }}{{ range until 60 }}{{ $x = $x | quote }}{{ end }}",
        "{{ $x := \"\\\"\" }}{{ range until 60 }}{{ $x = $x | toJson }}{{ end }}",
        "{{ $x := \"'\" }}{{ range until 60 }}{{ $x = $x | squote | toYaml }}{{ end }}",
        "{{ $x := \"xx\" }}{{ range until 60 }}{{ $x = replace \"x\" $x $x }}{{ end }}",
        "{{ $x := list 1 2 }}{{ range until 60 }}{{ $x = concat $x $x }}{{ end }}",
        "{{ $x := list 1 2 }}{{ range until 60 }}{{ $x = list $x $x }}{{ end }}{{ $x }}",
        "{{ $x := list 1 2 }}{{ range until 60 }}{{ $x = list $x $x }}{{ end }}{{ toYaml $x }}",
        "{{ $x := list 1 2 }}{{ range until 60 }}{{ $x = list $x $x }}{{ end }}{{ toJson $x }}",
        "{{ $x := list 1 2 }}{{ range until 60 }}{{ $x = list $x $x }}{{ end }}{{ toString $x }}",
        "{{ $x := list 1 2 }}{{ range until 60 }}{{ $x = dict \"a\" $x \"b\" $x }}{{ end }}{{ $y := deepCopy $x }}",
        "{{ $x := list 1 2 }}{{ range until 60 }}{{ $x = dict \"a\" $x \"b\" $x }}{{ end }}{{ $y := printf \"%v\" $x }}",
        "{{ $x := list 1 2 }}{{ range until 60 }}{{ $x = dict \"a\" $x \"b\" $x }}{{ end }}{{ $y := merge (dict) $x }}{{ toToml $x }}",
        "{{ define \"a\" }}{{ . }}{{ . }}{{ end }}{{ $x := \"xx\" }}{{ range until 60 }}{{ $x = include \"a\" $x }}{{ end }}",
        "{{ $x := list 1 }}{{ range until 60 }}{{ $x = list $x $x }}{{ end }}{{ $y := list 1 }}{{ range until 60 }}{{ $y = list $y $y }}{{ end }}{{ deepEqual $x $y }}",
        "{{ $x := list 1 }}{{ range until 60 }}{{ $x = list $x $x }}{{ end }}{{ $y := list 1 }}{{ range until 60 }}{{ $y = list $y $y }}{{ end }}{{ has $x (list $y) }}",
        "{{ $x := \"xx\" }}{{ range until 60 }}{{ $x = tpl \"{{ . }}{{ . }}\" $x }}{{ end }}",
        "{{ $x := repeat 3000000 \"x\" }}{{ range 1000 }}{{ $x }}{{ end }}",
        "{{ $x := repeat 3000000 \"x\" }}{{ $l := list }}{{ range 1000 }}{{ $l = append $l (upper $x) }}{{ end }}",
    ]);
}

#[test]
fn values_that_contain_themselves_are_not_followed_for_ever() {
    for what in [
        "{{ $d }}",
        "{{ toYaml $d }}",
        "{{ toJson $d }}",
        "{{ toPrettyJson $d }}",
        "{{ toToml $d }}",
        "{{ toString $d }}",
        "{{ printf \"%v %+v %#v %s %q %x %d\" $d $d $d $d $d $d $d }}",
        "{{ deepCopy $d }}",
        "{{ deepEqual $d (dict \"self\" $d) }}",
        "{{ eq $d $d }}",
        "{{ merge (dict) $d }}",
        "{{ mergeOverwrite (dict \"self\" (dict)) $d }}",
        "{{ merge $d $d }}",
        "{{ has $d (list $d) }}",
        "{{ uniq (list $d $d) }}",
        "{{ dig \"self\" \"self\" \"self\" 1 $d }}",
        "{{ fail (print $d) }}",
        "{{ required \"x\" $d }}",
        "{{ tpl \"{{ . }}\" $d }}",
        "{{ range $k, $v := $d }}{{ $v }}{{ end }}",
        "{{ values $d }}",
        "{{ html $d }}{{ js $d }}{{ urlquery $d }}",
        "{{ join \",\" (list $d) }}",
        "{{ sortAlpha (list $d) }}",
        "{{ cat $d }}{{ quote $d }}{{ squote $d }}",
    ] {
        bounded(&[&format!("{{{{ $d := dict }}}}{{{{ $_ := set $d \"self\" $d }}}}{what}")]);
    }
}

#[test]
fn values_nested_very_deep_are_printed_compared_and_freed() {
    for what in
        ["", "{{ $x }}", "{{ toYaml $x }}", "{{ toJson $x }}", "{{ deepCopy $x }}", "{{ deepEqual $x (list $x) }}"]
    {
        bounded(&[
            &format!("{{{{ $x := list }}}}{{{{ range 200000 }}}}{{{{ $x = list $x }}}}{{{{ end }}}}{what}"),
            &format!("{{{{ $x := dict }}}}{{{{ range 200000 }}}}{{{{ $x = dict \"a\" $x }}}}{{{{ end }}}}{what}"),
        ]);
    }
    // As deep as the usual number of steps allows: a call for each level would need more stack than there is.
    let options = Options { limits: Limits { values: usize::MAX, ..Limits::default() }, ..Options::default() };
    let lists = "{{ $x := list }}{{ range 3000000 }}{{ $x = list $x }}{{ end }}done";
    assert_eq!(printed(lists, &options).unwrap(), b"done");
    let maps = "{{ $x := dict }}{{ range 3000000 }}{{ $x = dict \"a\" $x }}{{ end }}done";
    assert_eq!(printed(maps, &options).unwrap(), b"done");
}

#[test]
fn regular_expressions_stay_small_and_linear() {
    refused(&[
        r#"{{ mustRegexMatch "((a{1000}){1000}){1000}" "a" }}"#,
        r#"{{ mustRegexMatch "a{1001}" "a" }}"#,
        r#"{{ mustRegexMatch (repeat 100000 "(") "a" }}"#,
        r#"{{ mustRegexMatch "[" "a" }}"#,
        r#"{{ mustRegexMatch "(?=a)" "a" }}"#,
        r#"{{ mustRegexMatch (repeat 2000000 "[a-zäöü]") "a" }}"#,
    ]);
    bounded(&[
        r#"{{ regexMatch "^(a+)+$" (print (repeat 1000000 "a") "b") }}"#,
        r#"{{ regexMatch "(a*)*(a*)*(a*)*c" (repeat 1000000 "a") }}"#,
        r#"{{ regexMatch "(.*)(.*)(.*)(.*)(.*)(.*)x" (repeat 1000000 "a") }}"#,
        r#"{{ regexFindAll "" (repeat 3000000 "a") -1 | len }}"#,
        r#"{{ regexFindAll "a" (repeat 3000000 "a") -1 | len }}"#,
        r#"{{ regexSplit "" (repeat 3000000 "a") -1 | len }}"#,
        r#"{{ splitList "" (repeat 3000000 "a") | len }}"#,
        r#"{{ split "," (repeat 3000000 ",") | len }}"#,
        r#"{{ range until 100000 }}{{ $x := regexMatch (printf "a{%d}b%d" (mod . 1000) .) "a" }}{{ end }}"#,
        r#"{{ regexMatch "\\pL{1000}" "a" }}{{ regexMatch "(?i)\\pL{1000}" "a" }}"#,
        r#"{{ regexMatch "[[:alpha:][:digit:]&&a--b~~c]" "a" }}"#,
        r#"{{ .Files.Glob (repeat 100000 "{a,") }}"#,
        r#"{{ .Files.Glob (repeat 100000 "**") }}"#,
    ]);
}

#[test]
fn bombs_in_yaml_json_and_toml_are_refused_or_harmless() {
    let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..15 {
        let below = vec![format!("*a{}", level - 1); 10].join(",");
        laughs.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    assert!(with_values("{{ len .Values }}", &laughs).is_err());
    let merges: String =
        (1..40).map(|level| format!("a{level}: &a{level}\n  <<: [*a{0}, *a{0}]\n  k{level}: 1\n", level - 1)).collect();
    let _ = with_values("{{ len .Values }}", &format!("a0: &a0 {{x: 1}}\n{merges}"));
    for (open, close) in [("[", "]"), ("{a: ", "}")] {
        let nested = format!("a: {}{}", open.repeat(200_000), close.repeat(200_000));
        assert!(with_values("{{ len .Values }}", &nested).is_err(), "{open}");
    }
    let indented: String = (0..20_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert!(with_values("{{ len .Values }}", &indented).is_err());
    let _ = with_values("{{ len .Values }}", &"- ".repeat(500_000));
    let _ = with_values("{{ len .Values }}", &format!("a: {}", "? ".repeat(500_000)));
    bounded(&[
        r#"{{ fromYaml (repeat 3000000 "[") }}"#,
        r#"{{ fromYaml (repeat 3000000 "- ") }}"#,
        r#"{{ fromYaml (print "a: " (repeat 1000000 "{b: ")) }}"#,
        r#"{{ fromJson (print (repeat 3000000 "[") ) }}"#,
        r#"{{ fromJson (repeat 1000000 "{\"a\":") }}"#,
        r#"{{ fromJsonArray (print (repeat 1000000 "[") (repeat 1000000 "]")) | toJson }}"#,
        r#"{{ fromToml (print "a = " (repeat 1000000 "[")) }}"#,
        r#"{{ fromToml (print "a" (repeat 1000000 ".a") " = 1") | toToml }}"#,
        r#"{{ fromYamlArray (repeat 100000 "- [x, y]\n") | len }}"#,
        r#"{{ fromYaml "a: &a [*a]" }}{{ fromYaml "a: &a {b: *a}" }}"#,
        r#"{{ fromYaml "a: 1e999999999\nb: 0x" }}{{ fromJson "{\"a\": 1e999999999}" }}"#,
    ]);
    let template = format!("{{{{ fromYaml {laughs:?} }}}}");
    let output = printed(&template, &Options::default()).map(|output| output.len()).unwrap_or_default();
    assert!(output < 10_000, "{output}");
}

#[test]
fn templates_that_are_nested_or_long_beyond_measure_are_parsed_or_refused() {
    let many = 100_000;
    refused(&[
        &format!("{{{{ {}1{} }}}}", "(".repeat(many), ")".repeat(many)),
        &format!("{}{}", "{{ if 1 }}".repeat(many), "{{ end }}".repeat(many)),
        &format!("{}{}", "{{ with 1 }}".repeat(many), "{{ end }}".repeat(many)),
        &format!("{{{{ if 0 }}}}{}{{{{ end }}}}", "{{ else if 0 }}".repeat(many)),
        &format!("{{{{ {} }}}}", "(".repeat(many)),
        "{{",
        "{{ \"",
        "{{/*",
        "{{ if }}",
        "{{ end }}",
        "{{ else }}",
        "{{ break }}",
        "{{ 'x }}",
        "{{ \u{0} }}",
        "{{ 99999999999999999999999999 }}",
        "{{ define \"x\" }}",
        "{{ $x }}",
        "{{ .Values.a.b.c }}",
    ]);
    bounded(&[
        &format!("{{{{ . {} }}}}", "| print".repeat(many)),
        &format!("{{{{ ${} }}}}", ".a".repeat(many)),
        &format!("{{{{ print {} }}}}", "1 ".repeat(many)),
        &format!("{{{{ and {} }}}}", "1 ".repeat(many)),
        &"{{ $x := 1 }}".repeat(many),
        &"{{ define \"x\" }}{{ end }}".repeat(many),
        &"{{- /* x */ -}} \n".repeat(many),
        &"\r\n\u{0}\u{feff}".repeat(many),
    ]);
}

#[test]
fn bytes_that_are_no_text_pass_through() {
    let template = b"\xff\xfe\0a\r\n{{ .Values.x }}\r\n{{ print \"\\xff\\x00\" }}{{ `\r\n` }}\xc3";
    let chart = chart(&[("templates/t.txt", template.as_slice()), ("values.yaml", b"x: z\r\n")]).unwrap();
    let rendered = render_files(&chart, &Options::default(), &Offline).unwrap();
    // Go leaves carriage returns out of raw strings.
    assert_eq!(rendered.files["hostile/templates/t.txt"], b"\xff\xfe\0a\r\nz\r\n\xff\0\n\xc3");
    for function in [
        "upper",
        "lower",
        "title",
        "trunc 3",
        "quote",
        "toJson",
        "toYaml",
        "b64enc",
        "trim",
        "camelcase",
        "initials",
        "reverse",
    ] {
        bounded(&[&format!("{{{{ \"\\xff\\x00\\xc3é\\r\\n\\xf0\\x9f\" | {function} }}}}")]);
    }
}

#[test]
fn names_that_differ_in_case_only_are_different_files() {
    let files: [(&str, &[u8]); 3] =
        [("templates/a.txt", b"lower"), ("templates/A.txt", b"upper"), ("templates/A.TXT", b"all")];
    let rendered = render_files(&chart(&files).unwrap(), &Options::default(), &Offline).unwrap();
    let found: Vec<&[u8]> = rendered.files.values().map(Vec::as_slice).collect();
    assert_eq!(found, [&b"all"[..], b"upper", b"lower"]);
}

#[test]
fn the_machine_and_its_network_are_out_of_reach() {
    refused(&[
        r#"{{ env "HOME" }}"#,
        r#"{{ expandenv "$HOME" }}"#,
        r#"{{ readFile "/etc/passwd" }}"#,
        r#"{{ readDir "/" }}"#,
        r#"{{ exec "id" }}"#,
    ]);
    let output = printed(
        r#"[{{ getHostByName "localhost" }}][{{ .Files.Get "/etc/passwd" }}][{{ .Files.Get "../../etc/passwd" }}][{{ len (lookup "v1" "Secret" "" "") }}]"#,
        &Options::default(),
    );
    assert_eq!(output.unwrap(), b"[][][][0]");
}

#[test]
fn output_that_is_no_manifest_is_an_error_and_not_a_panic() {
    for output in [
        "[",
        "a: [",
        "- a\n- b",
        "kind: [x]",
        "kind: {}",
        "metadata: x",
        "metadata: {annotations: [x]}",
        "a: b: c",
        "\"\\ud800\"",
        "!!binary x",
        "? [a]\n: b",
    ] {
        let chart = chart(&[("templates/t.yaml", output.as_bytes())]).unwrap();
        let _ = render(&chart, &Options::default(), &Offline);
    }
}
