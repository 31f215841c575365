//! Passwords of one template have nothing to do with the other templates.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use lotse_render::{
    MemoryTree,
    helm::{Chart, Offline, Options, render_files},
};

fn printed(templates: &[(&str, &str)], seed: u8) -> BTreeMap<String, Vec<u8>> {
    let mut tree = MemoryTree::default();
    tree.insert("Chart.yaml", "apiVersion: v2\nname: chance\nversion: 1.0.0\n").unwrap();
    for (path, content) in templates {
        tree.insert(path, *content).unwrap();
    }
    let options = Options { seed: [seed; 32], ..Options::default() };
    render_files(&Chart::load(&tree, "").unwrap(), &options, &Offline).unwrap().files
}

const PASSWORD: &str = "{{ randAlphaNum 32 }}";

#[test]
fn a_template_that_is_added_changes_no_password_of_another() {
    let alone = printed(&[("templates/m.txt", PASSWORD)], 1);
    let others = [
        ("templates/a.txt", PASSWORD),
        ("templates/m.txt", PASSWORD),
        ("templates/z/z.txt", "{{ genPrivateKey \"ecdsa\" }}"),
    ];
    let among = printed(&others, 1);
    assert_eq!(alone["chance/templates/m.txt"], among["chance/templates/m.txt"]);
}

#[test]
fn two_templates_two_draws_and_two_seeds_differ() {
    let templates = [
        ("templates/a.txt", PASSWORD),
        ("templates/b.txt", PASSWORD),
        ("templates/c.txt", "{{ randAlphaNum 32 }} {{ randAlphaNum 32 }}"),
    ];
    let (one, two) = (printed(&templates, 1), printed(&templates, 2));
    assert_eq!(one, printed(&templates, 1));
    assert_ne!(one["chance/templates/a.txt"], one["chance/templates/b.txt"]);
    let both = String::from_utf8(one["chance/templates/c.txt"].clone()).unwrap();
    let (first, second) = both.split_once(' ').unwrap();
    assert_ne!(first, second);
    for (path, content) in &one {
        assert_ne!(content, &two[path], "{path}");
    }
}
