//! Certificate requests and certificates, as far as one has to read them to
//! decide about them: whom a request names, for which addresses, with what kind
//! of key, and when a certificate ends.
//!
//! Does not know: cryptography. Whether a request is signed by the key it names
//! is for whoever has the algorithms ([`CertificateRequest::signed`] says over
//! what). Texts of errors are those that Go's `crypto/x509` gives, which users
//! of Kubernetes see.
//!
//! Read first: [`CertificateRequest`].

mod certificate;
pub mod der;
pub mod pem;
mod request;

pub use certificate::{check_bundle, not_after_unix_seconds};
pub use request::{CertificateRequest, KeyAlgorithm, Subject};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What is wrong with bytes that should be a request or a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum X509Error {
    #[error("illegal base64 data")]
    Base64,
    #[error("PEM block type must be CERTIFICATE REQUEST")]
    NotARequest,
    #[error(transparent)]
    Der(#[from] der::DerError),
    #[error("x509: {0}")]
    Malformed(&'static str),
    #[error("x509: cannot parse IP address of length {0}")]
    Address(usize),
    #[error("only CERTIFICATE PEM blocks are allowed, found {0:?}")]
    NotACertificate(String),
    #[error("no PEM block headers are permitted")]
    Headers,
    #[error("must contain at least one CERTIFICATE PEM block")]
    NoCertificate,
}

/// The bytes of a field of the API (`[]byte`, base64 in JSON).
pub fn field_bytes(base64: &str) -> Result<Vec<u8>, X509Error> {
    STANDARD.decode(base64).map_err(|_| X509Error::Base64)
}

/// The other way round.
pub fn field_text(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
