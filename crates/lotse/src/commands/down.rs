//! `lotse down`.

use std::time::{Duration, Instant};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    exit::{Failure, Kind},
    output,
    profile::Profile,
};

/// Asks the daemon to stop the workloads and itself, and waits for it.
///
/// SIGINT means "stop everything", as Ctrl-C does for a daemon in the foreground; SIGTERM (what a service manager sends for
/// an upgrade) ends only the daemon and leaves the containers running.
pub(crate) fn run(profile: &Profile, timeout: u64) -> Result<(), Failure> {
    let Some(pid) = profile.daemon() else {
        return output::print(&format!("profile {} is not running", profile.name));
    };
    kill(Pid::from_raw(pid), Signal::SIGINT)
        .map_err(|error| Failure::new(Kind::Failed, format!("cannot reach the daemon (process {pid}): {error}")))?;
    let deadline = Instant::now() + Duration::from_secs(timeout);
    while profile.daemon().is_some() {
        if Instant::now() > deadline {
            let message = format!("the daemon (process {pid}) has not stopped within {timeout} s");
            return Err(Failure::new(Kind::TimedOut, message).with_hint("`lotse logs` says what it is waiting for"));
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    output::print(&format!("profile {} is stopped; its state is kept", profile.name))
}
