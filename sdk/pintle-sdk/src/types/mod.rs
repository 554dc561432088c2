//! Small partial objects with Kubernetes' field names: what the default
//! plugins read. They are for reading; write with [`crate::action::Patch`], so
//! that fields unknown here survive.

mod apps;
mod core;
mod discovery;

pub use apps::*;
pub use core::*;
pub use discovery::*;

use serde::{Deserialize, Deserializer};

/// Objects may carry `null` where they mean "absent".
pub fn null_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// `IntOrString`: a port, a count or a percentage.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(untagged)]
pub enum IntOrString {
    Int(i64),
    String(String),
}

impl IntOrString {
    /// The count itself, or the percentage of `total`, rounded as asked.
    pub fn scaled(&self, total: i64, round_up: bool) -> Option<i64> {
        match self {
            IntOrString::Int(count) => Some(*count),
            IntOrString::String(text) => {
                let percent: i64 = text.strip_suffix('%')?.parse().ok()?;
                let product = percent.checked_mul(total)?;
                Some(if round_up {
                    product.div_euclid(100) + i64::from(product.rem_euclid(100) != 0)
                } else {
                    product.div_euclid(100)
                })
            }
        }
    }
}

macro_rules! resource {
    ($type:ty, $kind:expr) => {
        impl crate::object::Resource for $type {
            const KIND: crate::object::KindRef = $kind;
            fn metadata(&self) -> &pintle_api::meta::ObjectMeta {
                &self.metadata
            }
        }
    };
}
pub(crate) use resource;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_round_as_asked() {
        fn check(value: IntOrString, total: i64, up: Option<i64>, down: Option<i64>) {
            assert_eq!(
                (value.scaled(total, true), value.scaled(total, false)),
                (up, down),
                "{value:?}"
            );
        }
        check(IntOrString::Int(3), 10, Some(3), Some(3));
        check(IntOrString::String("25%".into()), 10, Some(3), Some(2));
        check(IntOrString::String("100%".into()), 7, Some(7), Some(7));
        check(IntOrString::String("abc".into()), 7, None, None);
    }
}
