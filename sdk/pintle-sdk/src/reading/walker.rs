//! The reader itself: walks the text value by value, as the type asks for them.

use std::fmt::Display;

use serde::de::value::{BorrowedStrDeserializer, MapDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, Expected, IntoDeserializer, Unexpected,
    VariantAccess, Visitor,
};
use serde_json::Error;

use super::entries::Entries;
use super::leaf::{self, Number};
use super::raw::RAW;
use super::scan;

/// As deep as `serde_json` goes.
const DEEPEST: usize = 128;

/// How `serde_json` names a value that is wanted as it stands.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// Where what is looked at is noted.
pub(super) trait Note {
    fn push(&mut self, byte: u8);
    fn extend(&mut self, bytes: &[u8]);
    fn len(&self) -> usize;
    fn truncate(&mut self, length: usize);
}

impl Note for Vec<u8> {
    fn push(&mut self, byte: u8) {
        self.push(byte);
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn truncate(&mut self, length: usize) {
        self.truncate(length);
    }
}

/// Nobody asks.
impl Note for () {
    fn push(&mut self, _: u8) {}

    fn extend(&mut self, _: &[u8]) {}

    fn len(&self) -> usize {
        0
    }

    fn truncate(&mut self, _: usize) {}
}

pub(super) struct Walker<'de, 'p, N> {
    pub(super) json: &'de [u8],
    pub(super) at: usize,
    pub(super) note: &'p mut N,
    depth: usize,
}

impl<'de, 'p, N: Note> Walker<'de, 'p, N> {
    pub(super) fn new(json: &'de [u8], note: &'p mut N) -> Self {
        Walker { json, at: scan::blanks(json, 0), note, depth: 0 }
    }

    /// What was read so far.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.json.get(self.at).copied()
    }

    fn end(&self) -> Result<usize, Error> {
        scan::value_end(self.json, self.at).ok_or_else(|| fault("a value without an end"))
    }

    /// The next value as it stands.
    fn raw(&mut self) -> Result<&'de [u8], Error> {
        let end = self.end()?;
        let raw = &self.json[self.at..end];
        self.at = end;
        self.note.extend(raw);
        Ok(raw)
    }

    /// The next value, a string: as it stands, or else with its escapes resolved.
    pub(super) fn string(&mut self) -> Result<Result<&'de str, String>, Error> {
        let found = scan::string_end(self.json, self.at);
        let (end, plain) = found.ok_or_else(|| fault("a string without an end"))?;
        let text = &self.json[self.at + 1..end - 1];
        let text = match plain {
            true => std::str::from_utf8(text).ok().map(Ok),
            false => leaf::unescaped(text).map(Err),
        };
        let text = text.ok_or_else(|| fault("a string that is no text"))?;
        self.note.extend(&self.json[self.at..end]);
        self.at = end;
        Ok(text)
    }

    fn text<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected(&visitor));
        }
        match self.string()? {
            Ok(text) => visitor.visit_borrowed_str(text),
            Err(text) => visitor.visit_string(text),
        }
    }

    fn number<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        if !matches!(self.peek(), Some(b'-' | b'0'..=b'9')) {
            return Err(self.unexpected(&visitor));
        }
        match leaf::number(self.raw()?) {
            Some(Number::Unsigned(number)) => visitor.visit_u64(number),
            Some(Number::Signed(number)) => visitor.visit_i64(number),
            Some(Number::Float(number)) => visitor.visit_f64(number),
            None => Err(fault("invalid number")),
        }
    }

    fn truth<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        match self.word() {
            Some(b"true") => {
                self.raw()?;
                visitor.visit_bool(true)
            }
            Some(b"false") => {
                self.raw()?;
                visitor.visit_bool(false)
            }
            _ => Err(self.unexpected(&visitor)),
        }
    }

    fn nothing<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        if self.word() != Some(b"null") {
            return Err(self.unexpected(&visitor));
        }
        self.raw()?;
        visitor.visit_unit()
    }

    /// The next value, if it is a word.
    fn word(&self) -> Option<&'de [u8]> {
        self.peek().filter(u8::is_ascii_lowercase)?;
        Some(&self.json[self.at..scan::value_end(self.json, self.at)?])
    }

    fn map<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        if self.peek() != Some(b'{') {
            return Err(self.unexpected(&visitor));
        }
        self.open(b'{')?;
        let mut entries = Entries::new(self, b'}');
        let value = visitor.visit_map(&mut entries)?;
        entries.finish()?;
        self.close(b'}');
        Ok(value)
    }

    fn sequence<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        if self.peek() != Some(b'[') {
            return Err(self.unexpected(&visitor));
        }
        self.open(b'[')?;
        let mut entries = Entries::new(self, b']');
        let value = visitor.visit_seq(&mut entries)?;
        entries.finish()?;
        self.close(b']');
        Ok(value)
    }

    fn open(&mut self, bracket: u8) -> Result<(), Error> {
        if self.depth == DEEPEST {
            return Err(fault("recursion limit exceeded"));
        }
        self.depth += 1;
        self.at += 1;
        self.note.push(bracket);
        Ok(())
    }

    fn close(&mut self, bracket: u8) {
        self.at += 1;
        self.note.push(bracket);
        self.depth -= 1;
    }

    fn unexpected(&self, expected: &dyn Expected) -> Error {
        unexpected(self.json, self.at, expected)
    }
}

/// Another sort of value is wanted than the one at `at`.
#[cold]
#[inline(never)]
fn unexpected(json: &[u8], at: usize, expected: &dyn Expected) -> Error {
    let raw = scan::value_end(json, at).map(|end| &json[at..end]);
    let text;
    let found = match (json.get(at), raw) {
        (None, _) => return fault("EOF while parsing a value"),
        (Some(b'{'), _) => Unexpected::Map,
        (Some(b'['), _) => Unexpected::Seq,
        (Some(b'"'), Some(raw)) => {
            text = leaf::unescaped(&raw[1..raw.len() - 1]).unwrap_or_default();
            Unexpected::Str(&text)
        }
        (_, Some(b"true")) => Unexpected::Bool(true),
        (_, Some(b"false")) => Unexpected::Bool(false),
        (_, Some(b"null")) => {
            return Error::custom(format_args!("invalid type: null, expected {expected}"));
        }
        (_, Some(raw)) => match leaf::number(raw) {
            Some(Number::Unsigned(number)) => Unexpected::Unsigned(number),
            Some(Number::Signed(number)) => Unexpected::Signed(number),
            Some(Number::Float(number)) => Unexpected::Float(number),
            None => return fault("expected value"),
        },
        (_, None) => return fault("a value without an end"),
    };
    Error::invalid_type(found, expected)
}

#[cold]
#[inline(never)]
pub(super) fn fault(what: impl Display) -> Error {
    Error::custom(what)
}

macro_rules! read_as {
    ($how:ident: $($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.$how(visitor)
        })*
    };
}

impl<'de, N: Note> Deserializer<'de> for &mut Walker<'de, '_, N> {
    type Error = Error;

    read_as! { number:
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64
    }
    read_as! { text:
        deserialize_char deserialize_str deserialize_string deserialize_bytes
        deserialize_byte_buf deserialize_identifier
    }
    read_as! { truth: deserialize_bool }
    read_as! { nothing: deserialize_unit }
    read_as! { map: deserialize_map }
    read_as! { sequence: deserialize_seq }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.peek() {
            Some(b'{') => self.map(visitor),
            Some(b'[') => self.sequence(visitor),
            Some(b'"') => self.text(visitor),
            Some(b't' | b'f') => self.truth(visitor),
            Some(b'n') => self.nothing(visitor),
            _ => self.number(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.map(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.sequence(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.sequence(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.peek() == Some(b'n') {
            self.raw()?;
            return visitor.visit_none();
        }
        // That there is something counts, even if nobody reads what it is.
        self.note.push(b'?');
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == RAW {
            return visitor.visit_borrowed_bytes(self.raw()?);
        }
        if name == RAW_VALUE {
            let text = std::str::from_utf8(self.raw()?).map_err(fault)?;
            let entry = (RAW_VALUE, BorrowedStrDeserializer::new(text));
            return visitor.visit_map(MapDeserializer::new(std::iter::once(entry)));
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if self.peek() != Some(b'{') {
            let variant = match self.peek() {
                Some(b'"') => self.string()?,
                _ => return Err(self.unexpected(&"string or map")),
            };
            let variant = variant.map_or_else(Into::into, std::borrow::Cow::Borrowed);
            return visitor.visit_enum(variant.into_deserializer());
        }
        self.open(b'{')?;
        let mut entries = Entries::new(self, b'}');
        let value = visitor.visit_enum(Variant { entries: &mut entries })?;
        entries.finish()?;
        self.close(b'}');
        Ok(value)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.nothing(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.at = self.end()?;
        visitor.visit_unit()
    }
}

/// `{"Name": content}`.
struct Variant<'e, 'w, 'de, 'p, N> {
    entries: &'e mut Entries<'w, 'de, 'p, N>,
}

impl<'de, N: Note> EnumAccess<'de> for Variant<'_, '_, 'de, '_, N> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name = self.entries.key(seed)?.ok_or_else(|| fault("a variant without a name"))?;
        self.entries.keep_key();
        Ok((name, self))
    }
}

impl<'de, N: Note> VariantAccess<'de> for Variant<'_, '_, 'de, '_, N> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        self.entries.value(|walker| <() as serde::Deserialize>::deserialize(walker))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        self.entries.value(|walker| seed.deserialize(walker))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.entries.value(|walker| walker.sequence(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.entries.value(|walker| walker.map(visitor))
    }
}
