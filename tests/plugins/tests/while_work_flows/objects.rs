//! Objects that several rows need.

use pintle_plugins::api::Api;
use pintle_plugins::flow::{Answered, Stage, Work};
use serde_json::{Value, json};

/// A node that is Ready for ever, though nobody is there.
pub const NODE: &str = "silent";

/// Of a pod that no row's plugin is to place.
pub const NOBODY: &str = "nobody";

pub fn prepare(api: &mut Api) {
    let lease = json!({
        "metadata": {"name": NODE},
        "spec": {"holderIdentity": NODE, "leaseDurationSeconds": 40,
            "renewTime": "2099-01-01T00:00:00.000000Z"},
    });
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    api.create(leases, &lease).ok();
    let node = json!({
        "metadata": {"name": NODE, "labels": {"kubernetes.io/hostname": NODE, "swap": "here"}},
        "status": status_of_node("True"),
    });
    api.create("/api/v1/nodes", &node).ok();
}

pub fn status_of_node(ready: &str) -> Value {
    let capacity = json!({"cpu": "64", "memory": "256Gi", "pods": "100000"});
    json!({
        "capacity": capacity,
        "allocatable": capacity,
        "conditions": [{"type": "Ready", "status": ready, "reason": "Test", "message": "",
            "lastHeartbeatTime": "2099-01-01T00:00:00Z",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    })
}

/// The spec of a pod that stays pending.
pub fn pending() -> Value {
    json!({"schedulerName": NOBODY, "containers": [{"name": "main", "image": "none"}]})
}

/// The template of such pods, labelled with `app`.
pub fn template(app: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}, "spec": pending()})
}

/// One pod of this `app` that is ready and has an address.
pub fn ready_pod(stage: &mut Stage, app: &str) {
    let mut spec = pending();
    spec["nodeName"] = json!(NODE);
    stage.create(
        "v1/pods",
        json!({"metadata": {"name": app, "labels": {"app": app}}, "spec": spec}),
    );
    let status = json!({
        "phase": "Running", "podIP": "10.244.7.7", "podIPs": [{"ip": "10.244.7.7"}],
        "conditions": [{"type": "Ready", "status": "True"}],
    });
    stage.set_status("v1/pods", app, status);
}

pub fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

pub fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

/// A new object is the product of its controller's unit.
pub fn owned(kind: &str, object: &Value) -> Option<(String, String)> {
    let owner = object["metadata"]["ownerReferences"]
        .as_array()?
        .iter()
        .find(|owner| owner["controller"] == true)?;
    let unit = owner["name"].as_str()?.to_owned();
    (kind == "ADDED").then(|| (unit, uid(object)))
}

/// The unit itself, once `done` holds of it.
pub fn itself(object: &Value, done: bool) -> Option<(String, String)> {
    done.then(|| (name(object), uid(object)))
}

/// The unit itself is gone.
pub fn gone(kind: &str, object: &Value) -> Option<(String, String)> {
    itself(object, kind == "DELETED")
}

/// Requests of several clients at the same time.
pub const fn answered(ask: fn(&mut Stage, usize) -> Result<(), String>) -> Work {
    Work::Answered(Answered { clients: 3, ask })
}

pub fn nothing() -> Value {
    Value::Null
}

pub fn no_preparation(_: &mut Stage) {}
