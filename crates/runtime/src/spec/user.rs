//! Who a container runs as: pod, image, and the image's own `/etc/passwd` and `/etc/group`.

use std::path::Path;

use crate::{Error, Security, beneath::Root};

/// Largest `/etc/passwd` or `/etc/group` that is read.
const FILE_BYTES: u64 = 1 << 20;

/// A user as the kernel knows one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub uid: u32,
    pub gid: u32,
    /// Sorted, without duplicates.
    pub additional_gids: Vec<u32>,
}

/// `/etc/passwd` and `/etc/group` of an image.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts {
    passwd: String,
    group: String,
}

impl Accounts {
    /// Reads them beneath `root`, following links only within it.
    pub(crate) fn read(root: &Root) -> Result<Self, Error> {
        let read = |path: &str| {
            let bytes = root
                .read_file(Path::new(path), FILE_BYTES)
                .map_err(|error| Error::start(format!("the image's /{path} cannot be read: {error}")))?;
            Ok::<_, Error>(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
        };
        Ok(Self { passwd: read("etc/passwd")?, group: read("etc/group")? })
    }

    /// Name, uid and gid of each user.
    fn users(&self) -> impl Iterator<Item = (&str, u32, u32)> {
        self.passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            Some((name, fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
        })
    }

    /// Name, gid and members of each group.
    fn groups(&self) -> impl Iterator<Item = (&str, u32, &str)> {
        self.group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            Some((name, fields.nth(1)?.parse().ok()?, fields.next().unwrap_or_default()))
        })
    }
}

/// A number as far as the text is one. All digits but too large is an error, never a wrapped number (CVE-2024-40635).
fn number(text: &str, what: &str) -> Result<Option<u32>, Error> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    // The last one means "unchanged" to the kernel.
    match text.parse::<u32>() {
        Ok(number) if number != u32::MAX => Ok(Some(number)),
        _ => Err(Error::start(format!("the image's {what} {text:?} is larger than an id can be"))),
    }
}

/// Decides who the container runs as.
pub(crate) fn resolve(image_user: &str, accounts: &Accounts, security: &Security) -> Result<User, Error> {
    let (user_text, group_text) = match image_user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (image_user, None),
    };
    let mut name = None;
    let mut primary = None;
    let uid = match security.run_as_user {
        Some(uid) => uid,
        None if user_text.is_empty() => 0,
        None => match number(user_text, "user")? {
            Some(uid) => uid,
            None => {
                let (found, uid, gid) = accounts.users().find(|(found, ..)| *found == user_text).ok_or_else(|| {
                    Error::start(format!("unable to find user {user_text}: no matching entries in passwd file"))
                })?;
                name = Some(found);
                primary = Some(gid);
                uid
            }
        },
    };
    if name.is_none()
        && let Some((found, _, gid)) = accounts.users().find(|(_, found, _)| *found == uid)
    {
        name = Some(found);
        primary = Some(gid);
    }
    let image_group =
        match (security.run_as_user, group_text) {
            // The image's group belongs to the image's user.
            (Some(_), _) | (None, None | Some("")) => None,
            (None, Some(group)) => match number(group, "group")? {
                Some(gid) => Some(gid),
                None => Some(accounts.groups().find(|(found, ..)| *found == group).map(|(_, gid, _)| gid).ok_or_else(
                    || Error::start(format!("unable to find group {group}: no matching entries in group file")),
                )?),
            },
        };
    let gid = security.run_as_group.or(image_group).or(primary).unwrap_or(0);
    if uid == u32::MAX || gid == u32::MAX {
        return Err(Error::start("4294967295 is not a user or group id"));
    }
    if security.run_as_non_root && uid == 0 {
        let message = match security.run_as_user {
            Some(_) => "container's runAsUser breaks non-root policy",
            None => "container has runAsNonRoot and image will run as root",
        };
        return Err(Error::UserRefused { message });
    }
    let mut additional_gids = security.supplemental_groups.clone();
    if let Some(name) = name {
        let member = |members: &str| members.split(',').any(|member| member == name);
        additional_gids.extend(accounts.groups().filter(|(_, _, members)| member(members)).map(|(_, gid, _)| gid));
    }
    additional_gids.sort_unstable();
    additional_gids.dedup();
    Ok(User { uid, gid, additional_gids })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: "root:x:0:0:root:/root:/bin/sh\nbroken\n:x:5:5::/:\npostgres:x:70:71::/var:/bin/sh\nbig:x:4294967296:0::/:\n".into(),
            group: "root:x:0:\nwheel:x:10:postgres,other\ndata:x:33:\nssl:x:44:postgres\n".into(),
        }
    }

    fn user(uid: u32, gid: u32, additional_gids: &[u32]) -> User {
        User { uid, gid, additional_gids: additional_gids.to_vec() }
    }

    #[test]
    fn users_are_resolved_like_by_the_kubelet() {
        let none = Security::default();
        let as_70 = Security { run_as_user: Some(70), ..Security::default() };
        let grouped = Security {
            run_as_user: Some(1000),
            run_as_group: Some(2000),
            supplemental_groups: vec![5, 3, 5],
            ..Security::default()
        };
        for (image, security, expected) in [
            ("", &none, user(0, 0, &[])),
            ("0", &none, user(0, 0, &[])),
            ("postgres", &none, user(70, 71, &[10, 44])),
            ("70", &none, user(70, 71, &[10, 44])),
            ("postgres:data", &none, user(70, 33, &[10, 44])),
            ("1234", &none, user(1234, 0, &[])),
            ("1234:99", &none, user(1234, 99, &[])),
            ("1234:", &none, user(1234, 0, &[])),
            ("root:0", &as_70, user(70, 71, &[10, 44])),
            ("no-such-user", &as_70, user(70, 71, &[10, 44])),
            ("postgres", &grouped, user(1000, 2000, &[3, 5])),
        ] {
            assert_eq!(resolve(image, &accounts(), security).unwrap(), expected, "{image}");
        }
    }

    #[test]
    fn what_cannot_be_resolved_is_an_error() {
        for image in [
            "nobody-here",
            "postgres:nogroup",
            "4294967296",
            "4294967295",
            "0:4294967296",
            "99999999999999999999",
            "big",
            "broken",
        ] {
            assert!(resolve(image, &accounts(), &Security::default()).is_err(), "{image}");
        }
    }

    #[test]
    fn non_root_is_decided_by_the_final_uid() {
        let non_root = Security { run_as_non_root: true, ..Security::default() };
        for image in ["", "0", "root", "00"] {
            let error = resolve(image, &accounts(), &non_root).unwrap_err().to_string();
            assert_eq!(error, "container has runAsNonRoot and image will run as root", "{image}");
        }
        assert!(resolve("postgres", &accounts(), &non_root).is_ok());
        let set = Security { run_as_user: Some(5), ..non_root };
        assert_eq!(resolve("root", &accounts(), &set).unwrap().uid, 5);
    }

    #[test]
    fn account_files_are_read_within_the_image() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("passwd"), "evil:x:0:0::/:\n").unwrap();
        let image = tempfile::tempdir().unwrap();
        std::fs::create_dir(image.path().join("etc")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("passwd"), image.path().join("etc/passwd")).unwrap();
        let accounts = Accounts::read(&Root::open(image.path()).unwrap()).unwrap();
        assert!(accounts.passwd.is_empty());
    }
}
