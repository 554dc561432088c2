//! DER (X.690), reading only: definite lengths in their shortest form, tags
//! below 31. Everything borrows from the input.

/// Why bytes are not the DER that was expected, in the words of Go's `asn1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DerError {
    #[error("asn1: syntax error: data truncated")]
    Truncated,
    #[error("asn1: syntax error: trailing data")]
    Trailing,
    #[error("asn1: structure error: non-minimal length")]
    Length,
    #[error("asn1: structure error: tags don't match")]
    Tag,
    #[error("asn1: structure error: value is out of range")]
    Value,
}

pub const BOOLEAN: u8 = 0x01;
pub const INTEGER: u8 = 0x02;
pub const BIT_STRING: u8 = 0x03;
pub const OCTET_STRING: u8 = 0x04;
pub const OID: u8 = 0x06;
pub const UTF8_STRING: u8 = 0x0c;
pub const NUMERIC_STRING: u8 = 0x12;
pub const PRINTABLE_STRING: u8 = 0x13;
pub const T61_STRING: u8 = 0x14;
pub const IA5_STRING: u8 = 0x16;
pub const UTC_TIME: u8 = 0x17;
pub const GENERALIZED_TIME: u8 = 0x18;
pub const BMP_STRING: u8 = 0x1e;
pub const SEQUENCE: u8 = 0x30;
pub const SET: u8 = 0x31;

/// One element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    pub tag: u8,
    pub content: &'a [u8],
    /// With tag and length.
    pub raw: &'a [u8],
}

impl<'a> Element<'a> {
    /// The elements inside.
    pub fn reader(&self) -> Reader<'a> {
        Reader::new(self.content)
    }
}

/// Elements one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// An error if anything is left.
    pub fn finish(&self) -> Result<(), DerError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DerError::Trailing) }
    }

    pub fn read(&mut self) -> Result<Element<'a>, DerError> {
        let [tag, first, ..] = *self.rest else { return Err(DerError::Truncated) };
        if tag & 0x1f == 0x1f {
            return Err(DerError::Tag);
        }
        let (length, head) = match first {
            0..=0x7f => (usize::from(first), 2),
            // Indefinite lengths are BER; more than four bytes do not fit into memory.
            0x80 | 0x85..=0xff => return Err(DerError::Length),
            _ => {
                let count = usize::from(first & 0x7f);
                let bytes = self.rest.get(2..2 + count).ok_or(DerError::Truncated)?;
                let length =
                    bytes.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
                if bytes[0] == 0 || length < 0x80 {
                    return Err(DerError::Length);
                }
                (length, 2 + count)
            }
        };
        let end = head.checked_add(length).ok_or(DerError::Length)?;
        let raw = self.rest.get(..end).ok_or(DerError::Truncated)?;
        self.rest = &self.rest[end..];
        Ok(Element { tag, content: &raw[head..], raw })
    }

    /// The next element, which must have this tag.
    pub fn expect(&mut self, tag: u8) -> Result<Element<'a>, DerError> {
        let element = self.read()?;
        if element.tag == tag { Ok(element) } else { Err(DerError::Tag) }
    }

    /// The next element if it has this tag.
    pub fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, DerError> {
        if self.rest.first() == Some(&tag) { self.read().map(Some) } else { Ok(None) }
    }
}

/// The one element that these bytes are.
pub fn whole(bytes: &[u8], tag: u8) -> Result<Element<'_>, DerError> {
    let mut reader = Reader::new(bytes);
    let element = reader.expect(tag)?;
    reader.finish()?;
    Ok(element)
}

/// The bytes of a bit string, whose bits must fill them.
pub fn bits<'a>(element: &Element<'a>) -> Result<&'a [u8], DerError> {
    match element.content {
        [0, bits @ ..] => Ok(bits),
        [_, ..] => Err(DerError::Value),
        [] => Err(DerError::Truncated),
    }
}

/// Text of any of the string types; `None` when the element is none of them.
pub fn text(element: &Element<'_>) -> Result<Option<String>, DerError> {
    let ascii =
        |bytes: &[u8]| bytes.is_ascii().then(|| String::from_utf8_lossy(bytes).into_owned());
    let text = match element.tag {
        UTF8_STRING => std::str::from_utf8(element.content).ok().map(str::to_owned),
        PRINTABLE_STRING | NUMERIC_STRING | IA5_STRING => ascii(element.content),
        T61_STRING => Some(element.content.iter().map(|byte| char::from(*byte)).collect()),
        BMP_STRING => {
            let (pairs, rest) = element.content.as_chunks::<2>();
            let units: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
            String::from_utf16(&units).ok().filter(|_| rest.is_empty())
        }
        _ => return Ok(None),
    };
    text.map(Some).ok_or(DerError::Value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_definite_and_minimal() {
        fn check(bytes: &[u8], expect: Result<&[u8], DerError>) {
            let found = Reader::new(bytes).read().map(|element| element.content);
            assert_eq!(found, expect, "{bytes:02x?}");
        }
        check(&[0x04, 0x01, 7], Ok(&[7]));
        check(&[0x05, 0x00, 9], Ok(&[]));
        check(&[], Err(DerError::Truncated));
        check(&[0x04], Err(DerError::Truncated));
        check(&[0x04, 0x02, 7], Err(DerError::Truncated));
        check(&[0x04, 0x80, 7, 0, 0], Err(DerError::Length));
        check(&[0x04, 0x81, 0x01, 7], Err(DerError::Length));
        check(&[0x04, 0x82, 0x00, 0x90], Err(DerError::Length));
        check(&[0x04, 0x84, 0xff, 0xff, 0xff, 0xff], Err(DerError::Truncated));
        check(&[0x04, 0x88, 1, 1, 1, 1, 1, 1, 1, 1], Err(DerError::Length));
        check(&[0x1f, 0x01, 7], Err(DerError::Tag));
    }

    #[test]
    fn texts_of_all_types() {
        fn check(tag: u8, content: &[u8], expect: Result<Option<&str>, DerError>) {
            let found = text(&Element { tag, content, raw: content });
            assert_eq!(found, expect.map(|text| text.map(str::to_owned)));
        }
        check(UTF8_STRING, "ä".as_bytes(), Ok(Some("ä")));
        check(UTF8_STRING, &[0xff], Err(DerError::Value));
        check(PRINTABLE_STRING, b"abc", Ok(Some("abc")));
        check(PRINTABLE_STRING, &[0xe4], Err(DerError::Value));
        check(T61_STRING, &[0xe4], Ok(Some("ä")));
        check(BMP_STRING, &[0, 0x61], Ok(Some("a")));
        check(BMP_STRING, &[0, 0x61, 0], Err(DerError::Value));
        check(INTEGER, &[1], Ok(None));
    }
}
