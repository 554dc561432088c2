//! What the tests of all plugins share: which there are, a server to try them
//! in, the engine that swaps one in the middle of its work, and the suites that
//! every plugin of a role has to pass.
//!
//! Knows no plugin: what each one's work is, the tables in `tests/` say.
//!
//! Read first: [`flow::Row`], [`suite::run`].

pub mod api;
pub mod components;
pub mod flow;
pub mod ledger;
pub mod recording;
pub mod server;
pub mod suite;
