//! Values without parts: numbers, and strings that are written with escapes.

/// A number, in the smallest way it can be told.
pub(super) enum Number {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

/// `None`: this is none.
pub(super) fn number(text: &[u8]) -> Option<Number> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let [first, .., last] = digits else {
        return match digits {
            [digit @ b'0'..=b'9'] => Some(integer(negative, u64::from(digit - b'0'))?),
            _ => None,
        };
    };
    if !first.is_ascii_digit()
        || !last.is_ascii_digit()
        || digits.starts_with(b"0") && digits[1].is_ascii_digit()
    {
        return None;
    }
    let mut whole = Some(0u64);
    for &byte in digits {
        match byte {
            b'0'..=b'9' => {
                let digit = u64::from(byte - b'0');
                whole = whole.and_then(|whole| whole.checked_mul(10)?.checked_add(digit));
            }
            b'.' | b'e' | b'E' | b'+' | b'-' => return float(text),
            _ => return None,
        }
    }
    whole.and_then(|whole| integer(negative, whole)).or_else(|| float(text))
}

fn integer(negative: bool, whole: u64) -> Option<Number> {
    match negative {
        false => Some(Number::Unsigned(whole)),
        // There is no whole number that is a negative zero.
        true if whole == 0 => Some(Number::Float(-0.0)),
        true => 0i64.checked_sub_unsigned(whole).map(Number::Signed),
    }
}

/// As in JSON, where digits stand on both sides of a point.
fn float(text: &[u8]) -> Option<Number> {
    let digit = |index: usize| text.get(index).is_some_and(u8::is_ascii_digit);
    if let Some(point) = text.iter().position(|byte| *byte == b'.')
        && !(point > 0 && digit(point - 1) && digit(point + 1))
    {
        return None;
    }
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    number.is_finite().then_some(Number::Float(number))
}

/// What is between the quotes, with its escapes resolved.
pub(super) fn unescaped(mut text: &[u8]) -> Option<String> {
    let mut plain = Vec::with_capacity(text.len());
    while let Some(place) = text.iter().position(|byte| *byte == b'\\' || *byte < b' ') {
        plain.extend_from_slice(&text[..place]);
        let [b'\\', kind, rest @ ..] = &text[place..] else { return None };
        text = rest;
        plain.push(match kind {
            b'"' | b'\\' | b'/' => *kind,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let (character, rest) = character(text)?;
                plain.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                text = rest;
                continue;
            }
            _ => return None,
        });
    }
    plain.extend_from_slice(text);
    String::from_utf8(plain).ok()
}

/// Of four digits, or of two times four; and what follows.
fn character(text: &[u8]) -> Option<(char, &[u8])> {
    let (first, rest) = unit(text)?;
    let mut units = vec![first];
    let mut rest = rest;
    if (0xd800..0xdc00).contains(&first) {
        let (second, behind) = unit(rest.strip_prefix(b"\\u")?)?;
        units.push(second);
        rest = behind;
    }
    let character = char::decode_utf16(units).next()?.ok()?;
    Some((character, rest))
}

fn unit(text: &[u8]) -> Option<(u16, &[u8])> {
    let (digits, rest) = text.split_at_checked(4)?;
    let digit = |unit: u16, byte: &u8| Some(unit << 4 | char::from(*byte).to_digit(16)? as u16);
    Some((digits.iter().try_fold(0, digit)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_json() {
        fn check(text: &str) {
            let expect = serde_json::from_str::<serde_json::Value>(text).ok();
            let found = number(text.as_bytes()).map(|number| match number {
                Number::Unsigned(number) => number.into(),
                Number::Signed(number) => number.into(),
                Number::Float(number) => number.into(),
            });
            assert_eq!(found, expect, "{text}");
        }
        for text in ["0", "7", "-1", "-0", "123456", "18446744073709551615", "-9223372036854775808"]
        {
            check(text);
        }
        for text in
            ["18446744073709551616", "-9223372036854775809", "1.5", "1e3", "-2.5E-3", "1E+2"]
        {
            check(text);
        }
        for text in
            ["", "-", "+1", "01", "1.", ".5", "1e", "1.e5", "--1", "nan", "inf", "1x", "1e999"]
        {
            check(text);
        }
    }

    #[test]
    fn escapes_are_those_of_json() {
        fn check(text: &str) {
            let expect = serde_json::from_str::<String>(&format!("\"{text}\"")).ok();
            assert_eq!(unescaped(text.as_bytes()), expect, "{text}");
        }
        for text in
            ["", "plain", r"a\nb", r#"\"\\\/\b\f\n\r\t"#, r"\u00e9", r"\ud83d\ude00 x", "é\\u0041"]
        {
            check(text);
        }
        for text in
            [r"\x", r"\u12", r"\ud83d", r"\ud83dx", r"\ud83d\u0041", r"\udc00", "\u{1}", r"\uzzzz"]
        {
            check(text);
        }
    }
}
