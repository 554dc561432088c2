//! Whatever a client sends, it gets a `Status` that blames the client: no
//! request makes the server fail, hang or lose its composure.

mod support;

use http::Request;
use pintle_apiserver::{Body, User};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use support::TestServer;

const PATHS: &[&str] = &[
    "/api/v1/namespaces/default/pods",
    "/api/v1/namespaces/default/pods/p",
    "/api/v1/namespaces/default/pods/p/status",
    "/api/v1/namespaces/default/pods/p/binding",
    "/api/v1/namespaces/default/pods/p/eviction",
    "/api/v1/namespaces/default/pods/p/log",
    "/api/v1/namespaces/default/pods/p/exec",
    "/api/v1/namespaces/default/bindings",
    "/api/v1/namespaces/default/configmaps",
    "/api/v1/namespaces/default/configmaps/c",
    "/api/v1/namespaces/default/services/s",
    "/api/v1/namespaces/demo/finalize",
    "/api/v1/namespaces",
    "/api/v1/nodes/n/status",
    "/apis/apps/v1/namespaces/default/deployments",
    "/apis/apps/v1/namespaces/default/deployments/d",
    "/apis/apps/v1/namespaces/default/deployments/d/scale",
    "/apis/events.k8s.io/v1/namespaces/default/events",
    "/apis/plugins.pintle.dev/v1alpha1/plugins",
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    "/apis",
    "/openapi/v3",
];
const CONTENT_TYPES: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "text/plain",
];
const ACCEPTS: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "*/*;q=0",
];
const KEYS: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata",
    "name",
    "namespace",
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
    "resourceVersion",
    "uid",
    "generateName",
    "spec",
    "status",
    "template",
    "selector",
    "matchLabels",
    "containers",
    "image",
    "env",
    "ports",
    "containerPort",
    "replicas",
    "resources",
    "limits",
    "cpu",
    "memory",
    "data",
    "target",
    "deletionTimestamp",
    "$patch",
    "op",
    "path",
    "value",
    "conditions",
    "type",
    "nodeName",
    "resourceAttributes",
];

/// JSON that resembles objects closely enough to get past the first checks.
fn almost_an_object() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "p",
        "c",
        "d",
        "default",
        "Pod",
        "ConfigMap",
        "Deployment",
        "v1",
        "apps/v1",
        "1",
        "-1",
        "100m",
        "1Gi",
        "",
        "a b",
        "/spec/replicas",
        "replace",
        "delete",
        "2026-01-01T00:00:00Z",
        "é\u{0}",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        words.prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(KEYS), inner), 0..6).prop_map(|pairs| {
                Value::Object(
                    pairs.into_iter().map(|(key, value)| (key.to_string(), value)).collect(),
                )
            }),
        ]
    })
}

/// Requests that exist, so that most cases get to the bodies.
const REQUESTS: &[(&str, &[usize])] = &[
    ("GET", &[0, 1, 5, 8, 12, 14, 17, 20, 21]),
    ("POST", &[0, 3, 4, 7, 8, 12, 14, 17, 18, 19]),
    ("PUT", &[1, 2, 9, 11, 15, 16]),
    ("PATCH", &[1, 2, 9, 13, 15, 16]),
    ("DELETE", &[8, 9, 15]),
];

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "p-", "labels": {"a": "b"}, "annotations": {"c": "d"}, "finalizers": ["a/b"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": true}]},
        "spec": {
            "containers": [{"name": "c", "image": "i", "env": [{"name": "A", "value": "b"}],
                "ports": [{"name": "http", "containerPort": 80}],
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
                "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
            "volumes": [{"name": "v", "emptyDir": {}}],
            "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3}],
            "nodeSelector": {"a": "b"},
        },
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"generateName": "d-"},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"a": "b"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        },
    })
}

/// Good bodies to start from.
fn bodies() -> Vec<Value> {
    vec![
        pod(),
        deployment(),
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"generateName": "c-"}, "data": {"a": "b"}}),
        json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}),
        json!({"metadata": {"name": "p"}, "deleteOptions": {"gracePeriodSeconds": 3, "preconditions": {"uid": "x"}}}),
        json!({"metadata": {"name": "d"}, "spec": {"replicas": 3}}),
        json!([{"op": "replace", "path": "/spec/replicas", "value": 3}, {"op": "copy", "from": "/spec", "path": "/x"}]),
        json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "$patch": "delete"}]}}}}),
        json!({"metadata": {"labels": {"x": "y"}}, "status": {"phase": "Running"}}),
        json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}),
        json!({"metadata": {"generateName": "e-"}, "regarding": {"kind": "Pod"}, "note": "n", "reason": "r"}),
    ]
}

/// Replaces the `index`th value of the tree (counted in reading order).
fn replace(tree: &mut Value, index: &mut usize, with: &Value) {
    if *index == 0 {
        *tree = with.clone();
    }
    *index = index.wrapping_sub(1);
    match tree {
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, index, with)),
        Value::Object(map) => map.values_mut().for_each(|value| replace(value, index, with)),
        _ => {}
    }
}

fn mutated() -> impl Strategy<Value = Value> {
    let changes = prop::collection::vec((1..40usize, almost_an_object()), 0..3);
    (prop::sample::select(bodies()), changes).prop_map(|(mut body, changes)| {
        for (mut index, with) in changes {
            replace(&mut body, &mut index, &with);
        }
        body
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        12 => mutated().prop_map(|value| value.to_string().into_bytes()),
        2 => almost_an_object().prop_map(|value| value.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
        1 => prop::collection::vec(any::<u8>(), 0..100).prop_map(|noise| [&b"k8s\0"[..], &noise].concat()),
    ]
}

/// A method with a path that has it, and a content type that fits, mostly.
fn target() -> impl Strategy<Value = (&'static str, &'static str, &'static str)> {
    let sensible = prop::sample::select(REQUESTS).prop_flat_map(
        |(method, paths): (&'static str, &'static [usize])| {
            let types = if method == "PATCH" { &CONTENT_TYPES[3..6] } else { &CONTENT_TYPES[..2] };
            (Just(method), prop::sample::select(paths), prop::sample::select(types))
        },
    );
    prop_oneof![
        8 => sensible.prop_map(|(method, path, content_type)| (method, PATHS[path], content_type)),
        1 => (
            prop::sample::select(vec!["GET", "POST", "PUT", "PATCH", "DELETE"]),
            prop::sample::select(PATHS),
            prop::sample::select(CONTENT_TYPES),
        ),
    ]
}

#[test]
fn no_request_is_answered_with_a_server_error() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(async {
        let server = TestServer::start().await;
        let mut client = server.admin().await;
        let named = |mut object: Value, name: &str| {
            object["metadata"] = json!({"name": name});
            object
        };
        client.post(PATHS[0], &named(pod(), "p")).await.ok();
        client.post(PATHS[8], &named(json!({"data": {"a": "b"}}), "c")).await.ok();
        client.post(PATHS[14], &named(deployment(), "d")).await.ok();
        client.post("/api/v1/nodes", &named(json!({}), "n")).await.ok();
        server
    });
    let requests = (
        target(),
        prop::sample::select(vec![
            "",
            "?dryRun=All",
            "?fieldValidation=Strict",
            "?limit=1",
            "?gracePeriodSeconds=-9",
        ]),
        prop_oneof![4 => Just(ACCEPTS[0]), 1 => prop::sample::select(ACCEPTS)],
        body(),
    );
    let statuses = std::sync::Mutex::new(std::collections::BTreeMap::<u16, usize>::new());
    let mut runner =
        TestRunner::new(Config { cases: 3000, failure_persistence: None, ..Config::default() });
    runner
        .run(&requests, |((method, path, content_type), query, accept, body)| {
            let request = Request::builder()
                .method(method)
                .uri(format!("{path}{query}"))
                .header("content-type", content_type)
                .header("accept", accept)
                .body(Body::full(body))
                .unwrap();
            let response = runtime.block_on(server.api.handle(User::system("admin"), request));
            let status = response.status().as_u16();
            let answer = runtime.block_on(response.into_body().read_all(1 << 20)).unwrap();
            *statuses.lock().unwrap().entry(status).or_default() += 1;
            // Pods get bound on the way, to a node that is not there.
            let away = status == 503 && path.ends_with("/log");
            prop_assert!(status < 500 || away, "{status} {}", String::from_utf8_lossy(&answer));
            if status >= 400 {
                let answer: Value = serde_json::from_slice(&answer).unwrap();
                prop_assert_eq!(&answer["kind"], "Status");
                prop_assert_ne!(&answer["message"], "");
            }
            Ok(())
        })
        .unwrap();
    // The generator is worth something only if it gets past the first checks.
    let statuses = statuses.into_inner().unwrap();
    for expect in [200, 201, 400, 404, 422] {
        assert!(statuses.contains_key(&expect), "{statuses:?}");
    }
}
