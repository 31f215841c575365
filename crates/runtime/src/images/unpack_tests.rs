#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use proptest::prelude::*;
use tar::{Builder, Header};
use tempfile::TempDir;

use super::*;

fn limits() -> UnpackLimits {
    UnpackLimits { bytes: 1 << 20, entries: 1000 }
}

/// A header whose name is written as it is, since the builder refuses hostile ones.
fn header(kind: EntryType, name: &str, link: &str, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(size);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.name[..name.len()].copy_from_slice(name.as_bytes());
    gnu.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    header
}

fn archive(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, name, payload) in entries {
        let is_file = kind.is_file();
        let (link, data) = if is_file { ("", payload.as_bytes()) } else { (*payload, &b""[..]) };
        builder.append(&header(*kind, name, link, data.len() as u64), data).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A root with a neighbour that must stay as it is.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("root")).unwrap();
        fs::create_dir(directory.path().join("outside")).unwrap();
        fs::write(directory.path().join("outside/secret"), "untouched").unwrap();
        Self { directory }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn outside(&self) -> PathBuf {
        self.directory.path().join("outside")
    }

    fn unpack(&self, entries: &[(EntryType, &str, &str)]) -> Result<u64, Error> {
        unpack(&archive(entries)[..], &self.root(), &limits())
    }

    fn assert_contained(&self) {
        assert_eq!(fs::read_to_string(self.outside().join("secret")).unwrap(), "untouched");
        assert_eq!(fs::read_dir(self.outside()).unwrap().count(), 1);
        assert_eq!(fs::read_dir(self.directory.path()).unwrap().count(), 2);
    }
}

const FILE: EntryType = EntryType::Regular;
const DIR: EntryType = EntryType::Directory;
const SYM: EntryType = EntryType::Symlink;
const HARD: EntryType = EntryType::Link;

#[test]
fn dot_dot_is_refused_and_the_entry_is_named() {
    for name in ["../evil", "a/../../evil", "/../evil", "a/..", ".."] {
        let place = Place::new();
        let error = place.unpack(&[(FILE, name, "x")]).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(".."), "{error}");
        place.assert_contained();
    }
}

#[test]
fn absolute_names_land_in_the_root() {
    let place = Place::new();
    place.unpack(&[(FILE, "/etc/passwd", "x"), (FILE, "//a/./b", "y")]).unwrap();
    assert_eq!(fs::read_to_string(place.root().join("etc/passwd")).unwrap(), "x");
    assert_eq!(fs::read_to_string(place.root().join("a/b")).unwrap(), "y");
}

#[test]
fn writing_through_a_link_stays_in_the_root() {
    let place = Place::new();
    let outside = place.outside();
    let outside = outside.to_str().unwrap();
    // The link's target does not exist inside, so the entry cannot be placed.
    let result = place.unpack(&[(SYM, "link", outside), (FILE, "link/secret", "changed")]);
    assert!(result.is_err());
    place.assert_contained();
    let place = Place::new();
    place.unpack(&[(DIR, "outside", ""), (SYM, "link", "../outside"), (FILE, "link/secret", "inside")]).unwrap();
    place.assert_contained();
    assert_eq!(fs::read_to_string(place.root().join("outside/secret")).unwrap(), "inside");
}

#[test]
fn a_file_replaces_a_link_instead_of_following_it() {
    let place = Place::new();
    let secret = place.outside().join("secret");
    place.unpack(&[(SYM, "f", secret.to_str().unwrap()), (FILE, "f", "new")]).unwrap();
    place.assert_contained();
    assert!(fs::symlink_metadata(place.root().join("f")).unwrap().is_file());
}

#[test]
fn a_directory_entry_does_not_change_what_a_link_points_at() {
    let place = Place::new();
    fs::set_permissions(place.outside(), fs::Permissions::from_mode(0o700)).unwrap();
    place.unpack(&[(SYM, "d", place.outside().to_str().unwrap()), (DIR, "d", "")]).unwrap();
    assert_eq!(fs::metadata(place.outside()).unwrap().mode() & 0o777, 0o700);
    assert!(fs::symlink_metadata(place.root().join("d")).unwrap().is_dir());
}

#[test]
fn hard_links_cannot_reach_outside() {
    let place = Place::new();
    let error = place.unpack(&[(HARD, "h", "../outside/secret")]).unwrap_err().to_string();
    assert!(error.contains("leaves the image"), "{error}");
    let secret = place.outside().join("secret");
    assert!(place.unpack(&[(HARD, "h", secret.to_str().unwrap())]).is_err());
    let outside = place.outside();
    let through = place.unpack(&[(SYM, "l", outside.to_str().unwrap()), (HARD, "h", "l/secret")]);
    assert!(through.is_err());
    assert_eq!(fs::metadata(&secret).unwrap().nlink(), 1);
    place.assert_contained();
}

#[test]
fn a_hard_link_to_a_link_is_not_followed() {
    let place = Place::new();
    let secret = place.outside().join("secret");
    place.unpack(&[(SYM, "l", secret.to_str().unwrap()), (HARD, "h", "l"), (FILE, "h", "changed")]).unwrap();
    place.assert_contained();
}

#[test]
fn hard_links_share_an_inode() {
    let place = Place::new();
    place.unpack(&[(FILE, "a", "x"), (HARD, "d/b", "/a"), (HARD, "a", "a"), (HARD, "d/b", "a")]).unwrap();
    let inode = |name: &str| fs::metadata(place.root().join(name)).unwrap().ino();
    assert_eq!(inode("a"), inode("d/b"));
}

#[test]
fn devices_are_skipped_and_pipes_are_kept() {
    let place = Place::new();
    place
        .unpack(&[(EntryType::Char, "null", ""), (EntryType::Block, "sda", ""), (EntryType::Fifo, "pipe", "")])
        .unwrap();
    assert!(!place.root().join("null").exists() && !place.root().join("sda").exists());
    assert!(place.root().join("pipe").exists());
}

#[test]
fn the_last_of_duplicate_entries_wins() {
    let place = Place::new();
    place
        .unpack(&[(FILE, "a", "1"), (FILE, "a", "2"), (DIR, "b", ""), (FILE, "b/c", "x"), (FILE, "b", "file")])
        .unwrap();
    assert_eq!(fs::read_to_string(place.root().join("a")).unwrap(), "2");
    assert_eq!(fs::read_to_string(place.root().join("b")).unwrap(), "file");
}

#[test]
fn limits_hold() {
    let place = Place::new();
    let big = "x".repeat(3000);
    let small = UnpackLimits { bytes: 2000, entries: 10 };
    let error = unpack(&archive(&[(FILE, "big", &big)])[..], &place.root(), &small).unwrap_err().to_string();
    assert!(error.contains("\"big\"") && error.contains("2000"), "{error}");
    let many: Vec<String> = (0..11).map(|n| format!("f{n}")).collect();
    let many: Vec<_> = many.iter().map(|name| (FILE, name.as_str(), "")).collect();
    let error = unpack(&archive(&many)[..], &place.root(), &small).unwrap_err().to_string();
    assert!(error.contains("more than 10 entries"), "{error}");
    // A header that claims an exabyte costs no more than what is there.
    let mut bytes = Vec::new();
    bytes.extend_from_slice(header(FILE, "huge", "", 1 << 60).as_bytes());
    bytes.extend_from_slice(&[0; 4096]);
    assert!(unpack(&bytes[..], &place.root(), &limits()).is_err());
}

#[test]
fn set_id_bits_and_owners_are_kept() {
    let place = Place::new();
    let mut builder = Builder::new(Vec::new());
    let mut header = header(FILE, "su", "", 1);
    header.set_mode(0o4755);
    header.set_uid(7);
    header.set_gid(8);
    header.set_cksum();
    builder.append(&header, &b"x"[..]).unwrap();
    unpack(&builder.into_inner().unwrap()[..], &place.root(), &limits()).unwrap();
    let metadata = fs::metadata(place.root().join("su")).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()), (0o4755, 7, 8));
}

#[test]
fn an_owner_beyond_32_bits_is_refused() {
    for uid in [u64::from(u32::MAX), 1 << 32] {
        let place = Place::new();
        let mut builder = Builder::new(Vec::new());
        let mut header = header(FILE, "f", "", 1);
        header.set_uid(uid);
        header.set_cksum();
        builder.append(&header, &b"x"[..]).unwrap();
        let error = unpack(&builder.into_inner().unwrap()[..], &place.root(), &limits()).unwrap_err().to_string();
        assert!(error.contains("not a user"), "{error}");
    }
}

#[test]
fn a_pax_size_does_not_smuggle_entries() {
    // CVE-2025-62518: a size in the extended header that differs from the header's own must decide how much is skipped.
    let place = Place::new();
    let inner = archive(&[(FILE, "smuggled", "evil")]);
    let record = |key: &str, value: &str| {
        let mut length = key.len() + value.len() + 3;
        while format!("{length} {key}={value}\n").len() != length {
            length = format!("{length} {key}={value}\n").len();
        }
        format!("{length} {key}={value}\n")
    };
    let pax = record("size", &inner.len().to_string());
    let mut bytes = Vec::new();
    bytes.extend_from_slice(header(EntryType::XHeader, "pax", "", pax.len() as u64).as_bytes());
    bytes.extend_from_slice(pax.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes.extend_from_slice(header(FILE, "outer", "", 0).as_bytes());
    bytes.extend_from_slice(&inner);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes.extend_from_slice(&archive(&[(FILE, "after", "x")]));
    unpack(&bytes[..], &place.root(), &limits()).unwrap();
    assert!(!place.root().join("smuggled").exists());
    assert_eq!(fs::metadata(place.root().join("outer")).unwrap().len(), inner.len() as u64);
}

#[test]
fn a_pax_path_is_checked_like_any_other() {
    let place = Place::new();
    let pax = "20 path=../outside/x\n";
    let pax = format!("{} path=../outside/x\n", pax.len());
    let mut bytes = Vec::new();
    bytes.extend_from_slice(header(EntryType::XHeader, "pax", "", pax.len() as u64).as_bytes());
    bytes.extend_from_slice(pax.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes.extend_from_slice(&archive(&[(FILE, "innocent", "x")]));
    assert!(unpack(&bytes[..], &place.root(), &limits()).is_err());
    place.assert_contained();
}

#[test]
fn whiteouts_remove_what_was_there_and_spare_the_layers_own() {
    let place = Place::new();
    let root = place.root();
    fs::create_dir_all(root.join("old/deep")).unwrap();
    fs::write(root.join("gone"), "").unwrap();
    fs::write(root.join("old/deep/x"), "").unwrap();
    fs::write(root.join("old/y"), "").unwrap();
    place
        .unpack(&[
            (FILE, ".wh.gone", ""),
            (FILE, ".wh.never-there", ""),
            (FILE, "no/such/.wh.dir", ""),
            (FILE, "old/deep/new", "n"),
            (FILE, "old/.wh..wh..opq", ""),
            (FILE, "old/z", "z"),
            (FILE, ".wh..wh.plnk", ""),
        ])
        .unwrap();
    assert!(!root.join("gone").exists() && !root.join("old/y").exists() && !root.join("old/deep/x").exists());
    assert!(root.join("old/deep/new").exists() && root.join("old/z").exists());
    assert!(!root.join(".wh.gone").exists() && !root.join("no").exists());
}

#[test]
fn whiteouts_cannot_remove_outside() {
    for name in [".wh...", ".wh..", ".wh."] {
        let place = Place::new();
        let _ = place.unpack(&[(FILE, name, "")]);
        place.assert_contained();
    }
    let place = Place::new();
    symlink(place.outside(), place.root().join("link")).unwrap();
    let _ = place.unpack(&[(FILE, "link/.wh.secret", ""), (FILE, "link/.wh..wh..opq", "")]);
    place.assert_contained();
}

#[test]
fn garbage_is_an_error() {
    let place = Place::new();
    assert!(unpack(&[b'x'; 2048][..], &place.root(), &limits()).is_err());
}

fn hostile_name() -> impl Strategy<Value = String> {
    let component = prop_oneof![
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just("..".to_owned()),
        Just(".".to_owned()),
        Just("outside".to_owned()),
        Just("secret".to_owned()),
        Just(".wh.a".to_owned()),
        Just(".wh..wh..opq".to_owned()),
        Just(".wh.secret".to_owned()),
        Just(String::new()),
    ];
    proptest::collection::vec(component, 1..4).prop_map(|components| components.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_archive_changes_anything_outside(
        entries in proptest::collection::vec((0..5_usize, hostile_name(), hostile_name(), any::<bool>()), 1..12),
    ) {
        let place = Place::new();
        let outside = place.outside();
        let names: Vec<(EntryType, String, String)> = entries
            .into_iter()
            .map(|(kind, name, target, absolute)| {
                let kind = [FILE, DIR, SYM, HARD, EntryType::Fifo][kind];
                let target = if absolute { outside.join(target).to_str().unwrap().to_owned() } else { target };
                (kind, name, target.chars().take(99).collect())
            })
            .collect();
        let mut builder = Builder::new(Vec::new());
        for (kind, name, payload) in &names {
            let data = if kind.is_file() { payload.as_bytes() } else { b"" };
            let link = if kind.is_file() { "" } else { payload };
            builder.append(&header(*kind, name, link, data.len() as u64), data).unwrap();
        }
        // Entry by entry, so that one refusal does not protect from the next.
        let _ = unpack(&builder.into_inner().unwrap()[..], &place.root(), &limits());
        for (kind, name, payload) in &names {
            let _ = place.unpack(&[(*kind, name, payload)]);
        }
        place.assert_contained();
    }
}
