//! Authorizers: asked before anything else happens to a request, in the order
//! of their priority, until one allows or denies. Each has a resident view that
//! is told what was committed before it is asked.
//!
//! Does not know: what a role is, or who is an administrator.

mod chain;
mod live;
mod request;
mod unit;

pub use chain::AuthorizerChain;
pub use request::{AccessRequest, AccessUser, NonResourceRule, ResourceRule, RuleSet, Verdict};
pub(crate) use unit::{AuthorizerUnit, Terms};
