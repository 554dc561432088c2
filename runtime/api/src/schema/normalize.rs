//! What a typed decoder does to an object besides checking it: fields it does
//! not know and nulls disappear, quantities and times take their one spelling.

use serde_json::{Map, Value};

use super::{FieldType, MessageId, Schema, Shape};
use crate::quantity::Quantity;
use crate::time;

/// Brings an object that passed the field check into the form that is stored.
/// Values of a wrong type are left alone; a message the schema does not have is
/// left alone as a whole.
pub fn normalize(message: &str, value: &mut Value) {
    let schema = Schema::get();
    if let Some(id) = schema.message(message) {
        schema.normalize(id, value);
    }
}

impl Schema {
    pub fn normalize(&self, message: MessageId, value: &mut Value) {
        if let Value::Object(entries) = value {
            self.normalize_fields(message, entries);
        }
    }

    fn normalize_fields(&self, message: MessageId, entries: &mut Map<String, Value>) {
        entries.retain(|name, value| {
            let Some(field) = self.field(message, name) else { return false };
            match (field.shape, &mut *value) {
                (_, Value::Null) => return false,
                (Shape::Single, value) => self.normalize_value(field.ty, value),
                (Shape::Repeated, Value::Array(items)) => {
                    items.iter_mut().for_each(|item| self.normalize_value(field.ty, item));
                }
                (Shape::Map, Value::Object(entries)) => {
                    entries.values_mut().for_each(|item| self.normalize_value(field.ty, item));
                }
                _ => {}
            }
            true
        });
    }

    fn normalize_value(&self, ty: FieldType, value: &mut Value) {
        match ty {
            FieldType::Message(id) => self.normalize(id, value),
            FieldType::Quantity => {
                let parsed = match &*value {
                    Value::String(text) => Quantity::parse(text),
                    Value::Number(number) => Quantity::parse(&number.to_string()),
                    _ => return,
                };
                if let Ok(quantity) = parsed {
                    replace_text(value, quantity.to_string());
                }
            }
            FieldType::Time => {
                if let Some(millis) = value.as_str().and_then(time::parse) {
                    replace_text(value, time::format_seconds(millis));
                }
            }
            FieldType::MicroTime => {
                if let Some(micros) = value.as_str().and_then(time::parse_micros) {
                    replace_text(value, time::format_micros(micros));
                }
            }
            _ => {}
        }
    }
}

fn replace_text(value: &mut Value, text: String) {
    if value.as_str() != Some(text.as_str()) {
        *value = Value::String(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(message: &str, mut value: Value, expect: Value) {
        normalize(message, &mut value);
        assert_eq!(value, expect);
        let once = value.clone();
        normalize(message, &mut value);
        assert_eq!(value, once, "twice is as good as once");
    }

    #[test]
    fn unknown_fields_and_nulls_go() {
        check(
            "core.v1.Pod",
            json!({"metadata": {"name": "a", "creationTimestamp": null, "x": 1}, "spec": {"volumes": [{"name": "v", "z": 1}]}}),
            json!({"metadata": {"name": "a"}, "spec": {"volumes": [{"name": "v"}]}}),
        );
        check(
            "plugins.v1alpha1.Plugin",
            json!({"spec": {"config": {"a": null}}}),
            json!({"spec": {"config": {"a": null}}}),
        );
    }

    #[test]
    fn quantities_and_times_take_one_spelling() {
        check(
            "core.v1.ResourceRequirements",
            json!({"limits": {"cpu": 0.5, "memory": "1024Mi", "pods": 3}}),
            json!({"limits": {"cpu": "500m", "memory": "1Gi", "pods": "3"}}),
        );
        check(
            "coordination.v1.LeaseSpec",
            json!({"renewTime": "2026-01-02T03:04:05Z"}),
            json!({"renewTime": "2026-01-02T03:04:05.000000Z"}),
        );
        check(
            "meta.v1.ObjectMeta",
            json!({"creationTimestamp": "2026-01-02T03:04:05.6+01:00"}),
            json!({"creationTimestamp": "2026-01-02T02:04:05Z"}),
        );
    }
}
