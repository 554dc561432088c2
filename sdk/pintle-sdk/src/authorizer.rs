//! The role of an authorizer: a resident view of the kinds it watches, fed by
//! deltas, and one answer per request.
//!
//! ```
//! use pintle_sdk::authorizer::*;
//! use pintle_sdk::prelude::NoConfig;
//! use pintle_sdk::Context;
//!
//! /// Everybody may read everything but Secrets.
//! struct Readers;
//!
//! impl Authorizer for Readers {
//!     type Config = NoConfig;
//!
//!     fn new(_: NoConfig) -> Result<Self, String> {
//!         Ok(Readers)
//!     }
//!
//!     fn describe(&self) -> Description {
//!         Description::new(pintle_sdk::manifest!())
//!     }
//!
//!     fn authorize(&mut self, _: &Context, asked: &Attributes) -> Decision {
//!         match asked.verb.as_str() {
//!             "get" | "list" | "watch" if asked.resource != "secrets" => Decision::allow("reads"),
//!             _ => Decision::no_opinion(""),
//!         }
//!     }
//! }
//!
//! pintle_sdk::export_authorizer!(Readers);
//! ```

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::manifest::Manifest;
use crate::object::KindRef;
use crate::scheduler::Delta;

/// An authorizer; exported with [`export_authorizer!`](crate::export_authorizer!).
pub trait Authorizer: Sized {
    /// `spec.config` of the Plugin object; use `#[serde(deny_unknown_fields, default)]`.
    type Config: DeserializeOwned;

    /// An error text refuses the configuration.
    fn new(config: Self::Config) -> Result<Self, String>;

    /// What it watches and which grants that needs.
    fn describe(&self) -> Description;

    /// Changes of the watched kinds, in revision order. On activation the whole
    /// present comes in as upserts.
    fn sync(&mut self, deltas: Vec<Delta>) {
        let _ = deltas;
    }

    /// Whether the request may go on. The answer is remembered until the next
    /// [`Authorizer::sync`]: it must depend on nothing but the attributes and
    /// what was synced.
    fn authorize(&mut self, context: &Context, attributes: &Attributes) -> Decision;

    /// What a user may do in a namespace, for people who ask.
    fn rules(&mut self, context: &Context, user: &User, namespace: &str) -> RuleSet {
        let _ = (context, user, namespace);
        RuleSet {
            incomplete: Some("an authorizer does not list its rules".to_owned()),
            ..RuleSet::default()
        }
    }
}

/// What an authorizer says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its name and what it needs: `watch` on what it watches.
    pub manifest: Manifest,
    /// Kinds that `sync` wants.
    pub watches: Vec<KindRef>,
}

impl Description {
    /// Of an authorizer that watches nothing.
    pub fn new(manifest: Manifest) -> Self {
        Description { manifest, watches: Vec::new() }
    }

    /// Also hears of this kind.
    pub fn watch(mut self, kind: KindRef) -> Self {
        self.watches.push(kind);
        self
    }
}

/// Who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A user with these groups.
    pub fn new(name: &str, groups: &[&str]) -> Self {
        User {
            name: name.to_owned(),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
            ..User::default()
        }
    }
}

/// One request, in the words of a `SubjectAccessReview`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Attributes {
    /// Who asks.
    pub user: User,
    /// `get`, `list`, `create`; the lower-case HTTP method outside resources.
    pub verb: String,
    /// Empty for the core group.
    pub group: String,
    /// Of the group.
    pub version: String,
    /// Plural; empty for requests outside the resources.
    pub resource: String,
    /// Empty for the object itself.
    pub subresource: String,
    /// Empty for cluster-scoped kinds and for all namespaces.
    pub namespace: String,
    /// Empty where the request names no object.
    pub name: String,
    /// Of requests outside the resources.
    pub path: String,
    /// What a field selector requires: `spec.nodeName` and `node-1`.
    pub required_fields: BTreeMap<String, String>,
}

impl Attributes {
    /// A request for a resource, `pods` or `pods/log`.
    pub fn resource(user: User, verb: &str, group: &str, resource: &str) -> Self {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Attributes {
            user,
            verb: verb.to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            ..Attributes::default()
        }
    }

    /// A request for a path that is no resource.
    pub fn path(user: User, verb: &str, path: &str) -> Self {
        Attributes { user, verb: verb.to_owned(), path: path.to_owned(), ..Attributes::default() }
    }

    /// In this namespace.
    pub fn within(mut self, namespace: &str) -> Self {
        self.namespace = namespace.to_owned();
        self
    }

    /// For the object of this name.
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// `pods/log`, or `pods`.
    pub fn full_resource(&self) -> String {
        match self.subresource.as_str() {
            "" => self.resource.clone(),
            subresource => format!("{}/{subresource}", self.resource),
        }
    }
}

/// An answer, with a reason for people that may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Decision {
    /// It may be done, whatever those behind would say.
    Allow(String),
    /// It must not, whatever those behind would say.
    Deny(String),
    /// The next authorizer is asked. What nobody allows is refused.
    NoOpinion(String),
}

impl Decision {
    /// It may be done.
    pub fn allow(reason: impl Into<String>) -> Self {
        Decision::Allow(reason.into())
    }

    /// It must not be done.
    pub fn deny(reason: impl Into<String>) -> Self {
        Decision::Deny(reason.into())
    }

    /// Somebody else may know.
    pub fn no_opinion(reason: impl Into<String>) -> Self {
        Decision::NoOpinion(reason.into())
    }

    /// Was it allowed?
    pub fn is_allowed(&self) -> bool {
        matches!(self, Decision::Allow(_))
    }
}

/// What a user may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RuleSet {
    /// On resources.
    pub resource_rules: Vec<ResourceRule>,
    /// On paths.
    pub non_resource_rules: Vec<NonResourceRule>,
    /// Why there may be more.
    pub incomplete: Option<String>,
}

/// Verbs on resources; `*` is everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct ResourceRule {
    pub verbs: Vec<String>,
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    /// Empty: every object.
    pub resource_names: Vec<String>,
}

/// Verbs on paths; `*` is everything, and `/a/*` what lies below.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct NonResourceRule {
    pub verbs: Vec<String>,
    pub non_resource_urls: Vec<String>,
}
