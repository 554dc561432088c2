//! Components from outside of this server: where they come from, who vouches
//! for them, and how they are kept.
//!
//! The registry's protocol and the signatures' mathematics are behind two
//! traits; what a Plugin object demands of them is decided here.

mod components;
mod keep;
mod supply;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::artifact::Digest;
use crate::plugin::OciSource;

pub use components::Components;
pub(crate) use supply::{Retries, Supply};

/// A signature and what exactly was signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The document that was signed; empty where the component itself was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub payload: String,
    /// In base64.
    pub signature: String,
}

/// A component out of a registry.
#[derive(Debug, Clone)]
pub struct Fetched {
    pub component: Bytes,
    /// Of the artifact that holds it.
    pub manifest: Digest,
    pub signatures: Vec<Signature>,
}

/// Why a component could not be fetched. The texts are for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Worth trying again: nobody answered, or did not have it yet.
    #[error("{0}")]
    Unavailable(String),
    /// Other bytes than the digest says.
    #[error("{0}")]
    DigestMismatch(String),
    /// Nothing that could be asked for, or nobody who could be asked.
    #[error("{0}")]
    Invalid(String),
    /// It is there, and no component.
    #[error("{0}")]
    NotAComponent(String),
}

impl FetchError {
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Unavailable(_) | Self::Invalid(_) => "SourceUnavailable",
            Self::DigestMismatch(_) => "DigestMismatch",
            Self::NotAComponent(_) => "NotAComponent",
        }
    }
}

/// Received bytes, and how many there will be.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// Speaks to registries.
#[async_trait]
pub trait Fetcher: Send + Sync + 'static {
    /// `login` is the text of a docker `config.json`.
    async fn fetch(
        &self,
        source: &OciSource,
        login: Option<&[u8]>,
        progress: Progress<'_>,
    ) -> Result<Fetched, FetchError>;
}

/// What signatures have to be about.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    pub component: &'a [u8],
    /// Of the artifact, where the component came from a registry.
    pub manifest: Option<&'a Digest>,
    pub signatures: &'a [Signature],
}

/// Nobody who is trusted vouches for a component.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotVouched {
    #[error("the component is not signed, but {demand}")]
    Missing { demand: &'static str },
    #[error("the component's signature is not accepted, although {demand}: {problem}")]
    Invalid { demand: &'static str, problem: String },
}

impl NotVouched {
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "SignatureMissing",
            Self::Invalid { .. } => "SignatureInvalid",
        }
    }
}

/// Checks signatures.
pub trait Verifier: Send + Sync + 'static {
    /// Ok when one of `keys` (PEM) made one of the signatures; else why not.
    fn verify(&self, keys: &[String], claim: Claim<'_>) -> Result<(), String>;
}

/// What a host can reach, and whom it trusts.
#[derive(Clone)]
pub struct Sources {
    pub fetcher: Arc<dyn Fetcher>,
    pub verifier: Arc<dyn Verifier>,
    /// When there are any, every component that did not come with the server has
    /// to be signed with one of them.
    pub public_keys: Vec<String>,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").field("public_keys", &self.public_keys.len()).finish()
    }
}

impl Default for Sources {
    /// Reaches nothing and trusts nobody.
    fn default() -> Self {
        Self { fetcher: Arc::new(Nowhere), verifier: Arc::new(Nowhere), public_keys: Vec::new() }
    }
}

struct Nowhere;

#[async_trait]
impl Fetcher for Nowhere {
    async fn fetch(
        &self,
        source: &OciSource,
        _: Option<&[u8]>,
        _: Progress<'_>,
    ) -> Result<Fetched, FetchError> {
        let reference = &source.reference;
        Err(FetchError::Invalid(format!("{reference}: this host fetches from no registry")))
    }
}

impl Verifier for Nowhere {
    fn verify(&self, _: &[String], _: Claim<'_>) -> Result<(), String> {
        Err("this host can verify no signatures".to_owned())
    }
}
