//! The program that is run as shim, opened once.
//!
//! It is reached through a read-only mount of its own that no path leads to. So an upgrade may replace the file while the
//! daemon runs, and a container that gets hold of `/proc/PID/exe` of a shim cannot open it for writing (CVE-2019-5736).
#![allow(unsafe_code)]

use std::{
    ffi::{CString, OsString},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open as open_path},
    libc,
    sys::stat::Mode,
};

use crate::{Error, error::IoContext};

/// Opens the first word of a command line.
pub(crate) fn open(command: &[OsString]) -> Result<OwnedFd, Error> {
    let Some(program) = command.first() else {
        return Err(Error::InvalidInput { message: "the shim's command line is empty".into() });
    };
    let path = std::fs::canonicalize(program).context(|| format!("finding the shim {}", program.display()))?;
    match read_only_mount(&path) {
        Ok(program) => Ok(program),
        // Kernels before 5.12, and file systems that cannot be bound.
        Err(Errno::ENOSYS | Errno::EINVAL | Errno::EPERM) => {
            open_path(&path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
                .context(|| format!("opening the shim {}", path.display()))
        }
        Err(error) => Err(error).context(|| format!("opening the shim {}", path.display())),
    }
}

fn read_only_mount(path: &Path) -> nix::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC as libc::c_uint;
    // SAFETY: `path` is a null-terminated string that outlives the call.
    let tree = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    let tree = Errno::result(tree)?;
    // SAFETY: the kernel has just made this descriptor for us and nothing else knows it.
    let tree = unsafe { OwnedFd::from_raw_fd(tree as libc::c_int) };
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the descriptor is open, the path an empty string, and `attributes` of the size that is passed.
    let set = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(set)?;
    Ok(tree)
}
