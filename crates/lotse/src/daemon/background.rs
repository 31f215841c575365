//! `lotse up --detach`: the daemon in a session of its own, and how it says that it is ready.

use std::{
    fs::OpenOptions,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    process::{Command, Stdio},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    exit::{Failure, Kind},
    output,
    profile::Profile,
    settings::Settings,
};

/// A log that is longer than this is put aside at the next start.
const LOG_BYTES: u64 = 16 << 20;

/// The one line that a background daemon writes to its standard output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "event")]
enum Message {
    Ready { text: String },
    Failed { message: String, hint: Option<String>, environment: bool },
}

/// Tells whoever started the daemon how it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// A person looks at the terminal.
    Terminal,
    /// `lotse up --detach` reads our standard output.
    Parent,
}

impl Report {
    /// The cluster is ready.
    pub(super) fn ready(self, api: Duration, node: Duration, url: &str, profile: &Profile, settings: &Settings) {
        let port = if settings.http_port == 80 { String::new() } else { format!(":{}", settings.http_port) };
        let text = format!(
            "ready in {:.1} s (API {:.1} s) · API {url} · kubeconfig {} · edge http://localhost{port}",
            node.as_secs_f64(),
            api.as_secs_f64(),
            profile.kubeconfig().display(),
        );
        match self {
            Self::Terminal => {
                // The daemon serves on even if nobody reads its output any more.
                let _ = output::print(&text);
            }
            Self::Parent => send(&Message::Ready { text }),
        }
    }

    /// The daemon ends with an error; for the parent this is the only way to learn why.
    pub(crate) fn failed(self, failure: &Failure) {
        if self == Self::Parent {
            send(&Message::Failed {
                message: failure.to_string(),
                hint: failure.hint().map(str::to_owned),
                environment: failure.is_environment(),
            });
        }
    }
}

fn send(message: &Message) {
    if let Ok(text) = serde_json::to_string(message) {
        let mut out = std::io::stdout().lock();
        // The parent may be gone; the daemon does not care.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }
}

/// Starts this program again in the background with `arguments` and waits until it is ready or has failed. Returns the
/// sentence to print.
pub(crate) fn spawn_background(profile: &Profile, arguments: &[String]) -> Result<String, Failure> {
    profile.create_dirs()?;
    let path = profile.log();
    if std::fs::metadata(&path).is_ok_and(|log| log.len() > LOG_BYTES) {
        // The older half of the story is kept once.
        std::fs::rename(&path, path.with_extension("log.1"))
            .map_err(|error| Failure::from_error(path.display(), &error))?;
    }
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| Failure::from_error(path.display(), &error))?;
    let program = std::env::current_exe().map_err(|error| Failure::from_error("this program", &error))?;
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir("/")
        // Ctrl-C in this terminal is not meant for the daemon.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(|error| Failure::from_error("cannot start the daemon", &error))?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).map_err(|error| Failure::from_error("daemon", &error))?;
    }
    match serde_json::from_str(&line) {
        Ok(Message::Ready { text }) => Ok(text),
        Ok(Message::Failed { message, hint, environment }) => {
            let kind = if environment { Kind::Environment } else { Kind::Failed };
            let failure = Failure::new(kind, message);
            Err(match hint {
                Some(hint) => failure.with_hint(hint),
                None => failure,
            })
        }
        Err(_) => {
            let status = child.wait().map(|status| status.to_string()).unwrap_or_default();
            Err(Failure::new(Kind::Failed, format!("the daemon ended before it was ready ({status})"))
                .with_hint(format!("{} says why", path.display())))
        }
    }
}
