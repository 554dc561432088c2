//! The node as the API knows it: what it has ([`facts`]), its object
//! ([`object`], pure), and the tasks that keep object and lease fresh.

pub mod facts;
mod keep;
pub mod object;

pub use keep::{keep_lease, keep_node};
