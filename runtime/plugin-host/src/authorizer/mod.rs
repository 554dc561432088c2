//! Authorizers: asked before anything else happens to a request, in the order
//! of their priority, until one allows or denies. Each has a resident view that
//! is told what was committed before it is asked.
//!
//! Does not know: what a role is, or who is an administrator.

mod asking;
mod chain;
mod instance;
mod joining;
mod keeper;
mod live;
mod request;
mod unit;

pub use chain::AuthorizerChain;
pub(crate) use instance::{Instance, delta, sound};
pub(crate) use joining::Present;
pub(crate) use live::{check, watches};
pub use request::{AccessRequest, AccessUser, NonResourceRule, ResourceRule, RuleSet, Verdict};
pub(crate) use request::{Question, target};
pub(crate) use unit::{AuthorizerUnit, Terms};
