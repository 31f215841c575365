//! Which of a chart's published versions a constraint means.

use super::semver::{Constraints, Version};

/// The newest of `published` that meets `constraint`, as Helm chooses it: an equal text first, then by precedence. An empty
/// constraint means the newest that is no prerelease. Versions that are not semantic are passed over.
pub fn choose_version<'a>(constraint: &str, published: &[&'a str]) -> Result<Option<&'a str>, String> {
    let constraint = constraint.trim();
    if let Some(equal) = published.iter().find(|version| **version == constraint) {
        return Ok(Some(equal));
    }
    let wanted = if constraint.is_empty() { "*" } else { constraint };
    let Some(constraints) = Constraints::parse(wanted) else {
        return Err(format!("{constraint:?} is no version and no constraint such as 1.2.3, 1.* or >=1.2 <2"));
    };
    let meets =
        |text: &&'a str| Version::parse(text).filter(|version| constraints.check(version)).map(|at| (at, *text));
    let newest = published.iter().filter_map(meets).max_by(|(left, _), (right, _)| left.compare(right));
    Ok(newest.map(|(_, text)| text))
}

/// Whether a text is one version and no constraint: such a version is published once and never changes.
pub fn is_exact_version(text: &str) -> bool {
    Version::parse(text).is_some() && text.trim_start_matches('v').split(['-', '+']).next().is_some_and(is_whole)
}

/// `1.2.3`: what is shorter is read as a constraint.
fn is_whole(numbers: &str) -> bool {
    numbers.split('.').count() == 3
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn the_newest_version_that_meets_the_constraint_is_chosen() {
        let published = ["1.2.0", "1.10.0", "2.0.0-rc.1", "1.9.9", "v1.4.0", "not-a-version", "0.1.0"];
        for (constraint, expected) in [
            ("", Some("1.10.0")),
            ("*", Some("1.10.0")),
            ("1.*", Some("1.10.0")),
            ("~1.2", Some("1.2.0")),
            ("1.4.0", Some("v1.4.0")),
            (">=2.0.0-0", Some("2.0.0-rc.1")),
            ("^3", None),
            ("not-a-version", Some("not-a-version")),
        ] {
            assert_eq!(choose_version(constraint, &published).unwrap(), expected, "{constraint}");
        }
        assert!(choose_version("newest", &published).unwrap_err().contains("no constraint"));
    }

    #[test]
    fn only_whole_versions_are_exact() {
        for (text, exact) in
            [("1.2.3", true), ("v1.2.3-rc.1", true), ("1.2", false), ("1.*", false), ("^1.2.3", false), ("", false)]
        {
            assert_eq!(is_exact_version(text), exact, "{text}");
        }
    }
}
