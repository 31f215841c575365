//! Repositories that try to leave their root (ATTACKS 1, 2, 5, 6): a tree of files is all that a commit can be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use lotse_delivery::git::CommitTree;
use lotse_render::{DirectoryOptions, Tree, render_directory};
use tempfile::TempDir;

fn git(repository: &Path, arguments: &[&str], input: &[u8]) -> String {
    let mut child = Command::new("git")
        .args(["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "protocol.file.allow=always"])
        .args(arguments)
        .current_dir(repository)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "git {arguments:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn repository() -> TempDir {
    let directory = TempDir::new().unwrap();
    git(directory.path(), &["init", "--quiet", "--initial-branch=main"], b"");
    directory
}

fn tree(repository: &Path, commit: &str) -> Result<CommitTree, String> {
    let opened = gix::open(repository).unwrap();
    let id = opened.rev_parse_single(commit).unwrap().detach();
    CommitTree::new(&opened, "test", id).map_err(|error| error.to_string())
}

/// A commit of a tree with one entry of this mode and name, which no working tree would hold.
fn forged(repository: &Path, mode: &str, name: &[u8]) -> String {
    let blob =
        git(repository, &["hash-object", "-w", "--stdin"], b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n");
    let raw: Vec<u8> =
        (0..blob.len()).step_by(2).map(|at| u8::from_str_radix(&blob[at..at + 2], 16).unwrap()).collect();
    let entry = [mode.as_bytes(), b" ", name, b"\0", &raw].concat();
    let tree = git(repository, &["hash-object", "-w", "-t", "tree", "--literally", "--stdin"], &entry);
    git(repository, &["commit-tree", &tree, "-m", "forged"], b"")
}

#[test]
fn links_within_the_repository_are_followed_and_others_are_refused_without_their_content() {
    let repository = repository();
    let path = repository.path();
    std::fs::create_dir(path.join("deploy")).unwrap();
    std::fs::write(path.join("shared.yaml"), "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n").unwrap();
    for (name, target) in [
        ("deploy/inside.yaml", "../shared.yaml"),
        ("deploy/absolute.yaml", "/etc/passwd"),
        ("deploy/outside.yaml", "../../../../etc/passwd"),
        ("deploy/loop.yaml", "loop.yaml"),
        ("deploy/dangling.yaml", "nothing.yaml"),
    ] {
        std::os::unix::fs::symlink(target, path.join(name)).unwrap();
    }
    git(path, &["add", "-A"], b"");
    git(path, &["commit", "--quiet", "-m", "links"], b"");
    let tree = tree(path, "HEAD").unwrap();
    assert!(tree.read("deploy/inside.yaml").unwrap().starts_with(b"apiVersion"));
    for name in ["absolute", "outside", "loop", "dangling"] {
        let error = tree.read(&format!("deploy/{name}.yaml")).unwrap_err().to_string();
        assert!(error.contains("deploy/") || error.contains("no such file"), "{error}");
        assert!(!error.contains("root:"), "{error}");
    }
    let options = DirectoryOptions { include: Some("inside.yaml".to_owned()), ..DirectoryOptions::default() };
    assert_eq!(render_directory(&tree, "deploy", &options).unwrap().len(), 1);
}

#[test]
fn names_that_leave_the_tree_are_refused() {
    let repository = repository();
    for name in [b"..".as_slice(), b"../x.yaml", b"/etc/x.yaml", b"a/../../x.yaml", b"a\nb.yaml", b"\xff.yaml"] {
        let commit = forged(repository.path(), "100644", name);
        let error = tree(repository.path(), &commit).err().unwrap_or_default();
        assert!(!error.is_empty(), "{}", String::from_utf8_lossy(name));
    }
}

#[test]
fn submodules_are_left_out() {
    let (inner, outer) = (repository(), repository());
    std::fs::write(inner.path().join("x.yaml"), "a: 1").unwrap();
    git(inner.path(), &["add", "-A"], b"");
    git(inner.path(), &["commit", "--quiet", "-m", "inner"], b"");
    let url = inner.path().display().to_string();
    git(outer.path(), &["submodule", "--quiet", "add", &url, "module"], b"");
    git(outer.path(), &["commit", "--quiet", "-m", "outer"], b"");
    let tree = tree(outer.path(), "HEAD").unwrap();
    assert_eq!(tree.files("").unwrap(), [".gitmodules"]);
}
