//! Reading a type from an object's JSON, and with it the part of the text that
//! the type looks at.
//!
//! Two texts that agree in that part make equal values, whatever else is in
//! them: pods of one template are told by this, and nodes of one kind, without
//! anybody saying which fields matter. What is not looked at is skipped fast.
//!
//! Does not know: objects, pods or nodes. What it cannot read is left to
//! `serde_json`, which says what is wrong with it.

mod scan;
#[cfg(test)]
mod tests;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess,
    SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::Error;

/// Nested so deep, `serde_json` has the say.
const DEEPEST: usize = 64;

/// How `serde_json` names a value that is wanted as it stands.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// The value, and what it was made from is appended to `part`.
pub(crate) fn read<T: DeserializeOwned>(json: &[u8], part: &mut Vec<u8>) -> Result<T, Error> {
    let start = part.len();
    let mut walker = Walker { json, at: scan::blanks(json, 0), part, depth: 0 };
    let value = T::deserialize(&mut walker);
    if value.is_err() || scan::blanks(json, walker.at) != json.len() {
        part.truncate(start);
        let value = serde_json::from_slice(json)?;
        part.extend_from_slice(json);
        return Ok(value);
    }
    value
}

/// The values at dotted paths (`metadata.labels`) as they stand are appended to
/// `part`.
pub(crate) fn fields(json: &[u8], paths: &[&str], part: &mut Vec<u8>) {
    for path in paths {
        part.extend_from_slice(scan::field(json, path).unwrap_or_default());
        // In no JSON text.
        part.push(0);
    }
}

struct Walker<'de, 'p> {
    json: &'de [u8],
    at: usize,
    part: &'p mut Vec<u8>,
    depth: usize,
}

impl<'de> Walker<'de, '_> {
    fn peek(&self) -> Option<u8> {
        self.json.get(self.at).copied()
    }

    fn end(&self) -> Result<usize, Error> {
        scan::value_end(self.json, self.at).ok_or_else(|| Error::custom("a value without an end"))
    }

    /// The next value as it stands.
    fn raw(&mut self) -> Result<&'de [u8], Error> {
        let end = self.end()?;
        let raw = &self.json[self.at..end];
        self.at = end;
        self.part.extend_from_slice(raw);
        Ok(raw)
    }

    /// The next value, if it is a string that is as it stands.
    fn plain(&mut self) -> Result<Option<&'de str>, Error> {
        if self.peek() != Some(b'"') {
            return Ok(None);
        }
        let Some((end, true)) = scan::string_end(self.json, self.at) else { return Ok(None) };
        let text = &self.json[self.at + 1..end - 1];
        let text = std::str::from_utf8(text).map_err(Error::custom)?;
        self.part.extend_from_slice(&self.json[self.at..end]);
        self.at = end;
        Ok(Some(text))
    }

    fn text<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        match self.plain()? {
            Some(text) => visitor.visit_borrowed_str(text),
            None => serde_json::Deserializer::from_slice(self.raw()?).deserialize_str(visitor),
        }
    }

    /// An object or an array, entry by entry.
    fn nested<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Error> {
        if self.depth == DEEPEST {
            return serde_json::Deserializer::from_slice(self.raw()?).deserialize_any(visitor);
        }
        self.depth += 1;
        let open = self.json[self.at];
        let close = if open == b'{' { b'}' } else { b']' };
        self.at += 1;
        self.part.push(open);
        let mut entries = Entries { walker: self, close, first: true, key: 0, is_field: false };
        let value = match open {
            b'{' => visitor.visit_map(&mut entries)?,
            _ => visitor.visit_seq(&mut entries)?,
        };
        // Whoever visits may leave early, but not unnoticed.
        if entries.more()? {
            return Err(Error::custom("not all of it was read"));
        }
        self.at += 1;
        self.part.push(close);
        self.depth -= 1;
        Ok(value)
    }
}

/// Leaves what is no object and no array to `serde_json`.
macro_rules! leaves {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            serde_json::Deserializer::from_slice(self.raw()?).$method(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for &mut Walker<'de, '_> {
    type Error = Error;

    leaves! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_u128 deserialize_f32 deserialize_f64 deserialize_char
        deserialize_bytes deserialize_byte_buf deserialize_unit
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.peek() {
            Some(b'{' | b'[') => self.nested(visitor),
            Some(b'"') => self.text(visitor),
            _ => serde_json::Deserializer::from_slice(self.raw()?).deserialize_any(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.text(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.peek() == Some(b'n') {
            self.raw()?;
            return visitor.visit_none();
        }
        // That there is something counts, even if nobody reads what it is.
        self.part.push(b'?');
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == RAW_VALUE {
            let mut raw = serde_json::Deserializer::from_slice(self.raw()?);
            return raw.deserialize_newtype_struct(name, visitor);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        serde_json::Deserializer::from_slice(self.raw()?).deserialize_enum(name, variants, visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.at = self.end()?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        seq tuple tuple_struct map struct identifier
    }
}

/// The entries of an object or an array.
struct Entries<'w, 'de, 'p> {
    walker: &'w mut Walker<'de, 'p>,
    close: u8,
    first: bool,
    /// Where the entry begins in what is noted, and whether its key had to be a
    /// known one.
    key: usize,
    is_field: bool,
}

impl Entries<'_, '_, '_> {
    /// Goes to the next entry, or to the closing bracket.
    fn more(&mut self) -> Result<bool, Error> {
        let Walker { json, at, .. } = self.walker;
        *at = scan::blanks(json, *at);
        match json.get(*at) {
            Some(byte) if *byte == self.close => return Ok(false),
            Some(b',') if !self.first => *at = scan::blanks(json, *at + 1),
            Some(_) if self.first => {}
            _ => return Err(Error::custom("a comma or a bracket is missing")),
        }
        self.first = false;
        Ok(true)
    }
}

impl<'de> SeqAccess<'de> for &mut Entries<'_, 'de, '_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        if !self.more()? {
            return Ok(None);
        }
        let value = seed.deserialize(&mut *self.walker)?;
        self.walker.part.push(b',');
        Ok(Some(value))
    }
}

impl<'de> MapAccess<'de> for &mut Entries<'_, 'de, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        if !self.more()? {
            return Ok(None);
        }
        self.key = self.walker.part.len();
        self.is_field = false;
        let key = Key { walker: &mut *self.walker, is_field: &mut self.is_field };
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let walker = &mut *self.walker;
        walker.at = scan::blanks(walker.json, walker.at);
        if walker.peek() != Some(b':') {
            return Err(Error::custom("a colon is missing"));
        }
        walker.at = scan::blanks(walker.json, walker.at + 1);
        walker.part.push(b':');
        let before = walker.part.len();
        let value = seed.deserialize(&mut *walker)?;
        if self.is_field && walker.part.len() == before {
            // A field that the type does not know.
            walker.part.truncate(self.key);
        } else {
            walker.part.push(b',');
        }
        Ok(value)
    }
}

/// The key of an entry; whether only known names count is noted.
struct Key<'k, 'de, 'p> {
    walker: &'k mut Walker<'de, 'p>,
    is_field: &'k mut bool,
}

/// Numbers and the like as keys are read by their text.
macro_rules! parsed_keys {
    ($($method:ident $visit:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let text = <String as serde::Deserialize>::deserialize(self)?;
            visitor.$visit(text.parse().map_err(Error::custom)?)
        })*
    };
}

impl<'de> Deserializer<'de> for Key<'_, 'de, '_> {
    type Error = Error;

    parsed_keys! {
        deserialize_bool visit_bool
        deserialize_i8 visit_i8 deserialize_i16 visit_i16
        deserialize_i32 visit_i32 deserialize_i64 visit_i64
        deserialize_u8 visit_u8 deserialize_u16 visit_u16
        deserialize_u32 visit_u32 deserialize_u64 visit_u64
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.walker.plain()? {
            Some(text) => BorrowedStrDeserializer::new(text).deserialize_any(visitor),
            None => {
                let text: String = serde_json::from_slice(self.walker.raw()?)?;
                text.into_deserializer().deserialize_any(visitor)
            }
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
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let raw = self.walker.raw()?;
        serde_json::Deserializer::from_slice(raw).deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct ignored_any
    }
}
