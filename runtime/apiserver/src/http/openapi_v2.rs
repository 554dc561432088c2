//! `/openapi/v2`: the schemas of all kinds in the older format, as JSON and as
//! the protobuf that kubectl asks for. kubectl still validates with it what the
//! newer documents do not name, above all files of kind `List`.
//!
//! Made from the documents of version 3. Paths are left out: nothing reads them.

use http::header::ACCEPT;
use http::{HeaderMap, Response, StatusCode};
use pintle_api::kinds::Registry;
use pintle_api::openapi::openapi_v3;
use serde_json::{Map, Value, json};

use super::respond;
use crate::body::Body;

/// Clients ask for `spec.v2@v1.0` as well, but the @ is not valid in an answer.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const TITLE: &str = "Kubernetes";
const V3_PREFIX: &str = "#/components/schemas/";

pub fn answer(headers: &HeaderMap, registry: &Registry, version: &str) -> Response<Body> {
    let definitions = definitions(registry);
    let wants = |text: &str| {
        headers
            .get_all(ACCEPT)
            .iter()
            .any(|value| value.to_str().is_ok_and(|value| value.contains(text)))
    };
    if wants("proto-openapi.spec.v2") {
        let body = Body::full(document(&definitions, version));
        return respond::with_body(StatusCode::OK, PROTOBUF, body);
    }
    let document = json!({
        "swagger": "2.0",
        "info": {"title": TITLE, "version": version},
        "paths": {},
        "definitions": definitions,
    });
    respond::value(StatusCode::OK, &document)
}

/// The schemas of all groups and versions, by name.
fn definitions(registry: &Registry) -> Map<String, Value> {
    let mut definitions = Map::new();
    let mut seen: Vec<&str> = Vec::new();
    for row in registry.iter() {
        if seen.contains(&row.group_version()) {
            continue;
        }
        seen.push(row.group_version());
        let Some(mut document) = openapi_v3(row.group, row.version, registry) else { continue };
        let Some(Value::Object(schemas)) =
            document.pointer_mut("/components/schemas").map(Value::take)
        else {
            continue;
        };
        for (name, schema) in schemas {
            definitions.entry(name).or_insert_with(|| convert(&schema));
        }
    }
    definitions
}

/// A schema of version 3 in the terms of version 2: no `oneOf`, references
/// not wrapped in `allOf`, no defaults.
fn convert(schema: &Value) -> Value {
    let Some(fields) = schema.as_object() else { return schema.clone() };
    let mut converted = Map::new();
    for (name, value) in fields {
        match name.as_str() {
            "$ref" => {
                converted.insert(name.clone(), reference(value));
            }
            "allOf" => {
                let target = value.get(0).and_then(|first| first.get("$ref"));
                if let Some(target) = target {
                    converted.insert("$ref".to_string(), reference(target));
                }
            }
            // What may be a number or a string is written as a string there.
            "oneOf" => {
                converted.insert("type".to_string(), "string".into());
            }
            "items" | "additionalProperties" => {
                converted.insert(name.clone(), convert(value));
            }
            "properties" => {
                let properties = value.as_object().into_iter().flatten();
                let properties: Map<String, Value> =
                    properties.map(|(name, schema)| (name.clone(), convert(schema))).collect();
                converted.insert(name.clone(), properties.into());
            }
            "type" | "format" | "description" | "required" => {
                converted.insert(name.clone(), value.clone());
            }
            extension if extension.starts_with("x-") => {
                converted.insert(name.clone(), value.clone());
            }
            _ => {}
        }
    }
    converted.into()
}

fn reference(target: &Value) -> Value {
    let name = target.as_str().unwrap_or_default();
    format!("#/definitions/{}", name.strip_prefix(V3_PREFIX).unwrap_or(name)).into()
}

/// A protobuf message under construction. Field numbers below are those of
/// `openapi.v2` in gnostic's OpenAPIv2.proto.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn bytes(&mut self, number: u64, bytes: &[u8]) {
        self.varint(number << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, number: u64, text: &str) {
        self.bytes(number, text.as_bytes());
    }

    fn message(&mut self, number: u64, build: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        build(&mut inner);
        self.bytes(number, &inner.0);
    }

    fn boolean(&mut self, number: u64, value: bool) {
        self.varint(number << 3);
        self.varint(u64::from(value));
    }
}

fn document(definitions: &Map<String, Value>, version: &str) -> Vec<u8> {
    let mut document = Message::default();
    document.text(1, "2.0");
    document.message(2, |info| {
        info.text(1, TITLE);
        info.text(2, version);
    });
    document.message(8, |_paths| {});
    document.message(9, |all| named_schemas(all, definitions));
    document.0
}

fn named_schemas(message: &mut Message, schemas: &Map<String, Value>) {
    for (name, schema) in schemas {
        message.message(1, |named| {
            named.text(1, name);
            named.message(2, |message| write(message, schema));
        });
    }
}

fn write(message: &mut Message, schema: &Value) {
    for (name, value) in schema.as_object().into_iter().flatten() {
        let text = value.as_str().unwrap_or_default();
        match name.as_str() {
            "$ref" => message.text(1, text),
            "format" => message.text(2, text),
            "description" => message.text(4, text),
            "required" => {
                for field in value.as_array().into_iter().flatten().filter_map(Value::as_str) {
                    message.text(19, field);
                }
            }
            "additionalProperties" => message.message(21, |item| match value.as_bool() {
                Some(allowed) => item.boolean(2, allowed),
                None => item.message(1, |inner| write(inner, value)),
            }),
            "type" => message.message(22, |types| types.text(1, text)),
            "items" => message.message(23, |items| items.message(1, |inner| write(inner, value))),
            "properties" => {
                if let Some(properties) = value.as_object() {
                    message.message(25, |inner| named_schemas(inner, properties));
                }
            }
            extension => message.message(31, |named| {
                named.text(1, extension);
                // JSON is YAML.
                named.message(2, |any| any.text(2, &value.to_string()));
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_lose_what_version_2_does_not_know() {
        let check = |from: Value, expect: Value| assert_eq!(convert(&from), expect);
        check(json!({"$ref": "#/components/schemas/a.B"}), json!({"$ref": "#/definitions/a.B"}));
        check(
            json!({"allOf": [{"$ref": "#/components/schemas/a.B"}], "description": "d", "default": {}}),
            json!({"$ref": "#/definitions/a.B", "description": "d"}),
        );
        check(
            json!({"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"}),
            json!({"type": "string", "format": "int-or-string"}),
        );
        check(
            json!({"type": "array", "items": {"allOf": [{"$ref": "#/components/schemas/x"}]}}),
            json!({"type": "array", "items": {"$ref": "#/definitions/x"}}),
        );
    }

    #[test]
    fn every_reference_has_its_definition() {
        let definitions = definitions(Registry::builtin());
        assert!(definitions.contains_key("io.k8s.api.core.v1.Pod"));
        let text = Value::Object(definitions.clone()).to_string();
        for piece in text.split("\"#/definitions/").skip(1) {
            let name = piece.split('"').next().unwrap();
            assert!(definitions.contains_key(name), "{name}");
        }
    }

    #[test]
    fn protobuf_is_written_field_by_field() {
        let mut message = Message::default();
        write(&mut message, &json!({"type": "string", "x-a": [1]}));
        assert_eq!(
            message.0,
            b"\xb2\x01\x08\x0a\x06string\xfa\x01\x0c\x0a\x03x-a\x12\x05\x12\x03[1]"
        );
    }
}
