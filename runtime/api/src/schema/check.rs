//! The field check: what a decoder of typed objects would refuse, in the words
//! clients know.
//!
//! Two kinds of findings. Unknown fields are tolerated or not as the request's
//! `fieldValidation` says. A wrong type is always an error, and the first one
//! is the error of the request.

use std::fmt;

use base64::Engine;
use serde_json::Value;

use super::{Field, FieldType, MessageId, Schema, Shape};
use crate::meta::GroupVersionKind;
use crate::patch::{MAX_NESTING, nesting};
use crate::quantity::Quantity;
use crate::time;

/// Kubernetes stops collecting at this number, too.
const MAX_PROBLEMS: usize = 100;

/// The JSON library reads an object that starts with this key as something else
/// than an object, so a stored one would not come back as it was, or not at all.
const RESERVED_KEY: &str = "$serde_json::private::RawValue";

const QUANTITY_SYNTAX: &str = "quantities must match the regular expression \
     '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldProblem {
    /// `spec.template.spec.containers[0].image`
    pub path: String,
    pub kind: ProblemKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProblemKind {
    /// No such field: refused, reported or ignored, as the client asked.
    Unknown,
    /// The value cannot be read as the field's type; holds the decoder's text.
    Type(String),
}

impl FieldProblem {
    pub fn is_unknown(&self) -> bool {
        self.kind == ProblemKind::Unknown
    }
}

impl fmt::Display for FieldProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ProblemKind::Unknown => write!(f, "unknown field {:?}", self.path),
            ProblemKind::Type(text) => f.write_str(text),
        }
    }
}

/// Checks an object against a message such as `apps.v1.Deployment`. A message
/// the schema does not have is not checked.
pub fn check(message: &str, value: &Value) -> Vec<FieldProblem> {
    let schema = Schema::get();
    schema.message(message).map(|id| schema.check(id, value)).unwrap_or_default()
}

/// The message of the bad request that a body of the kind `found` is, where an
/// object of `expected_kind` belongs.
pub fn decode_error(found: &GroupVersionKind, expected_kind: &str, cause: &str) -> String {
    let GroupVersionKind { version, kind, .. } = found;
    format!("{kind} in version {version:?} cannot be handled as a {expected_kind}: {cause}")
}

/// The error of a strict request: unknown fields, then duplicate ones. `None`
/// when there are neither.
pub fn strict_error(problems: &[FieldProblem], duplicates: &[String]) -> Option<String> {
    let unknown = problems.iter().filter(|problem| problem.is_unknown()).map(ToString::to_string);
    let duplicate = duplicates.iter().map(|path| format!("duplicate field {path:?}"));
    let all: Vec<_> = unknown.chain(duplicate).collect();
    (!all.is_empty()).then(|| format!("strict decoding error: {}", all.join(", ")))
}

impl Schema {
    pub fn check(&self, message: MessageId, value: &Value) -> Vec<FieldProblem> {
        let mut checker = Checker { schema: self, problems: Vec::new() };
        let root = Trail { parent: None, step: Step::Root };
        match value {
            Value::Object(_) => {
                checker.value(FieldType::Message(message), None, value, &root, message)
            }
            other => checker.add(
                &root,
                ProblemKind::Type(format!(
                    "json: cannot unmarshal {} into Go value of type {}",
                    described(other),
                    self.go_name(message)
                )),
            ),
        }
        checker.problems
    }
}

/// Where the checker stands; written out only when there is something to say.
struct Trail<'a> {
    parent: Option<&'a Trail<'a>>,
    step: Step<'a>,
}

enum Step<'a> {
    Root,
    /// A field of a message.
    Field(MessageId, &'a str),
    Key(&'a str),
    Index(usize),
}

impl Trail<'_> {
    fn level(&self) -> usize {
        self.parent.map_or(0, |parent| parent.level() + 1)
    }

    fn path(&self) -> String {
        let mut path = self.parent.map(Trail::path).unwrap_or_default();
        match self.step {
            Step::Root => {}
            Step::Index(index) => path.push_str(&format!("[{index}]")),
            Step::Field(_, name) | Step::Key(name) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
            }
        }
        path
    }

    /// The path of struct fields alone, as decoding errors have it: embedded
    /// structs are steps of their own, indexes and map keys are not.
    fn fields(&self, schema: &Schema) -> String {
        let mut path = self.parent.map(|parent| parent.fields(schema)).unwrap_or_default();
        if let Step::Field(message, name) = self.step {
            let mut push = |step: &str| {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(step);
            };
            schema.embedding(message, name).into_iter().for_each(&mut push);
            push(name);
        }
        path
    }
}

struct Checker<'a> {
    schema: &'a Schema,
    problems: Vec<FieldProblem>,
}

impl Checker<'_> {
    fn add(&mut self, trail: &Trail<'_>, kind: ProblemKind) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(FieldProblem { path: trail.path(), kind });
        }
    }

    fn field(&mut self, field: &Field, value: &Value, trail: &Trail<'_>, owner: MessageId) {
        match (field.shape, value) {
            (_, Value::Null) => {}
            (Shape::Single, _) => self.value(field.ty, Some(field), value, trail, owner),
            (Shape::Repeated, Value::Array(items)) => {
                for (index, item) in items.iter().enumerate().filter(|(_, item)| !item.is_null()) {
                    let trail = Trail { parent: Some(trail), step: Step::Index(index) };
                    self.value(field.ty, Some(field), item, &trail, owner);
                }
            }
            (Shape::Map, Value::Object(entries)) => {
                for (key, item) in entries.iter().filter(|(_, item)| !item.is_null()) {
                    if key == RESERVED_KEY {
                        self.reserved(trail);
                    }
                    let trail = Trail { parent: Some(trail), step: Step::Key(key) };
                    self.value(field.ty, Some(field), item, &trail, owner);
                }
            }
            (Shape::Repeated, _) => self.mismatch(field.ty, Some(field), "[]", value, trail, owner),
            (Shape::Map, _) => {
                self.mismatch(field.ty, Some(field), "map[string]", value, trail, owner)
            }
        }
    }

    fn value(
        &mut self,
        ty: FieldType,
        field: Option<&Field>,
        value: &Value,
        trail: &Trail<'_>,
        owner: MessageId,
    ) {
        let fits = match (ty, value) {
            (FieldType::Message(id), Value::Object(entries)) => {
                for (name, value) in entries {
                    let trail = Trail { parent: Some(trail), step: Step::Field(id, name) };
                    match self.schema.field(id, name) {
                        Some(field) => self.field(field, value, &trail, id),
                        None => self.add(&trail, ProblemKind::Unknown),
                    }
                }
                true
            }
            (FieldType::String | FieldType::Duration, Value::String(_)) => true,
            (FieldType::Bool, Value::Bool(_)) => true,
            (FieldType::Int32, Value::Number(number)) => {
                number.as_i64().is_some_and(|n| i32::try_from(n).is_ok())
            }
            (FieldType::Int64, Value::Number(number)) => number.as_i64().is_some(),
            (FieldType::Float64, Value::Number(_)) => true,
            (FieldType::RawExtension | FieldType::FieldsV1 | FieldType::Any, _) => {
                return self.free_form(value, trail);
            }
            (FieldType::StringList, Value::Array(items)) => {
                items.iter().all(|item| matches!(item, Value::String(_) | Value::Null))
            }
            (FieldType::Bytes, Value::String(text)) => return self.bytes(text, trail),
            (FieldType::Time | FieldType::MicroTime, Value::String(text)) => {
                return self.time(ty, text, trail);
            }
            (FieldType::IntOrString, Value::String(_)) => true,
            (FieldType::IntOrString, Value::Number(number)) => {
                number.as_i64().is_some_and(|n| i32::try_from(n).is_ok())
            }
            (FieldType::Quantity, _) => return self.quantity(value, trail),
            _ => false,
        };
        if !fits {
            self.mismatch(ty, field, "", value, trail, owner);
        }
    }

    /// Messages are as deep as their fields are; only here a client decides.
    fn free_form(&mut self, value: &Value, trail: &Trail<'_>) {
        let container = value.is_array() || value.is_object();
        if container && trail.level() + nesting(value) > MAX_NESTING {
            self.located(trail, "json: exceeded max depth".to_owned());
        }
        if container && has_reserved_key(value) {
            self.reserved(trail);
        }
    }

    fn reserved(&mut self, trail: &Trail<'_>) {
        self.located(trail, format!("json: the key {RESERVED_KEY:?} is reserved"));
    }

    fn bytes(&mut self, text: &str, trail: &Trail<'_>) {
        if let Err(error) = base64::engine::general_purpose::STANDARD.decode(text) {
            let at = match error {
                base64::DecodeError::InvalidByte(at, _) => at,
                _ => text.len(),
            };
            self.located(trail, format!("illegal base64 data at input byte {at}"));
        }
    }

    fn time(&mut self, ty: FieldType, text: &str, trail: &Trail<'_>) {
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

    fn quantity(&mut self, value: &Value, trail: &Trail<'_>) {
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

    fn mismatch(
        &mut self,
        ty: FieldType,
        field: Option<&Field>,
        container: &str,
        value: &Value,
        trail: &Trail<'_>,
        owner: MessageId,
    ) {
        let integer = container.is_empty()
            && matches!(ty, FieldType::Int32 | FieldType::Int64 | FieldType::IntOrString);
        let found = match value {
            Value::Number(number) if integer => format!("number {number}"),
            other => described(other).to_owned(),
        };
        let expected = match (container, ty) {
            // Quantities by name are a type of their own wherever they occur.
            ("map[string]", FieldType::Quantity) => "v1.ResourceList".to_owned(),
            _ => format!("{container}{}", self.go_type(ty, field)),
        };
        let text = format!(
            "json: cannot unmarshal {found} into Go struct field {}.{} of type {expected}",
            self.schema[owner].name,
            trail.fields(self.schema),
        );
        self.add(trail, ProblemKind::Type(text));
    }

    fn go_type(&self, ty: FieldType, field: Option<&Field>) -> String {
        let name = match ty {
            FieldType::Message(id) => return self.schema.go_name(id),
            FieldType::String => field.and_then(Field::go_type).unwrap_or("string"),
            FieldType::Bool => "bool",
            FieldType::Int32 | FieldType::IntOrString => "int32",
            FieldType::Int64 => "int64",
            FieldType::Float64 => "float64",
            FieldType::Bytes => "[]uint8",
            // These read a string and then its meaning.
            FieldType::Time | FieldType::MicroTime | FieldType::Duration => "string",
            FieldType::Quantity => "resource.Quantity",
            FieldType::RawExtension | FieldType::Any => "runtime.RawExtension",
            FieldType::FieldsV1 => "v1.FieldsV1",
            FieldType::StringList => "[]string",
        };
        name.to_owned()
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

fn described(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn expect(message: &str, yaml_like: &str, expect: &str) {
        let value: Value = serde_json::from_str(yaml_like).unwrap();
        let found: Vec<_> = check(message, &value).iter().map(ToString::to_string).collect();
        assert_eq!(found.join("; "), expect);
    }

    #[test]
    fn good_objects_pass() {
        expect(
            "core.v1.Pod",
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"a":"b"}},
            "spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":1,"memory":"1Gi"}},
            "livenessProbe":{"httpGet":{"port":"http"}},"readinessProbe":{"tcpSocket":{"port":80}}}],
            "volumes":[{"name":"v","emptyDir":{}}],"nodeName":null}}"#,
            "",
        );
        expect("core.v1.Secret", r#"{"data":{"a":"aGVsbG8="}}"#, "");
        expect(
            "plugins.v1alpha1.Plugin",
            r#"{"spec":{"role":"scheduler","config":{"x":[1,{"y":null}]}}}"#,
            "",
        );
        expect(
            "apps.v1.ControllerRevision",
            r#"{"data":{"spec":{"anything":[1]}},"revision":9007199254740993}"#,
            "",
        );
    }

    #[test]
    fn unknown_fields_have_whole_paths() {
        expect("apps.v1.Deployment", r#"{"spec":{"foo":1}}"#, r#"unknown field "spec.foo""#);
        expect(
            "apps.v1.Deployment",
            r#"{"spec":{"template":{"spec":{"containers":[{"name":"a"},{"imagee":"x"}]}}},"x":null}"#,
            r#"unknown field "spec.template.spec.containers[1].imagee"; unknown field "x""#,
        );
        expect("core.v1.Pod", r#"{"Spec":{}}"#, r#"unknown field "Spec""#);
    }

    #[test]
    fn wrong_types_read_as_the_decoder_says_them() {
        let cases = [
            (
                "apps.v1.Deployment",
                r#"{"spec":{"replicas":"3"}}"#,
                "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                "apps.v1.Deployment",
                r#"{"spec":{"replicas":3000000000}}"#,
                "json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                "apps.v1.Deployment",
                r#"{"spec":{"replicas":1.5}}"#,
                "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                "core.v1.Pod",
                r#"{"metadata":{"labels":{"a":1}}}"#,
                "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
            ),
            (
                "core.v1.Pod",
                r#"{"metadata":{"labels":[]}}"#,
                "json: cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of type map[string]string",
            ),
            (
                "core.v1.Pod",
                r#"{"spec":{"containers":{}}}"#,
                "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
            ),
            (
                "core.v1.Pod",
                r#"{"spec":{"containers":[{"env":[{"name":"A","value":true}]}]}}"#,
                "json: cannot unmarshal bool into Go struct field EnvVar.spec.containers.env.value of type string",
            ),
            (
                "core.v1.Pod",
                r#"{"spec":{"restartPolicy":1}}"#,
                "json: cannot unmarshal number into Go struct field PodSpec.spec.restartPolicy of type v1.RestartPolicy",
            ),
            (
                "core.v1.Pod",
                r#"{"spec":"x"}"#,
                "json: cannot unmarshal string into Go struct field Pod.spec of type v1.PodSpec",
            ),
            ("core.v1.Pod", "[]", "json: cannot unmarshal array into Go value of type v1.Pod"),
            (
                "core.v1.Service",
                r#"{"spec":{"ports":[{"targetPort":true}]}}"#,
                "json: cannot unmarshal bool into Go struct field ServicePort.spec.ports.targetPort of type int32",
            ),
            (
                "core.v1.Pod",
                r#"{"spec":{"volumes":[{"hostPath":1}]}}"#,
                "json: cannot unmarshal number into Go struct field Volume.spec.volumes.VolumeSource.hostPath of type v1.HostPathVolumeSource",
            ),
            (
                "core.v1.Pod",
                r#"{"kind":1}"#,
                "json: cannot unmarshal number into Go struct field Pod.TypeMeta.kind of type string",
            ),
            (
                "coordination.v1.Lease",
                r#"{"spec":{"renewTime":1}}"#,
                "json: cannot unmarshal number into Go struct field LeaseSpec.spec.renewTime of type string",
            ),
        ];
        for (message, value, text) in cases {
            expect(message, value, text);
        }
    }

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
    fn strict_errors_are_one_line() {
        let value = json!({"spec": {"foo": 1}});
        let problems = check("core.v1.Pod", &value);
        assert_eq!(
            strict_error(&problems, &["spec.bar".to_owned()]).unwrap(),
            r#"strict decoding error: unknown field "spec.foo", duplicate field "spec.bar""#
        );
        assert_eq!(strict_error(&[], &[]), None);
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

    #[test]
    fn a_bad_request_names_both_kinds() {
        let found = GroupVersionKind::new("apps", "v1", "Deployment");
        assert_eq!(
            decode_error(&found, "Deployment", "strict decoding error: unknown field \"a\""),
            "Deployment in version \"v1\" cannot be handled as a Deployment: \
             strict decoding error: unknown field \"a\""
        );
    }

    #[test]
    fn findings_are_bounded() {
        let many: serde_json::Map<_, _> =
            (0..1000).map(|n| (format!("x{n}"), Value::Null)).collect();
        assert_eq!(check("core.v1.Pod", &Value::Object(many)).len(), MAX_PROBLEMS);
    }
}
