//! The shim: one small single-threaded process per pod that outlives the daemon.
//!
//! It holds the pod's namespaces, is the parent of its containers, writes their logs and exit codes to disk, and serves a unix
//! socket. `libcontainer` is called here and nowhere else, because it is only safe in a process with one thread.
#![allow(unsafe_code)]

mod container;
mod executor;
mod log;
mod memory;
pub(crate) mod protocol;
mod server;
mod setup;

use std::{ffi::OsString, io::Write, path::PathBuf, process::ExitCode};

use nix::unistd::{ForkResult, fork};

/// Arguments of the shim, in their order on the command line.
#[derive(Debug)]
pub(crate) struct Arguments {
    /// The pod's state directory; `pod.json` is there.
    pub directory: PathBuf,
    /// Where to listen.
    pub socket: PathBuf,
    /// cgroup for the shim itself.
    pub cgroup: String,
}

impl Arguments {
    /// As command line arguments.
    pub(crate) fn to_arguments(&self) -> [OsString; 3] {
        [self.directory.clone().into(), self.socket.clone().into(), self.cgroup.clone().into()]
    }
}

/// The line that the shim writes to standard output when it serves; anything else there is why it does not.
pub(crate) const READY: &str = "ready";

/// Runs the shim. To be called by `main` before any thread or async runtime exists, with what follows `shim` on the command
/// line. Returns in the starting process at once; the shim itself goes on in a child in a session of its own.
pub fn shim_main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let (Some(directory), Some(socket), Some(cgroup), None) =
        (arguments.next(), arguments.next(), arguments.next(), arguments.next())
    else {
        let _ = writeln!(std::io::stderr(), "the shim is started by the daemon only");
        return ExitCode::from(2);
    };
    let arguments =
        Arguments { directory: directory.into(), socket: socket.into(), cgroup: cgroup.to_string_lossy().into_owned() };
    // SAFETY: this process has one thread, so the child may do whatever the parent could.
    match unsafe { fork() } {
        Ok(ForkResult::Parent { .. }) => ExitCode::SUCCESS,
        Ok(ForkResult::Child) => match run(&arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => {
                let _ = writeln!(std::io::stdout(), "{message}");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            let _ = writeln!(std::io::stdout(), "fork: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let sandbox = setup::prepare(arguments).map_err(|error| error.chain())?;
    let mut server = server::Server::new(arguments, sandbox).map_err(|error| error.chain())?;
    // The daemon waits for this line; if it is gone by now nobody knows the pod, and it must not stay.
    let mut output = std::io::stdout();
    if writeln!(output, "{READY}").and_then(|()| output.flush()).is_err() {
        return Err("the daemon is gone".into());
    }
    setup::silence().map_err(|error| error.chain())?;
    server.serve().map_err(|error| error.chain())
}
