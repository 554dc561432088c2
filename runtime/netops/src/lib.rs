//! The closed set of privileged network operations that a network plugin may
//! ask the node for, and the one executor that performs them.
//!
//! A plan is a list of [`NetOp`]. [`Executor::apply`] checks every operation of
//! the plan against its [`Scope`] before it performs the first one, so that a
//! plan which reaches outside its interface prefix, its address ranges or its
//! sysctls changes nothing at all. Every operation is idempotent: what exists
//! as asked is left alone, what is missing on a delete is fine. A plan that was
//! interrupted is finished by applying it again.
//!
//! This crate knows nothing of pods, of plugins, or of how addresses are
//! chosen. It is the only user of netlink. Read [`NetOp`] first.

mod error;
mod execute;
mod netns;
mod nft;
mod op;
mod rtnl;
mod scope;
mod sysctl;

pub use error::{NetOpError, OpError, ScopeError};
pub use execute::Executor;
pub use netns::is_netns;
pub use op::{MacAddr, NetOp, ParseMacError};
pub use scope::Scope;
