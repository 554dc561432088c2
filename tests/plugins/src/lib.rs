//! What the tests of all plugins share: which there are, a server to try them
//! in, and the engine that swaps one in the middle of its work.
//!
//! Knows no plugin: what each one's work is, the tables in `tests/` say.
//!
//! Read first: [`flow::Row`].

pub mod api;
pub mod components;
pub mod flow;
pub mod ledger;
pub mod server;
