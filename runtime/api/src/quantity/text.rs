//! How quantities are read and written. Does not calculate with them.

use std::fmt;
use std::str::FromStr;

use super::{Format, MAX_NANO, NANO, Quantity};

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

impl FromStr for Quantity {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
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
}
