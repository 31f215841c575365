//! Patterns for paths: Go's `path.Match`, and the richer ones of `.Files.Glob`. Both become regular expressions, which match in
//! linear time whatever the pattern.

use regex::bytes::{Regex, RegexBuilder};

/// Compiled patterns may not be larger.
const MAX_BYTES: usize = 1 << 20;

/// `path.Match`: `*`, `?`, `[a-z]`, `[^a]` and `\`, none of which match `/`. `None` for a malformed pattern.
pub(super) fn matches(pattern: &str, path: &str) -> Option<bool> {
    compile(&translate(pattern, false)?).map(|pattern| pattern.is_match(path.as_bytes()))
}

/// The patterns of `.Files.Glob`: also `**`, which matches `/`, `[!a]` and `{a,b}`.
pub(super) fn file_pattern(pattern: &str) -> Option<Regex> {
    compile(&translate(pattern, true)?)
}

fn compile(expression: &str) -> Option<Regex> {
    RegexBuilder::new(expression).size_limit(MAX_BYTES).dot_matches_new_line(true).build().ok()
}

fn translate(pattern: &str, rich: bool) -> Option<String> {
    let mut expression = "^".to_owned();
    let mut characters = pattern.chars().peekable();
    let mut alternatives = 0_usize;
    while let Some(character) = characters.next() {
        match character {
            '*' if rich && characters.peek() == Some(&'*') => {
                while characters.peek() == Some(&'*') {
                    characters.next();
                }
                expression.push_str(".*");
            }
            '*' => expression.push_str("[^/]*"),
            '?' => expression.push_str("[^/]"),
            '\\' => expression.push_str(&regex::escape(characters.next()?.encode_utf8(&mut [0; 4]))),
            '[' => class(&mut characters, rich, &mut expression)?,
            '{' if rich => {
                alternatives += 1;
                expression.push_str("(?:");
            }
            '}' if rich && alternatives > 0 => {
                alternatives -= 1;
                expression.push(')');
            }
            ',' if rich && alternatives > 0 => expression.push('|'),
            other => expression.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    expression.push('$');
    (alternatives == 0).then_some(expression)
}

fn class(characters: &mut std::iter::Peekable<std::str::Chars<'_>>, rich: bool, expression: &mut String) -> Option<()> {
    expression.push('[');
    let negation = if rich { '!' } else { '^' };
    if characters.peek() == Some(&negation) {
        characters.next();
        // What a class excludes, it does not give `/` instead.
        expression.push_str("^/");
    }
    let mut count = 0;
    loop {
        let mut character = characters.next()?;
        if character == ']' && count > 0 {
            expression.push(']');
            return Some(());
        }
        let mut range = character == '-' && count > 0;
        if character == '\\' {
            character = characters.next()?;
            range = false;
        }
        if range && characters.peek() != Some(&']') {
            expression.push('-');
        } else {
            expression.push_str(&format!("\\x{{{:x}}}", u32::from(character)));
        }
        count += 1;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn patterns_match_as_in_go() {
        for (pattern, path, expected) in [
            ("*.txt", "a.txt", Some(true)),
            ("*.txt", "a/b.txt", Some(false)),
            ("a?c", "abc", Some(true)),
            ("a?c", "a/c", Some(false)),
            ("[a-c]x", "bx", Some(true)),
            ("[^a-c]x", "bx", Some(false)),
            ("[^a]x", "bx", Some(true)),
            ("a\\*", "a*", Some(true)),
            ("[a", "a", None),
            ("a\\", "a", None),
            ("{a,b}", "{a,b}", Some(true)),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn file_patterns_cross_directories_and_have_alternatives() {
        for (pattern, path, expected) in [
            ("config/**", "config/a/b.yaml", true),
            ("**.yaml", "a/b.yaml", true),
            ("*.yaml", "a/b.yaml", false),
            ("{a,b}/*", "b/c", true),
            ("{a,b}/*", "c/c", false),
            ("[!a]*", "bcd", true),
            ("[!a]*", "abc", false),
        ] {
            assert_eq!(file_pattern(pattern).unwrap().is_match(path.as_bytes()), expected, "{pattern} {path}");
        }
        assert!(file_pattern("{a").is_none());
    }
}
