//! Between the generated bindings and the SDK's own types; only in guests.

#![allow(missing_docs)] // For the export macros only.

pub mod admission;
pub mod authorizer;
pub mod cni;
pub mod controller;
mod convert;
mod lister;
pub mod scheduler;
pub mod scheduler_extension;

use std::cell::RefCell;

pub use lister::HostLister;
use serde::de::DeserializeOwned;

/// The plugin, from its first `describe` on. Every instance of a component is
/// described before anything else is asked of it.
pub struct Slot<T>(RefCell<Option<T>>);

impl<T> Slot<T> {
    pub const fn new() -> Self {
        Slot(RefCell::new(None))
    }

    fn set(&self, plugin: T) {
        *self.0.borrow_mut() = Some(plugin);
    }

    /// `None` when `describe` has not been called with a valid configuration.
    fn with<R>(&self, call: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.0.borrow_mut().as_mut().map(call)
    }
}

/// What an instance is given before anything else. From then on a panic says why, in
/// the plugin's log and so in its status.
fn config<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    std::panic::set_hook(Box::new(|panic| crate::log::error!("{panic}")));
    crate::config::parse(json)
}

const NOT_DESCRIBED: &str =
    "describe has not been called with a valid configuration on this instance";
