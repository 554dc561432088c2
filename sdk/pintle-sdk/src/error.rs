//! Why a call could not be answered. The host retries it with back-off and
//! shows the text in the plugin's status.

use crate::object::ObjectRef;

/// What a reconcile returns instead of an outcome.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An object does not have the shape its kind promises.
    #[error("{reference}: cannot be read: {source}")]
    Parse {
        /// Which object.
        reference: Box<ObjectRef>,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Something else that a retry may cure.
    #[error("{0}")]
    Retry(String),
}

impl Error {
    /// Something that a retry may cure, in words for the operator.
    pub fn retry(message: impl Into<String>) -> Self {
        Error::Retry(message.into())
    }
}

impl From<String> for Error {
    fn from(message: String) -> Self {
        Error::Retry(message)
    }
}

impl From<&str> for Error {
    fn from(message: &str) -> Self {
        Error::Retry(message.to_owned())
    }
}
