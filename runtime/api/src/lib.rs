//! The Kubernetes object model, without any I/O.
//!
//! For: what an object's metadata is, how selectors, quantities and timestamps
//! read and compare, which kinds exist and how each is defaulted, validated,
//! prepared for writing and printed, and how every failure is worded.
//!
//! Does not know: HTTP, storage, the watch bus, clocks and randomness (both are
//! arguments here), or any rule of a controller. It builds for
//! `wasm32-unknown-unknown` with `default-features = false`, so plugins use the
//! same types as the server.
//!
//! Read first: [`kinds::Resource`], one row of the table from which discovery,
//! tables, storage keys and validation all follow, and [`kinds::Registry`].

pub mod cidr;
pub mod cron;
pub mod discovery;
pub mod kinds;
pub mod meta;
pub mod names;
#[cfg(feature = "schema")]
pub mod openapi;
pub mod patch;
#[cfg(feature = "schema")]
pub mod protobuf;
pub mod quantity;
#[cfg(feature = "schema")]
pub mod schema;
pub mod selector;
pub mod status;
pub mod table;
pub mod time;
pub mod x509;
pub mod yaml;
