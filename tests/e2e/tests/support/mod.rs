//! What the tests of plugins share: the guests of the plugin host, Plugin
//! objects of them, and nodes without machines.

#![allow(dead_code)] // each test binary uses its own part

pub mod writers;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use base64::Engine as _;
use pintle_e2e::Cluster;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The guests of the plugin host's own tests.
pub static GUESTS: LazyLock<Vec<PathBuf>> = LazyLock::new(|| {
    let workspace = pintle_e2e::workspace();
    let packages = ["guest-controller", "guest-scheduler", "guest-admission"];
    let source = workspace.join("runtime/plugin-host/tests/guests");
    let target = workspace.join("target/host-guests");
    let built = pintle_plugin_build::build(&source, &packages, &target).expect("guests build");
    built.into_iter().map(|built| built.path).collect()
});

/// Copies every ConfigMap labelled `copy`.
pub fn copier() -> Vec<u8> {
    std::fs::read(&GUESTS[0]).unwrap()
}

/// Binds to the emptiest node that it knows of.
pub fn counting() -> Vec<u8> {
    std::fs::read(&GUESTS[1]).unwrap()
}

/// Denies ConfigMaps named `forbidden` and labels the others.
pub fn labelling() -> Vec<u8> {
    std::fs::read(&GUESTS[2]).unwrap()
}

/// The default scheduler with another default strategy: another build, the same
/// contract. In a target directory of its own, since other features overwrite.
pub fn most_allocated(output: &Path) {
    let workspace = pintle_e2e::workspace();
    let target = workspace.join("target/guests/with-features");
    let package = ["pintle-plugin-scheduler"];
    let built = pintle_plugin_build::build_with(&workspace, &package, &["most-allocated"], &target);
    std::fs::copy(&built.expect("the scheduler builds")[0].path, output).unwrap();
}

/// The same program under another digest: a custom section changes nothing else.
pub fn variant(component: &[u8], mark: u8) -> Vec<u8> {
    let mut bytes = component.to_vec();
    bytes.extend([0, 3, 1, b'v', mark]);
    bytes
}

pub fn digest(component: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(component)))
}

pub fn inline(component: &[u8]) -> Value {
    let data = base64::engine::general_purpose::STANDARD.encode(component);
    json!({
        "source": { "inline": { "data": data }, "embedded": null },
        "digest": digest(component),
    })
}

/// `spec` over what every version of the plugin has.
pub fn apply_plugin(cluster: &Cluster, plugin: &str, role: &str, spec: &[Value]) {
    let mut whole = json!({ "role": role });
    for part in spec {
        for (field, value) in part.as_object().unwrap() {
            whole[field] = value.clone();
        }
    }
    let object = json!({
        "apiVersion": "plugins.pintle.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": { "name": plugin },
        "spec": whole,
    });
    cluster.apply(&object.to_string());
}

/// The status once it is about the present spec and `check` holds.
pub fn status(
    cluster: &Cluster,
    plugin: &str,
    what: &str,
    check: impl Fn(&Value) -> bool,
) -> Value {
    let get = |c: &Cluster| {
        let object = c.get(&format!("plugins {plugin}"));
        let present = object["metadata"]["generation"] == object["status"]["observedGeneration"];
        (present, object["status"].clone())
    };
    let last = std::cell::RefCell::new(Value::Null);
    cluster.wait(what, |c| {
        let (present, status) = get(c);
        let holds = present && check(&status);
        if *last.borrow() != status {
            eprintln!("{plugin}: {} {} {}", status["phase"], status["reason"], status["message"]);
        }
        last.replace(status);
        holds
    });
    last.into_inner()
}

pub fn phase(cluster: &Cluster, plugin: &str, phase: &str) -> Value {
    status(cluster, plugin, &format!("{plugin} to be {phase}"), |status| status["phase"] == phase)
}

/// Nodes that are Ready for ever, though nobody is there.
pub fn add_nodes(cluster: &Cluster, count: usize) {
    for number in 0..count {
        let node = format!("silent-{number}");
        let capacity = json!({ "cpu": "64", "memory": "256Gi", "pods": "1000" });
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": { "name": node, "namespace": "kube-node-lease" },
            "spec": {
                "holderIdentity": node,
                "leaseDurationSeconds": 40,
                "renewTime": "2099-01-01T00:00:00.000000Z",
            },
        });
        cluster.apply(&lease.to_string());
        let object = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": { "name": node, "labels": { "kubernetes.io/hostname": node } },
            "status": {
                "capacity": capacity,
                "allocatable": capacity,
                "conditions": [{
                    "type": "Ready",
                    "status": "True",
                    "reason": "Test",
                    "message": "",
                    "lastHeartbeatTime": "2026-01-01T00:00:00Z",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }],
            },
        });
        cluster.apply(&object.to_string());
    }
}

pub fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": "load" } },
        "spec": { "containers": [{ "name": "main", "image": "none" }] },
    })
}

pub fn assert_pods_are_bound(cluster: &Cluster, name: &str) {
    cluster.apply(&pod(name).to_string());
    cluster.wait(&format!("pod {name} to be bound"), |c| {
        c.get(&format!("pods {name}"))["spec"]["nodeName"].is_string()
    });
}

pub fn counting_grants() -> Value {
    json!([{ "apiGroups": [""], "kinds": ["Node", "Pod"], "verbs": ["list", "watch", "bind"] }])
}
