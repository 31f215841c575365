//! Replaces the files of a volume all at once.
//!
//! The layout is the one that programs watch for (`k8s.io/kubernetes/pkg/volume/util/atomic_writer.go`): the files stand
//! in a directory named after the time, `..data` is a link to it that is replaced by rename, and every visible name is a
//! link to `..data/<name>`.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    io::Write,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink},
    path::{Component, Path, PathBuf},
};

use super::beneath;
use crate::error::{Context, Result};

/// One file of the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) data: Vec<u8>,
    pub(super) mode: u32,
    /// Owner; root unless given.
    pub(super) user: Option<u32>,
}

/// Relative path to file.
pub(super) type Payload = BTreeMap<String, File>;

/// Whether `path` may be a file of a volume: relative, without `..`, and no name of ours.
pub(super) fn valid_path(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= 4096
        && !path.starts_with("..")
        && !path.ends_with('/')
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(name) if name.len() <= 255))
}

/// Makes the visible content of `dir` equal to `payload`; readers see the old or the new state, never a mixture. Does
/// nothing when it is equal already. `group` owns the files when given (`fsGroup`). Every path must be valid.
pub(super) fn write(dir: &Path, payload: &Payload, group: Option<u32>) -> Result<()> {
    let link = dir.join("..data");
    let current = std::fs::read_link(&link).ok().filter(|name| name.components().count() == 1);
    if current.as_ref().is_some_and(|name| equal(&dir.join(name), payload, group)) {
        return publish(dir, payload);
    }
    let stamp = jiff::Timestamp::now().strftime("..%Y_%m_%d_%H_%M_%S.%N").to_string();
    let fresh = dir.join(&stamp);
    make_dir(&fresh, group)?;
    for (path, file) in payload {
        let target = fresh.join(path);
        let mut parent = fresh.clone();
        for part in Path::new(path).parent().into_iter().flat_map(Path::components) {
            parent.push(part);
            if !parent.is_dir() {
                make_dir(&parent, group)?;
            }
        }
        write_file(&target, file, group)?;
    }
    let temporary = dir.join("..data_tmp");
    let _ = std::fs::remove_file(&temporary);
    symlink(&stamp, &temporary).context(|| format!("cannot create {}", temporary.display()))?;
    std::fs::rename(&temporary, &link).context(|| format!("cannot replace {}", link.display()))?;
    publish(dir, payload)?;
    remove_others(dir, OsStr::new(&stamp))
}

fn make_dir(path: &Path, group: Option<u32>) -> Result<()> {
    let context = || format!("cannot create directory {}", path.display());
    std::fs::DirBuilder::new().mode(0o755).create(path).context(context)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).context(context)?;
    match group {
        Some(group) => std::os::unix::fs::chown(path, None, Some(group)).context(context),
        None => Ok(()),
    }
}

/// The mode that a file gets: with a group, the group may read it.
fn effective_mode(file: &File, group: Option<u32>) -> u32 {
    if group.is_some() { file.mode | 0o040 } else { file.mode }
}

fn write_file(path: &Path, file: &File, group: Option<u32>) -> Result<()> {
    let context = || format!("cannot write {}", path.display());
    let mut options = std::fs::OpenOptions::new();
    let mut handle = options.write(true).create_new(true).mode(0o600).open(path).context(context)?;
    handle.write_all(&file.data).context(context)?;
    if group.is_some() || file.user.is_some() {
        std::os::unix::fs::fchown(&handle, file.user, group).context(context)?;
    }
    let mode = std::fs::Permissions::from_mode(effective_mode(file, group));
    handle.set_permissions(mode).context(context)
}

fn equal(dir: &Path, payload: &Payload, group: Option<u32>) -> bool {
    let mut found = BTreeSet::new();
    list(dir, Path::new(""), &mut found);
    found.len() == payload.len()
        && payload.iter().all(|(path, file)| {
            let target = dir.join(path);
            found.contains(Path::new(path))
                && target.metadata().is_ok_and(|meta| {
                    meta.mode() & 0o7777 == effective_mode(file, group)
                        && group.is_none_or(|group| meta.gid() == group)
                        && file.user.is_none_or(|user| meta.uid() == user)
                        && meta.len() == file.data.len() as u64
                })
                && std::fs::read(&target).is_ok_and(|data| data == file.data)
        })
}

fn list(dir: &Path, prefix: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(dir.join(prefix)).into_iter().flatten().flatten() {
        let path = prefix.join(entry.file_name());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(dir, &path, found);
        } else {
            found.insert(path);
        }
    }
}

/// Makes the visible links and removes those that lead nowhere.
fn publish(dir: &Path, payload: &Payload) -> Result<()> {
    let wanted: BTreeSet<&OsStr> =
        payload.keys().filter_map(|path| Path::new(path).components().next()).map(|part| part.as_os_str()).collect();
    for name in &wanted {
        let visible = dir.join(name);
        let target = Path::new("..data").join(name);
        if std::fs::read_link(&visible).is_ok_and(|old| old == target) {
            continue;
        }
        beneath::remove_tree(&visible)?;
        symlink(&target, &visible).context(|| format!("cannot create {}", visible.display()))?;
    }
    let entries = std::fs::read_dir(dir).context(|| format!("cannot list {}", dir.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !name.as_encoded_bytes().starts_with(b"..") && !wanted.contains(name.as_os_str()) {
            beneath::remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes the time-stamped directories that are not current, including those of an interrupted write.
fn remove_others(dir: &Path, current: &OsStr) -> Result<()> {
    let entries = std::fs::read_dir(dir).context(|| format!("cannot list {}", dir.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b"..2") && name != current {
            beneath::remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |data: &str| File { data: data.into(), mode: 0o644, user: None };
        files.iter().map(|(path, data)| ((*path).to_owned(), file(data))).collect()
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with("..2"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn content_is_replaced_at_once_and_old_names_vanish() {
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        write(dir.path(), &payload(&[("a", "1"), ("sub/b", "2")]), None).unwrap();
        assert_eq!((read("a"), read("sub/b")), ("1".into(), "2".into()));
        let first = std::fs::read_link(dir.path().join("..data")).unwrap();
        assert_eq!(std::fs::read_link(dir.path().join("a")).unwrap(), Path::new("..data/a"));

        write(dir.path(), &payload(&[("a", "1"), ("sub/b", "2")]), None).unwrap();
        assert_eq!(std::fs::read_link(dir.path().join("..data")).unwrap(), first, "equal content is left alone");

        let open = std::fs::File::open(dir.path().join("a")).unwrap();
        write(dir.path(), &payload(&[("a", "3"), ("c", "4")]), None).unwrap();
        assert_eq!((read("a"), read("c")), ("3".into(), "4".into()));
        assert_eq!(std::io::read_to_string(open).unwrap(), "1", "an open file keeps its content");
        assert_eq!(names(dir.path()), ["..data", "a", "c"]);
        assert!(!dir.path().join(first).exists());
    }

    #[test]
    fn modes_are_exact_and_a_changed_mode_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = payload(&[("key", "secret")]);
        files.get_mut("key").unwrap().mode = 0o400;
        write(dir.path(), &files, None).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir.path().join("key")), 0o400);
        files.get_mut("key").unwrap().mode = 0o440;
        write(dir.path(), &files, None).unwrap();
        assert_eq!(mode(&dir.path().join("key")), 0o440);
    }

    #[test]
    fn an_interrupted_write_is_cleaned_up() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("..2020_01_01_00_00_00.1")).unwrap();
        symlink("..2020_01_01_00_00_00.1", dir.path().join("..data_tmp")).unwrap();
        write(dir.path(), &payload(&[("a", "1")]), None).unwrap();
        assert_eq!(names(dir.path()), ["..data", "a"]);
        assert!(!dir.path().join("..2020_01_01_00_00_00.1").exists());
    }

    #[test]
    fn paths_stay_inside() {
        for path in ["", "/a", "../a", "a/../b", "..data", "a/", "..2020/x"] {
            assert!(!valid_path(path), "{path}");
        }
        for path in ["a", "a/b", ".hidden", "a..b"] {
            assert!(valid_path(path), "{path}");
        }
    }
}
