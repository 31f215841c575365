//! What holds of every recorded case, beside its output.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../../fuzz/bodies/kustomization.rs"]
mod body;
mod common;
mod kustomize_cases;

use lotse_render::{
    Error, MemoryTree, Tree,
    kustomize::{Build, Options, build},
};

/// `buildMetadata` says which notes about the build are written, and a build that does not ask for them takes them away.
const NOTES: &str = "annotations about the build that only buildMetadata keeps";

/// Cases whose output is not the same after another build, with the reason.
const NOT_STABLE: [(&str, &str); 6] = [
    ("metadata-all", NOTES),
    ("metadata-all-of-them", NOTES),
    ("metadata-build-all", NOTES),
    ("metadata-origin", NOTES),
    ("metadata-transformer", NOTES),
    ("real-mono-prod", NOTES),
];

fn plain(tree: &MemoryTree, root: &str) -> Result<Build, Error> {
    build(tree, root, &Options::default())
}

/// A tree in which a text is the only resource. Order first in, first out: the text is in order already.
fn only(text: &[u8]) -> MemoryTree {
    let mut tree = MemoryTree::default();
    tree.insert("all.yaml", text).unwrap();
    tree.insert("kustomization.yaml", "sortOptions: {order: fifo}\nresources: [all.yaml]\n").unwrap();
    tree
}

#[test]
fn every_case_gives_the_same_twice() {
    for case in kustomize_cases::all() {
        assert_eq!(plain(&case.tree, &case.root), plain(&case.tree, &case.root), "{}", case.name);
    }
}

#[test]
fn building_the_output_of_every_case_changes_nothing() {
    let (mut compared, mut unstable) = (0, Vec::new());
    for case in kustomize_cases::all() {
        let Ok(first) = plain(&case.tree, &case.root) else { continue };
        if first.objects.is_empty() {
            continue;
        }
        let again = plain(&only(&first.text), "").map(|build| String::from_utf8(build.text).unwrap());
        compared += 1;
        if again != Ok(String::from_utf8(first.text).unwrap()) {
            unstable.push(case.name);
        }
    }
    assert!(compared > 300, "only {compared} cases were compared");
    let expected: Vec<&str> = NOT_STABLE.iter().map(|(name, _)| *name).collect();
    assert_eq!(unstable, expected);
}

/// Cases that an overlay changes although it says nothing, with the reason.
const CHANGED_BY_AN_OVERLAY: [(&str, &str); 7] = [
    ("metadata-all", NOTES),
    ("metadata-all-of-them", NOTES),
    ("metadata-build-all", NOTES),
    ("metadata-managedby", "only the buildMetadata of the directory that is built counts"),
    ("metadata-origin", NOTES),
    ("metadata-transformer", NOTES),
    ("real-mono-prod", NOTES),
];

#[test]
fn an_overlay_that_says_nothing_changes_nothing_of_any_case() {
    let (mut compared, mut changed) = (0, Vec::new());
    for case in kustomize_cases::all() {
        let Ok(first) = plain(&case.tree, &case.root) else { continue };
        let mut tree = MemoryTree::default();
        for path in case.tree.files("").unwrap() {
            tree.insert(&format!("case/{path}"), case.tree.read(&path).unwrap().into_owned()).unwrap();
        }
        let base = if case.root == "." { "../case".to_owned() } else { format!("../case/{}", case.root) };
        tree.insert("over/kustomization.yaml", format!("sortOptions: {{order: fifo}}\nresources: [\"{base}\"]\n"))
            .unwrap();
        compared += 1;
        // The base is not the root of this build: compared are the objects, in any order.
        let mut expected = first.objects;
        match plain(&tree, "over") {
            Ok(found) => {
                let same = found.objects.len() == expected.len()
                    && found.objects.iter().all(|object| {
                        let at = expected.iter().position(|other| other == object);
                        at.map(|at| expected.swap_remove(at)).is_some()
                    });
                if !same {
                    changed.push(case.name);
                }
            }
            Err(error) => changed.push(format!("{} ({error})", case.name)),
        }
    }
    assert!(compared > 300, "only {compared} cases were compared");
    let expected: Vec<&str> = CHANGED_BY_AN_OVERLAY.iter().map(|(name, _)| *name).collect();
    assert_eq!(changed, expected);
}

#[test]
fn the_fuzz_target_holds_for_every_case_whole_and_broken() {
    for case in kustomize_cases::all() {
        let root = if case.root == "." { String::new() } else { format!("{}/", case.root) };
        let read = |path: &str| case.tree.read(&format!("{root}{path}")).map(|content| content.into_owned());
        let Ok(kustomization) = read("kustomization.yaml") else { continue };
        let files = case.tree.files("").unwrap();
        let other = files.iter().filter(|path| path.ends_with(".yaml") && !path.ends_with("kustomization.yaml"));
        for path in other.take(3) {
            let content = case.tree.read(path).unwrap().into_owned();
            let whole = [&kustomization[..], b"\0", &content, b"\0", &content].concat();
            body::run(&whole);
            body::run(
                &[b"resources: [a.yaml]\npatches: [{path: patch.yaml}]\n\0", &content[..], b"\0", &content].concat(),
            );
            // Cut off, and with a byte changed, at places that depend on the length alone.
            for part in 1..8 {
                let at = whole.len() * part / 8;
                body::run(&whole[..at]);
                let mut changed = whole.clone();
                changed[at] ^= 0x1f;
                body::run(&changed);
            }
        }
    }
}

#[test]
fn the_index_names_every_case_once_and_its_outcome() {
    let index = include_str!("corpus/kustomize/INDEX.tsv");
    let rows: Vec<Vec<&str>> = index.lines().skip(1).map(|line| line.split('\t').collect()).collect();
    let found: Vec<(String, &str)> = kustomize_cases::all()
        .into_iter()
        .map(|case| {
            let outcome = match std::fs::read(case.directory.join("expected.yaml")) {
                Ok(text) if text.is_empty() => "empty",
                Ok(_) => "output",
                Err(_) => "error",
            };
            (case.name, outcome)
        })
        .collect();
    let mut listed: Vec<(String, &str)> = rows.iter().map(|row| (row[0].to_owned(), row[2])).collect();
    listed.sort();
    assert_eq!(listed, found);
}
