//! Objects for tests, built in a line each.
//!
//! ```
//! use pintle_sdk_testing::World;
//! use pintle_sdk_testing::objects::{node, pod};
//!
//! let mut world = World::new();
//! world.create(node("n1").label("disk", "ssd").capacity("cpu", "4"));
//! world.create(pod("web-1").label("app", "web").requests("cpu", "500m").set("spec.priority", 7));
//! ```

use pintle_sdk::types::*;
use pintle_sdk::{KindRef, ObjectRef};
use serde_json::{Value, json};

/// An object under construction; turns into its JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Builder(Value);

/// An object of any kind.
pub fn object(kind: &KindRef, namespace: &str, name: &str) -> Builder {
    let mut metadata = json!({"name": name});
    if !namespace.is_empty() {
        metadata["namespace"] = json!(namespace);
    }
    Builder(json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": metadata}))
}

/// A pod in namespace `default` with one container and no node.
pub fn pod(name: &str) -> Builder {
    object(&POD, "default", name)
        .set("spec", json!({"schedulerName": "default-scheduler", "containers": [{"name": "main", "image": "example.com/app:1"}]}))
        .set("status.phase", "Pending")
}

/// A node that is ready and has room: 8 CPUs, 32 GiB, 110 pods.
pub fn node(name: &str) -> Builder {
    let room = json!({"cpu": "8", "memory": "32Gi", "pods": "110"});
    object(&NODE, "", name)
        .label("kubernetes.io/hostname", name)
        .set("spec", json!({}))
        .set("status", json!({"capacity": room, "allocatable": room, "conditions": [{"type": "Ready", "status": "True"}]}))
}

/// A ConfigMap in namespace `default`.
pub fn config_map(name: &str) -> Builder {
    object(&CONFIG_MAP, "default", name)
}

/// A Service in namespace `default` that selects `app: <name>` on port 80.
pub fn service(name: &str) -> Builder {
    object(&SERVICE, "default", name)
        .set("spec", json!({"selector": {"app": name}, "ports": [{"port": 80}]}))
}

/// A Deployment in namespace `default` of pods with the label `app: <name>`.
pub fn deployment(name: &str, replicas: i64) -> Builder {
    let labels = json!({"app": name});
    object(&DEPLOYMENT, "default", name).set(
        "spec",
        json!({
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels},
                         "spec": {"containers": [{"name": "main", "image": "example.com/app:1"}]}},
        }),
    )
}

/// A Namespace.
pub fn namespace(name: &str) -> Builder {
    object(&NAMESPACE, "", name)
}

/// A CertificateSigningRequest for what `pem` asks (`openssl req -new`), of a user
/// `jane`, for the signer of users' certificates.
pub fn certificate_request(name: &str, pem: &str) -> Builder {
    object(&CERTIFICATE_SIGNING_REQUEST, "", name)
        .set("spec.request", pintle_sdk::api::x509::field_text(pem.as_bytes()))
        .signer("kubernetes.io/kube-apiserver-client")
        .usages(&["client auth"])
        .requester("jane", &["system:authenticated"])
}

impl Builder {
    /// Puts it into another namespace.
    pub fn namespace(self, namespace: &str) -> Self {
        self.set("metadata.namespace", namespace)
    }

    /// Adds a label.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["labels"][key] = json!(value);
        self
    }

    /// Adds an annotation.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["annotations"][key] = json!(value);
        self
    }

    /// Adds a finalizer.
    pub fn finalizer(mut self, name: &str) -> Self {
        push(&mut self.0["metadata"]["finalizers"], json!(name));
        self
    }

    /// Makes it owned, and controlled, by an object of the world.
    pub fn owned_by(mut self, owner: &ObjectRef, uid: &str) -> Self {
        let reference = pintle_sdk::owners::reference_to(owner, uid);
        push(&mut self.0["metadata"]["ownerReferences"], json!(reference));
        self
    }

    /// Sets the field at a dotted path; what lies on the way is made.
    pub fn set(mut self, path: &str, value: impl Into<Value>) -> Self {
        let place = path.split('.').fold(&mut self.0, |place, field| &mut place[field]);
        *place = value.into();
        self
    }

    /// For a certificate request: who is to sign it.
    pub fn signer(self, name: &str) -> Self {
        self.set("spec.signerName", name)
    }

    /// For a certificate request: what the certificate is for.
    pub fn usages(self, usages: &[&str]) -> Self {
        self.set("spec.usages", json!(usages))
    }

    /// For a certificate request: who asks.
    pub fn requester(self, name: &str, groups: &[&str]) -> Self {
        self.set("spec.username", name).set("spec.groups", json!(groups))
    }

    /// For a pod: it runs on this node.
    pub fn on(self, node: &str) -> Self {
        self.set("spec.nodeName", node).set("status.phase", "Running")
    }

    /// For a pod: what its first container asks for.
    pub fn requests(mut self, resource: &str, quantity: &str) -> Self {
        self.0["spec"]["containers"][0]["resources"]["requests"][resource] = json!(quantity);
        self
    }

    /// For a pod: it tolerates every taint with this key.
    pub fn tolerates(mut self, key: &str) -> Self {
        push(&mut self.0["spec"]["tolerations"], json!({"key": key, "operator": "Exists"}));
        self
    }

    /// For a node: how much of a resource it has.
    pub fn capacity(mut self, resource: &str, quantity: &str) -> Self {
        self.0["status"]["capacity"][resource] = json!(quantity);
        self.0["status"]["allocatable"][resource] = json!(quantity);
        self
    }

    /// For a node: a taint; `effect` is `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub fn taint(mut self, key: &str, value: &str, effect: &str) -> Self {
        push(&mut self.0["spec"]["taints"], json!({"key": key, "value": value, "effect": effect}));
        self
    }

    /// For a ConfigMap or a Secret: one entry of `data`.
    pub fn data(mut self, key: &str, value: &str) -> Self {
        self.0["data"][key] = json!(value);
        self
    }

    /// The object as JSON.
    pub fn build(self) -> Value {
        self.0
    }
}

impl From<Builder> for Value {
    fn from(builder: Builder) -> Value {
        builder.0
    }
}

fn push(list: &mut Value, entry: Value) {
    match list {
        Value::Array(entries) => entries.push(entry),
        other => *other = json!([entry]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builders_make_what_kubectl_would_send() {
        fn check(builder: Builder, expect: Value) {
            assert_eq!(Value::from(builder), expect);
        }
        check(
            config_map("m").namespace("kube-system").data("a", "b").finalizer("x/y"),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"},
                "metadata": {"name": "m", "namespace": "kube-system", "finalizers": ["x/y"]}}),
        );
        check(
            object(&KindRef::new("example.com", "v1", "Website"), "", "w").set("spec.a.b", 1),
            json!({"apiVersion": "example.com/v1", "kind": "Website", "metadata": {"name": "w"},
                "spec": {"a": {"b": 1}}}),
        );
        let pod = pod("p").requests("cpu", "1").on("n").tolerates("k").build();
        assert_eq!(pod["spec"]["containers"][0]["resources"]["requests"]["cpu"], "1");
        assert_eq!(
            (&pod["spec"]["nodeName"], &pod["status"]["phase"]),
            (&json!("n"), &json!("Running"))
        );
        let node = node("n").capacity("example.com/gpu", "2").taint("k", "", "NoSchedule").build();
        assert_eq!(node["status"]["allocatable"]["example.com/gpu"], "2");
        assert_eq!(node["spec"]["taints"][0]["effect"], "NoSchedule");
    }
}
