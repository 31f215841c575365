//! Basic authentication (RFC 7617) against htpasswd entries of a Secret.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use md5::{Digest, Md5};
use tokio::sync::Semaphore;

/// Verified credentials that are remembered per Secret, so that bcrypt runs once per user and not once per request.
const REMEMBERED: usize = 1024;

/// How many passwords are hashed at once: hashing is slow on purpose and must not take every core from the requests.
static HASHING: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(2));

/// The users of one Secret at one revision.
pub(crate) struct Users {
    hashes: HashMap<String, Hash>,
    /// SHA-256 digests of `user:password` that were right.
    verified: Mutex<HashMap<[u8; 32], ()>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hash {
    Bcrypt(String),
    /// Salt, digest text.
    Apr1(String, String),
    Sha1(Vec<u8>),
}

// === impl Users ===

impl Users {
    /// Users from htpasswd lines, and what could not be read (by user name, never the hash).
    pub(crate) fn parse<'a>(entries: impl Iterator<Item = (&'a str, &'a str)>) -> (Self, Vec<String>) {
        let (mut hashes, mut problems) = (HashMap::new(), Vec::new());
        for (user, hash) in entries {
            match Hash::parse(hash.trim()) {
                Some(hash) => {
                    hashes.insert(user.to_owned(), hash);
                }
                None => problems.push(format!(
                    "the password of user {user:?} is in no supported format (bcrypt, apr1, SHA); \
                     create it with htpasswd -B"
                )),
            }
        }
        (Self { hashes, verified: Mutex::default() }, problems)
    }

    /// Whether `authorization` names one of the users with the right password.
    pub(crate) async fn admit(self: &Arc<Self>, authorization: Option<&[u8]>) -> bool {
        let Some(credentials) = authorization.and_then(decode) else { return false };
        let Some((user, password)) = credentials.split_once(':') else { return false };
        let Some(hash) = self.hashes.get(user) else { return false };
        let digest = ring::digest::digest(&ring::digest::SHA256, credentials.as_bytes());
        let Ok(digest) = <[u8; 32]>::try_from(digest.as_ref()) else { return false };
        if self.verified().contains_key(&digest) {
            return true;
        }
        let Ok(_permit) = HASHING.acquire().await else { return false };
        let (hash, password) = (hash.clone(), password.to_owned());
        let right = tokio::task::spawn_blocking(move || hash.matches(&password)).await.unwrap_or(false);
        if right {
            let mut verified = self.verified();
            if verified.len() >= REMEMBERED {
                verified.clear();
            }
            verified.insert(digest, ());
        }
        right
    }

    fn verified(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], ()>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `user:hash` lines; empty lines and comments are skipped.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().map(str::trim).filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(':'))
}

fn decode(authorization: &[u8]) -> Option<String> {
    let (scheme, encoded) = authorization.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") || encoded.len() > 4096 {
        return None;
    }
    String::from_utf8(STANDARD.decode(encoded.trim_ascii()).ok()?).ok()
}

// === impl Hash ===

impl Hash {
    fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix("$apr1$") {
            let (salt, digest) = rest.split_once('$')?;
            return (salt.len() <= 8 && digest.len() == 22).then(|| Self::Apr1(salt.to_owned(), digest.to_owned()));
        }
        if let Some(digest) = text.strip_prefix("{SHA}") {
            return STANDARD.decode(digest).ok().filter(|digest| digest.len() == 20).map(Self::Sha1);
        }
        let cost: u32 = text.strip_prefix("$2")?.get(2..4)?.parse().ok()?;
        // Each step doubles the time; 15 is about three seconds of one core.
        (text.len() == 60 && (4..=15).contains(&cost)).then(|| Self::Bcrypt(text.to_owned()))
    }

    fn matches(&self, password: &str) -> bool {
        match self {
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Apr1(salt, digest) => same(apr1(password.as_bytes(), salt.as_bytes()).as_bytes(), digest.as_bytes()),
            Self::Sha1(digest) => {
                let own = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
                same(own.as_ref(), digest)
            }
        }
    }
}

/// Equality without telling by time how far it went.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
}

/// Apache's MD5 scheme: a thousand rounds over password and salt, then its own base 64.
fn apr1(password: &[u8], salt: &[u8]) -> String {
    let mut digest = Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    let mut outer = Md5::new().chain_update(password).chain_update(b"$apr1$").chain_update(salt);
    for start in (0..password.len()).step_by(16) {
        outer.update(&digest[..16.min(password.len() - start)]);
    }
    let mut bits = password.len();
    while bits > 0 {
        outer.update(if bits & 1 == 1 { &[0][..] } else { password.get(..1).unwrap_or_default() });
        bits >>= 1;
    }
    digest = outer.finalize();
    for round in 0..1000_u32 {
        let mut inner = Md5::new();
        let odd = round % 2 == 1;
        if odd {
            inner.update(password)
        } else {
            inner.update(digest)
        }
        if round % 3 != 0 {
            inner.update(salt);
        }
        if round % 7 != 0 {
            inner.update(password);
        }
        if odd {
            inner.update(digest)
        } else {
            inner.update(password)
        }
        digest = inner.finalize();
    }
    const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut out = String::with_capacity(22);
    let mut push = |mut value: u32, count: usize| {
        for _ in 0..count {
            out.push(char::from(ALPHABET[(value & 63) as usize]));
            value >>= 6;
        }
    };
    for [a, b, c] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        push(u32::from(digest[a]) << 16 | u32::from(digest[b]) << 8 | u32::from(digest[c]), 4);
    }
    push(u32::from(digest[11]), 2);
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    /// Hashes by `openssl passwd -apr1 -salt …`, `htpasswd -s`.
    #[test]
    fn hashes_of_other_programs_are_understood() {
        for (password, salt, expected) in APR1 {
            assert_eq!(apr1(password.as_bytes(), salt.as_bytes()), *expected, "{password}");
        }
        assert!(Hash::parse("{SHA}0DPiKuNIrrVmD8IUCuw1hQxNqZc=").unwrap().matches("admin"));
        assert!(!Hash::parse("{SHA}0DPiKuNIrrVmD8IUCuw1hQxNqZc=").unwrap().matches("admin1"));
    }

    const APR1: &[(&str, &str, &str)] = &[
        ("a", "12345678", "68ZQVfPkWX/wcXr/41VxQ."),
        ("myPassword", "r31.....", "HqJZimcKQFAMYayBlzkrA/"),
        ("a long password of more than sixteen", "xyz", "qkzRNsIVdSAbNpaez/PxG1"),
    ];

    #[test]
    fn unknown_formats_and_costly_ones_are_refused() {
        for text in
            ["", "plain", "$1$abc$def", "{SHA}xx", "$2y$31$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234"]
        {
            assert_eq!(Hash::parse(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_passes() {
        let hash = bcrypt::hash("secret", 4).unwrap();
        let file = format!("# users\nann:{hash}\nbob:{{SHA}}0DPiKuNIrrVmD8IUCuw1hQxNqZc=\n");
        let (users, problems) = Users::parse(lines(&file));
        assert_eq!(problems, Vec::<String>::new());
        let users = Arc::new(users);
        for (credentials, expected) in [
            ("ann:secret", true),
            ("ann:secret", true),
            ("ann:wrong", false),
            ("bob:admin", true),
            ("eve:admin", false),
            ("ann", false),
        ] {
            let value = format!("Basic {}", STANDARD.encode(credentials));
            assert_eq!(users.admit(Some(value.as_bytes())).await, expected, "{credentials}");
        }
        assert!(!users.admit(None).await);
        assert!(!users.admit(Some(b"Bearer x")).await);
        assert!(!users.admit(Some("Bäsic".as_bytes())).await);
    }
}
