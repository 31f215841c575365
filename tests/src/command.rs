//! Running programs and waiting for things.

use std::{
    ffi::OsStr,
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// What a program printed and how it ended.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Exit code; -1 when killed by a signal.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Answer {
    /// Fails the test unless the program succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.code == 0, "exit code {}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.out, self.err);
        self
    }

    /// Fails the test unless the program failed and its standard error contains `part`.
    #[track_caller]
    pub fn fails_with(self, part: &str) -> Self {
        let fits = self.code != 0 && (self.err.contains(part) || self.out.contains(part));
        assert!(
            fits,
            "wanted a failure with {part:?}, got code {}\n--- stdout\n{}\n--- stderr\n{}",
            self.code, self.out, self.err
        );
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_str(&self.out) {
            Ok(value) => value,
            Err(error) => panic!("not JSON ({error}):\n{}\n--- stderr\n{}", self.out, self.err),
        }
    }
}

/// Runs a program with `input` on its standard input; it is killed after two minutes by `timeout`.
#[track_caller]
pub fn run<S: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = S>,
    input: &str,
    environment: &[(&str, &OsStr)],
) -> Answer {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "120"]).arg(&program).args(arguments);
    command.envs(environment.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => panic!("{}: {error}", program.as_ref().display()),
    };
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input closes it.
        let _ = stdin.write_all(input.as_bytes());
    }
    match child.wait_with_output() {
        Ok(output) => Answer {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        },
        Err(error) => panic!("{}: {error}", program.as_ref().display()),
    }
}

/// Waits until `condition` holds and returns how long it took; fails the test after `timeout` with what `describe` says.
#[track_caller]
pub fn wait_until(
    what: &str,
    timeout: Duration,
    mut condition: impl FnMut() -> bool,
    describe: impl FnOnce() -> String,
) -> Duration {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < timeout, "{what} did not come true within {timeout:?}\n{}", describe());
        std::thread::park_timeout(Duration::from_millis(20));
    }
    started.elapsed()
}
