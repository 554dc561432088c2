//! The protobuf wire format: tags, varints and length-delimited values.

use super::ProtobufError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireType {
    Varint,
    Fixed64,
    Bytes,
    Fixed32,
}

impl WireType {
    pub fn described(self) -> &'static str {
        match self {
            Self::Varint => "varint",
            Self::Fixed64 => "64-bit value",
            Self::Bytes => "length-delimited value",
            Self::Fixed32 => "32-bit value",
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Tag {
    pub number: u32,
    pub wire: WireType,
}

pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0u64;
        for (index, byte) in self.rest.iter().enumerate() {
            // The tenth byte has room for one bit.
            if index == 9 && *byte > 1 {
                return Err(malformed("a varint is longer than 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(truncated())
    }

    /// The next tag, or `None` at the end.
    pub fn tag(&mut self) -> Result<Option<Tag>, ProtobufError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let wire = match key & 7 {
            0 => WireType::Varint,
            1 => WireType::Fixed64,
            2 => WireType::Bytes,
            5 => WireType::Fixed32,
            _ => {
                return Err(malformed("a wire type that proto2 messages of Kubernetes do not use"));
            }
        };
        match u32::try_from(key >> 3) {
            Ok(number) if number != 0 => Ok(Some(Tag { number, wire })),
            _ => Err(malformed("a field number out of range")),
        }
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], ProtobufError> {
        let length = usize::try_from(length).map_err(|_| truncated())?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn expect(tag: Tag, wire: WireType) -> Result<(), ProtobufError> {
        if tag.wire == wire {
            return Ok(());
        }
        Err(ProtobufError::WireType {
            path: String::new(),
            found: tag.wire.described(),
            expected: wire.described(),
        })
    }

    pub fn bytes(&mut self, tag: Tag) -> Result<&'a [u8], ProtobufError> {
        Self::expect(tag, WireType::Bytes)?;
        let length = self.varint()?;
        self.take(length)
    }

    pub fn string(&mut self, tag: Tag) -> Result<&'a str, ProtobufError> {
        std::str::from_utf8(self.bytes(tag)?)
            .map_err(|_| ProtobufError::Utf8 { path: String::new() })
    }

    pub fn integer(&mut self, tag: Tag) -> Result<i64, ProtobufError> {
        Self::expect(tag, WireType::Varint)?;
        // Negative numbers are sent as 64-bit two's complement.
        self.varint().map(|value| value as i64)
    }

    pub fn double(&mut self, tag: Tag) -> Result<f64, ProtobufError> {
        Self::expect(tag, WireType::Fixed64)?;
        self.raw_double()
    }

    pub fn raw_double(&mut self) -> Result<f64, ProtobufError> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.take(8)?);
        Ok(f64::from_le_bytes(bytes))
    }

    pub fn skip(&mut self, tag: Tag) -> Result<(), ProtobufError> {
        match tag.wire {
            WireType::Varint => self.varint().map(drop),
            WireType::Fixed64 => self.take(8).map(drop),
            WireType::Fixed32 => self.take(4).map(drop),
            WireType::Bytes => self.bytes(tag).map(drop),
        }
    }
}

pub fn malformed(what: &'static str) -> ProtobufError {
    ProtobufError::Malformed { path: String::new(), what }
}

fn truncated() -> ProtobufError {
    ProtobufError::Truncated { path: String::new() }
}

#[derive(Default)]
pub struct Writer {
    pub bytes: Vec<u8>,
}

impl Writer {
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    pub fn tag(&mut self, number: u16, wire: WireType) {
        let wire = match wire {
            WireType::Varint => 0,
            WireType::Fixed64 => 1,
            WireType::Bytes => 2,
            WireType::Fixed32 => 5,
        };
        self.varint(u64::from(number) << 3 | wire);
    }

    pub fn integer(&mut self, number: u16, value: i64) {
        self.tag(number, WireType::Varint);
        self.varint(value as u64);
    }

    pub fn double(&mut self, number: u16, value: f64) {
        self.tag(number, WireType::Fixed64);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub fn slice(&mut self, number: u16, value: &[u8]) {
        self.tag(number, WireType::Bytes);
        self.varint(value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    /// Starts a length-delimited value whose length is not known yet.
    pub fn open(&mut self, number: u16) -> usize {
        self.tag(number, WireType::Bytes);
        self.bytes.len()
    }

    /// Puts the length in front of what was written since [`Writer::open`].
    pub fn close(&mut self, start: usize) {
        let end = self.bytes.len();
        self.varint((end - start) as u64);
        let length_bytes = self.bytes.len() - end;
        self.bytes[start..].rotate_right(length_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_round_trip(value: u64) {
            let mut writer = Writer::default();
            writer.varint(value);
            prop_assert_eq!(Reader::new(&writer.bytes).varint().unwrap(), value);
        }

        #[test]
        fn nested_lengths_are_right(inner in proptest::collection::vec(any::<u8>(), 0..20_000)) {
            let mut writer = Writer::default();
            let start = writer.open(3);
            writer.slice(7, &inner);
            writer.close(start);
            let mut outer = Reader::new(&writer.bytes);
            let tag = outer.tag().unwrap().unwrap();
            let mut nested = Reader::new(outer.bytes(tag).unwrap());
            prop_assert!(outer.is_empty());
            let tag = nested.tag().unwrap().unwrap();
            prop_assert_eq!(tag.number, 7);
            prop_assert_eq!(nested.bytes(tag).unwrap(), &inner[..]);
        }
    }

    #[test]
    fn overlong_varints_are_refused() {
        assert!(Reader::new(&[0xff; 10]).varint().is_err());
        assert!(Reader::new(&[0xff; 9]).varint().is_err());
        assert!(Reader::new(&[]).varint().is_err());
        assert!(Reader::new(&[0x0b]).tag().is_err(), "groups are not used");
        assert!(Reader::new(&[0x00]).tag().is_err(), "field number 0");
    }
}
