//! Every case of the corpus gives the recorded output, byte for byte.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
mod kustomize_cases;

use std::{collections::BTreeMap, fs};

use kustomize_cases::Case;
use lotse_render::kustomize::{Options, build};

/// Cases in which this differs from the original on purpose, with the reason.
const DIFFERENCES: [(&str, &str); 2] = [
    ("case-insensitive-field", "a field in another case is a mistake, and is reported as one"),
    ("smp-element-without-key", "the original loses every container with a name when one has none"),
];

/// How many differences are shown in full.
const SHOWN: usize = 5;

fn difference(expected: &str, found: &str) -> String {
    let (expected, found): (Vec<_>, Vec<_>) = (expected.lines().collect(), found.lines().collect());
    let at = expected.iter().zip(&found).take_while(|(a, b)| a == b).count();
    let show = |lines: &[&str], sign: &str| {
        lines.iter().skip(at).take(8).map(|line| format!("    {sign} {line}\n")).collect::<String>()
    };
    format!("  line {}:\n{}{}", at + 1, show(&expected, "-"), show(&found, "+"))
}

#[test]
fn every_case_gives_the_recorded_output() {
    for (name, reason) in DIFFERENCES {
        println!("differs on purpose: {name}: {reason}");
    }
    let only = std::env::var("CASE").ok();
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut failures = Vec::new();
    let mut differing = 0;
    for Case { name, directory: case, tree, root } in kustomize_cases::all() {
        if only.as_ref().is_some_and(|only| !name.starts_with(only.as_str())) {
            continue;
        }
        let outcome = build(&tree, &root, &Options::default()).map(|build| build.text);
        let failure = match (fs::read_to_string(case.join("expected.yaml")), outcome) {
            (Ok(expected), Ok(found)) => {
                let found = String::from_utf8_lossy(&found).into_owned();
                (expected != found).then(|| difference(&expected, &found))
            }
            (Ok(_), Err(error)) => Some(format!("  failed: {error}\n")),
            (Err(_), Ok(found)) => {
                let why = fs::read_to_string(case.join("expected-error.txt")).unwrap();
                Some(format!("  must fail ({}) but gives\n{}", why.trim(), String::from_utf8_lossy(&found)))
            }
            (Err(_), Err(_)) => None,
        };
        let category = name.split('-').next().unwrap().to_owned();
        let count = counts.entry(category).or_default();
        count.1 += 1;
        match failure {
            None => count.0 += 1,
            Some(_) if DIFFERENCES.iter().any(|(case, _)| *case == name) => differing += 1,
            Some(failure) => failures.push((name, failure)),
        }
    }
    let (passed, total) = counts.values().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    for (category, (passed, total)) in &counts {
        println!("{category:14} {passed:4} / {total}");
    }
    println!("all            {passed:4} / {total}, and {differing} differ on purpose");
    if only.is_none() {
        assert_eq!(differing, DIFFERENCES.len(), "a case of DIFFERENCES no longer differs; take it out of the list");
    }
    let shown = if only.is_some() { 100 } else { SHOWN };
    for (name, failure) in failures.iter().take(shown) {
        println!("{name}\n{failure}");
    }
    let names: Vec<&str> = failures.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.is_empty(), "{} cases differ: {names:?}", names.len());
}
