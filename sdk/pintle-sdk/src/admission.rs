//! The role of admission: sees a request after authorization, may change or
//! refuse it.
//!
//! ```
//! use pintle_sdk::admission::*;
//! use pintle_sdk::prelude::{CONFIG_MAP, ConfigMap, NoConfig};
//! use pintle_sdk::{Context, Lister};
//!
//! /// Refuses ConfigMaps without a label `team`.
//! struct Labelled;
//!
//! impl Admission for Labelled {
//!     type Config = NoConfig;
//!
//!     fn new(_: NoConfig) -> Result<Self, String> {
//!         Ok(Labelled)
//!     }
//!
//!     fn describe(&self) -> Description {
//!         let on_write = Operations::CREATE.or(Operations::UPDATE);
//!         Description::new(pintle_sdk::manifest!()).validating(Rule::on(CONFIG_MAP, on_write))
//!     }
//!
//!     fn review(&self, _: &Context, _: &dyn Lister, request: &Request) -> Response {
//!         match request.object::<ConfigMap>() {
//!             Ok(map) if map.metadata.labels.contains_key("team") => Response::allow(),
//!             Ok(_) => Response::deny("metadata.labels: a ConfigMap needs a label `team`"),
//!             Err(error) => Response::deny(error.to_string()),
//!         }
//!     }
//! }
//!
//! pintle_sdk::export_admission!(Labelled);
//! ```

pub use pintle_api::status::FieldError;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::error::Error;
use crate::lister::Lister;
use crate::manifest::Manifest;
use crate::object::{KindRef, ObjectRef};

/// An admission plugin; exported with [`export_admission!`](crate::export_admission!).
pub trait Admission: Sized {
    /// `spec.config` of the Plugin object; use `#[serde(deny_unknown_fields, default)]`.
    type Config: DeserializeOwned;

    /// An error text refuses the configuration.
    fn new(config: Self::Config) -> Result<Self, String>;

    /// Which requests it wants to see, and which grants that needs.
    fn describe(&self) -> Description;

    /// Decides about one request.
    fn review(&self, context: &Context, lister: &dyn Lister, request: &Request) -> Response;
}

/// What a request does to its object; in a rule a set of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Operations {
    pub create: bool,
    pub update: bool,
    pub delete: bool,
    pub connect: bool,
}

#[allow(missing_docs)]
impl Operations {
    pub const CREATE: Operations =
        Operations { create: true, update: false, delete: false, connect: false };
    pub const UPDATE: Operations =
        Operations { create: false, update: true, delete: false, connect: false };
    pub const DELETE: Operations =
        Operations { create: false, update: false, delete: true, connect: false };
    /// Opening a stream to it: `exec`, `attach`, `portforward`.
    pub const CONNECT: Operations =
        Operations { create: false, update: false, delete: false, connect: true };

    /// This one and that one.
    pub const fn or(self, other: Operations) -> Operations {
        Operations {
            create: self.create || other.create,
            update: self.update || other.update,
            delete: self.delete || other.delete,
            connect: self.connect || other.connect,
        }
    }
}

/// First all mutating plugins are asked, in the order of `spec.priority`, then
/// all validating ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The object may still be changed.
    Mutating,
    /// The object is as it will be stored.
    Validating,
}

/// Which requests a plugin wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// None: every kind.
    pub kind: Option<KindRef>,
    /// Empty: the object itself; `*`: it and all its subresources.
    pub subresource: String,
    /// Which operations.
    pub operations: Operations,
}

impl Rule {
    /// Operations on objects of a kind, without their subresources.
    pub fn on(kind: KindRef, operations: Operations) -> Self {
        Rule { kind: Some(kind), subresource: String::new(), operations }
    }

    /// Operations on objects of every kind.
    pub fn on_every_kind(operations: Operations) -> Self {
        Rule { kind: None, subresource: String::new(), operations }
    }

    /// On this subresource instead; `*` for the object and all of them.
    pub fn subresource(mut self, name: &str) -> Self {
        self.subresource = name.to_owned();
        self
    }
}

/// What an admission plugin says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its name and what it needs.
    pub manifest: Manifest,
    /// What it may change.
    pub mutating: Vec<Rule>,
    /// What it checks.
    pub validating: Vec<Rule>,
}

impl Description {
    /// A plugin that sees nothing yet.
    pub fn new(manifest: Manifest) -> Self {
        Description { manifest, mutating: Vec::new(), validating: Vec::new() }
    }

    /// Asks to see these requests while they may still be changed.
    pub fn mutating(mut self, rule: Rule) -> Self {
        self.mutating.push(rule);
        self
    }

    /// Asks to see these requests as they will be stored.
    pub fn validating(mut self, rule: Rule) -> Self {
        self.validating.push(rule);
        self
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
}

/// One request to decide about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Which object; the name is empty if it is yet to be generated.
    pub reference: ObjectRef,
    /// Empty: the object itself.
    pub subresource: String,
    /// The one operation.
    pub operation: Operations,
    /// Which phase runs.
    pub phase: Phase,
    /// Nothing will be stored.
    pub dry_run: bool,
    /// Who asks.
    pub user: User,
    /// The object as it would be stored; empty on delete.
    pub json: Vec<u8>,
    /// The object as it is stored; empty on create.
    pub old_json: Vec<u8>,
}

impl Request {
    /// The object as it would be stored.
    pub fn object<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.parse(&self.json)
    }

    /// The object as it is stored.
    pub fn old_object<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.parse(&self.old_json)
    }

    fn parse<T: DeserializeOwned>(&self, json: &[u8]) -> Result<T, Error> {
        crate::reading::parse(json)
            .map_err(|source| Error::Parse { reference: Box::new(self.reference.clone()), source })
    }
}

/// What becomes of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on as it is.
    Allow,
    /// A JSON patch (RFC 6902); only in the mutating phase.
    Patch(Vec<u8>),
    /// HTTP code (403 when 0), status reason (`Forbidden` when empty), message;
    /// see [`Response::deny`], [`Response::forbid`] and [`Response::invalid`].
    Deny {
        /// HTTP code, 403 when 0.
        code: u16,
        /// Status reason, `Forbidden` when empty.
        reason: String,
        /// For the person who asked.
        message: String,
    },
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// What becomes of it.
    pub verdict: Verdict,
    /// Shown to the person by kubectl.
    pub warnings: Vec<String>,
}

impl Response {
    /// It goes on as it is.
    pub fn allow() -> Self {
        Response { verdict: Verdict::Allow, warnings: Vec::new() }
    }

    /// A JSON patch (RFC 6902), already encoded.
    pub fn patch(operations: Vec<u8>) -> Self {
        Response { verdict: Verdict::Patch(operations), warnings: Vec::new() }
    }

    /// A JSON patch (RFC 6902) from anything that serializes to its list of
    /// operations, such as `json!([{"op": "add", "path": "/spec/x", "value": 1}])`.
    pub fn patch_with(operations: &impl Serialize) -> Self {
        // Plain data always encodes; an empty patch would be refused by the host.
        Response::patch(serde_json::to_vec(operations).unwrap_or_default())
    }

    /// It is refused with status 403; the person also learns which plugin did it.
    pub fn deny(message: impl Into<String>) -> Self {
        let verdict = Verdict::Deny { code: 0, reason: String::new(), message: message.into() };
        Response { verdict, warnings: Vec::new() }
    }

    /// It is refused with status 403, in the words of the API server's own rules:
    /// `pods "web" is forbidden: MESSAGE`.
    pub fn forbid(message: impl Into<String>) -> Self {
        let verdict =
            Verdict::Deny { code: 403, reason: "Forbidden".to_owned(), message: message.into() };
        Response { verdict, warnings: Vec::new() }
    }

    /// It is refused with status 422, in the words of the API server's own validation:
    /// `Service "web" is invalid: spec.clusterIPs: Invalid value: …`.
    pub fn invalid(errors: &[FieldError]) -> Self {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let verdict =
            Verdict::Deny { code: 422, reason: "Invalid".to_owned(), message: lines.join("\n") };
        Response { verdict, warnings: Vec::new() }
    }

    /// It fails with status 500, in the API server's own words:
    /// `Internal error occurred: MESSAGE`.
    pub fn internal(message: impl Into<String>) -> Self {
        let verdict = Verdict::Deny {
            code: 500,
            reason: "InternalError".to_owned(),
            message: message.into(),
        };
        Response { verdict, warnings: Vec::new() }
    }

    /// Adds a line that kubectl shows to the person.
    pub fn warn(mut self, message: impl Into<String>) -> Self {
        self.warnings.push(message.into());
        self
    }
}
