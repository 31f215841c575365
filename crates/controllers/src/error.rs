//! Why a reconcile step failed.

use std::path::PathBuf;

/// The error of every controller of this crate; the driver logs it with its sources and tries again with backoff.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or could not be reached.
    #[error("{action} {object}")]
    Api {
        /// What was tried, e.g. `create pod`.
        action: &'static str,
        /// The object, as `kind namespace/name`.
        object: String,
        /// What the API said.
        #[source]
        source: Box<kube::Error>,
    },
    /// A value could not be turned into JSON.
    #[error("encode {object}")]
    Encode {
        /// What was to be encoded.
        object: String,
        /// Where it failed.
        #[source]
        source: serde_json::Error,
    },
    /// A field of an object cannot be understood; `message` names the object, the field and the fix.
    #[error("{message}")]
    Invalid {
        /// The whole sentence.
        message: String,
    },
    /// The local provisioner could not work on a directory.
    #[error("{action} {}", path.display())]
    Directory {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
}

// === impl Error ===

impl Error {
    /// Wraps an API error with what was tried on which object.
    pub(crate) fn api(action: &'static str, object: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let object = object.into();
        move |source| Self::Api { action, object, source: Box::new(source) }
    }

    /// A sentence for the user.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into() }
    }

    /// What happened and why, in one line for a condition: of an answer of the API, its message.
    pub(crate) fn told(&self) -> String {
        match (self.status(), std::error::Error::source(self)) {
            (Some(status), _) => format!("{self}: {}", status.message),
            (None, Some(source)) => format!("{self}: {source}"),
            (None, None) => self.to_string(),
        }
    }

    fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            _ => None,
        }
    }

    /// Somebody else wrote first; a new look at the object solves it.
    pub(crate) fn is_conflict(&self) -> bool {
        self.status().is_some_and(|status| status.code == 409 && !status.is_already_exists())
    }

    /// An object of that name is there already.
    pub(crate) fn is_already_exists(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_already_exists)
    }

    /// The object is gone.
    pub(crate) fn is_not_found(&self) -> bool {
        self.status().is_some_and(|status| status.code == 404)
    }

    /// The sentence of the API server if it answered, else our own with its sources.
    pub(crate) fn user_message(&self) -> String {
        if let Some(status) = self.status() {
            return status.message.clone();
        }
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(inner) = source {
            text.push_str(": ");
            text.push_str(&inner.to_string());
            source = inner.source();
        }
        text
    }
}
