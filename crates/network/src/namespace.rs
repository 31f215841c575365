//! Network namespaces that live without a process, as bind mounts.
//!
//! A thread changes its namespace for good, so each operation gets a thread of its own that ends with it; no thread of
//! the async runtime ever changes its namespace.

use std::{
    fs::{self, File, OpenOptions},
    io,
    net::{Ipv6Addr, SocketAddr, TcpStream},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::Path,
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::statfs::{NSFS_MAGIC, statfs},
};

use crate::Error;

/// The calling thread's namespace; `/proc/self` would be that of the process' first thread.
const OWN: &str = "/proc/thread-self/ns/net";
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// Runs `work` in a thread of its own.
pub(crate) fn in_thread<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    thread::scope(|scope| {
        thread::Builder::new()
            .name("namespace".into())
            .stack_size(256 * 1024)
            .spawn_scoped(scope, work)
            .map_err(Error::io("start a thread"))?
            .join()
            .map_err(|_| Error::Io {
                context: "work in a network namespace".into(),
                source: io::Error::other("panic"),
            })?
    })
}

/// Makes a namespace and runs `work` in it.
pub(crate) fn in_new<T: Send>(work: impl FnOnce(&File) -> Result<T, Error> + Send) -> Result<T, Error> {
    in_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).map_err(Error::errno("make a network namespace"))?;
        let own = File::open(OWN).map_err(Error::io(format!("open {OWN}")))?;
        work(&own)
    })
}

/// Keeps the calling thread's namespace alive as the file `path`.
pub(crate) fn keep(path: &Path) -> Result<(), Error> {
    let context = || format!("mount the network namespace on {}", path.display());
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(path)
        .map_err(Error::io(context()))?;
    mount(Some(OWN), path, None::<&str>, MsFlags::MS_BIND, None::<&str>).map_err(Error::errno(context()))
}

/// Whether `path` keeps a namespace alive.
pub(crate) fn is_kept(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == NSFS_MAGIC)
}

/// Gives up the namespace at `path`; it ends when the last process in it does. Nothing there is success.
pub(crate) fn drop_kept(path: &Path) -> Result<(), Error> {
    let context = || format!("remove the network namespace {}", path.display());
    // More than one mount can sit on the file if the daemon died between two steps.
    for _ in 0..16 {
        match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => break,
            Err(errno) => return Err(Error::errno(context())(errno)),
        }
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(context())(error)),
        _ => Ok(()),
    }
}

/// Connects to a port on the loopback of the namespace at `path`, IPv4 first.
pub(crate) fn connect(path: &Path, port: u16) -> Result<TcpStream, Error> {
    in_thread(|| {
        let namespace = File::open(path).map_err(Error::io(format!("open {}", path.display())))?;
        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)
            .map_err(Error::errno(format!("enter {}", path.display())))?;
        let connect = |address: SocketAddr| TcpStream::connect_timeout(&address, CONNECT_DEADLINE);
        connect(([127, 0, 0, 1], port).into())
            .or_else(|error| match error.kind() {
                io::ErrorKind::ConnectionRefused => connect((Ipv6Addr::LOCALHOST, port).into()).map_err(|_| error),
                _ => Err(error),
            })
            .map_err(Error::io(format!("connect to port {port} on the pod's loopback")))
    })
}
