//! Certificates: whether they are some, and when they end.

use super::der::{self, Element};
use super::{X509Error, pem};
use crate::time;

const VERSION: u8 = 0xa0;

/// Whether text is one or more certificates in PEM and nothing else that is
/// PEM. Empty text passes.
pub fn check_bundle(bytes: &[u8]) -> Result<(), X509Error> {
    if bytes.is_empty() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(bytes);
    let mut rest = &*text;
    let mut found = false;
    while let Some((block, after)) = pem::next(rest) {
        if block.label != "CERTIFICATE" {
            return Err(X509Error::NotACertificate(block.label.to_owned()));
        }
        if block.has_headers {
            return Err(X509Error::Headers);
        }
        validity(&block.bytes)?;
        found = true;
        rest = after;
    }
    if found { Ok(()) } else { Err(X509Error::NoCertificate) }
}

/// The end of the first certificate in PEM text.
pub fn not_after_unix_seconds(bytes: &[u8]) -> Result<i64, X509Error> {
    let text = String::from_utf8_lossy(bytes);
    let (block, _) = pem::next(&text).ok_or(X509Error::NoCertificate)?;
    Ok(validity(&block.bytes)?.1)
}

fn validity(der: &[u8]) -> Result<(i64, i64), X509Error> {
    let mut certificate = der::whole(der, der::SEQUENCE)?.reader();
    let mut body = certificate.expect(der::SEQUENCE)?.reader();
    body.optional(VERSION)?;
    body.expect(der::INTEGER)?;
    body.expect(der::SEQUENCE)?; // signature algorithm
    body.expect(der::SEQUENCE)?; // issuer
    let mut validity = body.expect(der::SEQUENCE)?.reader();
    let times = (moment(&validity.read()?)?, moment(&validity.read()?)?);
    body.expect(der::SEQUENCE)?; // subject
    body.expect(der::SEQUENCE)?; // public key
    certificate.expect(der::SEQUENCE)?;
    certificate.expect(der::BIT_STRING)?;
    certificate.finish()?;
    Ok(times)
}

fn moment(element: &Element<'_>) -> Result<i64, X509Error> {
    let malformed = X509Error::Malformed("malformed validity");
    let digits = std::str::from_utf8(element.content)
        .ok()
        .and_then(|text| text.strip_suffix('Z'))
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let (century, digits) = match (element.tag, digits) {
        // RFC 5280: two digits are 1950 to 2049.
        (der::UTC_TIME, Some(digits)) if digits.len() == 12 => {
            (if digits >= "50" { "19" } else { "20" }, digits)
        }
        (der::GENERALIZED_TIME, Some(digits)) if digits.len() == 14 => digits.split_at(2),
        _ => return Err(malformed),
    };
    let part = |at: usize| &digits[at..at + 2];
    let text = format!(
        "{century}{}-{}-{}T{}:{}:{}Z",
        part(0),
        part(2),
        part(4),
        part(6),
        part(8),
        part(10)
    );
    time::parse(&text).map(|ms| ms / 1000).ok_or(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_both_forms() {
        fn check(tag: u8, text: &str, expect: Option<&str>) {
            let element = Element { tag, content: text.as_bytes(), raw: &[] };
            let found = moment(&element).ok().map(|seconds| time::format_seconds(seconds * 1000));
            assert_eq!(found.as_deref(), expect, "{text}");
        }
        check(der::UTC_TIME, "260102030405Z", Some("2026-01-02T03:04:05Z"));
        check(der::UTC_TIME, "700101000000Z", Some("1970-01-01T00:00:00Z"));
        check(der::GENERALIZED_TIME, "20510102030405Z", Some("2051-01-02T03:04:05Z"));
        check(der::UTC_TIME, "260102030405", None);
        check(der::UTC_TIME, "2601020304Z", None);
        check(der::UTC_TIME, "26010203040äZ", None);
        check(der::INTEGER, "260102030405Z", None);
    }

    #[test]
    fn a_bundle_holds_certificates_only() {
        fn check(text: &str, expect: &str) {
            assert_eq!(check_bundle(text.as_bytes()).unwrap_err().to_string(), expect);
        }
        assert_eq!(check_bundle(b""), Ok(()));
        check("hello", "must contain at least one CERTIFICATE PEM block");
        check(
            "-----BEGIN KEY-----\nAQ==\n-----END KEY-----\n",
            "only CERTIFICATE PEM blocks are allowed, found \"KEY\"",
        );
        check(
            "-----BEGIN CERTIFICATE-----\nA: b\n\nAQ==\n-----END CERTIFICATE-----\n",
            "no PEM block headers are permitted",
        );
        check(
            "-----BEGIN CERTIFICATE-----\nAQ==\n-----END CERTIFICATE-----\n",
            "asn1: syntax error: data truncated",
        );
    }
}
