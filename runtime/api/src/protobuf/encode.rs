//! From JSON to protobuf, along the schema. Fields go out by number and map
//! keys in order, so equal objects have equal bytes.

use base64::Engine;
use serde_json::{Map, Value};

use super::wire::Writer;
use super::{MAGIC, MAX_DEPTH, ProtobufError};
use crate::schema::{Field, FieldType, MessageId, Schema, Shape};
use crate::time;

pub struct Encoder<'a> {
    schema: &'a Schema,
    writer: Writer,
    depth: usize,
}

impl<'a> Encoder<'a> {
    pub fn new(schema: &'a Schema) -> Self {
        Self { schema, writer: Writer::default(), depth: 0 }
    }

    pub fn finish(self) -> Vec<u8> {
        self.writer.bytes
    }

    /// Prefix and envelope around the object.
    pub fn object(
        &mut self,
        api_version: &str,
        kind: &str,
        id: MessageId,
        value: &Value,
    ) -> Result<(), ProtobufError> {
        self.writer.bytes.extend_from_slice(MAGIC);
        let (api_version, kind) =
            if self.schema[id].is_kind { (api_version, kind) } else { ("", "") };
        let meta = self.writer.open(1);
        self.writer.slice(1, api_version.as_bytes());
        self.writer.slice(2, kind.as_bytes());
        self.writer.close(meta);
        let raw = self.writer.open(2);
        self.message(id, as_object(value)?)?;
        self.writer.close(raw);
        // The content's encoding and type: empty, and always there.
        self.writer.slice(3, b"");
        self.writer.slice(4, b"");
        Ok(())
    }

    fn message(
        &mut self,
        id: MessageId,
        entries: &Map<String, Value>,
    ) -> Result<(), ProtobufError> {
        if self.depth == MAX_DEPTH {
            return Err(ProtobufError::Depth);
        }
        self.depth += 1;
        let schema = self.schema;
        for field in schema.fields(id) {
            match (field.ty, field.number) {
                (_, 0) => {}
                (FieldType::Message(inner), number) if field.is_inline() => {
                    let start = self.writer.open(number);
                    self.message(inner, entries)?;
                    self.writer.close(start);
                }
                _ => match entries.get(field.name) {
                    None | Some(Value::Null) => {}
                    Some(value) => {
                        self.field(field, value).map_err(|error| error.within(field.name))?
                    }
                },
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn field(&mut self, field: &Field, value: &Value) -> Result<(), ProtobufError> {
        match (field.shape, value) {
            (Shape::Single, value) => self.value(field.ty, field.number, value),
            (Shape::Repeated, Value::Array(items)) => {
                items.iter().try_for_each(|item| self.value(field.ty, field.number, item))
            }
            (Shape::Map, Value::Object(entries)) => entries.iter().try_for_each(|(key, value)| {
                let start = self.writer.open(field.number);
                self.writer.slice(1, key.as_bytes());
                self.value(field.ty, 2, value).map_err(|error| error.within(key))?;
                self.writer.close(start);
                Ok(())
            }),
            (Shape::Repeated, other) => Err(mismatch(other, "a list")),
            (Shape::Map, other) => Err(mismatch(other, "an object")),
        }
    }

    fn value(&mut self, ty: FieldType, number: u16, value: &Value) -> Result<(), ProtobufError> {
        if value.is_null() {
            self.zero(ty, number);
            return Ok(());
        }
        match ty {
            FieldType::String => self.writer.slice(number, as_text(value)?.as_bytes()),
            FieldType::Bool => {
                let flag = value.as_bool().ok_or_else(|| mismatch(value, "a boolean"))?;
                self.writer.integer(number, flag.into());
            }
            FieldType::Int32 => {
                let integer = as_integer(value)?;
                let integer =
                    i32::try_from(integer).map_err(|_| failed("a number outside of 32 bits"))?;
                self.writer.integer(number, integer.into());
            }
            FieldType::Int64 => self.writer.integer(number, as_integer(value)?),
            FieldType::Float64 => {
                let double = value.as_f64().ok_or_else(|| mismatch(value, "a number"))?;
                self.writer.double(number, double);
            }
            FieldType::Bytes => {
                let decoded = base64::engine::general_purpose::STANDARD
                    .decode(as_text(value)?)
                    .map_err(|error| failed(&format!("not base64: {error}")))?;
                self.writer.slice(number, &decoded);
            }
            FieldType::Message(id) => {
                let start = self.writer.open(number);
                self.message(id, as_object(value)?)?;
                self.writer.close(start);
            }
            _ => {
                let start = self.writer.open(number);
                self.special(ty, value)?;
                self.writer.close(start);
            }
        }
        Ok(())
    }

    /// A null among the elements of a list or map is their zero value.
    fn zero(&mut self, ty: FieldType, number: u16) {
        match ty {
            FieldType::Bool | FieldType::Int32 | FieldType::Int64 => self.writer.integer(number, 0),
            FieldType::Float64 => self.writer.double(number, 0.0),
            // Empty texts, and messages without a field.
            _ => self.writer.slice(number, b""),
        }
    }

    /// The types that are one value in JSON and a small message here.
    fn special(&mut self, ty: FieldType, value: &Value) -> Result<(), ProtobufError> {
        match ty {
            FieldType::Time | FieldType::MicroTime => {
                let micros = time::parse_micros(as_text(value)?)
                    .ok_or_else(|| failed("not an RFC 3339 time"))?;
                self.writer.integer(1, micros.div_euclid(1_000_000));
                let nanos = micros.rem_euclid(1_000_000) * 1000;
                self.writer.integer(2, if ty == FieldType::MicroTime { nanos } else { 0 });
            }
            FieldType::Duration => {
                let text = as_text(value)?;
                let nanos = text.strip_suffix("ns").and_then(|digits| digits.parse().ok());
                self.writer
                    .integer(1, nanos.ok_or_else(|| failed("a duration not in nanoseconds"))?);
            }
            FieldType::Quantity => match value {
                Value::Number(number) => self.writer.slice(1, number.to_string().as_bytes()),
                other => self.writer.slice(1, as_text(other)?.as_bytes()),
            },
            FieldType::IntOrString => {
                let (kind, integer, text) = match value {
                    Value::String(text) => (1, 0, text.as_str()),
                    other => {
                        let integer = i32::try_from(as_integer(other)?);
                        (0, integer.map_err(|_| failed("a number outside of 32 bits"))?, "")
                    }
                };
                self.writer.integer(1, kind);
                self.writer.integer(2, integer.into());
                self.writer.slice(3, text.as_bytes());
            }
            FieldType::StringList => {
                let items = value.as_array().ok_or_else(|| mismatch(value, "a list"))?;
                for item in items {
                    self.writer.slice(1, as_text(item)?.as_bytes());
                }
            }
            // Objects of any kind travel as JSON.
            _ => self.writer.slice(1, value.to_string().as_bytes()),
        }
        Ok(())
    }
}

fn as_object(value: &Value) -> Result<&Map<String, Value>, ProtobufError> {
    value.as_object().ok_or_else(|| mismatch(value, "an object"))
}

fn as_text(value: &Value) -> Result<&str, ProtobufError> {
    value.as_str().ok_or_else(|| mismatch(value, "a string"))
}

fn as_integer(value: &Value) -> Result<i64, ProtobufError> {
    value.as_i64().ok_or_else(|| mismatch(value, "a number"))
}

fn mismatch(found: &Value, expected: &str) -> ProtobufError {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    failed(&format!("{found} where {expected} belongs"))
}

fn failed(what: &str) -> ProtobufError {
    ProtobufError::Encode { path: String::new(), what: what.to_owned() }
}
