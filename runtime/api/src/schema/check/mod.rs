//! The field check: what a decoder of typed objects would refuse, in the words
//! clients know.
//!
//! Two kinds of findings. Unknown fields are tolerated or not as the request's
//! `fieldValidation` says. A wrong type is always an error, and the first one
//! is the error of the request.

mod problem;
mod trail;
mod values;

use serde_json::Value;

use super::{Field, FieldType, MessageId, Schema, Shape};

pub use problem::{FieldProblem, ProblemKind, decode_error, strict_error};
use trail::{Step, Trail};
use values::RESERVED_KEY;

/// Kubernetes stops collecting at this number, too.
const MAX_PROBLEMS: usize = 100;

/// Checks an object against a message such as `apps.v1.Deployment`. A message
/// the schema does not have is not checked.
pub fn check(message: &str, value: &Value) -> Vec<FieldProblem> {
    let schema = Schema::get();
    schema.message(message).map(|id| schema.check(id, value)).unwrap_or_default()
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

    #[track_caller]
    pub(super) fn expect(message: &str, yaml_like: &str, expect: &str) {
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
    fn findings_are_bounded() {
        let many: serde_json::Map<_, _> =
            (0..1000).map(|n| (format!("x{n}"), Value::Null)).collect();
        assert_eq!(check("core.v1.Pod", &Value::Object(many)).len(), MAX_PROBLEMS);
    }
}
