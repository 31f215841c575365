//! The crate's error type.

/// Why a step of the node failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or system call failed.
    #[error("{context}")]
    Io {
        /// What was attempted, on what.
        context: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The API server refused a request or could not be reached.
    #[error("{context}")]
    Api {
        /// What was attempted, on what.
        context: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The container runtime failed.
    #[error("{context}")]
    Runtime {
        /// What was attempted, on what.
        context: String,
        /// Why.
        #[source]
        source: lotse_runtime::Error,
    },
    /// The pod network failed.
    #[error("{context}")]
    Network {
        /// What was attempted, on what.
        context: String,
        /// Why.
        #[source]
        source: lotse_network::Error,
    },
    /// The container's configuration refers to something that does not exist or is not valid; the message is for the
    /// user and becomes `CreateContainerConfigError`.
    #[error("{message}")]
    ContainerConfig {
        /// One sentence in Kubernetes' words.
        message: String,
    },
    /// A volume cannot be made ready; the message is for the user and becomes a `FailedMount` event.
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {message}")]
    Volume {
        /// `spec.volumes[].name`.
        volume: String,
        /// One sentence that names the cause.
        message: String,
    },
    /// A step took longer than it may.
    #[error("{context}: no answer within {seconds} s")]
    Deadline {
        /// What was attempted, on what.
        context: String,
        /// The limit.
        seconds: u64,
    },
}

/// Short for results with the crate's error.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

// === impl Error ===

impl Error {
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::ContainerConfig { message: message.into() }
    }

    pub(crate) fn volume(volume: &str, message: impl Into<String>) -> Self {
        Self::Volume { volume: volume.to_owned(), message: message.into() }
    }
}

/// Adds what was attempted to an error of a lower layer.
pub(crate) trait Context<T> {
    fn context(self, context: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for std::io::Result<T> {
    fn context(self, context: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { context: context(), source })
    }
}

impl<T> Context<T> for nix::Result<T> {
    fn context(self, context: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|errno| Error::Io { context: context(), source: errno.into() })
    }
}

impl<T> Context<T> for kube::Result<T> {
    fn context(self, context: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Api { context: context(), source: Box::new(source) })
    }
}

impl<T> Context<T> for std::result::Result<T, lotse_runtime::Error> {
    fn context(self, context: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Runtime { context: context(), source })
    }
}

impl<T> Context<T> for std::result::Result<T, lotse_network::Error> {
    fn context(self, context: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Network { context: context(), source })
    }
}

/// An error with its sources on one line, for events and status messages.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
