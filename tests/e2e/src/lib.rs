//! A cluster for a test: the real server and nodes, each node in a network
//! namespace of its own, everything under names that no other test uses.
//!
//! Even the server and the bridge live in a namespace, so that any number of
//! clusters can run at once with the same addresses. [`Cluster`] removes all of
//! it when dropped, also after a failed assertion.
//!
//! Nothing here assumes that the machine is fast or slow: what has to come is
//! waited for ([`Cluster::wait`]), and what has to flow meanwhile flows until the
//! test has seen enough of it.
//!
//! Does not know: what is tested.
//!
//! Read first: [`Cluster`], then [`Client`].

mod census;
mod client;
mod cluster;
mod command;
pub mod compiled;
mod environment;
mod machine;
mod network;
mod node;
mod objects;
mod process;
pub mod registry;
mod wait;
pub mod workload;
mod writer;

pub use census::{Containers, Observer, kill_9};
pub use client::Client;
pub use cluster::{Cluster, IMAGE};
pub use command::{Output, find, run, run_ok};
pub use environment::hermetic;
pub use machine::{bin_dir, cannot_run, cannot_run_kubectl, workspace};
pub use network::{API, LINK};
pub use node::Node;
pub use objects::{condition, items, name};
pub use process::Process;
pub use wait::PATIENCE;
pub use writer::{Acknowledged, Writer};
