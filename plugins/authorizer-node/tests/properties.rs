//! The plugin and a search through all pods agree, whatever order pods and claims
//! came, changed and went in.

use pintle_plugin_authorizer_node::Plugin;
use pintle_sdk::authorizer::{Attributes, User};
use pintle_sdk_testing::Authorizing;
use proptest::prelude::*;
use serde_json::{Value, json};

const NODES: &[&str] = &["", "n1", "n2"];
const NAMES: &[&str] = &["a", "b", "c"];

fn pick(from: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(from)
}

fn pod() -> impl Strategy<Value = Value> {
    let uses = prop::collection::vec((pick(&["secret", "configMap", "claim"]), pick(NAMES)), 0..4);
    (pick(&["x", "y"]), pick(&["p", "q"]), pick(NODES), uses).prop_map(
        |(namespace, name, node, uses)| {
            let volume = |(index, (kind, name)): (usize, (&str, &str))| match kind {
                "secret" => json!({"name": index.to_string(), "secret": {"secretName": name}}),
                "configMap" => json!({"name": index.to_string(), "configMap": {"name": name}}),
                _ => {
                    json!({"name": index.to_string(), "persistentVolumeClaim": {"claimName": name}})
                }
            };
            let volumes: Vec<Value> = uses.into_iter().enumerate().map(volume).collect();
            json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"nodeName": node, "volumes": volumes}})
        },
    )
}

fn claim() -> impl Strategy<Value = Value> {
    (pick(&["x", "y"]), pick(NAMES), pick(&["", "v", "w"])).prop_map(|(namespace, name, volume)| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": namespace}, "spec": {"volumeName": volume}})
    })
}

fn uses(present: &[Value], node: &str, resource: &str, namespace: &str, name: &str) -> bool {
    if resource == "persistentvolumes" {
        return present.iter().any(|claim| {
            claim["kind"] == "PersistentVolumeClaim"
                && claim["spec"]["volumeName"] == name
                && uses(
                    present,
                    node,
                    "persistentvolumeclaims",
                    claim["metadata"]["namespace"].as_str().unwrap(),
                    claim["metadata"]["name"].as_str().unwrap(),
                )
        });
    }
    let field = match resource {
        "secrets" => "/secret/secretName",
        "configmaps" => "/configMap/name",
        _ => "/persistentVolumeClaim/claimName",
    };
    present.iter().any(|pod| {
        pod["kind"] == "Pod"
            && pod["spec"]["nodeName"] == node
            && pod["metadata"]["namespace"] == namespace
            && pod["spec"]["volumes"]
                .as_array()
                .unwrap()
                .iter()
                .any(|volume| volume.pointer(field).and_then(Value::as_str) == Some(name))
    })
}

fn same(a: &Value, b: &Value) -> bool {
    let place = |object: &Value| {
        let metadata = &object["metadata"];
        (object["kind"].clone(), metadata["namespace"].clone(), metadata["name"].clone())
    };
    place(a) == place(b)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_plugin_agrees_with_a_search_through_everything(
        changes in prop::collection::vec((prop_oneof![2 => pod(), 1 => claim()], prop::bool::weighted(0.2)), 0..16),
    ) {
        let mut cluster = Authorizing::with::<Plugin>(json!({}));
        let mut present: Vec<Value> = Vec::new();
        for (object, goes) in changes {
            present.retain(|other| !same(other, &object));
            let reference = cluster.insert(object.clone());
            if goes {
                cluster.remove(&reference);
            } else {
                present.push(object);
            }
        }
        for node in ["n1", "n2"] {
            for (resource, namespaces, names) in [
                ("secrets", &["x", "y"][..], NAMES),
                ("configmaps", &["x", "y"][..], NAMES),
                ("persistentvolumeclaims", &["x", "y"][..], NAMES),
                ("persistentvolumes", &[""][..], &["v", "w"][..]),
            ] {
                for (namespace, name) in
                    namespaces.iter().flat_map(|ns| names.iter().map(move |name| (*ns, *name)))
                {
                    let user = User::new(&format!("system:node:{node}"), &["system:nodes"]);
                    let asked = Attributes::resource(user, "get", "", resource)
                        .within(namespace)
                        .named(name);
                    let expect = uses(&present, node, resource, namespace, name);
                    let found = cluster.ask(&asked).is_allowed();
                    prop_assert_eq!(found, expect, "{} {} {}/{}", node, resource, namespace, name);
                }
            }
        }
    }
}
