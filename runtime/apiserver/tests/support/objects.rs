//! Objects that several tests make.

use serde_json::{Value, json};

use super::{Answer, Client};

pub const DEFAULT: &str = "/api/v1/namespaces/default";
pub const APPS: &str = "/apis/apps/v1/namespaces/default";

pub fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "busybox"}]},
    })
}

pub fn deployment(name: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "a"}]},
            },
        },
    })
}

pub async fn create_pod(client: &mut Client, name: &str) -> Value {
    client.post(&format!("{DEFAULT}/pods"), &pod(name)).await.ok()
}

pub async fn bind(client: &mut Client, name: &str, node: &str) -> Answer {
    let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": node}});
    client.post(&format!("{DEFAULT}/pods/{name}/binding"), &binding).await
}
