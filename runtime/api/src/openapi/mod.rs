//! OpenAPI v3 documents, one per group and version, made from the table of kinds
//! and the schema.
//!
//! kubectl reads them to compute patches on the client, to see which parameters
//! the server checks, and for `explain`. They are made per request: clients ask
//! once per hash and keep the answer.
//!
//! Read first: [`openapi_v3`].

mod describe;
mod parameters;
mod paths;
mod schemas;

use serde_json::{Value, json};

use crate::kinds::Registry;
use crate::schema::DATA_FILES;
use crate::schema::DESCRIPTIONS;

/// The document of a group and version, as `/openapi/v3/apis/apps/v1` serves it;
/// `None` when no kind of them is served.
pub fn openapi_v3(group: &str, version: &str, registry: &Registry) -> Option<Value> {
    let rows: Vec<_> =
        registry.iter().filter(|row| row.group == group && row.version == version).collect();
    if rows.is_empty() {
        return None;
    }
    let mut schemas = schemas::Schemas::new();
    let paths = paths::paths(group, version, &rows, &mut schemas);
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.35.0"},
        "paths": paths,
        "components": {"schemas": schemas.finish()},
    }))
}

/// The index at `/openapi/v3`: where the document of each group and version is.
/// The hash changes with the document, so clients may keep what they have.
pub fn openapi_v3_index(registry: &Registry) -> Value {
    let mut paths = serde_json::Map::new();
    for row in registry.iter() {
        let name = root(row.group, row.version);
        if !paths.contains_key(&name) {
            let hash = openapi_hash(row.group, row.version, registry);
            let url = format!("/openapi/v3/{name}?hash={hash}");
            paths.insert(name, json!({ "serverRelativeURL": url }));
        }
    }
    json!({ "paths": paths })
}

/// A fingerprint of everything the document of a group and version is made from.
pub fn openapi_hash(group: &str, version: &str, registry: &Registry) -> String {
    let mut hash = Fnv::default();
    hash.add(env!("CARGO_PKG_VERSION"));
    hash.add(group);
    hash.add(version);
    for row in registry.iter().filter(|row| row.group == group && row.version == version) {
        hash.add(row.kind);
        row.verbs.iter().for_each(|verb| hash.add(verb));
        row.subresources.iter().for_each(|subresource| hash.add(subresource.name()));
    }
    DATA_FILES.iter().for_each(|file| hash.add(file));
    hash.add(DESCRIPTIONS);
    format!("{:016X}", hash.0)
}

/// `api/v1` or `apis/apps/v1`
fn root(group: &str, version: &str) -> String {
    match group {
        "" => format!("api/{version}"),
        group => format!("apis/{group}/{version}"),
    }
}

/// FNV-1a: stable over builds, which the standard hasher does not promise.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, text: &str) {
        for byte in text.bytes().chain([0]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests;
