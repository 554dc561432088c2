//! What can go wrong underneath: engine, disk, or what they gave back.

use std::{error::Error, io, path::Path};

use thiserror::Error;

use crate::{
    open::{EngineKind, OpenError},
    types::Revision,
};

/// The cause behind every `Storage` error. Print the whole chain of sources.
#[derive(Debug, Error)]
pub enum StorageError {
    #[error("{engine} failed")]
    Engine { engine: EngineKind, source: Box<dyn Error + Send + Sync> },
    #[error("{what} {path}")]
    Io { what: &'static str, path: String, source: io::Error },
    #[error("the log entry of revision {revision} is not readable")]
    Entry { revision: Revision, source: Box<dyn Error + Send + Sync> },
    #[error("the value written at revision {revision} is missing")]
    Missing { revision: Revision },
    #[error("the storage engine panicked: {0}")]
    Panic(String),
    #[error("nobody knows which generation of files is the current one")]
    Exchange(#[source] Box<OpenError>),
    #[error("the log holds a key it cannot hold: {0}")]
    Key(String),
}

impl StorageError {
    pub(crate) fn engine(
        engine: EngineKind,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Engine { engine, source: source.into() }
    }

    pub(crate) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { what, path: path.display().to_string(), source }
    }

    pub(crate) fn entry(
        revision: Revision,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Entry { revision, source: source.into() }
    }
}
