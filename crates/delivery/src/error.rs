//! The crate's error type.

/// Why delivery could not take a step. The text ends up in the Application's conditions: it names the repository, the object
/// and the cause, with the line of a file that is wrong; never credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The Application itself is wrong; the user has to change it.
    #[error("{field}: {message}")]
    InvalidSpec {
        /// `spec.source.repoURL`.
        field: &'static str,
        /// What is wrong and what to write instead.
        message: String,
    },
    /// The repository could not be read.
    #[error("repository {url}: {message}")]
    Repository {
        /// Without credentials.
        url: String,
        /// Why.
        message: String,
    },
    /// Something that the source wants from elsewhere could not be had.
    #[error("{wanted_by}: {source}")]
    Wanted {
        /// The kustomization or the chart, and which entry of it.
        wanted_by: String,
        /// Why.
        source: Box<Error>,
    },
    /// The manifests could not be made.
    #[error("{0}")]
    Render(#[from] lotse_render::Error),
    /// The API server refused or was not reachable.
    #[error("{action}: {}", api_message(.source))]
    Api {
        /// What was attempted, on what.
        action: String,
        /// The answer.
        #[source]
        source: Box<kube::Error>,
    },
}

impl Error {
    /// An [`Error::Api`].
    pub(crate) fn api(action: impl Into<String>, source: kube::Error) -> Self {
        Self::Api { action: action.into(), source: Box::new(source) }
    }
}

/// What the API server said, without the wrapping of the client library.
fn api_message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
