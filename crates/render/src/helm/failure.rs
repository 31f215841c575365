//! Why a template could not be evaluated, while the error is still on its way out.

/// An error inside the evaluator. [`super::engine`] makes the crate's error of it.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// As Go words it.
    pub(crate) message: String,
    /// Text of `fail` or `required`, which is shown alone.
    pub(crate) by_author: Option<String>,
    /// A limit was exceeded; no function may swallow this.
    pub(crate) limit: bool,
    /// The message already says where (`template: …`).
    pub(crate) located: bool,
    /// `file:line:column` of the outermost template that the error passed through.
    pub(crate) location: String,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), by_author: None, limit: false, located: false, location: String::new() }
    }

    pub(crate) fn by_author(message: impl Into<String>) -> Failure {
        let message = message.into();
        Failure { by_author: Some(message.clone()), ..Failure::new(message) }
    }

    pub(crate) fn limit(message: impl Into<String>) -> Failure {
        Failure { limit: true, ..Failure::new(message) }
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Failure {
        Failure::new(message)
    }
}

impl From<&str> for Failure {
    fn from(message: &str) -> Failure {
        Failure::new(message)
    }
}
