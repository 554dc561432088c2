//! A value that is kept as it stands.

use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde::{Deserialize, de};
use serde_json::Error;

/// How this type asks [`super::parse`] for the text itself.
pub(super) const RAW: &str = "$pintle::Raw";

/// The text of a value, to be read later or to be compared.
///
/// Only [`super::parse`] can make one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Raw<'a>(&'a [u8]);

impl<'a> Raw<'a> {
    /// Of a value's JSON.
    pub const fn new(json: &'a [u8]) -> Self {
        Raw(json)
    }

    /// As it stands.
    pub const fn json(self) -> &'a [u8] {
        self.0
    }

    /// The value.
    pub fn parse<T: Deserialize<'a>>(self) -> Result<T, Error> {
        super::parse(self.0)
    }

    /// The value, or what comes without one: of what is absent, `null`, or of
    /// another shape.
    pub fn parse_or_default<T: DeserializeOwned + Default>(raw: Option<Self>) -> T {
        raw.and_then(|raw| raw.parse().ok()).unwrap_or_default()
    }
}

impl fmt::Debug for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.0))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Raw<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the text of a value")
            }

            fn visit_borrowed_bytes<E: de::Error>(self, json: &'de [u8]) -> Result<Raw<'de>, E> {
                Ok(Raw(json))
            }
        }

        deserializer.deserialize_newtype_struct(RAW, Text)
    }
}
