//! Services and the Endpoints made for them.

use pintle_plugin_endpoints::{ENDPOINTS, Plugin};
use pintle_sdk::prelude::*;
use pintle_sdk_testing::Cluster;
use serde_json::{Value, json};

fn pod(name: &str, ip: &str, ready: bool) -> Value {
    let status = if ready { "True" } else { "False" };
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": status}]}})
}

fn service() -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "main", "port": 80, "targetPort": "http"}]}})
}

#[test]
fn ready_and_unready_pods_are_listed_apart() {
    let mut cluster = Cluster::new().with::<Plugin>(json!({}));
    let reference = ENDPOINTS.named("default", "web");
    let owner = cluster.create(service());
    cluster.create(pod("a", "10.0.0.1", true));
    cluster.create(pod("b", "10.0.0.2", false));
    cluster.settle();
    let subsets = cluster.object(&reference).unwrap()["subsets"].clone();
    assert_eq!(subsets[0]["addresses"][0]["ip"], "10.0.0.1");
    assert_eq!(subsets[0]["addresses"][0]["targetRef"]["name"], "a");
    assert_eq!(subsets[0]["notReadyAddresses"][0]["ip"], "10.0.0.2");
    assert_eq!(subsets[0]["ports"], json!([{"name": "main", "port": 8080, "protocol": "TCP"}]));
    assert!(cluster.restart().actions.is_empty());
    cluster.patch(&POD.named("default", "a"), json!({"metadata": {"labels": {"app": "other"}}}));
    cluster.settle();
    assert!(cluster.object(&reference).unwrap()["subsets"][0].get("addresses").is_none());
    cluster.delete(&owner);
    cluster.settle();
    assert!(cluster.object(&reference).is_none());
}

#[test]
fn what_people_write_for_services_without_selector_stays() {
    let mut cluster = Cluster::new().with::<Plugin>(json!({}));
    let mut own = service();
    own["spec"].as_object_mut().unwrap().remove("selector");
    let owner = cluster.create(own);
    let reference = cluster.create(json!({"apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "web", "namespace": "default"},
        "subsets": [{"addresses": [{"ip": "192.0.2.1"}]}]}));
    cluster.settle();
    cluster.delete(&owner);
    cluster.settle();
    assert_eq!(
        cluster.object(&reference).unwrap()["subsets"][0]["addresses"][0]["ip"],
        "192.0.2.1"
    );
}
