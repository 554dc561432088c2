//! Resource quantities (`100m`, `1Gi`, `1e3`) in exact arithmetic.
//!
//! A quantity is an integer count of billionths, so every value Kubernetes can
//! express is exact, and sums never drift. The suffix style is kept for
//! printing: `1024Mi` prints `1Gi`, `1000m` prints `1`.

mod text;

use std::cmp::Ordering;
use std::ops::{Add, Neg, Sub};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use text::QuantityError;

/// Kubernetes' finest step is one billionth.
const NANO: i128 = 1_000_000_000;
/// Kubernetes caps quantities at 2^63-1; the cap keeps all sums inside i128.
const MAX_NANO: i128 = i64::MAX as i128 * NANO;

/// How the number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `m`, `k`, `M`, ...
    #[default]
    DecimalSi,
    /// `Ki`, `Mi`, ...
    BinarySi,
    /// `e3`, `e6`, ...
    DecimalExponent,
}

/// An exact number with a preferred suffix style. Comparisons ignore the style.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quantity {
    nano: i128,
    format: Format,
}

impl Quantity {
    pub const ZERO: Self = Self { nano: 0, format: Format::DecimalSi };

    pub fn from_value(value: i64) -> Self {
        Self { nano: i128::from(value) * NANO, format: Format::DecimalSi }
    }

    pub fn from_milli(milli: i64) -> Self {
        Self { nano: i128::from(milli) * (NANO / 1000), format: Format::DecimalSi }
    }

    /// A count of bytes, printed with `Ki`, `Mi`, ...
    pub fn from_bytes(bytes: i64) -> Self {
        Self { nano: i128::from(bytes) * NANO, format: Format::BinarySi }
    }

    /// Whole units, rounded up (away from zero), as schedulers and cgroups count.
    pub fn value(&self) -> i64 {
        clamp(divide_up(self.nano, NANO))
    }

    /// Thousandths, rounded up (away from zero).
    pub fn milli(&self) -> i64 {
        clamp(divide_up(self.nano, NANO / 1000))
    }

    /// The exact number of billionths.
    pub fn nano(&self) -> i128 {
        self.nano
    }

    pub fn format(&self) -> Format {
        self.format
    }

    pub fn is_zero(&self) -> bool {
        self.nano == 0
    }

    pub fn is_negative(&self) -> bool {
        self.nano < 0
    }

    /// Whether the value is a whole number of thousandths.
    pub fn is_milli(&self) -> bool {
        self.nano % (NANO / 1000) == 0
    }

    /// Whether the value is a whole number of units.
    pub fn is_integer(&self) -> bool {
        self.nano % NANO == 0
    }
}

fn divide_up(value: i128, by: i128) -> i128 {
    let quotient = value / by;
    if value % by == 0 { quotient } else { quotient + value.signum() }
}

fn clamp(value: i128) -> i64 {
    value.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// From text or, as Kubernetes allows, from a bare number.
impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Self::parse(&text).map_err(D::Error::custom),
            serde_json::Value::Number(number) => {
                Self::parse(&number.to_string()).map_err(D::Error::custom)
            }
            _ => Err(D::Error::custom("a quantity must be text such as \"100m\" or a number")),
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

impl Add for Quantity {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        // Zero carries no style of its own.
        let format = if self.nano == 0 { other.format } else { self.format };
        Self { nano: self.nano.saturating_add(other.nano), format }
    }
}

impl Sub for Quantity {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Neg for Quantity {
    type Output = Self;
    fn neg(self) -> Self {
        Self { nano: -self.nano, format: self.format }
    }
}

impl std::iter::Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(values: I) -> Self {
        values.fold(Self::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_round_up() {
        fn check(text: &str, value: i64, milli: i64) {
            let quantity = Quantity::parse(text).unwrap();
            assert_eq!((quantity.value(), quantity.milli()), (value, milli), "{text}");
        }
        check("100m", 1, 100);
        check("1.0001", 2, 1001);
        check("1Ki", 1024, 1_024_000);
        check("-100m", -1, -100);
        check("9Ei", i64::MAX, i64::MAX);
    }

    #[test]
    fn arithmetic_and_order() {
        let parse = |text| Quantity::parse(text).unwrap();
        assert_eq!((parse("1Gi") + parse("512Mi")).to_string(), "1536Mi");
        assert_eq!((parse("1") - parse("100m")).to_string(), "900m");
        assert_eq!((Quantity::ZERO + parse("1Gi")).to_string(), "1Gi");
        assert!(parse("1000m") == parse("1"));
        assert!(parse("1G") < parse("1Gi"));
    }

    #[test]
    fn travels_as_json() {
        let read: Vec<Quantity> = serde_json::from_str(r#"["100m", 2, 0.5]"#).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), r#"["100m","2","500m"]"#);
        assert!(serde_json::from_str::<Quantity>("[]").is_err());
    }

    proptest! {
        #[test]
        fn printing_round_trips(number in -1_000_000_000_i64..1_000_000_000, suffix in "(n|u|m||k|M|G|Ki|Mi|Gi|e3|e-3)") {
            let quantity = Quantity::parse(&format!("{number}{suffix}")).unwrap();
            let again = Quantity::parse(&quantity.to_string()).unwrap();
            prop_assert_eq!(again, quantity);
            prop_assert_eq!(again.to_string(), quantity.to_string());
        }

        #[test]
        fn sums_are_exact(a in -1_000_000_i64..1_000_000, b in -1_000_000_i64..1_000_000) {
            let sum = Quantity::from_milli(a) + Quantity::from_milli(b);
            prop_assert_eq!(sum.milli(), a + b);
            prop_assert_eq!((sum - Quantity::from_milli(b)).milli(), a);
        }

        #[test]
        fn never_panics(text in "[+-]?[0-9.]{0,40}[a-zA-Z]{0,2}[+-]?[0-9]{0,12}") {
            if let Ok(quantity) = Quantity::parse(&text) {
                let _ = (quantity.value(), quantity.milli(), quantity.to_string());
            }
        }
    }
}
