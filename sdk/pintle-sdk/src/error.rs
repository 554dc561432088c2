//! Why a call could not be answered. The host retries it with back-off and
//! shows the text in the plugin's status.

use crate::object::ObjectRef;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An object does not have the shape its kind promises.
    #[error("{reference}: cannot be read: {source}")]
    Parse {
        reference: Box<ObjectRef>,
        #[source]
        source: serde_json::Error,
    },
    /// Something else that a retry may cure.
    #[error("{0}")]
    Retry(String),
}

impl Error {
    pub fn retry(message: impl Into<String>) -> Self {
        Error::Retry(message.into())
    }
}
