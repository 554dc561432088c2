//! The table of kinds.
//!
//! [`Resource`] is one row: everything the server must know about a kind that
//! differs from other kinds. [`Registry`] is the table. A new kind is a new
//! file here and one line in `ROWS`; nothing else in the project names it.

mod attachment;
mod certificate_signing_request;
mod certificate_status;
mod claim;
mod config_map;
mod controller_revision;
mod cron_job;
mod daemon_set;
mod deployment;
mod endpoint_slice;
mod endpoints;
mod event;
mod horizontal_pod_autoscaler;
mod job;
mod json;
mod lease;
mod limit_range;
mod metadata;
mod namespace;
mod networking;
mod node;
mod persistent_volume;
mod persistent_volume_claim;
mod plugin;
mod pod;
mod pod_disruption_budget;
mod pod_template;
mod prepare;
mod priority_class;
mod rbac;
mod registry;
mod replica_set;
mod replication_controller;
mod resource_quota;
mod runtime_class;
mod scale;
mod secret;
mod selectable;
mod service;
mod service_account;
mod service_cidr;
mod stateful_set;
mod storage_class;
mod subresource;
mod validation;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::meta::{GroupKind, GroupResource, GroupVersionKind};
use crate::status::{FieldError, StatusError};

pub use claim::{Claim, ClaimsOf};
pub use json::{object_at, str_at, value_at};
pub use metadata::{
    CreateMeta, fill_create_meta, validate_immutable_meta, validate_meta, validate_meta_update,
};
pub use prepare::mark_deleted;
pub use registry::Registry;
pub use scale::{apply_scale, to_scale};
pub use selectable::SelectableField;
pub use subresource::{Connect, Subresource};

const CRUD: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// A row's place in its [`Registry`]; stable for the life of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceId(pub u16);

impl ResourceId {
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    Namespaced,
    Cluster,
}

/// A column of `kubectl get`. Priority 0 is always shown, 1 with `-o wide`.
/// Types are those Kubernetes declares, which says `string` for some counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub type_: &'static str,
    pub format: &'static str,
    pub description: &'static str,
    pub priority: i32,
}

impl Column {
    const fn new(name: &'static str, type_: &'static str) -> Self {
        Self { name, type_, format: "", description: "", priority: 0 }
    }

    const fn string(name: &'static str) -> Self {
        Self::new(name, "string")
    }

    const fn integer(name: &'static str) -> Self {
        Self::new(name, "integer")
    }

    const fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }

    const fn help(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    const NAME: Self = Self {
        name: "Name",
        type_: "string",
        format: "name",
        description: "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically.",
        priority: 0,
    };
    const AGE: Self = Self {
        name: "Age",
        type_: "string",
        format: "",
        description: "CreationTimestamp is a timestamp representing the server time when this object was created, in RFC 3339 form and UTC.",
        priority: 0,
    };
}

/// A kind served from another row's storage under another version. A request
/// converts its object with `to_storage` at once and goes on with the storage
/// row; only what is sent out passes `from_storage`.
#[derive(Debug, Clone, Copy)]
pub struct Alias {
    pub group: &'static str,
    pub plural: &'static str,
    /// From this row's shape to the stored one.
    pub to_storage: fn(&mut Value),
    /// From the stored shape to this row's.
    pub from_storage: fn(&mut Value),
}

/// What a kind does differently. All are pure.
#[derive(Debug, Clone, Copy)]
struct Hooks {
    cells: fn(&Value, i64) -> Vec<Value>,
    default: fn(&mut Value),
    /// Beyond metadata; `old` is given for updates.
    validate: fn(&Value, Option<&Value>) -> Vec<FieldError>,
    validate_status: fn(&Value, &Value) -> Vec<FieldError>,
    validate_approval: fn(&Value, &Value) -> Vec<FieldError>,
    /// The syntax of `metadata.name`; the flag says that a `generateName` prefix is checked.
    name: fn(&str) -> Option<String>,
    create: fn(&mut Value),
    update: fn(&mut Value, &Value),
    /// Completes what a write of the status says, at a time in milliseconds.
    status: fn(&mut Value, &Value, i64),
}

impl Hooks {
    const PLAIN: Self = Self {
        cells: |object, now| vec![json::name_cell(object), json::age_cell(object, now)],
        default: |_| {},
        validate: |_, _| Vec::new(),
        validate_status: |_, _| Vec::new(),
        validate_approval: |_, _| Vec::new(),
        name: crate::names::dns_subdomain,
        create: |_| {},
        update: |_, _| {},
        status: |_, _, _| {},
    };
}

/// Who asks for a create, as far as objects record it.
#[derive(Debug, Clone, Copy)]
pub struct Requester<'a> {
    pub name: &'a str,
    pub uid: &'a str,
    pub groups: &'a [String],
    pub extra: &'a BTreeMap<String, Vec<String>>,
}

/// Where a kind carries a certificate request (PKCS #10, PEM, base64), and where
/// the certificate goes that is made of it. The server checks that whoever made
/// the request has its key, and signs it with its own authority when a plugin
/// that may do so asks for that ([`SIGNATURE`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateFields {
    pub request: &'static [&'static str],
    /// A field of `status`.
    pub certificate: &'static str,
}

/// The name under which plugins ask for a signature, as for a subresource:
/// `update/signature`. It is not served over HTTP.
pub const SIGNATURE: &str = "signature";

/// One row of the table of kinds.
#[derive(Debug, Clone)]
pub struct Resource {
    pub id: ResourceId,
    /// The row under whose keys and topics the objects live; equals `id` unless
    /// this row is an [`Alias`].
    pub storage_id: ResourceId,
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub scope: Scope,
    pub verbs: &'static [&'static str],
    pub subresources: &'static [Subresource],
    pub columns: &'static [Column],
    pub selectable: &'static [SelectableField],
    /// Message name in the schema data, such as `core.v1.Pod`.
    pub schema: &'static str,
    /// Whether `metadata.generation` counts changes outside metadata and status.
    pub spec_generation: bool,
    /// Whether a create may carry a status, as a machine that registers itself does.
    pub status_on_create: bool,
    /// Whether a status update may also change labels and annotations.
    pub status_writes_labels: bool,
    /// Default grace period of a deletion, for kinds that end gracefully.
    pub graceful: Option<fn(&Value) -> i64>,
    pub ttl_seconds: Option<u64>,
    /// What an object holds for itself alone; a kind that expires may hold nothing.
    pub claims: Option<ClaimsOf>,
    pub alias: Option<Alias>,
    /// Writes into a new object who asked for it.
    pub requester: Option<fn(&mut Value, &Requester<'_>)>,
    pub certificates: Option<CertificateFields>,
    hooks: Hooks,
    list_kind: &'static str,
    api_version: &'static str,
    prefix: &'static str,
}

impl Resource {
    /// What most namespaced kinds share; a row overrides what differs.
    const BASE: Self = Self {
        id: ResourceId(0),
        storage_id: ResourceId(0),
        group: "",
        version: "v1",
        kind: "",
        plural: "",
        singular: "",
        short_names: &[],
        categories: &[],
        scope: Scope::Namespaced,
        verbs: CRUD,
        subresources: &[],
        columns: &[Column::NAME, Column::AGE],
        selectable: &[],
        schema: "",
        spec_generation: false,
        status_on_create: false,
        status_writes_labels: false,
        graceful: None,
        ttl_seconds: None,
        claims: None,
        alias: None,
        requester: None,
        certificates: None,
        hooks: Hooks::PLAIN,
        list_kind: "",
        api_version: "",
        prefix: "",
    };

    pub fn list_kind(&self) -> &'static str {
        self.list_kind
    }

    /// `v1` or `apps/v1`: the `apiVersion` of this row's objects.
    pub fn group_version(&self) -> &'static str {
        self.api_version
    }

    /// `/registry/pods/` or `/registry/apps/deployments/`, of the storage row.
    pub fn registry_prefix(&self) -> &'static str {
        self.prefix
    }

    /// `ns` is ignored for cluster-scoped kinds.
    pub fn key(&self, ns: &str, name: &str) -> String {
        match self.scope {
            Scope::Namespaced => format!("{}{ns}/{name}", self.prefix),
            Scope::Cluster => format!("{}{name}", self.prefix),
        }
    }

    /// The prefix of all keys of one namespace.
    pub fn namespace_prefix(&self, ns: &str) -> String {
        match self.scope {
            Scope::Namespaced => format!("{}{ns}/", self.prefix),
            Scope::Cluster => self.prefix.to_owned(),
        }
    }

    pub fn is_namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    pub fn has_status(&self) -> bool {
        self.has(Subresource::Status)
    }

    pub fn has(&self, subresource: Subresource) -> bool {
        self.subresources.contains(&subresource)
    }

    /// The row's subresource of that name in a request path.
    pub fn subresource(&self, name: &str) -> Option<Subresource> {
        self.subresources.iter().copied().find(|subresource| subresource.name() == name)
    }

    pub fn supports(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    pub fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind::new(self.group, self.version, self.kind)
    }

    pub fn group_resource(&self) -> GroupResource<'static> {
        GroupResource::new(self.group, self.plural)
    }

    pub fn group_kind(&self) -> GroupKind<'static> {
        GroupKind::new(self.group, self.kind)
    }

    /// The printed row of an object; as many cells as `columns`.
    pub fn cells(&self, object: &Value, now_ms: i64) -> Vec<Value> {
        (self.hooks.cells)(object, now_ms)
    }

    /// Fills in what the client left out, and `apiVersion` and `kind`.
    pub fn apply_defaults(&self, object: &mut Value) {
        if let Some(map) = object.as_object_mut() {
            map.insert("apiVersion".to_owned(), self.api_version.into());
            map.insert("kind".to_owned(), self.kind.into());
            (self.hooks.default)(object);
        }
    }

    /// All failures of a create (`old` absent) or of an update.
    pub fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = match old {
            None => validate_meta(object, self.is_namespaced(), self.hooks.name),
            Some(old) => validate_meta_update(object, old),
        };
        errors.extend((self.hooks.validate)(object, old));
        errors
    }

    /// All failures of an update through the status subresource.
    pub fn validate_status(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = validate_meta_update(object, old);
        errors.extend((self.hooks.validate_status)(object, old));
        errors
    }

    /// All failures of an update through the approval subresource.
    pub fn validate_approval(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = validate_meta_update(object, old);
        errors.extend((self.hooks.validate_approval)(object, old));
        errors
    }

    /// [`Resource::validate`] as the answer to a request.
    pub fn check(&self, object: &Value, old: Option<&Value>) -> Result<(), StatusError> {
        self.refuse(object, self.validate(object, old))
    }

    pub fn check_status(&self, object: &Value, old: &Value) -> Result<(), StatusError> {
        self.refuse(object, self.validate_status(object, old))
    }

    pub fn check_approval(&self, object: &Value, old: &Value) -> Result<(), StatusError> {
        self.refuse(object, self.validate_approval(object, old))
    }

    /// The answer to a request with these failures; none passes.
    pub fn refuse(&self, object: &Value, errors: Vec<FieldError>) -> Result<(), StatusError> {
        if errors.is_empty() {
            return Ok(());
        }
        Err(StatusError::invalid(self.group_kind(), str_at(object, &["metadata", "name"]), errors))
    }

    /// Before a create: drops what a client may not set, starts `generation`.
    pub fn prepare_create(&self, object: &mut Value) {
        prepare::create(self, object);
        (self.hooks.create)(object);
    }

    /// Before an update of the main resource: keeps what only the server or the
    /// status subresource may change, counts `generation`.
    pub fn prepare_update(&self, object: &mut Value, old: &Value) {
        prepare::update(self, object, old);
        (self.hooks.update)(object, old);
        prepare::generation(self, object, old);
    }

    /// Before an update through the finalize subresource: only
    /// `spec.finalizers` changes.
    pub fn prepare_finalize(&self, object: &mut Value, old: &Value) {
        prepare::finalize(object, old);
    }

    /// Before an update through the status subresource: only `status` changes
    /// (and labels and annotations where the row says so).
    pub fn prepare_status(&self, object: &mut Value, old: &Value, now_ms: i64) {
        prepare::status(self, object, old);
        (self.hooks.status)(object, old, now_ms);
    }

    /// Before an update through the approval subresource: only
    /// `status.conditions` changes.
    pub fn prepare_approval(&self, object: &mut Value, old: &Value, now_ms: i64) {
        prepare::approval(object, old);
        certificate_status::stamp(object, old, now_ms);
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.group_resource())
    }
}

const ROWS: &[Resource] = &[
    namespace::ROW,
    node::ROW,
    pod::ROW,
    config_map::ROW,
    secret::ROW,
    service_account::ROW,
    service::ROW,
    event::CORE_ROW,
    deployment::ROW,
    replica_set::ROW,
    controller_revision::ROW,
    lease::ROW,
    endpoint_slice::ROW,
    event::EVENTS_ROW,
    stateful_set::ROW,
    daemon_set::ROW,
    replication_controller::ROW,
    job::ROW,
    cron_job::ROW,
    horizontal_pod_autoscaler::ROW,
    horizontal_pod_autoscaler::V1_ROW,
    endpoints::ROW,
    limit_range::ROW,
    resource_quota::ROW,
    pod_template::ROW,
    rbac::ROLE_ROW,
    rbac::ROLE_BINDING_ROW,
    rbac::CLUSTER_ROLE_ROW,
    rbac::CLUSTER_ROLE_BINDING_ROW,
    networking::INGRESS_ROW,
    networking::INGRESS_CLASS_ROW,
    networking::NETWORK_POLICY_ROW,
    service_cidr::CIDR_ROW,
    service_cidr::ADDRESS_ROW,
    runtime_class::ROW,
    priority_class::ROW,
    pod_disruption_budget::ROW,
    persistent_volume::ROW,
    persistent_volume_claim::ROW,
    storage_class::CLASS_ROW,
    storage_class::NODE_ROW,
    attachment::ATTACHMENT_ROW,
    attachment::DRIVER_ROW,
    certificate_signing_request::ROW,
    plugin::ROW,
];

#[cfg(test)]
mod properties;
