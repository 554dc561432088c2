//! A cluster in memory for testing plugins: snapshot in, actions out.
//!
//! [`World`] holds objects, performs [`Action`](pintle_sdk::Action)s with
//! revisions, preconditions, finalizers and generated names as the API server
//! does, and answers as a [`Lister`](pintle_sdk::Lister). [`Cluster`] adds the
//! controllers: it follows their watches, keeps one queue, and runs them until
//! nothing is left to do. So a test shows what a controller decides, whether
//! its watches are enough, and that it comes to rest.
//!
//! Time is [`World::now_unix_ms`]; it moves when a test moves it. Everything is
//! deterministic: the same test gives the same names and the same order.
//!
//! Does not know: admission, defaulting, validation, grants. The real API
//! server is for those.
//!
//! Read first: [`Cluster`].

mod cluster;
mod enqueue;
mod fields;
mod world;

pub use cluster::{Cluster, Run};
pub use fields::merge_patch;
pub use world::{Change, ChangeKind, Refused, World};
