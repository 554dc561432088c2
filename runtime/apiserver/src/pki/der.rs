//! Writing DER: as much of it as certificates take.

use pintle_api::time;
use pintle_api::x509::der::{
    BIT_STRING, GENERALIZED_TIME, INTEGER, OCTET_STRING, OID, SEQUENCE, UTC_TIME,
};

/// One element around `content`.
pub fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = Vec::with_capacity(length + 6);
    out.push(tag);
    match u8::try_from(length) {
        Ok(short @ 0..=0x7f) => out.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
            out.push(0x80 | bytes.len() as u8);
            out.extend_from_slice(bytes);
        }
    }
    out.extend_from_slice(content);
    out
}

pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(SEQUENCE, &parts.concat())
}

pub fn oid(bytes: &[u8]) -> Vec<u8> {
    element(OID, bytes)
}

pub fn octets(content: &[u8]) -> Vec<u8> {
    element(OCTET_STRING, content)
}

/// A positive number, most significant byte first.
pub fn positive(bytes: &[u8]) -> Vec<u8> {
    let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    let sign = if bytes.first().is_none_or(|byte| *byte >= 0x80) { &[0][..] } else { &[] };
    element(INTEGER, &[sign, bytes].concat())
}

/// Whole bytes as bits.
pub fn bits(content: &[u8]) -> Vec<u8> {
    element(BIT_STRING, &[&[0], content].concat())
}

/// Named bits: trailing zeros are left out. Bit 0 is the highest of the first byte.
pub fn flags(set: u16) -> Vec<u8> {
    let bytes = set.to_be_bytes();
    let used = 16 - set.trailing_zeros().min(16) as usize;
    let length = used.div_ceil(8);
    let unused = (length * 8 - used) as u8;
    element(BIT_STRING, &[&[unused], &bytes[..length]].concat())
}

/// Two digits for the year until 2049, four from then on (RFC 5280, 4.1.2.5).
pub fn moment(unix_seconds: i64) -> Vec<u8> {
    let text = time::format_seconds(unix_seconds.saturating_mul(1000));
    let digits: String = text.chars().filter(|c| c.is_ascii_digit() || *c == 'Z').collect();
    match digits.strip_prefix("20").filter(|_| *digits < *"2050") {
        Some(short) => element(UTC_TIME, short.as_bytes()),
        None => element(GENERALIZED_TIME, digits.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements() {
        let check = |found: Vec<u8>, expect: &[u8]| assert_eq!(found, expect);
        check(element(4, &[]), &[4, 0]);
        assert_eq!(element(4, &[7; 0x80])[..3], [4, 0x81, 0x80]);
        assert_eq!(element(4, &[7; 300])[..4], [4, 0x82, 1, 44]);
        check(positive(&[0, 0, 1]), &[2, 1, 1]);
        check(positive(&[0x80]), &[2, 2, 0, 0x80]);
        check(positive(&[]), &[2, 1, 0]);
        check(bits(&[5]), &[3, 2, 0, 5]);
        check(flags(0x8000), &[3, 2, 7, 0x80]);
        check(flags(0xa000), &[3, 2, 5, 0xa0]);
        check(flags(0x0080), &[3, 3, 7, 0, 0x80]);
        check(flags(0), &[3, 1, 0]);
        assert_eq!(&moment(0)[2..], b"19700101000000Z");
        assert_eq!(&moment(1_767_225_600)[2..], b"260101000000Z");
        assert_eq!(&moment(2_524_608_000)[2..], b"20500101000000Z");
    }
}
