//! Endpoints that people write, and the slices that mirror them.

use pintle_plugin_endpointslice_mirroring::{ENDPOINTS, Plugin};
use pintle_sdk::prelude::*;
use pintle_sdk_testing::Cluster;
use serde_json::json;

#[test]
fn slices_follow_what_people_write() {
    let mut cluster = Cluster::new().with::<Plugin>(json!({}));
    let service = cluster.create(json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "db", "namespace": "default"}, "spec": {"ports": [{"port": 5432}]}}));
    let endpoints = cluster.create(json!({"apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "db", "namespace": "default"},
        "subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 5432, "protocol": "TCP"}]}]}));
    cluster.settle();
    let slice = cluster.all(&ENDPOINT_SLICE)[0].clone();
    assert_eq!(slice["endpoints"][0]["addresses"], json!(["192.0.2.1"]));
    assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], "db");
    assert_eq!(slice["metadata"]["ownerReferences"][0]["kind"], "Endpoints");
    assert!(cluster.restart().actions.is_empty());
    let subsets = json!([{"addresses": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}], "ports": [{"port": 5432, "protocol": "TCP"}]}]);
    cluster.patch(&endpoints, json!({ "subsets": subsets }));
    cluster.settle();
    assert_eq!(cluster.all(&ENDPOINT_SLICE)[0]["endpoints"].as_array().unwrap().len(), 2);
    // With a selector the slices are another's.
    cluster.patch(&service, json!({"spec": {"selector": {"app": "db"}}}));
    cluster.settle();
    assert!(cluster.all(&ENDPOINT_SLICE).is_empty());
    assert_eq!(endpoints.kind, ENDPOINTS);
}
