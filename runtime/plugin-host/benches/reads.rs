//! What the default controllers carry across the boundary per call: pods, sets,
//! services and nodes of usual size, as many as a busy namespace has.
//!
//! `cargo bench -p pintle-plugin-host --bench reads`, after the default plugins
//! have been built (`cargo build -p pintle`).

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::Duration;

use pintle_plugin_host::{Compiler, Host, HostConfig};
use serde_json::{Value, json};
use support::cluster::{Memory, large_pod, node};
use support::guests;
use tokio_util::sync::CancellationToken;

const PODS: usize = 100;
const NODES: usize = 20;
const OLD_SETS: usize = 9;

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    for (name, component) in guests::defaults() {
        if ["deployment", "endpointslice", "garbage-collector", "replicaset"].contains(&&*name) {
            runtime.block_on(measure(&name, &component));
        }
    }
}

async fn measure(name: &str, component: &[u8]) {
    let memory = Memory::new();
    namespace(&memory);
    memory.create(guests::plugin(name, "Controller", component, json!({}), guests::every_grant()));
    let directory = tempfile::tempdir().expect("a directory");
    let config = HostConfig {
        cache_directory: directory.path().join("cache"),
        compiler: Compiler::InProcess,
        embedded: Vec::new(),
        sources: Default::default(),
    };
    let host = Host::new(config, memory.clone()).expect("a host");
    let shutdown = CancellationToken::new();
    let running = tokio::spawn({
        let (host, shutdown) = (host.clone(), shutdown.clone());
        async move { host.run(shutdown).await }
    });
    host.ready().await;
    at_rest(&host).await;
    let (calls, bytes) = (scrape(&host, "calls_total"), scrape(&host, "read_bytes_total"));
    println!(
        "{name:<18} {:>9.0} bytes per call, {calls:>4} calls, {:>9.0} in all",
        bytes / calls,
        bytes
    );
    shutdown.cancel();
    running.await.expect("the host ends");
}

/// Only the measurement polls: until nothing has been called for a while.
async fn at_rest(host: &Arc<Host>) {
    let (mut before, mut quiet) = (-1.0, 0);
    while quiet < 10 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let calls = scrape(host, "calls_total");
        quiet = if calls == before && calls > 0.0 { quiet + 1 } else { 0 };
        before = calls;
    }
}

fn scrape(host: &Host, metric: &str) -> f64 {
    let mut text = String::new();
    host.render_metrics(&mut text);
    let start = format!("pintle_plugin_{metric}{{");
    let line = text.lines().find(|line| line.starts_with(&start)).unwrap_or_default();
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).unwrap_or_default()
}

/// One Deployment with its present set, its pods, sets of earlier revisions, and
/// the Service in front.
fn namespace(memory: &Memory) {
    for index in 0..NODES {
        let mut node = node(&format!("node-{index}"));
        node["metadata"]["labels"]["topology.kubernetes.io/zone"] = json!("a");
        node["metadata"]["managedFields"] = managed();
        let images = (0..30).map(|image| {
            json!({ "names": [format!("registry.example/team/image-{image}:1.2.3")], "sizeBytes": 123_456_789 })
        });
        node["status"]["images"] = images.collect();
        memory.create(node);
    }
    let labels = json!({ "app": "web" });
    memory.create(object("apps/v1", "Deployment", "web", &labels, json!({
        "replicas": PODS, "selector": { "matchLabels": labels }, "template": template(&labels, "new"),
    })));
    let deployment = owner(memory, "Deployment", "web");
    for index in 0..=OLD_SETS {
        let newest = index == OLD_SETS;
        let labels = json!({ "app": "web", "pod-template-hash": format!("hash{index}") });
        let image = if newest { "new".to_owned() } else { format!("old{index}") };
        let mut set = object(
            "apps/v1",
            "ReplicaSet",
            &format!("web-{index}"),
            &labels,
            json!({
                "replicas": if newest { PODS } else { 0 },
                "selector": { "matchLabels": labels },
                "template": template(&labels, &image),
            }),
        );
        set["metadata"]["ownerReferences"] = json!([deployment]);
        memory.create(set);
    }
    let set = owner(memory, "ReplicaSet", &format!("web-{OLD_SETS}"));
    for index in 0..PODS {
        let mut pod = large_pod(&format!("web-{index:03}"));
        pod["metadata"]["labels"] =
            json!({ "app": "web", "pod-template-hash": format!("hash{OLD_SETS}") });
        pod["metadata"]["ownerReferences"] = json!([set]);
        pod["metadata"]["managedFields"] = managed();
        pod["spec"]["nodeName"] = json!(format!("node-{}", index % NODES));
        pod["status"] = json!({
            "phase": "Running",
            "podIP": format!("10.1.0.{index}"),
            "podIPs": [{ "ip": format!("10.1.0.{index}") }],
            "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" }],
        });
        memory.create(pod);
    }
    memory.create(object("v1", "Service", "web", &labels, json!({
        "selector": labels, "ports": [{ "port": 80, "protocol": "TCP" }], "clusterIP": "10.2.0.1",
        "clusterIPs": ["10.2.0.1"], "ipFamilies": ["IPv4"], "type": "ClusterIP",
    })));
}

fn object(api_version: &str, kind: &str, name: &str, labels: &Value, spec: Value) -> Value {
    json!({
        "apiVersion": api_version, "kind": kind,
        "metadata": {
            "name": name, "namespace": "default", "labels": labels, "managedFields": managed(),
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": spec,
    })
}

fn template(labels: &Value, image: &str) -> Value {
    let mut spec = large_pod("template")["spec"].clone();
    spec["containers"][0]["image"] = image.into();
    json!({ "metadata": { "labels": labels }, "spec": spec })
}

fn owner(memory: &Memory, kind: &str, name: &str) -> Value {
    let object = memory.value(kind, "default", name).expect("the owner was made");
    json!({
        "apiVersion": "apps/v1", "kind": kind, "name": name, "uid": object["metadata"]["uid"],
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// As the server writes it for two managers.
fn managed() -> Value {
    let fields: Value = (0..12)
        .map(|index| (format!("f:field{index}"), json!({ ".": {}, "f:value": {} })))
        .collect::<serde_json::Map<_, _>>()
        .into();
    json!([
        { "manager": "kubectl", "operation": "Update", "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": { "f:spec": fields } },
        { "manager": "node", "operation": "Update", "subresource": "status", "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": { "f:status": { "f:phase": {} } } },
    ])
}
