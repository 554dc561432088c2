//! The default plugins, as components inside this binary.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use bytes::Bytes;
use pintle_plugin_host::Embedded;
use pintle_plugin_host::plugin::{ReviewRule, Role};
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

/// What the admission plugins among them review, by name: made by the test that
/// compares the documented plugins with the components.
const REVIEWS: &str = include_str!("reviews.json");

/// What a cluster's Plugin object of a default plugin says at first.
pub fn spec(plugin: &Default) -> Value {
    let mut spec = json!({
        "role": plugin.role.as_str(),
        "source": {"embedded": {"name": plugin.name}},
    });
    if let Some(priority) = priority(plugin.name) {
        spec["priority"] = priority.into();
    }
    match plugin.name {
        // It remembers what it has let through, so there may be only one of it. What
        // a namespace holds it counts once, from then on it follows: ten thousand
        // pods take 50 ms.
        "resource-quota" => {
            spec["budgets"] = json!({
                "maxInstances": 1,
                "deadlineMilliseconds": 2000,
                "fuelPerCall": 10_000_000_000_u64,
                "memoryBytes": 256 << 20,
            });
        }
        // Whoever wants it pays with a pull per container.
        "always-pull-images" => spec["suspended"] = true.into(),
        // Without policy lines it allows nothing.
        "authorizer-abac" => spec["suspended"] = true.into(),
        // It knows all pods; a hundred thousand of them fit.
        "authorizer-node" => spec["budgets"] = json!({"memoryBytes": 256 << 20}),
        // It may have to go through a whole range that is used up.
        "service-addresses" => spec["budgets"] = json!({"deadlineMilliseconds": 100}),
        _ => {}
    }
    spec
}

/// Lower is asked first. What others add lies at 0 by default: an admission plugin
/// sees what the defaults have filled in, and quotas count what is left in the end;
/// an authorizer may deny what roles would allow.
fn priority(name: &str) -> Option<i32> {
    let order = [
        "limit-ranger",
        "service-account",
        "node-restriction",
        "always-pull-images",
        "pod-security",
        "priority",
        "default-tolerations",
        "default-storage-class",
        "runtime-class",
    ];
    match (order.iter().position(|known| *known == name), name) {
        (Some(place), _) => i32::try_from(place).ok().map(|place| 100 * place - 1000),
        (None, "authorizer-node") => Some(-1000),
        (None, "authorizer-abac" | "service-addresses") => Some(900),
        (None, "authorizer-rbac" | "resource-quota") => Some(1000),
        (None, _) => None,
    }
}

pub fn component(name: &str) -> Option<&'static [u8]> {
    PLUGINS.iter().find(|plugin| plugin.name == name).map(|plugin| plugin.wasm)
}

/// The plugins with what this server's settings and identity make of their
/// configuration; `spec.config` of the Plugin object is laid over it.
pub fn with_defaults(settings: &Settings, ca_pem: &str, services: Value) -> Result<Vec<Embedded>> {
    let mut reviews: BTreeMap<String, Vec<ReviewRule>> =
        serde_json::from_str(REVIEWS).context("the list of what embedded plugins review")?;
    let config = |name: &str| match name {
        "service-cidrs" => services.clone(),
        "node-ipam" => json!({"clusterCIDR": settings.cluster_cidr()}),
        "root-ca-publisher" => json!({"rootCA": ca_pem}),
        _ => Value::Null,
    };
    let embedded = PLUGINS.iter().map(|plugin| Embedded {
        name: plugin.name.to_owned(),
        role: plugin.role,
        wasm: Bytes::from_static(plugin.wasm),
        config: config(plugin.name),
        reviews: reviews.remove(plugin.name).unwrap_or_default(),
    });
    Ok(embedded.collect())
}
