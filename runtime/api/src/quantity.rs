//! Resource quantities (`100m`, `1Gi`, `1e3`) in exact arithmetic.
//!
//! A quantity is an integer count of billionths, so every value Kubernetes can
//! express is exact, and sums never drift. The suffix style is kept for
//! printing: `1024Mi` prints `1Gi`, `1000m` prints `1`.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, Neg, Sub};
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Kubernetes' finest step is one billionth.
const NANO: i128 = 1_000_000_000;
/// Kubernetes caps quantities at 2^63-1; the cap keeps all sums inside i128.
const MAX_NANO: i128 = i64::MAX as i128 * NANO;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    #[error(
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    #[error("unable to parse quantity's suffix")]
    Suffix,
    #[error("unable to parse numeric part of quantity")]
    Numeric,
}

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

const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY: [(&str, u32); 6] =
    [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

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

    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            Some(_) => (false, text),
            None => return Err(QuantityError::Format),
        };
        let number_length =
            rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, suffix) = rest.split_at(number_length);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return Err(QuantityError::Format);
        }
        let (base, exponent, format) = scale(suffix)?;
        // Below 10^-18 even the largest suffix leaves less than one unit; the
        // cut keeps all products inside i128.
        let fraction = &fraction[..fraction.len().min(18)];
        // |value| = digits * 10^(exponent - fraction.len()) * base, rounded away
        // from zero to a whole number of billionths.
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        let power = exponent - fraction.len() as i32 + 9;
        let magnitude = scaled(digits, power, base).min(MAX_NANO);
        Ok(Self { nano: if negative { -magnitude } else { magnitude }, format })
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

/// The suffix as a factor (`base` for binary, a power of ten otherwise).
fn scale(suffix: &str) -> Result<(i128, i32, Format), QuantityError> {
    if let Some((_, shift)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Ok((1_i128 << shift, 0, Format::BinarySi));
    }
    if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Ok((1, *power, Format::DecimalSi));
    }
    let Some(exponent) = suffix.strip_prefix(['e', 'E']) else {
        return Err(QuantityError::Suffix);
    };
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(QuantityError::Suffix);
    }
    // Anything beyond this saturates or rounds to one billionth anyway.
    let magnitude = digits.parse::<i32>().unwrap_or(1000).min(1000);
    let power = if exponent.starts_with('-') { -magnitude } else { magnitude };
    Ok((1, power, Format::DecimalExponent))
}

/// `digits * 10^power * base`, rounded up, saturating at the cap.
fn scaled(digits: &str, power: i32, base: i128) -> i128 {
    if digits.is_empty() {
        return 0;
    }
    // Digits that end up far below one billionth only matter for rounding up.
    let (mut kept, mut power) = (digits, power);
    let mut inexact = false;
    if power < 0 && base == 1 {
        let drop = (-power) as usize;
        let (head, tail) =
            if drop >= digits.len() { ("", digits) } else { digits.split_at(digits.len() - drop) };
        kept = head;
        inexact = tail.bytes().any(|byte| byte != b'0');
        power = 0;
    }
    let mut value: i128 = 0;
    for byte in kept.bytes() {
        value = value.saturating_mul(10).saturating_add(i128::from(byte - b'0'));
    }
    value = value.saturating_mul(base);
    if power >= 0 {
        for _ in 0..power.min(60) {
            value = value.saturating_mul(10);
        }
    } else {
        // Only binary suffixes arrive here: more than nine digits of fraction.
        for _ in 0..(-power).min(60) {
            inexact |= value % 10 != 0;
            value /= 10;
        }
    }
    value.saturating_add(i128::from(inexact))
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

impl FromStr for Quantity {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
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

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nano == 0 {
            return f.write_str("0");
        }
        // Binary suffixes are for whole numbers from 1024 on; below, and for
        // fractions, the decimal form is canonical.
        if self.format == Format::BinarySi && self.nano.abs() >= 1024 * NANO && self.is_integer() {
            let value = self.nano / NANO;
            let suffix = BINARY.iter().rev().find(|(_, shift)| value % (1_i128 << shift) == 0);
            return match suffix {
                Some((name, shift)) => write!(f, "{}{name}", value >> shift),
                None => write!(f, "{value}"),
            };
        }
        let (mut value, mut power) = (self.nano, -9);
        while power < 18 && value % 1000 == 0 {
            value /= 1000;
            power += 3;
        }
        match (self.format, power) {
            (_, 0) => write!(f, "{value}"),
            (Format::DecimalExponent, power) => write!(f, "{value}e{power}"),
            (_, power) => {
                let suffix = DECIMAL.iter().find(|(_, p)| *p == power).map_or("", |(name, _)| name);
                write!(f, "{value}{suffix}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn canonical_form() {
        fn check(text: &str, expect: &str) {
            assert_eq!(Quantity::parse(text).unwrap().to_string(), expect, "{text}");
        }
        check("0", "0");
        check("100m", "100m");
        check("1000m", "1");
        check("0.5", "500m");
        check("1.5Gi", "1536Mi");
        check("1024Mi", "1Gi");
        check("1000Ki", "1000Ki");
        check("512Ki", "512Ki");
        check("0.5Ki", "512");
        check("1e3", "1e3");
        check("1E3", "1e3");
        check("1E", "1E");
        check("12e4", "120e3");
        check("1000k", "1M");
        check("-1.5", "-1500m");
        check("+3", "3");
        check(".5", "500m");
        check("5.", "5");
        check("1n", "1n");
        check("0.1n", "1n");
        check("1e-12", "1e-9");
        check("100000000000000000000000E", "9223372036854775807");
        check("1.00000000000000000000Ki", "1Ki");
    }

    #[test]
    fn rejects() {
        for text in [
            "", "m", "1.2.3", "1Kb", "1 Gi", "-", ".", "1e", "1e+", "1ee3", "0x1", "1mi", "Gi",
            "é", "-é",
        ] {
            assert!(Quantity::parse(text).is_err(), "{text}");
        }
    }

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
