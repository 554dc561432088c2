//! A cluster in memory for testing plugins: snapshot in, actions out, in plain
//! `cargo test`, without wasm and without a cluster.
//!
//! | To test | Use |
//! |---|---|
//! | a controller | [`Cluster`]: objects in, controllers work until nothing is left to do |
//! | a scheduler | [`Scheduling`]: pods in, decisions out and performed |
//! | a scheduler extension | [`Extending`]: pods in, rejections and scores out, by node |
//! | an authorizer | [`Authorizing`]: requests in, decisions out |
//! | an admission plugin | [`Reviewing`]: requests in, verdicts out and applied |
//!
//! All of them hold a [`World`]: objects, with the API server's generic behaviour
//! (revisions, preconditions, finalizers, generated names). It is filled with
//! the builders of [`objects`], with JSON, or from files that `kubectl get -o
//! yaml` printed ([`World::from_path`]).
//!
//! [`properties`] has what must hold for every plugin of a role, each in a line:
//! idempotence, convergence under conflicts and crashes, capacity, determinism.
//!
//! [`scenario`] plays tables of given, when and then that are written in YAML.
//!
//! A test that is written for a [`subject::Subject`] runs against the plugin's
//! own type and against the component that was built from it (module
//! `component`, feature `component`).
//!
//! Time is [`World::now_unix_ms`]; it moves when a test moves it. Everything is
//! deterministic: the same test gives the same names and the same order.
//!
//! Does not know: defaulting, validation, grants. The real API server is for
//! those.
//!
//! Read first: [`Cluster`].

#![warn(missing_docs)]
// A copy without the host, as new plugin projects have it, lacks the feature `component`.
#![allow(unexpected_cfgs)]

mod authorizing;
mod cluster;
#[cfg(feature = "component")]
pub mod component;
mod desk;
mod enqueue;
mod extending;
mod faults;
mod fields;
mod gate;
mod journal;
pub mod objects;
pub mod properties;
mod reviewing;
pub mod scenario;
mod scheduling;
mod shelf;
mod snapshot;
pub mod subject;
mod world;

pub use authorizing::Authorizing;
pub use cluster::{Cluster, Run};
pub use extending::{Extending, Opinion};
pub use fields::merge_patch;
pub use gate::{Admitted, Denied};
pub use reviewing::Reviewing;
pub use scheduling::{Scheduling, overcommitted};
pub use snapshot::SnapshotError;
pub use subject::Subject;
pub use world::{Change, ChangeKind, Refused, World};
