//! From protobuf to JSON, along the schema.

use base64::Engine;
use serde_json::{Map, Value};

use super::wire::{Reader, Tag, WireType, malformed};
use super::{Envelope, MAX_DEPTH, MAX_VALUES, ProtobufError, envelope, is_protobuf, resolve};
use crate::schema::{Field, FieldType, MessageId, Schema, Shape};
use crate::time;

/// The years 1 to 9999, which RFC 3339 can write.
const TIME_SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

pub struct Decoder<'a> {
    schema: &'a Schema,
    depth: usize,
    values: usize,
}

impl<'a> Decoder<'a> {
    pub fn new(schema: &'a Schema) -> Self {
        Self { schema, depth: 0, values: 0 }
    }

    pub fn object(
        &mut self,
        envelope: &Envelope<'_>,
        id: MessageId,
    ) -> Result<Value, ProtobufError> {
        let mut entries = Map::new();
        if self.schema[id].is_kind {
            entries.insert("apiVersion".to_owned(), envelope.api_version.into());
            entries.insert("kind".to_owned(), envelope.kind.into());
        }
        self.message(id, envelope.raw, &mut entries)?;
        Ok(Value::Object(entries))
    }

    fn message(
        &mut self,
        id: MessageId,
        bytes: &[u8],
        into: &mut Map<String, Value>,
    ) -> Result<(), ProtobufError> {
        if self.depth == MAX_DEPTH {
            return Err(ProtobufError::Depth);
        }
        self.depth += 1;
        let schema = self.schema;
        let mut reader = Reader::new(bytes);
        while let Some(tag) = reader.tag()? {
            match schema.field_by_number(id, tag.number) {
                Some(field) => {
                    self.field(field, tag, &mut reader, into).map_err(|error| match field.name {
                        "" => error,
                        name => error.within(name),
                    })?
                }
                None => reader.skip(tag)?,
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn count(&mut self) -> Result<(), ProtobufError> {
        self.values += 1;
        if self.values > MAX_VALUES { Err(ProtobufError::TooLarge) } else { Ok(()) }
    }

    fn field(
        &mut self,
        field: &Field,
        tag: Tag,
        reader: &mut Reader<'_>,
        into: &mut Map<String, Value>,
    ) -> Result<(), ProtobufError> {
        self.count()?;
        match field.shape {
            Shape::Single => self.single(field, tag, reader, into),
            Shape::Map => {
                let (key, value) = self.entry(field, reader.bytes(tag)?)?;
                if let Value::Object(entries) =
                    into.entry(field.name).or_insert_with(|| Map::new().into())
                {
                    entries.insert(key, value);
                }
                Ok(())
            }
            Shape::Repeated => {
                let mut items = match into.get_mut(field.name).map(Value::take) {
                    Some(Value::Array(items)) => items,
                    _ => Vec::new(),
                };
                if is_number(field.ty) && tag.wire == WireType::Bytes {
                    let mut packed = Reader::new(reader.bytes(tag)?);
                    while !packed.is_empty() {
                        self.count()?;
                        items.push(match field.ty {
                            FieldType::Float64 => double(packed.raw_double()?)?,
                            ty => integer(ty, packed.varint()? as i64),
                        });
                    }
                } else {
                    items.push(self.value(field.ty, tag, reader)?.unwrap_or(Value::Null));
                }
                into.insert(field.name.to_owned(), Value::Array(items));
                Ok(())
            }
        }
    }

    fn single(
        &mut self,
        field: &Field,
        tag: Tag,
        reader: &mut Reader<'_>,
        into: &mut Map<String, Value>,
    ) -> Result<(), ProtobufError> {
        if let FieldType::Message(id) = field.ty {
            let bytes = reader.bytes(tag)?;
            if field.is_inline() {
                return self.message(id, bytes, into);
            }
            // A message that comes in two parts is the union of both.
            let mut entries = match into.remove(field.name) {
                Some(Value::Object(entries)) => entries,
                _ => Map::new(),
            };
            self.message(id, bytes, &mut entries)?;
            if field.pointer || !entries.is_empty() {
                into.insert(field.name.to_owned(), Value::Object(entries));
            }
            return Ok(());
        }
        match self.value(field.ty, tag, reader)? {
            // Typed clients send plain fields whether they are set or not.
            Some(value) if field.pointer || field.keeps_zero || !is_zero(&value) => {
                into.insert(field.name.to_owned(), value);
            }
            _ => {
                into.remove(field.name);
            }
        }
        Ok(())
    }

    /// One map entry: key is field 1, value is field 2.
    fn entry(&mut self, field: &Field, bytes: &[u8]) -> Result<(String, Value), ProtobufError> {
        let mut reader = Reader::new(bytes);
        let (mut key, mut value) = (String::new(), None);
        while let Some(tag) = reader.tag()? {
            match tag.number {
                1 => key = reader.string(tag)?.to_owned(),
                2 => value = self.value(field.ty, tag, &mut reader)?,
                _ => reader.skip(tag)?,
            }
        }
        let empty = || match field.ty {
            FieldType::Message(_) => Value::Object(Map::new()),
            FieldType::StringList => Value::Array(Vec::new()),
            FieldType::Quantity => "0".into(),
            FieldType::Bool => false.into(),
            ty if is_number(ty) => 0.into(),
            FieldType::String | FieldType::Bytes => "".into(),
            _ => Value::Null,
        };
        Ok((key, value.unwrap_or_else(empty)))
    }

    /// `None` stands for a time that was never set.
    fn value(
        &mut self,
        ty: FieldType,
        tag: Tag,
        reader: &mut Reader<'_>,
    ) -> Result<Option<Value>, ProtobufError> {
        Ok(Some(match ty {
            FieldType::String => reader.string(tag)?.into(),
            FieldType::Bool => (reader.integer(tag)? != 0).into(),
            FieldType::Int32 | FieldType::Int64 => integer(ty, reader.integer(tag)?),
            FieldType::Float64 => double(reader.double(tag)?)?,
            FieldType::Bytes => {
                base64::engine::general_purpose::STANDARD.encode(reader.bytes(tag)?).into()
            }
            FieldType::Time | FieldType::MicroTime => return timestamp(ty, reader.bytes(tag)?),
            FieldType::Duration => format!("{}ns", number_at(reader.bytes(tag)?, 1)?).into(),
            FieldType::Quantity => match text_at(reader.bytes(tag)?, 1)? {
                "" => "0".into(),
                text => text.into(),
            },
            FieldType::IntOrString => {
                let bytes = reader.bytes(tag)?;
                match number_at(bytes, 1)? {
                    0 => (number_at(bytes, 2)? as i32).into(),
                    1 => text_at(bytes, 3)?.into(),
                    _ => return Err(malformed("an IntOrString that is neither")),
                }
            }
            FieldType::RawExtension | FieldType::FieldsV1 | FieldType::Any => {
                return self.raw(bytes_at(reader.bytes(tag)?, 1)?);
            }
            FieldType::StringList => {
                let mut list = Reader::new(reader.bytes(tag)?);
                let mut items = Vec::new();
                while let Some(tag) = list.tag()? {
                    self.count()?;
                    match tag.number {
                        1 => items.push(list.string(tag)?.into()),
                        _ => list.skip(tag)?,
                    }
                }
                Value::Array(items)
            }
            FieldType::Message(id) => {
                let mut entries = Map::new();
                self.message(id, reader.bytes(tag)?, &mut entries)?;
                Value::Object(entries)
            }
        }))
    }

    /// JSON, or an object in this very encoding.
    fn raw(&mut self, bytes: &[u8]) -> Result<Option<Value>, ProtobufError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        if !is_protobuf(bytes) {
            let value = serde_json::from_slice(bytes)
                .map_err(|source| ProtobufError::Json { path: String::new(), source })?;
            return Ok(Some(value));
        }
        let envelope = envelope(bytes)?;
        let (_, id) = resolve(envelope.api_version, envelope.kind)?;
        self.object(&envelope, id).map(Some)
    }
}

fn is_number(ty: FieldType) -> bool {
    matches!(ty, FieldType::Bool | FieldType::Int32 | FieldType::Int64 | FieldType::Float64)
}

fn integer(ty: FieldType, value: i64) -> Value {
    match ty {
        FieldType::Bool => (value != 0).into(),
        // As every protobuf reader does, the upper half is dropped.
        FieldType::Int32 => (value as i32).into(),
        _ => value.into(),
    }
}

fn double(value: f64) -> Result<Value, ProtobufError> {
    match serde_json::Number::from_f64(value) {
        Some(number) => Ok(number.into()),
        None => Err(malformed("a number that JSON cannot write")),
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Bool(value) => !value,
        Value::Array(items) => items.is_empty(),
        Value::Null | Value::Object(_) => false,
    }
}

fn timestamp(ty: FieldType, bytes: &[u8]) -> Result<Option<Value>, ProtobufError> {
    // The zero time is an empty message, and its seconds are those of year 1.
    let seconds = number_at(bytes, 1)?;
    if bytes.is_empty() || seconds == *TIME_SECONDS.start() {
        return Ok(None);
    }
    let nanos = number_at(bytes, 2)?;
    if !TIME_SECONDS.contains(&seconds) || !(0..1_000_000_000).contains(&nanos) {
        return Err(malformed("a time outside the years 1 to 9999"));
    }
    Ok(Some(match ty {
        FieldType::MicroTime => time::format_micros(seconds * 1_000_000 + nanos / 1000).into(),
        _ => time::format_seconds(seconds * 1000).into(),
    }))
}

fn number_at(bytes: &[u8], number: u32) -> Result<i64, ProtobufError> {
    let (mut reader, mut value) = (Reader::new(bytes), 0);
    while let Some(tag) = reader.tag()? {
        match tag.number == number {
            true => value = reader.integer(tag)?,
            false => reader.skip(tag)?,
        }
    }
    Ok(value)
}

fn bytes_at(bytes: &[u8], number: u32) -> Result<&[u8], ProtobufError> {
    let (mut reader, mut value) = (Reader::new(bytes), &[][..]);
    while let Some(tag) = reader.tag()? {
        match tag.number == number {
            true => value = reader.bytes(tag)?,
            false => reader.skip(tag)?,
        }
    }
    Ok(value)
}

fn text_at(bytes: &[u8], number: u32) -> Result<&str, ProtobufError> {
    std::str::from_utf8(bytes_at(bytes, number)?)
        .map_err(|_| ProtobufError::Utf8 { path: String::new() })
}
