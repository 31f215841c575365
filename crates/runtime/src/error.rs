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
}
