//! `$(VAR)` references in commands, arguments and values, as `k8s.io/kubernetes/third_party/forked/golang/expansion`
//! defines them: `$$` is a dollar, an unknown name is left as it stands.

/// Expands `text` with `lookup`. The result is bounded by what `lookup` returns; there is no recursion.
pub(crate) fn expand<'a>(text: &str, lookup: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        result.push_str(before);
        let after = &from[1..];
        if let Some(after) = after.strip_prefix('$') {
            result.push('$');
            rest = after;
        } else if let Some((name, after)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match lookup(name) {
                Some(value) => result.push_str(value),
                None => {
                    result.push_str("$(");
                    result.push_str(name);
                    result.push(')');
                }
            }
            rest = after;
        } else {
            result.push('$');
            rest = after;
        }
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_escapes_kept_and_the_unknown_left_alone() {
        for (text, expected) in [
            ("$(A)", "1"),
            ("x$(A)y$(B)z", "x1y2z"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$(C)", "$(C)"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("$", "$"),
            ("", ""),
            ("$()", "$()"),
            ("ä$(A)ö", "ä1ö"),
            ("$(D)", "$(A)"),
        ] {
            let lookup = |name: &str| match name {
                "A" => Some("1"),
                "B" => Some("2"),
                "D" => Some("$(A)"),
                _ => None,
            };
            assert_eq!(expand(text, lookup), expected, "{text}");
        }
    }
}
