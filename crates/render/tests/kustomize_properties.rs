//! Properties of builds, and trees that mean harm.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lotse_render::{
    Error, MemoryTree, Tree,
    kustomize::{ChartRenderer, ChartRequest, Limits, Options, Overrides, PatchOverride, Remote, Remotes, build},
};

fn tree(files: &[(&str, &str)]) -> MemoryTree {
    let mut tree = MemoryTree::default();
    for (path, content) in files {
        tree.insert(path, *content).unwrap();
    }
    tree
}

fn plain(tree: &MemoryTree, path: &str) -> Result<Vec<u8>, Error> {
    build(tree, path, &Options::default()).map(|build| build.text)
}

const OBJECTS: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: s, annotations: {x: \"1\"}}\nstringData: {a: \"l1\\nl2\\n\", b: 'yes'}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: i, envFrom: [{secretRef: {name: s}}]}]}\n";

#[test]
fn building_what_was_built_changes_nothing() {
    let first =
        plain(&tree(&[("a.yaml", OBJECTS), ("kustomization.yaml", "namePrefix: p-\nresources: [a.yaml]\n")]), "")
            .unwrap();
    let text = String::from_utf8(first.clone()).unwrap();
    let again = tree(&[("a.yaml", &text), ("kustomization.yaml", "resources: [a.yaml]\n")]);
    assert_eq!(plain(&again, "").unwrap(), first);
    assert_eq!(plain(&again, "").unwrap(), plain(&again, "").unwrap());
}

#[test]
fn an_overlay_that_changes_nothing_changes_nothing() {
    let files = [
        ("base/a.yaml", OBJECTS),
        ("base/kustomization.yaml", "resources: [a.yaml]\n"),
        ("over/kustomization.yaml", "resources: [../base]\n"),
    ];
    let tree = tree(&files);
    assert_eq!(plain(&tree, "base").unwrap(), plain(&tree, "over").unwrap());
}

#[test]
fn options_of_the_caller_are_like_fields_of_the_file() {
    let files = |kustomization: &str| tree(&[("a.yaml", OBJECTS), ("kustomization.yaml", kustomization)]);
    let overrides = Overrides {
        name_prefix: "x-".to_owned(),
        namespace: "ns".to_owned(),
        images: vec!["i=reg.test:5000/j:2".to_owned()],
        common_labels: [("l".to_owned(), "m".to_owned())].into(),
        common_annotations: [("o".to_owned(), "p".to_owned())].into(),
        ..Overrides::default()
    };
    let written = "resources: [a.yaml]\nnamePrefix: x-\nnamespace: ns\nimages: [{name: i, newName: 'reg.test:5000/j', newTag: '2'}]\ncommonLabels: {l: m}\ncommonAnnotations: {o: p}\n";
    let options = Options { overrides: Some(&overrides), ..Options::default() };
    assert_eq!(build(&files("resources: [a.yaml]\n"), "", &options).unwrap().text, plain(&files(written), "").unwrap());
}

#[test]
fn nothing_outside_the_tree_or_the_kustomization_is_read() {
    for kustomization in [
        "resources: [../../etc/passwd]",
        "resources: [/etc/passwd]",
        "resources: [../secret.yaml]",
        "configMapGenerator: [{name: a, files: [../secret.yaml]}]",
        "configMapGenerator: [{name: a, envs: [/proc/self/environ]}]",
        "patches: [{path: ../secret.yaml}]",
        "components: [../..]",
        "resources: [\"a\\0b\"]",
    ] {
        let tree = tree(&[("secret.yaml", OBJECTS), ("app/kustomization.yaml", kustomization)]);
        assert!(plain(&tree, "app").is_err(), "{kustomization}");
    }
}

#[test]
fn remote_bases_are_a_need_that_names_them() {
    for url in [
        "https://example.test/org/repo//base?ref=v1",
        "git@example.test:org/repo.git",
        "github.com/org/repo/base?ref=main",
    ] {
        let tree = tree(&[("kustomization.yaml", &format!("resources: [{url:?}]\n"))]);
        match plain(&tree, "") {
            Err(Error::Remote { url: named, .. }) => assert_eq!(named, url),
            other => panic!("{url}: {other:?}"),
        }
    }
}

#[test]
fn programs_are_refused_by_name() {
    let plugin = "apiVersion: example.test/v1\nkind: Runner\nmetadata:\n  name: r\n  annotations:\n    config.kubernetes.io/function: |\n      exec: {path: ./run.sh}\n";
    for field in ["generators", "transformers", "validators"] {
        let tree = tree(&[("r.yaml", plugin), ("kustomization.yaml", &format!("{field}: [r.yaml]\n"))]);
        let error = plain(&tree, "").unwrap_err().to_string();
        assert!(error.contains("Runner"), "{error}");
    }
}

#[test]
fn chains_and_bombs_end_in_an_error() {
    let mut long = MemoryTree::default();
    for index in 0..200 {
        long.insert(&format!("d{index}/kustomization.yaml"), format!("resources: [../d{}]\n", index + 1)).unwrap();
    }
    assert!(plain(&long, "d0").is_err());
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 10].join(",")));
    }
    let deep = format!("a: {}", "[".repeat(100_000));
    let regex = "resources: [a.yaml]\npatches: [{target: {name: \"(((((a{1,100}){1,100}){1,100}){1,100}){1,100})\"}, patch: \"[]\"}]\n";
    for (file, kustomization) in [
        (bomb.as_str(), "resources: [a.yaml]\n"),
        (deep.as_str(), "resources: [a.yaml]\n"),
        (OBJECTS, deep.as_str()),
        (OBJECTS, regex),
        (OBJECTS, "resources: [a.yaml]\nimages: [{name: \"((\", newTag: x}]\n"),
    ] {
        assert!(
            plain(&tree(&[("a.yaml", file), ("kustomization.yaml", kustomization)]), "").is_err(),
            "{kustomization:.60}"
        );
    }
}

#[test]
fn bytes_that_are_no_text_are_an_error() {
    for content in [&b"\xff\xfe\x00"[..], b"a: \x00", b"a: \"\\", b"%", b"!<", b"--- |\n", b"\t"] {
        let mut tree = MemoryTree::default();
        tree.insert("kustomization.yaml", "resources: [a.yaml]\n").unwrap();
        tree.insert("a.yaml", content).unwrap();
        assert!(plain(&tree, "").is_err(), "{content:?}");
        tree.insert("kustomization.yaml", content).unwrap();
        assert!(plain(&tree, "").is_err(), "{content:?}");
    }
}

struct Fetched(Vec<(Remote, MemoryTree)>);

impl Remotes for Fetched {
    fn tree(&self, remote: &Remote) -> Option<&dyn Tree> {
        self.0.iter().find(|(known, _)| known == remote).map(|(_, tree)| tree as &dyn Tree)
    }
}

#[test]
fn what_a_build_needs_can_be_given_and_builds_as_if_it_lay_in_the_tree() {
    let tree = tree(&[(
        "kustomization.yaml",
        "namePrefix: p-\nresources: [\"https://h.test/o/r//base?ref=v1\", \"https://h.test/one.yaml\"]\n",
    )]);
    let mut fetched = Fetched(Vec::new());
    let mut wanted = Vec::new();
    for files in [
        self::tree(&[
            ("base/kustomization.yaml", "resources: [../a.d]\n"),
            ("a.d/kustomization.yaml", "resources: [a.yaml]\n"),
            ("a.d/a.yaml", OBJECTS),
        ]),
        self::tree(&[("one.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\n")]),
    ] {
        let error = build(&tree, "", &Options { remotes: Some(&fetched), ..Options::default() }).unwrap_err();
        let Error::Remote { need, .. } = error else { panic!("{error}") };
        wanted.push((*need).clone());
        fetched.0.push((*need, files));
    }
    assert!(matches!(wanted.as_slice(), [Remote::Git { .. }, Remote::File { .. }]), "{wanted:?}");
    let built = build(&tree, "", &Options { remotes: Some(&fetched), ..Options::default() }).unwrap();
    let names: Vec<_> = built.manifests().iter().map(|manifest| manifest.object["metadata"]["name"].clone()).collect();
    assert_eq!(names, ["p-one", "p-s", "p-p"]);
}

struct Echo;

impl ChartRenderer for Echo {
    fn render(&self, request: &ChartRequest<'_>) -> Result<Vec<u8>, Error> {
        let values = request.values.concat();
        let name = format!("{}-{}", request.release_name, request.directory.replace('/', "-"));
        let values = String::from_utf8_lossy(&values).trim().replace('\n', "; ");
        Ok(format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{values: {values:?}}}\n")
            .into_bytes())
    }
}

#[test]
fn charts_are_rendered_by_the_caller_with_their_values_in_order() {
    let tree = tree(&[
        ("charts/web/Chart.yaml", "name: web\n"),
        ("v.yaml", "a: file\n"),
        (
            "kustomization.yaml",
            "namePrefix: p-\nhelmCharts: [{name: web, releaseName: r, valuesFile: v.yaml, valuesInline: {a: inline}}]\n",
        ),
    ]);
    let error = plain(&tree, "").unwrap_err().to_string();
    assert!(error.contains("helmCharts: web"), "{error}");
    let built = build(&tree, "", &Options { charts: Some(&Echo), ..Options::default() }).unwrap();
    let object = &built.manifests()[0].object;
    assert_eq!(object["metadata"]["name"], "p-r-charts-web");
    assert_eq!(object["data"]["values"], "a: file; a: inline");
    let missing =
        self::tree(&[("kustomization.yaml", "helmCharts: [{name: x, repo: \"https://h.test\", version: \"1\"}]\n")]);
    let error = build(&missing, "", &Options { charts: Some(&Echo), ..Options::default() }).unwrap_err();
    assert!(matches!(error, Error::Remote { need, .. } if matches!(*need, Remote::Chart { .. })));
}

#[test]
fn overrides_patch_force_and_leave_missing_components_out() {
    let tree =
        tree(&[("a.yaml", OBJECTS), ("kustomization.yaml", "resources: [a.yaml]\ncommonAnnotations: {o: file}\n")]);
    let mut overrides = Overrides {
        common_annotations: [("o".to_owned(), "given".to_owned())].into(),
        components: vec!["nothing".to_owned()],
        patches: vec![PatchOverride {
            patch: "- {op: add, path: /metadata/labels, value: {l: m}}".to_owned(),
            target: Some([("kind".to_owned(), "Secret".to_owned())].into()),
            ..PatchOverride::default()
        }],
        ..Overrides::default()
    };
    let run = |overrides: &Overrides| {
        let options = Options { overrides: Some(overrides), ..Options::default() };
        build(&tree, "", &options)
            .map(|build| String::from_utf8(build.text).unwrap())
            .map_err(|error| error.to_string())
    };
    assert!(run(&overrides).unwrap_err().contains("forceCommonAnnotations"));
    overrides.force_common_annotations = true;
    assert!(run(&overrides).unwrap_err().contains("nothing"));
    overrides.ignore_missing_components = true;
    let text = run(&overrides).unwrap();
    assert!(text.contains("o: given") && text.contains("l: m") && !text.contains("o: file"), "{text}");
    overrides.common_annotations_envsubst = true;
    assert!(run(&overrides).unwrap_err().contains("commonAnnotationsEnvsubst"));
}

#[test]
fn trees_that_multiply_or_go_in_circles_end_within_limits() {
    let mut double = MemoryTree::default();
    for level in 0..40 {
        for side in ["l", "r"] {
            let next = level + 1;
            let text = format!("namePrefix: {side}-\nresources: [../l{next}, ../r{next}]\n");
            double.insert(&format!("{side}{level}/kustomization.yaml"), text).unwrap();
        }
    }
    assert!(plain(&double, "l0").is_err());
    let many: String =
        (0..100).map(|index| format!("---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{index}}}\n")).collect();
    let small = tree(&[("a.yaml", &many), ("kustomization.yaml", "resources: [a.yaml]\n")]);
    for limits in [
        Limits { objects: 99, ..Limits::default() },
        Limits { output_bytes: 1000, ..Limits::default() },
        Limits { input_bytes: 1000, ..Limits::default() },
        Limits { kustomizations: 0, ..Limits::default() },
    ] {
        let error = build(&small, "", &Options { limits, ..Options::default() }).unwrap_err();
        assert!(matches!(error, Error::Limit { .. }), "{error}");
    }
    let circle =
        tree(&[("a/kustomization.yaml", "resources: [../b]\n"), ("b/kustomization.yaml", "resources: [../a]\n")]);
    assert!(plain(&circle, "a").unwrap_err().to_string().contains("cycle"));
    let own = tree(&[("a/kustomization.yaml", "resources: [.]\n")]);
    assert!(plain(&own, "a").unwrap_err().to_string().contains("cycle"));
    let cases = tree(&[("A.yaml", &many), ("a.yaml", OBJECTS), ("kustomization.yaml", "resources: [a.yaml]\n")]);
    assert_eq!(build(&cases, "", &Options::default()).unwrap().objects.len(), 2);
}

#[test]
fn names_of_images_are_expressions_and_end_in_time() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: IMAGE}]}\n";
    let with = |image: &str, name: &str| {
        let kustomization = format!("resources: [a.yaml]\nimages: [{{name: {name:?}, newTag: new}}]\n");
        plain(&tree(&[("a.yaml", &pod.replace("IMAGE", image)), ("kustomization.yaml", &kustomization)]), "")
            .map(|text| String::from_utf8(text).unwrap().contains(":new"))
    };
    // A name of plain letters goes another way than an expression; `(?:)` makes it one and means the same.
    for name in ["reg.test:5000/a.b", "a.b", "a", "reg/a", "a-b_c"] {
        for image in
            ["a", "axb", "a.b", "a.b:1", "reg.test:5000/a.b:1", "regxtest:5000/axb", "a.b@sha256:ab", "a.b:1@sha256:ab"]
        {
            for image in [
                image.to_owned(),
                format!("{image}c"),
                format!("x{image}"),
                format!("{image}@md5:a"),
                format!("{image}:"),
            ] {
                let image = format!("{image:?}");
                assert_eq!(with(&image, name), with(&image, &format!("(?:){name}")), "{name} {image}");
            }
        }
    }
    assert_eq!(with("a:1", "a"), Ok(true));
    assert_eq!(with("b:1", "a"), Ok(false));
    let long = "a".repeat(5000);
    for name in ["(a*)*b", "(a|a)*b", "(a|aa)+b", "(.*)(.*)(.*)(.*)(.*)x"] {
        assert_eq!(with(&long, name), Ok(false), "{name}");
    }
    for name in ["((a{1,500}){1,500}){1,500}", "(", "a{99999999}", "\\p{Han"] {
        assert!(with(&long, name).is_err(), "{name}");
    }
}

#[test]
fn paths_that_look_like_links_or_leave_the_tree_are_errors() {
    for path in [
        "../../a.yaml",
        "./../../../etc/passwd",
        "a.yaml/../../../x",
        "/proc/self/root/etc/passwd",
        "~/x",
        "..",
        "app/..",
        "link -> /etc",
        "//etc/passwd",
        "\\..\\x",
        "a.yaml/.",
        "file:///etc/passwd",
        "a.yaml/b",
        "",
    ] {
        for kustomization in [
            format!("resources: [{path:?}]\n"),
            format!("resources: [a.yaml]\npatches: [{{path: {path:?}}}]\n"),
            format!("configMapGenerator: [{{name: a, files: [{:?}]}}]\n", format!("k={path}")),
            format!("resources: [a.yaml]\nconfigurations: [{path:?}]\n"),
        ] {
            let tree = tree(&[("app/a.yaml", OBJECTS), ("app/kustomization.yaml", &kustomization)]);
            // `a.yaml/.` is the file itself, after the path was made normal.
            assert!(path == "a.yaml/." || plain(&tree, "app").is_err(), "{kustomization}");
        }
    }
}

#[test]
fn huge_counts_are_errors_or_written_as_they_are() {
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {replicas: 1}\n";
    let with = |more: &str| {
        let kustomization = format!("resources: [a.yaml]\n{more}\n");
        plain(&tree(&[("a.yaml", deployment), ("kustomization.yaml", &kustomization)]), "")
            .map(|text| String::from_utf8(text).unwrap())
    };
    assert!(
        with("replicas: [{name: d, count: 9223372036854775807}]").unwrap().contains("replicas: 9223372036854775807")
    );
    for more in [
        "replicas: [{name: d, count: 9223372036854775808}]",
        "replicas: [{name: d, count: 1e400}]",
        "replicas: [{name: d, count: many}]",
        "patches: [{target: {kind: Deployment}, patch: '[{op: add, path: /spec/replicas/99999999999999999999, value: 1}]'}]",
        "patches: [{target: {kind: Deployment}, patch: '[{op: remove, path: /metadata/-99999999999999999999}]'}]",
        "replacements: [{source: {name: d}, targets: [{select: {name: d}, fieldPaths: [spec.x.99999999999], options: {create: true}}]}]",
    ] {
        assert!(with(more).is_err(), "{more}");
    }
}

#[test]
fn errors_show_the_line_and_name_the_field_and_the_fix() {
    let bad = "apiVersion: v1\nkind: Pod\nmetadata: {name: p\nspec: 1\n";
    let cases: &[(&str, &str, &[&str])] = &[
        (bad, "resources: [a.yaml]", &["a.yaml:", "\n  "]),
        (OBJECTS, "resources: [a.yaml]\nnamePrefix: [", &["kustomization.yaml:", "\n  "]),
        (OBJECTS, "resource: [a.yaml]", &["\"resource\"", "did you mean \"resources\"?", "\n  1 | resource: [a.yaml]"]),
        (OBJECTS, "namespace: a\nresources: a.yaml", &["resources:", "list", "\n  2 | resources: a.yaml"]),
        (OBJECTS, "resources: [b.yaml]", &["resource not found", "\"b.yaml\"", "relative to"]),
        (
            OBJECTS,
            "resources: [a.yaml]\npatches: [{patch: '{apiVersion: v1, kind: Pod, metadata: {name: q}}'}]",
            &["patch target not found", "v1 Pod q", "there are v1 Pod p"],
        ),
        (OBJECTS, "resources: [a.yaml]\nreplicas: [{name: x, count: 1}]", &["replicas", "\"x\"", "Deployment"]),
    ];
    for (file, kustomization, wanted) in cases {
        let error =
            plain(&tree(&[("a.yaml", file), ("kustomization.yaml", kustomization)]), "").unwrap_err().to_string();
        for part in *wanted {
            assert!(error.contains(part), "{part:?} is missing in: {error}");
        }
        assert!(error.lines().all(|line| line.chars().count() < 400), "{error}");
    }
    let long = format!("a: [{}", "x, ".repeat(1000));
    let error = plain(&tree(&[("a.yaml", &long), ("kustomization.yaml", "resources: [a.yaml]\n")]), "").unwrap_err();
    assert!(error.to_string().lines().all(|line| line.len() < 300), "{error}");
}
