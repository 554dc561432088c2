//! The default plugins, as components inside this binary.

use bytes::Bytes;
use pintle_plugin_host::Embedded;
use pintle_plugin_host::plugin::Role;
use serde_json::{Value, json};

use crate::config::Settings;

/// One default plugin as the build script lists it.
pub struct Default {
    pub name: &'static str,
    pub role: Role,
    pub wasm: &'static [u8],
}

/// Made by the build script.
pub const PLUGINS: &[Default] = include!(concat!(env!("OUT_DIR"), "/plugins.rs"));

pub fn component(name: &str) -> Option<&'static [u8]> {
    PLUGINS.iter().find(|plugin| plugin.name == name).map(|plugin| plugin.wasm)
}

/// The plugins with what this server's settings and identity make of their
/// configuration; `spec.config` of the Plugin object is laid over it.
pub fn with_defaults(settings: &Settings, ca_pem: &str) -> Vec<Embedded> {
    let config = |name: &str| match name {
        "node-ipam" => json!({"clusterCIDR": settings.cluster_cidr()}),
        "namespace" => json!({"rootCA": ca_pem}),
        _ => Value::Null,
    };
    PLUGINS
        .iter()
        .map(|plugin| Embedded {
            name: plugin.name.to_owned(),
            role: plugin.role,
            wasm: Bytes::from_static(plugin.wasm),
            config: config(plugin.name),
        })
        .collect()
}
