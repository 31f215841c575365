//! A small image for the claims about pods: busybox, out of the image that `scripts/images.sh` makes from Debian's package.

use std::{
    ffi::OsStr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use crate::{image, run};

const CONFIG: &str = r#"{"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]}"#;
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000:web:/tmp:/bin/sh\n";
const GROUP: &str = "root:x:0:\nweb:x:1000:\n";

/// Makes the archive and its configuration in `directory`.
#[track_caller]
pub(crate) fn archive(directory: &Path) -> (PathBuf, PathBuf) {
    let root = directory.join("busybox");
    let (archive, config) = (directory.join("busybox.tar"), directory.join("busybox.json"));
    let busybox = root.join("bin/busybox");
    let (students, _) = image("students");
    run(
        "mkdir",
        ["bin", "etc", "tmp", "root"]
            .map(|name| root.join(name))
            .iter()
            .map(|path| path.as_os_str())
            .chain([OsStr::new("-p")]),
        "",
        &[],
    )
    .ok();
    let extract =
        [OsStr::new("-xf"), students.as_os_str(), OsStr::new("-C"), root.as_os_str(), OsStr::new("./bin/busybox")];
    run("tar", extract, "", &[]).ok();
    for applet in run(&busybox, ["--list"], "", &[]).ok().out.lines().filter(|applet| *applet != "busybox") {
        made(&root, symlink("busybox", root.join("bin").join(applet)));
    }
    made(&root, std::fs::write(root.join("etc/passwd"), PASSWD));
    made(&root, std::fs::write(root.join("etc/group"), GROUP));
    made(&config, std::fs::write(&config, CONFIG));
    run("chmod", [OsStr::new("1777"), root.join("tmp").as_os_str()], "", &[]).ok();
    let pack = [OsStr::new("-cf"), archive.as_os_str(), OsStr::new("-C"), root.as_os_str(), OsStr::new(".")];
    run("tar", pack, "", &[]).ok();
    (archive, config)
}

#[track_caller]
fn made(path: &Path, result: std::io::Result<()>) {
    if let Err(error) = result {
        panic!("{}: {error}", path.display());
    }
}
