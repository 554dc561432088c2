//! `sha256:` and 64 hexadecimal digits.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no digest; it looks like sha256: and 64 hexadecimal digits")]
pub struct DigestSyntax(String);

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Self(format!("sha256:{}", hex::encode(Sha256::digest(bytes))))
    }

    pub fn parse(text: &str) -> Result<Self, DigestSyntax> {
        let lower = text.to_ascii_lowercase();
        let well_formed = lower
            .strip_prefix("sha256:")
            .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
        if well_formed { Ok(Self(lower)) } else { Err(DigestSyntax(text.to_owned())) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn hex(&self) -> &str {
        self.0.trim_start_matches("sha256:")
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestSyntax;

    fn try_from(text: String) -> Result<Self, DigestSyntax> {
        Self::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_sha256_alone() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").hex(), empty);
        let check =
            |text: &str, good: bool| assert_eq!(Digest::parse(text).is_ok(), good, "{text}");
        check(&format!("sha256:{empty}"), true);
        check(&format!("sha256:{}", empty.to_uppercase()), true);
        check(&format!("sha512:{empty}"), false);
        check(empty, false);
        check("sha256:../../etc/passwd", false);
    }
}
