//! Types that read themselves: bytes, times, quantities, and parts without a
//! schema. Does not know which field is of which type.

use base64::Engine;
use serde_json::Value;

use super::super::FieldType;
use super::Checker;
use super::problem::ProblemKind;
use super::trail::Trail;
use crate::patch::{MAX_NESTING, nesting};
use crate::quantity::Quantity;
use crate::time;

/// The JSON library reads an object that starts with this key as something else
/// than an object, so a stored one would not come back as it was, or not at all.
pub(super) const RESERVED_KEY: &str = "$serde_json::private::RawValue";

const QUANTITY_SYNTAX: &str = "quantities must match the regular expression \
     '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

impl Checker<'_> {
    /// Messages are as deep as their fields are; only here a client decides.
    pub(super) fn free_form(&mut self, value: &Value, trail: &Trail<'_>) {
        let container = value.is_array() || value.is_object();
        if container && trail.level() + nesting(value) > MAX_NESTING {
            self.located(trail, "json: exceeded max depth".to_owned());
        }
        if container && has_reserved_key(value) {
            self.reserved(trail);
        }
    }

    pub(super) fn reserved(&mut self, trail: &Trail<'_>) {
        self.located(trail, format!("json: the key {RESERVED_KEY:?} is reserved"));
    }

    pub(super) fn bytes(&mut self, text: &str, trail: &Trail<'_>) {
        if let Err(error) = base64::engine::general_purpose::STANDARD.decode(text) {
            let at = match error {
                base64::DecodeError::InvalidByte(at, _) => at,
                _ => text.len(),
            };
            self.located(trail, format!("illegal base64 data at input byte {at}"));
        }
    }

    pub(super) fn time(&mut self, ty: FieldType, text: &str, trail: &Trail<'_>) {
        if time::parse_micros(text).is_none() {
            let layout = match ty {
                FieldType::MicroTime => "2006-01-02T15:04:05.000000Z07:00",
                _ => "2006-01-02T15:04:05Z07:00",
            };
            let year = text.len() >= 4 && text.as_bytes()[..4].iter().all(u8::is_ascii_digit);
            let detail = match year {
                true => "not a time of this form".to_owned(),
                false => format!("cannot parse {text:?} as \"2006\""),
            };
            self.located(trail, format!("parsing time {text:?} as {layout:?}: {detail}"));
        }
    }

    pub(super) fn quantity(&mut self, value: &Value, trail: &Trail<'_>) {
        let fits = match value {
            Value::String(text) => Quantity::parse(text).is_ok(),
            Value::Number(number) => Quantity::parse(&number.to_string()).is_ok(),
            _ => false,
        };
        if !fits {
            self.located(trail, QUANTITY_SYNTAX.to_owned());
        }
    }

    /// The errors of types that decode themselves name no field, so the path
    /// is added for the reader.
    fn located(&mut self, trail: &Trail<'_>, text: String) {
        let text = format!("{text} (field {})", trail.path());
        self.add(trail, ProblemKind::Type(text));
    }
}

fn has_reserved_key(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_reserved_key),
        Value::Object(entries) => {
            entries.iter().any(|(key, value)| key == RESERVED_KEY || has_reserved_key(value))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::super::tests::expect;
    use super::*;
    use serde_json::json;

    #[test]
    fn types_that_decode_themselves_name_the_field_last() {
        expect(
            "core.v1.Secret",
            r#"{"data":{"a":"%%"}}"#,
            "illegal base64 data at input byte 0 (field data.a)",
        );
        expect(
            "core.v1.Pod",
            r#"{"metadata":{"creationTimestamp":"soon"}}"#,
            "parsing time \"soon\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"soon\" as \"2006\" \
             (field metadata.creationTimestamp)",
        );
        expect(
            "core.v1.Pod",
            r#"{"spec":{"containers":[{"resources":{"limits":{"cpu":"lots"}}}]}}"#,
            &format!("{QUANTITY_SYNTAX} (field spec.containers[0].resources.limits.cpu)"),
        );
    }

    #[test]
    fn free_form_parts_are_not_nested_without_end() {
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        let plugin = |levels| format!(r#"{{"spec":{{"config":{}}}}}"#, deep(levels));
        expect("plugins.v1alpha1.Plugin", &plugin(98), "");
        expect(
            "plugins.v1alpha1.Plugin",
            &plugin(99),
            "json: exceeded max depth (field spec.config)",
        );
    }

    /// A stored object must come back as it was written.
    #[test]
    fn a_key_that_the_parser_takes_for_its_own_is_refused() {
        let tricky = |value: Value| json!({RESERVED_KEY: value});
        #[track_caller]
        fn refused(message: &str, value: Value, field: &str) {
            let found: Vec<_> = check(message, &value).iter().map(ToString::to_string).collect();
            assert_eq!(
                found,
                [format!("json: the key {RESERVED_KEY:?} is reserved (field {field})")]
            );
        }
        refused(
            "plugins.v1alpha1.Plugin",
            json!({"spec": {"config": {"a": [tricky("{".into())]}}}),
            "spec.config",
        );
        refused("core.v1.NodeStatus", json!({"capacity": tricky("1".into())}), "capacity");
        // The field check of anything else calls it unknown.
        assert!(check("core.v1.PodSpec", &tricky("x".into()))[0].is_unknown());
    }
}
