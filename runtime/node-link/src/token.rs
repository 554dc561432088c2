//! The join token: pins the cluster's CA and proves that the node was invited.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::TokenError;

/// `<sha256 of the CA certificate, hex>::<id>.<secret>`.
///
/// The hash lets a new node recognise the right server before it sends the
/// secret. `Debug` leaves the secret out, so that it cannot reach a log.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    pub ca_sha256: String,
    pub id: String,
    pub secret: String,
}

impl JoinToken {
    pub fn new(ca_der: &[u8], id: &str, secret: &str) -> Self {
        Self { ca_sha256: Self::hash(ca_der), id: id.to_owned(), secret: secret.to_owned() }
    }

    /// The form in which a CA certificate is pinned.
    pub fn hash(ca_der: &[u8]) -> String {
        hex::encode(Sha256::digest(ca_der))
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let (hash, rest) = text.trim().split_once("::").ok_or(TokenError::Malformed)?;
        let (id, secret) = rest.split_once('.').ok_or(TokenError::Malformed)?;
        if hash.len() != 64 {
            return Err(TokenError::HashLength(hash.len()));
        }
        let word = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric());
        if !hash.bytes().all(|b| b.is_ascii_hexdigit()) || !word(id) || !word(secret) {
            return Err(TokenError::Malformed);
        }
        Ok(Self { ca_sha256: hash.to_ascii_lowercase(), id: id.into(), secret: secret.into() })
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}.{}", self.ca_sha256, self.id, self.secret)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip_and_bad_ones_are_named() {
        let token = JoinToken::new(b"ca", "abc123", "s3cr3t");
        assert_eq!(token.to_string().parse::<JoinToken>().unwrap(), token);
        assert!(!format!("{token:?}").contains("s3cr3t"));

        let check = |text: &str, expect: TokenError| {
            assert_eq!(text.parse::<JoinToken>().unwrap_err(), expect, "{text}");
        };
        check("", TokenError::Malformed);
        check("abc.def", TokenError::Malformed);
        check("12::a.b", TokenError::HashLength(2));
        check(&format!("{}::a", "0".repeat(64)), TokenError::Malformed);
        check(&format!("{}::a.", "0".repeat(64)), TokenError::Malformed);
        check(&format!("{}::a.b", "g".repeat(64)), TokenError::Malformed);
    }
}
