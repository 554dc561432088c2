//! One pod on this node: what it wants ([`model`]), what is there ([`runtime`]),
//! what to do next ([`step`], pure) and what to tell ([`status`], pure); the
//! [`driver`] performs it.

pub mod backoff;
pub mod claims;
pub mod driver;
pub mod env;
pub mod files;
pub mod hooks;
pub mod images;
pub mod model;
pub mod record;
pub mod resources;
pub mod runtime;
#[cfg(test)]
mod simulation;
pub mod spec;
pub mod status;
pub mod step;
pub mod volumes;
