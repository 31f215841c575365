//! Properties of builds, and trees that mean harm.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lotse_render::{
    Error, MemoryTree,
    kustomize::{BuildOptions, build},
};

fn tree(files: &[(&str, &str)]) -> MemoryTree {
    let mut tree = MemoryTree::default();
    for (path, content) in files {
        tree.insert(path, *content).unwrap();
    }
    tree
}

fn plain(tree: &MemoryTree, path: &str) -> Result<Vec<u8>, Error> {
    build(tree, path, &BuildOptions::default())
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
    let options = BuildOptions {
        name_prefix: "x-".to_owned(),
        namespace: "ns".to_owned(),
        images: vec!["i=reg.test:5000/j:2".to_owned()],
        common_labels: [("l".to_owned(), "m".to_owned())].into(),
        common_annotations: [("o".to_owned(), "p".to_owned())].into(),
        ..BuildOptions::default()
    };
    let written = "resources: [a.yaml]\nnamePrefix: x-\nnamespace: ns\nimages: [{name: i, newName: 'reg.test:5000/j', newTag: '2'}]\ncommonLabels: {l: m}\ncommonAnnotations: {o: p}\n";
    assert_eq!(build(&files("resources: [a.yaml]\n"), "", &options).unwrap(), plain(&files(written), "").unwrap());
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
