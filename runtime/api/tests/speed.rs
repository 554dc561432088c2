//! What the decoders cost on a pod of 1.6 KB. Figures of a debug build say
//! nothing: `cargo test --release -p pintle-api --test speed -- --ignored --nocapture`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use pintle_api::meta::GroupVersionKind;
use pintle_api::{patch, protobuf, schema};
use serde_json::{Value, json};

fn pod() -> Value {
    let toleration = |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "web-7d9f8b6c5-abcde",
            "namespace": "default",
            "labels": {"app": "web", "pod-template-hash": "7d9f8b6c5"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d9f8b6c5",
                "uid": "4b5fd3d0-9c1a-4a5e-8a53-6f7b0a1a2b3c", "controller": true, "blockOwnerDeletion": true}],
        },
        "spec": {
            "containers": [{
                "name": "web",
                "image": "registry.example/web:1.2.3",
                "imagePullPolicy": "IfNotPresent",
                "command": ["/bin/web"],
                "args": ["--port", "8080"],
                "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                "env": [
                    {"name": "A", "value": "1"},
                    {"name": "POD", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
                ],
                "resources": {"limits": {"cpu": "500m", "memory": "128Mi"}, "requests": {"cpu": "100m", "memory": "64Mi"}},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                "livenessProbe": {"httpGet": {"path": "/", "port": "http", "scheme": "HTTP"}, "timeoutSeconds": 1,
                    "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }],
            "volumes": [{"name": "data", "emptyDir": {}}],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "serviceAccountName": "default",
            "serviceAccount": "default",
            "nodeName": "node-1",
            "securityContext": {},
            "schedulerName": "default-scheduler",
            "tolerations": [toleration("node.kubernetes.io/not-ready"), toleration("node.kubernetes.io/unreachable")],
            "priority": 0,
            "enableServiceLinks": true,
            "preemptionPolicy": "PreemptLowerPriority",
        },
    })
}

/// The best of several rounds: the others measure the machine's other work.
fn measure(name: &str, mut work: impl FnMut()) -> Duration {
    const CALLS: u32 = 2000;
    let best = (0..10).map(|_| {
        let start = Instant::now();
        (0..CALLS).for_each(|_| work());
        start.elapsed() / CALLS
    });
    let best = best.min().unwrap_or_default();
    println!("{name:<28} {best:?}");
    best
}

#[test]
#[ignore = "prints figures; meaningful in a release build only"]
fn decoders_of_a_pod() {
    let pod = pod();
    let text = pod.to_string();
    let gvk = GroupVersionKind::new("", "v1", "Pod");
    let body = protobuf::encode(&gvk, &pod).unwrap();
    let change = json!({"spec": {"$setElementOrder/containers": [{"name": "web"}],
        "containers": [{"name": "web", "image": "registry.example/web:1.2.4"}]}});
    println!("pod: {} bytes of JSON, {} of protobuf", text.len(), body.len());

    let check = measure("field check", || {
        black_box(schema::check("core.v1.Pod", black_box(&pod)));
    });
    measure("plain JSON parse", || {
        black_box(serde_json::from_str::<Value>(black_box(&text)).unwrap());
    });
    measure("strict JSON parse", || {
        black_box(schema::decode_json_strict(black_box(text.as_bytes())).unwrap());
    });
    measure("clone", || {
        black_box(pod.clone());
    });
    measure("clone, normalize", || {
        let mut pod = pod.clone();
        schema::normalize("core.v1.Pod", &mut pod);
        black_box(pod);
    });
    measure("clone, strategic merge", || {
        let mut pod = pod.clone();
        patch::strategic_merge(&mut pod, &change, "core.v1.Pod").unwrap();
        black_box(pod);
    });
    measure("protobuf decode", || {
        black_box(protobuf::decode(black_box(&body)).unwrap());
    });
    measure("protobuf encode", || {
        black_box(protobuf::encode(&gvk, black_box(&pod)).unwrap());
    });
    if !cfg!(debug_assertions) {
        assert!(check < Duration::from_micros(5), "field check took {check:?}");
    }
}
