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
}
