//! How commands end: one clear sentence, a hint, and a documented exit code.

use std::{fmt, process::ExitCode};

/// Exit codes are part of the interface; `docs/cli.md` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Something failed at run time.
    Failed,
    /// The command was given something that cannot work.
    Usage,
    /// The machine lacks something, or something is in the way.
    Environment,
    /// There is no such profile, Application, image ….
    NotFound,
    /// The cluster does not run or does not answer.
    Unreachable,
    /// It did not become true in time.
    TimedOut,
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    message: String,
    hint: Option<String>,
}

// === impl Failure ===

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// What the user can do about it.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says first what the failure is about, e.g. a file.
    pub(crate) fn about(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Whether the machine has to be changed, not the command.
    pub(crate) fn is_environment(&self) -> bool {
        self.kind == Kind::Environment
    }

    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(match self.kind {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::Environment => 3,
            Kind::NotFound => 4,
            Kind::Unreachable => 5,
            Kind::TimedOut => 6,
        })
    }

    /// A failed step with the whole chain of causes.
    pub(crate) fn from_error(action: impl fmt::Display, error: &dyn std::error::Error) -> Self {
        Self::new(Kind::Failed, format!("{action}: {}", chain(error)))
    }

    /// An answer of the API server.
    pub(crate) fn from_api(action: impl fmt::Display, error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 404 => {
                Self::new(Kind::NotFound, format!("{action}: {}", status.message))
            }
            kube::Error::Api(status) => Self::new(Kind::Failed, format!("{action}: {}", status.message)),
            other => Self::new(Kind::Unreachable, format!("{action}: {}", chain(other)))
                .with_hint("is the cluster running? `lotse status` tells, `lotse up` starts it"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// An error with its sources in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}
