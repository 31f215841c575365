#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;

#[test]
fn spellings_of_one_path_become_one() {
    for (raw, forward, key) in [
        ("/", "/", "/"),
        ("/a/b", "/a/b", "/a/b"),
        ("/a/b/", "/a/b/", "/a/b/"),
        ("//a///b", "/a/b", "/a/b"),
        ("/a/./b", "/a/b", "/a/b"),
        ("/a/../b", "/b", "/b"),
        ("/a/b/..", "/a/", "/a/"),
        ("/a/%2e%2e/admin", "/admin", "/admin"),
        ("/a/.%2E/admin", "/admin", "/admin"),
        ("/%61dmin", "/admin", "/admin"),
        ("/admin%2fkeys", "/admin%2Fkeys", "/admin/keys"),
        ("/%2Fadmin", "/%2Fadmin", "/admin"),
        ("/caf%c3%a9", "/caf%C3%A9", "/caf%C3%A9"),
        ("/café", "/caf%C3%A9", "/caf%C3%A9"),
        ("/a%3Fb", "/a%3Fb", "/a?b"),
        ("/%252e%252e/a", "/%252e%252e/a", "/%2e%2e/a"),
        ("/.well-known/x", "/.well-known/x", "/.well-known/x"),
        ("/...", "/...", "/..."),
        ("/a;b=c/d", "/a;b=c/d", "/a;b=c/d"),
    ] {
        let normal = normalise(raw).unwrap_or_else(|error| panic!("{raw}: {error}"));
        assert_eq!((normal.forward.as_ref(), normal.key.as_ref()), (forward, key), "{raw}");
    }
}

#[test]
fn ambiguous_and_malformed_paths_are_refused() {
    for (raw, error) in [
        ("", PathError::Relative),
        ("a", PathError::Relative),
        ("/..", PathError::AboveRoot),
        ("/a/../../b", PathError::AboveRoot),
        ("/%2e%2e/", PathError::AboveRoot),
        ("/a%", PathError::BadEscape),
        ("/a%2", PathError::BadEscape),
        ("/a%zz", PathError::BadEscape),
        ("/a%00", PathError::Control),
        ("/a%0d%0ab", PathError::Control),
        ("/a\\b", PathError::Backslash),
        ("/a%2f..%2fadmin", PathError::HiddenDotSegment),
        ("/a%5c..%5cadmin", PathError::HiddenDotSegment),
        ("/..%2fadmin", PathError::HiddenDotSegment),
        ("/a/..;/admin", PathError::HiddenDotSegment),
        ("/a/..%3b/admin", PathError::HiddenDotSegment),
        ("/a/.;x/admin", PathError::HiddenDotSegment),
    ] {
        assert_eq!(normalise(raw), Err(error), "{raw}");
    }
}

proptest! {
    #[test]
    fn what_the_backend_receives_routes_as_what_the_client_sent(
        raw in r"/(\.|/|%2[eEfF5]|%5[cC]|%3[bB]|;|[a-c]|%6[1-3]|é|%C3%A9){0,12}"
    ) {
        if let Ok(normal) = normalise(&raw) {
            let again = normalise(&normal.forward).expect("a normal path is accepted");
            prop_assert_eq!(&again.forward, &normal.forward);
            prop_assert_eq!(&again.key, &normal.key);
            for part in [&normal.forward, &normal.key] {
                prop_assert!(!part.split('/').any(|segment| segment == ".." || segment == "."), "{}", part);
                prop_assert!(!part.contains("//"), "{}", part);
            }
        }
    }

    #[test]
    fn an_encoded_key_routes_as_the_key(raw in r"/[ -~]{0,20}") {
        if let Ok(normal) = normalise(&raw) {
            let encoded = encode(&normal.key);
            let again = normalise(&encoded).expect("an encoded key is accepted");
            prop_assert_eq!(&again.key, &normal.key, "encoded as {}", encoded);
        }
    }

    #[test]
    fn nothing_makes_the_normaliser_panic(raw in r"\PC{0,40}") {
        let _ = normalise(&raw);
    }
}
