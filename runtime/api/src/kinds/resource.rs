//! One row of the table: what a kind is called, what the server offers for it,
//! and the few things it does differently. Does not know which kinds there are.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::json::{self, str_at};
use super::{
    ClaimsOf, Column, SelectableField, Subresource, certificate_status, prepare, validate_meta,
    validate_meta_update,
};
use crate::meta::{GroupKind, GroupResource, GroupVersionKind};
use crate::status::{FieldError, StatusError};

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
pub(super) struct Hooks {
    pub(super) cells: fn(&Value, i64) -> Vec<Value>,
    pub(super) default: fn(&mut Value),
    /// Beyond metadata; `old` is given for updates.
    pub(super) validate: fn(&Value, Option<&Value>) -> Vec<FieldError>,
    pub(super) validate_status: fn(&Value, &Value) -> Vec<FieldError>,
    pub(super) validate_approval: fn(&Value, &Value) -> Vec<FieldError>,
    /// The syntax of `metadata.name`; the flag says that a `generateName` prefix is checked.
    pub(super) name: fn(&str) -> Option<String>,
    pub(super) create: fn(&mut Value),
    pub(super) update: fn(&mut Value, &Value),
    /// Completes what a write of the status says, at a time in milliseconds.
    pub(super) status: fn(&mut Value, &Value, i64),
}

impl Hooks {
    pub(super) const PLAIN: Self = Self {
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
    pub(super) hooks: Hooks,
    pub(super) list_kind: &'static str,
    pub(super) api_version: &'static str,
    pub(super) prefix: &'static str,
}

impl Resource {
    /// What most namespaced kinds share; a row overrides what differs.
    pub(super) const BASE: Self = Self {
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
