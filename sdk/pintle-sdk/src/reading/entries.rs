//! The entries of an object or an array, and the keys of an object.

use std::borrow::Cow;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Error;

use super::scan;
use super::walker::{Note, Walker, fault};

pub(super) struct Entries<'w, 'de, 'p, N> {
    walker: &'w mut Walker<'de, 'p, N>,
    close: u8,
    first: bool,
    /// Where the entry begins in what is noted, and whether its key had to be a
    /// known one.
    key: usize,
    is_field: bool,
}

impl<'w, 'de, 'p, N: Note> Entries<'w, 'de, 'p, N> {
    pub(super) fn new(walker: &'w mut Walker<'de, 'p, N>, close: u8) -> Self {
        Entries { walker, close, first: true, key: 0, is_field: false }
    }

    /// Goes to the next entry, or to the closing bracket.
    fn more(&mut self) -> Result<bool, Error> {
        let at = scan::blanks(self.walker.json, self.walker.at);
        self.walker.at = at;
        match self.walker.json.get(at) {
            Some(byte) if *byte == self.close => return Ok(false),
            Some(b',') if !self.first => {
                self.walker.at = scan::blanks(self.walker.json, at + 1);
            }
            Some(_) if self.first => {}
            _ => return Err(fault("expected a comma or a closing bracket")),
        }
        self.first = false;
        Ok(true)
    }

    /// Whoever visits may leave early, but not unnoticed.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        match self.more()? {
            true => Err(fault("trailing characters")),
            false => Ok(()),
        }
    }

    pub(super) fn key<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        if !self.more()? {
            return Ok(None);
        }
        if self.walker.peek() != Some(b'"') {
            return Err(fault("key must be a string"));
        }
        self.key = self.walker.note.len();
        self.is_field = false;
        let key = Key { walker: &mut *self.walker, is_field: &mut self.is_field };
        seed.deserialize(key).map(Some)
    }

    /// The key counts, whatever comes of its value.
    pub(super) fn keep_key(&mut self) {
        self.is_field = false;
    }

    /// Of the key that was read last.
    pub(super) fn value<T>(
        &mut self,
        read: impl FnOnce(&mut Walker<'de, 'p, N>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let walker = &mut *self.walker;
        walker.at = scan::blanks(walker.json, walker.at);
        if walker.peek() != Some(b':') {
            return Err(fault("expected `:`"));
        }
        walker.at = scan::blanks(walker.json, walker.at + 1);
        walker.note.push(b':');
        let before = walker.note.len();
        let value = read(walker)?;
        if self.is_field && walker.note.len() == before {
            // A field that the type does not know.
            walker.note.truncate(self.key);
        } else {
            walker.note.push(b',');
        }
        Ok(value)
    }
}

impl<'de, N: Note> SeqAccess<'de> for &mut Entries<'_, 'de, '_, N> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        if !self.more()? {
            return Ok(None);
        }
        let value = seed.deserialize(&mut *self.walker)?;
        self.walker.note.push(b',');
        Ok(Some(value))
    }
}

impl<'de, N: Note> MapAccess<'de> for &mut Entries<'_, 'de, '_, N> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        self.key(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        self.value(|walker| seed.deserialize(walker))
    }
}

/// The key of an entry; whether only known names count is noted.
struct Key<'k, 'de, 'p, N> {
    walker: &'k mut Walker<'de, 'p, N>,
    is_field: &'k mut bool,
}

/// Numbers and the like as keys are read by their text.
macro_rules! parsed_keys {
    ($($method:ident $visit:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let text = self.walker.string()?.map_or_else(Cow::Owned, Cow::Borrowed);
            visitor.$visit(text.parse().map_err(fault)?)
        })*
    };
}

impl<'de, N: Note> Deserializer<'de> for Key<'_, 'de, '_, N> {
    type Error = Error;

    parsed_keys! {
        deserialize_bool visit_bool
        deserialize_i8 visit_i8 deserialize_i16 visit_i16
        deserialize_i32 visit_i32 deserialize_i64 visit_i64
        deserialize_u8 visit_u8 deserialize_u16 visit_u16
        deserialize_u32 visit_u32 deserialize_u64 visit_u64
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.walker.string()? {
            Ok(text) => visitor.visit_borrowed_str(text),
            Err(text) => visitor.visit_string(text),
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        *self.is_field = true;
        self.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.walker.string()? {
            Ok(text) => visitor.visit_enum(BorrowedStrDeserializer::new(text)),
            Err(text) => visitor.visit_enum(text.into_deserializer()),
        }
    }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct ignored_any
    }
}
