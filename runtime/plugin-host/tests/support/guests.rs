//! The guests, built once per test binary.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use base64::Engine as _;
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

static BUILT: LazyLock<Vec<PathBuf>> = LazyLock::new(|| {
    build(&[
        "guest-controller",
        "guest-scheduler",
        "guest-admission",
        "guest-cni",
        "guest-extension",
    ])
});

fn build(packages: &[&str]) -> Vec<PathBuf> {
    // Other crates' benches use these guests too.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (workspace, target) =
        (root.join("runtime/plugin-host/tests/guests"), root.join("target/host-guests"));
    let built = pintle_plugin_build::build(&workspace, packages, &target).expect("guests build");
    built.into_iter().map(|built| built.path).collect()
}

fn read(index: usize) -> Bytes {
    Bytes::from(std::fs::read(&BUILT[index]).expect("a built guest can be read"))
}

pub fn controller() -> Bytes {
    read(0)
}

pub fn scheduler() -> Bytes {
    read(1)
}

pub fn admission() -> Bytes {
    read(2)
}

pub fn cni() -> Bytes {
    read(3)
}

pub fn extension() -> Bytes {
    read(4)
}

/// One that is made with the SDK.
pub fn rule() -> Bytes {
    let built = build(&["guest-rule"]);
    Bytes::from(std::fs::read(&built[0]).expect("a built guest can be read"))
}

/// The same, and it names the fields of pods that it looks at.
pub fn rule_of_fields() -> Bytes {
    let built = build(&["guest-rule-of-fields"]);
    Bytes::from(std::fs::read(&built[0]).expect("a built guest can be read"))
}

pub fn authorizer() -> Bytes {
    let built = build(&["guest-authorizer"]);
    Bytes::from(std::fs::read(&built[0]).expect("a built guest can be read"))
}

pub fn digest(component: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(component)))
}

/// The same program under another digest: a custom section changes nothing else.
pub fn variant(component: &[u8], mark: u8) -> Bytes {
    let mut bytes = component.to_vec();
    bytes.extend([0, 3, 1, b'v', mark]);
    Bytes::from(bytes)
}

/// A component of one import, which no role is offered.
#[allow(dead_code)] // not every test target needs it
pub fn asking_for_the_network() -> Bytes {
    let import = b"wasi:http/outgoing-handler@0.2.3";
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    // A type: an instance with nothing in it.
    bytes.extend([7, 3, 1, 0x42, 0]);
    // An import of that type.
    bytes.extend([10, import.len() as u8 + 5, 1, 0, import.len() as u8]);
    bytes.extend(import);
    bytes.extend([5, 0]);
    Bytes::from(bytes)
}

/// A Plugin object with the component inside.
pub fn plugin(name: &str, role: &str, component: &[u8], config: Value, grants: Value) -> Value {
    json!({
        "apiVersion": "plugins.pintle.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": { "name": name },
        "spec": {
            "role": role,
            "source": { "inline": { "data": base64::engine::general_purpose::STANDARD.encode(component) } },
            "digest": digest(component),
            "config": config,
            "grants": grants,
            // However slow the machine, what was swapped in is still new when it faults.
            "rollout": { "maxStrikes": 3, "windowSeconds": 3600 },
        },
    })
}

/// A Plugin object of a component that came with the server.
pub fn embedded(name: &str, role: &str) -> Value {
    json!({
        "apiVersion": "plugins.pintle.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": { "name": name },
        "spec": { "role": role, "source": { "embedded": { "name": name } } },
    })
}

pub fn copier_grants() -> Value {
    json!([{ "apiGroups": [""], "kinds": ["ConfigMap"], "verbs": ["get", "list", "watch", "create", "patch"] }])
}

pub fn scheduler_grants() -> Value {
    json!([{ "apiGroups": [""], "kinds": ["Node", "Pod"], "verbs": ["list", "watch", "bind"] }])
}

/// The components that come with the server, if they have been built.
pub fn defaults() -> Vec<(String, Bytes)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../target/guests/wasm32-unknown-unknown/release");
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let named = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let name = name.strip_prefix("pintle_plugin_")?.strip_suffix(".wasm")?.replace('_', "-");
        Some((name, Bytes::from(std::fs::read(entry.path()).ok()?)))
    });
    let mut found: Vec<_> = named.collect();
    found.sort();
    found
}

pub fn every_grant() -> Value {
    json!([{ "apiGroups": ["*"], "kinds": ["*"], "verbs": ["*"] }])
}
