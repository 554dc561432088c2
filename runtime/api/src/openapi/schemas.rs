//! `components.schemas`: the messages a document refers to, and theirs.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::describe::Descriptions;
use crate::schema::{Field, FieldType, ListType, MessageId, Schema, Shape};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// Collects what is referred to, then writes it out with [`Schemas::finish`].
pub struct Schemas {
    schema: &'static Schema,
    descriptions: Descriptions,
    /// Names of messages still to write, and the value of what is written.
    written: BTreeMap<String, Value>,
    pending: Vec<MessageId>,
}

impl Schemas {
    pub fn new() -> Self {
        Self {
            schema: Schema::get(),
            descriptions: Descriptions::read(),
            written: BTreeMap::new(),
            pending: Vec::new(),
        }
    }

    /// `{"$ref": …}` to a message such as `core.v1.Pod`.
    pub fn reference(&mut self, message: &str) -> Value {
        match self.schema.message(message) {
            Some(id) => self.reference_to(id),
            None => json!({"type": "object"}),
        }
    }

    /// Any patch at all.
    pub fn patch_reference(&mut self) -> Value {
        let description = "A change to an object, in the form its content type says.";
        self.special("Patch", json!({"type": "object", "description": description}))
    }

    /// Whether a strategic merge patch of the message can be computed from its
    /// schema alone: not when a part of it is free-form.
    pub fn is_closed(&self, message: &str) -> bool {
        let Some(id) = self.schema.message(message) else { return false };
        let (mut seen, mut pending) = (vec![id], vec![id]);
        while let Some(id) = pending.pop() {
            for field in self.schema.fields(id) {
                match field.ty {
                    FieldType::Any => return false,
                    FieldType::Message(inner) if !seen.contains(&inner) => {
                        seen.push(inner);
                        pending.push(inner);
                    }
                    _ => {}
                }
            }
        }
        true
    }

    pub fn finish(mut self) -> BTreeMap<String, Value> {
        while let Some(id) = self.pending.pop() {
            let written = self.message(id);
            self.written.insert(self.name(id), written);
        }
        self.written
    }

    fn name(&self, id: MessageId) -> String {
        format!("{}.{}", self.schema.package_of(id).openapi, self.schema[id].name)
    }

    fn reference_to(&mut self, id: MessageId) -> Value {
        let name = self.name(id);
        if !self.written.contains_key(&name) {
            self.written.insert(name.clone(), Value::Null);
            self.pending.push(id);
        }
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    fn special(&mut self, name: &str, schema: Value) -> Value {
        let name = match name {
            "Quantity" => "io.k8s.apimachinery.pkg.api.resource.Quantity".to_owned(),
            "IntOrString" => "io.k8s.apimachinery.pkg.util.intstr.IntOrString".to_owned(),
            "RawExtension" => "io.k8s.apimachinery.pkg.runtime.RawExtension".to_owned(),
            name => format!("{META}.{name}"),
        };
        let reference = json!({ "$ref": format!("#/components/schemas/{name}") });
        self.written.entry(name).or_insert(schema);
        reference
    }

    fn message(&mut self, id: MessageId) -> Value {
        let schema = self.schema;
        let full_name = schema.full_name(id);
        let mut properties = Map::new();
        let mut required: Vec<&str> = Vec::new();
        for field in schema.json_fields(id) {
            let description = self.describe(id, &full_name, field);
            properties.insert(field.name.to_owned(), self.property(field, description));
            if field.required {
                required.push(field.name);
            }
        }
        let mut written = Map::new();
        written.insert("type".to_owned(), "object".into());
        if let Some(description) = self.descriptions.message(&full_name) {
            written.insert("description".to_owned(), description.into());
        }
        written.insert("properties".to_owned(), properties.into());
        if !required.is_empty() {
            required.sort_unstable();
            written.insert("required".to_owned(), required.into());
        }
        if schema[id].is_kind {
            let package = schema.package_of(id);
            // What all groups share goes by the version alone.
            let group = if package.name == "meta.v1" { "" } else { package.group };
            let gvk =
                json!([{"group": group, "version": package.version, "kind": schema[id].name}]);
            written.insert("x-kubernetes-group-version-kind".to_owned(), gvk);
        }
        if schema[id].atomic {
            written.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
        }
        Value::Object(written)
    }

    /// A field's sentence, which for an inlined field stands with its own message.
    fn describe(&self, id: MessageId, full_name: &str, field: &Field) -> Option<&'static str> {
        let general = self.descriptions.field(full_name, field.name);
        let inlined =
            self.schema.fields(id).iter().filter(|field| field.is_inline()).find_map(|inline| {
                match inline.ty {
                    FieldType::Message(inner) => {
                        self.descriptions.field(&self.schema.full_name(inner), field.name)
                    }
                    _ => None,
                }
            });
        general.or(inlined)
    }

    fn property(&mut self, field: &Field, description: Option<&str>) -> Value {
        let element = self.field_type(field.ty);
        let mut property = match field.shape {
            Shape::Single => wrapped(element),
            Shape::Repeated => json!({"type": "array", "items": wrapped(element)}),
            Shape::Map => json!({"type": "object", "additionalProperties": wrapped(element)}),
        };
        let Value::Object(entries) = &mut property else { return property };
        if let Some(description) = description {
            entries.insert("description".to_owned(), description.into());
        }
        if let Some(default) = field.default().and_then(|text| serde_json::from_str(text).ok()) {
            entries.insert("default".to_owned(), default);
        }
        if let Some(list_type) = field.list_type() {
            let name = match list_type {
                ListType::Atomic => "atomic",
                ListType::Set => "set",
                ListType::Map => "map",
            };
            entries.insert("x-kubernetes-list-type".to_owned(), name.into());
            if list_type == ListType::Map {
                entries
                    .insert("x-kubernetes-list-map-keys".to_owned(), field.list_keys().collect());
            }
        }
        if field.atomic() {
            entries.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
        }
        let strategy = field.strategy();
        let names = [
            (strategy.merge, "merge"),
            (strategy.retain_keys, "retainKeys"),
            (strategy.replace, "replace"),
        ];
        let names: Vec<_> = names.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
        if !names.is_empty() {
            entries.insert("x-kubernetes-patch-strategy".to_owned(), names.join(",").into());
        }
        if let Some(key) = field.merge_key() {
            entries.insert("x-kubernetes-patch-merge-key".to_owned(), key.into());
        }
        property
    }

    fn field_type(&mut self, ty: FieldType) -> Value {
        match ty {
            FieldType::String => json!({"type": "string"}),
            FieldType::Bool => json!({"type": "boolean"}),
            FieldType::Int32 => json!({"type": "integer", "format": "int32"}),
            FieldType::Int64 => json!({"type": "integer", "format": "int64"}),
            FieldType::Float64 => json!({"type": "number", "format": "double"}),
            FieldType::Bytes => json!({"type": "string", "format": "byte"}),
            FieldType::StringList => json!({"type": "array", "items": {"type": "string"}}),
            FieldType::Any => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
            FieldType::Message(id) => self.reference_to(id),
            FieldType::Time => self.special(
                "Time",
                json!({"type": "string", "format": "date-time", "description": "A time in RFC 3339 form, to the second."}),
            ),
            FieldType::MicroTime => self.special(
                "MicroTime",
                json!({"type": "string", "format": "date-time", "description": "A time in RFC 3339 form, to the microsecond."}),
            ),
            FieldType::Duration => self.special(
                "Duration",
                json!({"type": "string", "description": "A length of time, such as 1h30m."}),
            ),
            FieldType::Quantity => self.special(
                "Quantity",
                json!({"oneOf": [{"type": "string"}, {"type": "number"}],
                    "description": "An exact number with an optional suffix: m for thousandths, k M G T P E for powers of 1000, Ki Mi Gi Ti Pi Ei for powers of 1024."}),
            ),
            FieldType::IntOrString => self.special(
                "IntOrString",
                json!({"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string",
                    "description": "A number, or a string such as a name or a percentage."}),
            ),
            FieldType::RawExtension => self.special(
                "RawExtension",
                json!({"type": "object", "description": "An object of any kind."}),
            ),
            FieldType::FieldsV1 => self.special(
                "FieldsV1",
                json!({"type": "object", "description": "A set of fields, as a tree of their names."}),
            ),
        }
    }
}

/// A reference beside which other keywords may stand.
fn wrapped(schema: Value) -> Value {
    if schema.get("$ref").is_some() { json!({ "allOf": [schema] }) } else { schema }
}
