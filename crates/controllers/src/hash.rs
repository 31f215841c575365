//! Short stable names for content.

use serde::Serialize;
use sha2::{Digest, Sha256};

/// No vowels and nothing that is easily confused, so that no hash spells a word.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A name of `length` (at most 16) characters for `content` and a collision count. Equal content gives an equal name in every version
/// of this program: it is SHA-256 over the canonical JSON (struct fields in declaration order, maps sorted).
pub(crate) fn stable<T: Serialize>(content: &T, collisions: Option<i32>, length: usize) -> String {
    let mut digest = Sha256::new();
    // Serialising plain data structures with string keys into memory has no way to fail.
    digest.update(serde_json::to_vec(content).unwrap_or_default());
    if let Some(collisions) = collisions.filter(|collisions| *collisions > 0) {
        digest.update(collisions.to_le_bytes());
    }
    digest
        .finalize()
        .iter()
        .take(length)
        .filter_map(|byte| ALPHABET.get(usize::from(*byte) % ALPHABET.len()))
        .map(|byte| char::from(*byte))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_hash_is_stable_and_the_collision_count_changes_it() {
        let content = serde_json::json!({"a": 1});
        assert_eq!(stable(&content, None, 10), stable(&content, Some(0), 10));
        assert_ne!(stable(&content, None, 10), stable(&content, Some(1), 10));
        assert_eq!(stable(&content, None, 10).len(), 10);
    }
}
