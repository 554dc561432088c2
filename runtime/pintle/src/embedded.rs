//! The default plugins, as components inside this binary.

use pintle_plugin_host::{Embedded, Role};

/// Made by the build script.
pub const PLUGINS: &[Embedded] = include!(concat!(env!("OUT_DIR"), "/plugins.rs"));
