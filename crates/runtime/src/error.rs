//! The crate's error type.

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call, file or stream failed.
    #[error("{context}")]
    Io {
        /// What was attempted, on what.
        context: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A container could not be started; the message is for the user and ends up in the pod's status.
    #[error("{message}")]
    StartContainer {
        /// One sentence that names the cause.
        message: String,
    },
    /// The container's user is not one that the pod allows; the message is for the user and ends up in the pod's status.
    #[error("{message}")]
    UserRefused {
        /// One sentence in Kubernetes' words.
        message: &'static str,
    },
    /// The image is not in the store.
    #[error("image {reference} is not present")]
    ImageNotFound {
        /// As it was asked for.
        reference: String,
    },
    /// A pull failed; the message is for the user and ends up in the pod's status.
    #[error("pulling {reference}: {message}")]
    Pull {
        /// As it was asked for.
        reference: String,
        /// One sentence that names the cause.
        message: String,
    },
    /// An archive or manifest is not acceptable.
    #[error("image archive refused: {message}")]
    InvalidImage {
        /// One sentence that names the entry and what is wrong with it.
        message: String,
    },
    /// The pod or container is not known.
    #[error("{what} {id} is not known")]
    NotFound {
        /// `pod` or `container`.
        what: &'static str,
        /// Its identity.
        id: String,
    },
    /// A name, id or field given by the caller is not acceptable.
    #[error("{message}")]
    InvalidInput {
        /// One sentence that names the field and what it may be.
        message: String,
    },
    /// The image cannot be removed while a container uses it.
    #[error("image {reference} is in use by {users} container(s); remove them first")]
    ImageInUse {
        /// As it was asked for.
        reference: String,
        /// How many containers hold it.
        users: usize,
    },
    /// The pod's shim refused or did not answer.
    #[error("shim of pod {pod}: {message}")]
    Shim {
        /// The pod's uid.
        pod: String,
        /// One sentence that names the cause.
        message: String,
    },
    /// An operation did not finish within its deadline.
    #[error("{what} did not finish within {seconds} s")]
    Deadline {
        /// What was attempted, on what.
        what: String,
        /// The deadline.
        seconds: u64,
    },
}

impl Error {
    /// An [`Error::InvalidImage`] with this message.
    pub(crate) fn image(message: impl Into<String>) -> Self {
        Self::InvalidImage { message: message.into() }
    }

    /// An [`Error::StartContainer`] with this message.
    pub(crate) fn start(message: impl Into<String>) -> Self {
        Self::StartContainer { message: message.into() }
    }

    /// The message followed by those of its sources, for places that carry one string.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        text
    }
}

/// Adds what was attempted to an I/O error.
pub(crate) trait IoContext<T> {
    /// Converts the error; `context` is only called on failure.
    fn context<C: Into<String>>(self, context: impl FnOnce() -> C) -> Result<T, Error>;
}

impl<T, E: Into<std::io::Error>> IoContext<T> for Result<T, E> {
    fn context<C: Into<String>>(self, context: impl FnOnce() -> C) -> Result<T, Error> {
        self.map_err(|source| Error::Io { context: context().into(), source: source.into() })
    }
}
