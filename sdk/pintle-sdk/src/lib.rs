//! What a Pintle plugin is written with.
//!
//! A plugin implements one trait and exports it with one macro:
//!
//! | Role | Trait | Macro |
//! |---|---|---|
//! | controller | [`Controller`] | [`export_controller!`] |
//! | scheduler | [`Scheduler`] | [`export_scheduler!`] |
//! | scheduler extension | [`NodeRule`], or [`SchedulerExtension`] | [`export_node_rule!`], [`export_scheduler_extension!`] |
//! | admission | [`Admission`] | [`export_admission!`] |
//! | authorizer | [`Authorizer`] | [`export_authorizer!`] |
//! | pod network | [`Cni`] | [`export_cni!`] |
//!
//! Everything a plugin learns comes in as an argument: its configuration, the
//! object to look at, a [`Lister`] that reads the cluster at one revision, and a
//! [`Context`] that stands in for the clock and for randomness. Everything it
//! wants comes out as data: [`Action`]s, decisions, plans. So a plugin is a
//! deterministic function, and its tests are ordinary native unit tests (the
//! crate `pintle-sdk-testing` has a cluster in memory for them).
//!
//! Does not know: the host, HTTP, storage, any clock, and how the component
//! interface is encoded (the macros do that, only when built for wasm).
//!
//! Rules that keep a plugin deterministic: `BTreeMap` instead of `HashMap`, no
//! `Instant`, no global counters, ties broken by a name or by [`Context::seed`].
//!
//! Read first: [`Controller`], then [`Action`].
//!
//! ```
//! use pintle_sdk::prelude::*;
//!
//! /// Writes an Event on every ConfigMap that appears.
//! struct Greeter { greeting: String }
//!
//! #[derive(serde::Deserialize, Default)]
//! #[serde(deny_unknown_fields, default)]
//! struct Config { greeting: Option<String> }
//!
//! const CONFIG_MAP: KindRef = KindRef::new("", "v1", "ConfigMap");
//!
//! impl Controller for Greeter {
//!     type Config = Config;
//!
//!     fn new(config: Config) -> Result<Self, String> {
//!         Ok(Greeter { greeting: config.greeting.unwrap_or_else(|| "hello".to_owned()) })
//!     }
//!
//!     fn describe(&self) -> Description {
//!         Description::new(
//!             Manifest::new("greeter", env!("CARGO_PKG_VERSION"))
//!                 .needs(CONFIG_MAP, &["get", "watch"], "greets every ConfigMap")
//!                 .needs(EVENT, &["create"], "the greeting is an Event"),
//!         )
//!         .watch(Watch::of(CONFIG_MAP).on(Change::ADDED))
//!     }
//!
//!     fn reconcile(&self, _: &Context, lister: &dyn Lister, request: &Request) -> Result<Outcome, Error> {
//!         let mut outcome = Outcome::done();
//!         if let Some(map) = lister.get(&request.reference) {
//!             outcome.push(Event::normal(&map, "Greeted", &self.greeting));
//!         }
//!         Ok(outcome)
//!     }
//! }
//!
//! pintle_sdk::export_controller!(Greeter);
//! ```

#![warn(missing_docs)]

// The macros name this crate by its path, also from within.
extern crate self as pintle_sdk;

pub mod action;
pub mod admission;
pub mod authorizer;
pub mod certificates;
pub mod cni;
pub mod conditions;
pub mod config;
pub mod context;
pub mod controller;
pub mod error;
pub mod extension;
#[cfg(any(all(target_arch = "wasm32", feature = "heap"), test))]
mod heap;
pub mod ledger;
pub mod lister;
pub mod log;
pub mod manifest;
#[cfg(any(target_arch = "wasm32", test))]
mod memory;
pub mod names;
pub mod node_rule;
pub mod object;
pub mod owners;
pub mod placement;
pub mod quota;
pub mod ranking;
pub mod rbac;
pub mod reading;
pub mod refusal;
pub mod remembered;
pub mod replicas;
pub mod revisions;
pub mod scheduler;
pub mod scheduler_extension;
pub mod selector;
pub mod served;
pub mod types;
pub mod workload;

#[cfg(all(target_arch = "wasm32", feature = "heap"))]
#[global_allocator]
static HEAP: heap::Heap = heap::Heap::new();

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings;
#[doc(hidden)]
pub mod export;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod glue;

pub use action::{Action, Outcome};
pub use admission::Admission;
pub use authorizer::Authorizer;
pub use cni::Cni;
pub use context::Context;
pub use controller::Controller;
pub use error::Error;
pub use extension::{Extensions, NoExtensions};
pub use lister::Lister;
pub use node_rule::NodeRule;
pub use object::{KindRef, Object, ObjectRef};
pub use pintle_api as api;
pub use pintle_api::{quantity, time};
pub use scheduler::Scheduler;
pub use scheduler_extension::SchedulerExtension;
pub use serde;
pub use serde_json;

/// Everything a plugin's source usually names.
pub mod prelude {
    pub use crate::action::{Action, Create, Delete, Event, Outcome, Patch, Propagation, Update};
    pub use crate::conditions::{self, Condition, Conditions};
    pub use crate::config::NoConfig;
    pub use crate::context::Context;
    pub use crate::controller::{Change, Controller, Description, Enqueue, Request, Watch};
    pub use crate::error::Error;
    pub use crate::lister::{Lister, Query, Typed};
    pub use crate::log;
    pub use crate::manifest::{EVERY_KIND, Manifest};
    pub use crate::node_rule::NodeRule;
    pub use crate::object::{KindRef, Object, ObjectRef, Resource};
    pub use crate::scheduler_extension::Abilities;
    pub use crate::selector::LabelSelector;
    pub use crate::types::*;
    pub use pintle_api::meta::{ObjectMeta, OwnerReference};
    pub use pintle_api::quantity::Quantity;
}
