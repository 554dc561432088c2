//! The plugin host: WebAssembly components that decide, run under budgets,
//! and replaced while the cluster keeps working.
//!
//! For: turning a `Plugin` object into a running, metered, supervised instance
//! of one role (controller, scheduler, scheduler extension, admission, authorizer,
//! CNI); feeding it; checking every action it asks for against its grants; handing
//! the granted ones to the cluster; swapping versions and rolling back by itself;
//! recording what it is given and answers, and replaying that offline.
//!
//! Does not know: HTTP, storage, the network, or any rule of a controller. The
//! cluster is one trait, [`cluster::Cluster`]; time and identity come through it.
//!
//! Read first: [`cluster::Cluster`], then [`plugin::PluginSpec`].

pub mod action;
pub mod admission;
pub mod artifact;
pub mod authorizer;
mod bindings;
pub mod budget;
pub mod cluster;
pub mod cni;
pub mod compile;
mod contract;
mod controller;
mod convert;
mod cpu_share;
#[cfg(test)]
mod documented;
pub mod engine;
mod events;
mod extension;
pub mod fields;
mod follow;
pub mod grants;
mod handover;
mod histogram;
mod host;
pub mod inspect;
mod lister;
mod logging;
mod members;
mod metrics;
mod opening;
pub mod outline;
mod pace;
mod plan;
pub mod plugin;
mod priority;
mod program;
mod prometheus;
pub mod sandbox;
mod scheduler;
mod seed;
mod shadow;
pub mod source;
mod stdio;
mod supervise;
#[cfg(test)]
mod testing;
pub mod trace;
mod wasi;

pub use cni::CniPlugin;
pub use compile::{Compiler, compile_stdin};
pub use extension::ExtensionPanel;
pub use host::{Embedded, FollowError, Host, HostConfig, HostError};
