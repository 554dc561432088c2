//! What the fields of every message are: one compact text file per group and
//! version, parsed once.
//!
//! Everything that depends on the shape of an object reads it here: the field
//! check of a request body, the protobuf codec, strategic merge patches and the
//! OpenAPI documents. The strings of the data files are used in place, so the
//! parsed form is a few flat vectors of small rows.
//!
//! Read first: [`Schema`], then [`Field`].

mod check;
mod data;
mod normalize;
mod parse;
mod strict;

use std::sync::OnceLock;

pub use check::{FieldProblem, ProblemKind, check, decode_error, strict_error};
pub use data::{DESCRIPTIONS, FILES as DATA_FILES};
pub use normalize::normalize;
pub use strict::{JsonError, decode_json_strict, decode_strict};

/// A message of the schema; small enough to be kept in a kind's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(u16);

/// One group and version, such as `apps.v1`.
#[derive(Debug)]
pub struct Package {
    /// How messages of other packages refer to it: `apps.v1`, `meta.v1`.
    pub name: &'static str,
    /// The API group; empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    /// The prefix of its schemas in OpenAPI documents: `io.k8s.api.apps.v1`.
    pub openapi: &'static str,
    messages: std::ops::Range<u16>,
}

#[derive(Debug)]
pub struct Message {
    pub name: &'static str,
    /// An object of the API, with `apiVersion` and `kind`.
    pub is_kind: bool,
    /// Server-side apply takes it as one value.
    pub atomic: bool,
    package: u16,
    fields: std::ops::Range<u16>,
    view: std::ops::Range<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Single,
    Repeated,
    /// Keys are always strings.
    Map,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    String,
    Bool,
    Int32,
    Int64,
    Float64,
    Bytes,
    Time,
    MicroTime,
    Duration,
    Quantity,
    IntOrString,
    /// A whole object of any kind, as JSON.
    RawExtension,
    FieldsV1,
    /// A list of strings that is a message of its own on the protobuf wire.
    StringList,
    /// Any JSON at all.
    Any,
    Message(MessageId),
}

/// How strategic merge treats a list or an object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    pub merge: bool,
    pub retain_keys: bool,
    pub replace: bool,
}

/// `x-kubernetes-list-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListType {
    Atomic,
    Set,
    Map,
}

#[derive(Debug)]
pub struct Field {
    /// The JSON name; empty for a message whose fields appear inline.
    pub name: &'static str,
    /// The protobuf number; 0 for a field that exists in JSON only.
    pub number: u16,
    pub shape: Shape,
    pub ty: FieldType,
    /// Absent differs from zero.
    pub pointer: bool,
    pub required: bool,
    /// Written even when it is zero.
    pub keeps_zero: bool,
    extra: Option<Box<Extra>>,
}

#[derive(Debug, Default)]
struct Extra {
    merge_key: Option<&'static str>,
    strategy: PatchStrategy,
    list_type: Option<ListType>,
    list_keys: &'static str,
    atomic: bool,
    default: Option<&'static str>,
    go_type: Option<&'static str>,
}

impl Field {
    pub fn is_inline(&self) -> bool {
        self.name.is_empty()
    }

    /// The field that identifies an element of a merged list.
    pub fn merge_key(&self) -> Option<&'static str> {
        self.extra.as_ref()?.merge_key
    }

    pub fn strategy(&self) -> PatchStrategy {
        self.extra.as_ref().map(|extra| extra.strategy).unwrap_or_default()
    }

    pub fn list_type(&self) -> Option<ListType> {
        self.extra.as_ref()?.list_type
    }

    /// The fields that together identify an element of a `map` list.
    pub fn list_keys(&self) -> impl Iterator<Item = &'static str> {
        let keys = self.extra.as_ref().map_or("", |extra| extra.list_keys);
        keys.split(',').filter(|key| !key.is_empty())
    }

    /// A map or object that server-side apply takes as one value.
    pub fn atomic(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.atomic)
    }

    /// The documented default, as JSON text.
    pub fn default(&self) -> Option<&'static str> {
        self.extra.as_ref()?.default
    }

    /// The name of a string type of its own, such as `v1.RestartPolicy`.
    pub fn go_type(&self) -> Option<&'static str> {
        self.extra.as_ref()?.go_type
    }
}

#[derive(Debug, Default)]
pub struct Schema {
    packages: Vec<Package>,
    /// By package, and by name within one.
    messages: Vec<Message>,
    /// By message, and by protobuf number within one.
    fields: Vec<Field>,
    /// Indexes into `fields`: for each message all names that JSON may use,
    /// inlined ones included, by length and then by bytes.
    views: Vec<u16>,
}

impl Schema {
    /// The schema of all built-in kinds.
    pub fn get() -> &'static Schema {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(|| parse::parse(data::FILES).0)
    }

    /// A message by its whole name, such as `apps.v1.Deployment`.
    pub fn message(&self, name: &str) -> Option<MessageId> {
        let (package, message) = name.rsplit_once('.')?;
        self.in_package(self.packages.iter().find(|p| p.name == package)?, message)
    }

    /// The message of a kind. Options, `Status` and the like belong to every
    /// group and version.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<MessageId> {
        let package =
            self.package(group, version).and_then(|package| self.in_package(package, kind));
        let found = package.or_else(|| {
            let meta = self.packages.iter().find(|p| p.name == "meta.v1")?;
            let shared = kind.ends_with("Options")
                || (version == "v1" && matches!(group, "" | "meta.k8s.io"));
            if shared { self.in_package(meta, kind) } else { None }
        });
        // A watch event is sent like an object, but names no kind.
        found.filter(|id| self[*id].is_kind || kind == "WatchEvent")
    }

    pub fn package(&self, group: &str, version: &str) -> Option<&Package> {
        // `meta.k8s.io/v1` holds what all groups share; the core group has no name.
        self.packages.iter().find(|p| p.group == group && p.version == version)
    }

    pub fn packages(&self) -> &[Package] {
        &self.packages
    }

    pub fn package_of(&self, id: MessageId) -> &Package {
        &self.packages[usize::from(self[id].package)]
    }

    /// `apps.v1.Deployment`
    pub fn full_name(&self, id: MessageId) -> String {
        format!("{}.{}", self.package_of(id).name, self[id].name)
    }

    /// The fields as declared, by protobuf number, inline messages as such.
    pub fn fields(&self, id: MessageId) -> &[Field] {
        let range = &self[id].fields;
        &self.fields[usize::from(range.start)..usize::from(range.end)]
    }

    /// The fields as JSON shows them.
    pub fn json_fields(&self, id: MessageId) -> impl Iterator<Item = &Field> {
        self.view(id).iter().map(|index| &self.fields[usize::from(*index)])
    }

    /// A field by its JSON name.
    pub fn field(&self, id: MessageId, name: &str) -> Option<&Field> {
        let key = (name.len(), name.as_bytes());
        let view = self.view(id);
        let at = view
            .binary_search_by(|index| {
                let candidate = self.fields[usize::from(*index)].name;
                (candidate.len(), candidate.as_bytes()).cmp(&key)
            })
            .ok()?;
        Some(&self.fields[usize::from(view[at])])
    }

    /// The embedded structs through which a message has a field; none for its own.
    fn embedding(&self, id: MessageId, name: &str) -> Vec<&'static str> {
        let mut steps = Vec::new();
        let mut inner = Some(id);
        while let Some(id) = inner.take() {
            let fields = self.fields(id);
            if fields.iter().any(|field| field.name == name) {
                break;
            }
            let holders = fields.iter().filter(|field| field.is_inline());
            inner = holders
                .filter_map(|field| match field.ty {
                    FieldType::Message(inner) => Some(inner),
                    _ => None,
                })
                .find(|inner| self.field(*inner, name).is_some());
            steps.extend(inner.map(|inner| self[inner].name));
        }
        // Not in the data, since it has no protobuf field.
        if self[id].is_kind && matches!(name, "apiVersion" | "kind") {
            steps.push("TypeMeta");
        }
        steps
    }

    /// A field by its protobuf number.
    pub fn field_by_number(&self, id: MessageId, number: u32) -> Option<&Field> {
        let fields = self.fields(id);
        let at = fields.binary_search_by(|field| u32::from(field.number).cmp(&number)).ok()?;
        (number != 0).then(|| &fields[at])
    }

    /// The name the type has in decoding errors: `v1.PodSpec`.
    pub fn go_name(&self, id: MessageId) -> String {
        format!("{}.{}", self.package_of(id).version, self[id].name)
    }

    fn in_package(&self, package: &Package, name: &str) -> Option<MessageId> {
        let range = package.messages.clone();
        let messages = &self.messages[usize::from(range.start)..usize::from(range.end)];
        let at = messages.binary_search_by(|message| message.name.cmp(name)).ok()?;
        Some(MessageId(range.start + at as u16))
    }

    fn view(&self, id: MessageId) -> &[u16] {
        let range = &self[id].view;
        &self.views[usize::from(range.start)..usize::from(range.end)]
    }

    /// Bytes of memory the parsed schema holds.
    pub fn memory_bytes(&self) -> usize {
        let extras = self.fields.iter().filter(|field| field.extra.is_some()).count();
        size_of_val(self.packages.as_slice())
            + size_of_val(self.messages.as_slice())
            + size_of_val(self.fields.as_slice())
            + size_of_val(self.views.as_slice())
            + extras * size_of::<Extra>()
    }
}

impl std::ops::Index<MessageId> for Schema {
    type Output = Message;

    fn index(&self, id: MessageId) -> &Message {
        &self.messages[usize::from(id.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_files_parse_without_a_complaint() {
        let (_, problems) = parse::parse(data::FILES);
        assert_eq!(problems, Vec::<String>::new());
    }

    #[test]
    fn messages_are_found_by_name_and_by_kind() {
        let schema = Schema::get();
        #[track_caller]
        fn check(group: &str, version: &str, kind: &str, expect: &str) {
            let schema = Schema::get();
            let found = schema.kind(group, version, kind).map(|id| schema.full_name(id));
            assert_eq!(found.unwrap_or_default(), expect);
            if !expect.is_empty() {
                assert_eq!(schema.message(expect), schema.kind(group, version, kind));
            }
        }
        check("", "v1", "Pod", "core.v1.Pod");
        check("apps", "v1", "Deployment", "apps.v1.Deployment");
        check("plugins.pintle.dev", "v1alpha1", "Plugin", "plugins.v1alpha1.Plugin");
        check("apps", "v1", "DeleteOptions", "meta.v1.DeleteOptions");
        check("", "v1", "Status", "meta.v1.Status");
        check("apps", "v1", "DeploymentSpec", "");
        check("apps", "v1beta1", "Deployment", "");
        assert!(schema.message("core.v1.PodSpec").is_some());
        assert!(schema.message("nothing").is_none());
    }

    #[test]
    fn inline_fields_appear_in_their_parent() {
        let schema = Schema::get();
        let volume = schema.message("core.v1.Volume").unwrap();
        assert!(schema.field(volume, "hostPath").is_some());
        assert_eq!(schema.field(volume, "name").unwrap().number, 1);
        let names: Vec<_> =
            schema.json_fields(schema.message("core.v1.Pod").unwrap()).map(|f| f.name).collect();
        assert_eq!(names, ["kind", "spec", "status", "metadata", "apiVersion"]);
    }

    #[test]
    fn patch_markers_are_read() {
        let schema = Schema::get();
        let spec = schema.message("core.v1.PodSpec").unwrap();
        let volumes = schema.field(spec, "volumes").unwrap();
        assert_eq!(volumes.merge_key(), Some("name"));
        assert_eq!(
            volumes.strategy(),
            PatchStrategy { merge: true, retain_keys: true, replace: false }
        );
        let container = schema.message("core.v1.Container").unwrap();
        let ports = schema.field(container, "ports").unwrap();
        assert_eq!(ports.merge_key(), Some("containerPort"));
        assert_eq!(ports.list_keys().collect::<Vec<_>>(), ["containerPort", "protocol"]);
        assert_eq!(ports.list_type(), Some(ListType::Map));
    }

    #[test]
    fn the_parsed_schema_is_small() {
        let bytes = Schema::get().memory_bytes();
        assert!(bytes < 500_000, "{bytes} bytes");
    }
}
