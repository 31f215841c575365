//! `.helmignore`.

use crate::helm::glob::matches;

/// Which files of a directory are no part of the chart.
pub(super) struct Rules(Vec<Rule>);

struct Rule {
    pattern: String,
    negated: bool,
    only_directories: bool,
    whole_path: bool,
}

impl Default for Rules {
    /// Hidden files among the templates are always left out.
    fn default() -> Self {
        Self(vec![Rule {
            pattern: "templates/.?*".to_owned(),
            negated: false,
            only_directories: false,
            whole_path: true,
        }])
    }
}

impl Rules {
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut rules = Vec::new();
        for line in String::from_utf8_lossy(text).lines() {
            rules.extend(Rule::parse(line)?);
        }
        rules.extend(Self::default().0);
        Ok(Self(rules))
    }

    /// Whether a file, or a directory above it, is left out.
    pub(super) fn ignores(&self, path: &str) -> bool {
        let directories = path.match_indices('/').filter_map(|(end, _)| path.get(..end));
        directories.into_iter().any(|directory| self.matches(directory, true)) || self.matches(path, false)
    }

    fn matches(&self, path: &str, is_directory: bool) -> bool {
        for rule in &self.0 {
            let not_meant = rule.only_directories && !is_directory;
            if rule.negated {
                // As in Helm, everything that a negated rule does not match is left out.
                if not_meant || !rule.matches(path) {
                    return true;
                }
            } else if !not_meant && rule.matches(path) {
                return true;
            }
        }
        false
    }
}

impl Rule {
    fn parse(line: &str) -> Result<Option<Self>, String> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        if line.contains("**") {
            return Err("double-star (**) syntax is not supported".to_owned());
        }
        if matches(line, "abc").is_none() {
            return Err(format!("{line:?} is no valid pattern"));
        }
        let (line, negated) = line.strip_prefix('!').map_or((line, false), |rest| (rest, true));
        let (line, only_directories) = line.strip_suffix('/').map_or((line, false), |rest| (rest, true));
        let whole_path = line.contains('/');
        let pattern = line.strip_prefix('/').unwrap_or(line).to_owned();
        Ok(Some(Self { pattern, negated, only_directories, whole_path }))
    }

    fn matches(&self, path: &str) -> bool {
        let name = if self.whole_path { path } else { path.rsplit('/').next().unwrap_or(path) };
        matches(&self.pattern, name).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn rules_ignore_files_and_what_is_below_a_directory() {
        for (rules, path, expected) in [
            ("*.txt", "a/b.txt", true),
            ("*.txt", "b.yaml", false),
            ("/a.txt", "a.txt", true),
            ("/a.txt", "b/a.txt", false),
            ("a/b.txt", "a/b.txt", true),
            ("a/b.txt", "c/a/b.txt", false),
            ("docs/", "docs/x/y.md", true),
            ("docs/", "docs", false),
            ("docs", "docs/x", true),
            ("# *.txt\n\n  *.md  ", "a.txt", false),
            ("# *.txt\n\n  *.md  ", "a.md", true),
            ("\u{feff}*.txt", "a.txt", true),
            ("*.txt\r\n*.md\r\n", "a.txt", true),
            ("", "templates/.hidden", true),
            ("", "templates/_helpers.tpl", false),
        ] {
            assert_eq!(Rules::parse(rules.as_bytes()).unwrap().ignores(path), expected, "{rules:?} {path}");
        }
    }

    #[test]
    fn patterns_that_mean_nothing_are_errors() {
        for rules in ["**/x", "[a", "a\\"] {
            assert!(Rules::parse(rules.as_bytes()).is_err(), "{rules}");
        }
    }
}
