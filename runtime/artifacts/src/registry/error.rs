//! What can go wrong between here and a registry.

use std::time::Duration;

use http::StatusCode;

use super::Cause;
use crate::credentials::CredentialsError;
use crate::digest::Digest;

#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("registry {registry} is no address")]
    Address {
        registry: String,
        #[source]
        source: http::uri::InvalidUri,
    },
    #[error("registry {registry} cannot be reached")]
    Unreachable {
        registry: String,
        #[source]
        source: Cause,
    },
    #[error("registry {registry} does not answer within {} s", .after.as_secs_f32())]
    TimedOut { registry: String, after: Duration },
    #[error("registry {registry} vanished after {received} of {total} bytes of {what}")]
    Vanished {
        registry: String,
        what: &'static str,
        received: u64,
        total: u64,
        #[source]
        source: Cause,
    },
    #[error("registry {registry} broke off its answer")]
    BrokenOff {
        registry: String,
        #[source]
        source: Cause,
    },
    #[error("registry {registry} refuses access to {what} ({status}){said}; {hint}")]
    Refused { registry: String, what: String, status: StatusCode, said: String, hint: &'static str },
    #[error("registry {registry} has no {what}")]
    NotFound { registry: String, what: String },
    #[error("registry {registry} answered {status} about {what}{said}")]
    Answered { registry: String, what: String, status: StatusCode, said: String },
    #[error("{what} from registry {registry} has the digest {actual}, not {expected}")]
    DigestMismatch { registry: String, what: &'static str, expected: Digest, actual: Digest },
    #[error("{what} from registry {registry} has more than {most} bytes")]
    TooLarge { registry: String, what: &'static str, most: u64 },
    #[error("{reference} is no component: {problem}")]
    NotAComponent { reference: String, problem: String },
    #[error("registry {registry} sends {what} that cannot be understood: {problem}")]
    Malformed { registry: String, what: &'static str, problem: String },
    #[error("registry {registry} redirects {problem}")]
    Redirect { registry: String, problem: &'static str },
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

impl RegistryError {
    /// The bytes are there and wrong: asking again gives the same.
    pub fn is_about_content(&self) -> bool {
        matches!(
            self,
            Self::DigestMismatch { .. } | Self::TooLarge { .. } | Self::NotAComponent { .. }
        )
    }

    pub fn is_digest_mismatch(&self) -> bool {
        matches!(self, Self::DigestMismatch { .. })
    }
}
