//! Programs that go on beside the test: `logs -f`, `port-forward`, `get -w`.

use std::{
    ffi::OsString,
    fs::File,
    io::Write,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::wait_until;

/// A running program; killed when dropped.
pub struct Background {
    child: Child,
    directory: TempDir,
}

impl Background {
    /// Starts it; its standard input stays open until [`Background::close_input`].
    #[track_caller]
    pub fn spawn(program: &str, arguments: &[&str], environment: &[(&str, OsString)]) -> Self {
        let start = || -> std::io::Result<Self> {
            let directory = TempDir::with_prefix("lotse-e2e-")?;
            let out = File::create(directory.path().join("out"))?;
            let child = Command::new(program)
                .args(arguments)
                .envs(environment.iter().map(|(name, value)| (name, value)))
                .stdin(Stdio::piped())
                .stderr(out.try_clone()?)
                .stdout(out)
                .spawn()?;
            Ok(Self { child, directory })
        };
        match start() {
            Ok(background) => background,
            Err(error) => panic!("{program}: {error}"),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("out")
    }

    /// What it has printed by now, on either stream.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path()).unwrap_or_default()).into_owned()
    }

    /// Waits until it has printed `text`.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        wait_until(
            &format!("{text:?} in the output"),
            Duration::from_secs(20),
            || self.out().contains(text),
            || self.out(),
        );
    }

    /// Writes to its standard input.
    #[track_caller]
    pub fn write(&mut self, text: &str) {
        let written = self.child.stdin.as_mut().map(|stdin| stdin.write_all(text.as_bytes()));
        assert!(matches!(written, Some(Ok(()))), "cannot write: {written:?}\n{}", self.out());
    }

    /// Ends its standard input.
    pub fn close_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits for its end and returns its exit code; -1 after a signal.
    #[track_caller]
    pub fn finish(&mut self, seconds: u64) -> i32 {
        let started = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return status.code().unwrap_or(-1),
                Ok(None) => {
                    assert!(started.elapsed() < Duration::from_secs(seconds), "it does not end\n{}", self.out())
                }
                Err(error) => panic!("{error}"),
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
