//! A Service and its pods.

use std::collections::BTreeSet;

use pintle_plugin_endpointslice::Plugin;
use pintle_sdk::prelude::*;
use pintle_sdk_testing::Cluster;
use proptest::prelude::*;
use serde_json::{Value, json};

fn cluster(most: usize) -> Cluster {
    Cluster::new().with::<Plugin>(json!({"maxEndpointsPerSlice": most}))
}

fn service(extra: Value) -> Value {
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "default", "labels": {"team": "a"}},
        "spec": {"clusterIP": "10.96.0.10", "selector": {"app": "web"},
                 "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]},
    });
    pintle_sdk_testing::merge_patch(&mut service, &extra);
    service
}

fn add_pod(cluster: &mut Cluster, index: usize, extra: Value) -> ObjectRef {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("p{index}"), "namespace": "default", "labels": {"app": "web"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 9000}]}]},
        "status": {
            "phase": "Running", "podIP": format!("10.244.0.{index}"),
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    pintle_sdk_testing::merge_patch(&mut pod, &extra);
    cluster.create(pod)
}

fn slices(cluster: &Cluster) -> Vec<Value> {
    cluster.all(&ENDPOINT_SLICE).into_iter().cloned().collect()
}

fn endpoints(cluster: &Cluster) -> Vec<Value> {
    slices(cluster)
        .iter()
        .flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default())
        .collect()
}

#[test]
fn a_service_lists_its_pods() {
    let mut cluster = cluster(100);
    cluster.create(json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z1"}}, "spec": {}}));
    cluster.create(service(json!({})));
    cluster.settle();
    assert_eq!(slices(&cluster).len(), 1, "an empty one says that there is nothing");
    let pod = add_pod(&mut cluster, 1, json!({}));
    cluster.settle();
    let slice = slices(&cluster).into_iter().find(|slice| slice["endpoints"] != json!([])).unwrap();
    assert_eq!(slices(&cluster).len(), 1);
    assert_eq!(slice["addressType"], "IPv4");
    assert_eq!(slice["ports"], json!([{"name": "http", "port": 8080, "protocol": "TCP"}]));
    let labels = json!({"team": "a", "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"});
    assert_eq!(slice["metadata"]["labels"], labels);
    assert_eq!(slice["metadata"]["ownerReferences"][0]["kind"], "Service");
    let uid = cluster.object(&pod).unwrap()["metadata"]["uid"].clone();
    assert_eq!(
        slice["endpoints"],
        json!([{
            "addresses": ["10.244.0.1"],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "targetRef": {"kind": "Pod", "namespace": "default", "name": "p1", "uid": uid},
            "nodeName": "n1",
            "zone": "z1",
        }])
    );
    cluster.delete(&pod);
    cluster.settle();
    assert_eq!(
        endpoints(&cluster)[0]["conditions"],
        json!({"ready": false, "serving": true, "terminating": true})
    );
    cluster.remove(&pod);
    cluster.settle();
    assert!(endpoints(&cluster).is_empty());
    assert_eq!(slices(&cluster).len(), 1);
    assert!(cluster.restart().actions.is_empty());
}

#[test]
fn readiness_and_the_wish_to_see_everything() {
    let mut cluster = cluster(100);
    let web = cluster.create(service(json!({})));
    let waiting = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    add_pod(&mut cluster, 1, waiting);
    add_pod(&mut cluster, 2, json!({"status": {"phase": "Failed"}}));
    add_pod(&mut cluster, 3, json!({"status": {"podIP": null}}));
    cluster.settle();
    assert_eq!(endpoints(&cluster).len(), 1);
    assert_eq!(endpoints(&cluster)[0]["conditions"]["ready"], false);
    cluster.patch(&web, json!({"spec": {"publishNotReadyAddresses": true}}));
    cluster.settle();
    assert_eq!(
        endpoints(&cluster)[0]["conditions"],
        json!({"ready": true, "serving": false, "terminating": false})
    );
}

#[test]
fn named_ports_are_looked_up_in_each_pod() {
    let mut cluster = cluster(100);
    let port = json!([{"name": "http", "port": 80, "targetPort": "web"}]);
    cluster.create(service(json!({"spec": {"ports": port}})));
    add_pod(&mut cluster, 1, json!({}));
    let other = json!({"spec": {"containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 7000}]}]}});
    add_pod(&mut cluster, 2, other);
    add_pod(&mut cluster, 3, json!({"spec": {"containers": [{"name": "c"}]}}));
    cluster.settle();
    let ports: BTreeSet<String> =
        slices(&cluster).iter().map(|slice| slice["ports"].to_string()).collect();
    let expect = [
        "[]",
        r#"[{"name":"http","port":7000,"protocol":"TCP"}]"#,
        r#"[{"name":"http","port":9000,"protocol":"TCP"}]"#,
    ];
    assert_eq!(ports, expect.map(str::to_owned).into());
}

#[test]
fn headless_services_and_host_names() {
    let mut cluster = cluster(100);
    cluster.create(service(json!({"spec": {"clusterIP": "None", "ports": null}})));
    add_pod(&mut cluster, 1, json!({"spec": {"hostname": "zero", "subdomain": "web"}}));
    cluster.settle();
    assert_eq!(slices(&cluster)[0]["metadata"]["labels"]["service.kubernetes.io/headless"], "");
    assert_eq!(endpoints(&cluster)[0]["hostname"], "zero");
}

#[test]
fn services_without_selector_and_external_names() {
    let mut cluster = cluster(100);
    let web = cluster.create(service(json!({})));
    add_pod(&mut cluster, 1, json!({}));
    cluster.settle();
    cluster.patch(&web, json!({"spec": {"selector": null}}));
    cluster.settle();
    assert_eq!(slices(&cluster).len(), 1, "from now on a person's");
    cluster.patch(&web, json!({"spec": {"type": "ExternalName"}}));
    cluster.settle();
    assert!(slices(&cluster).is_empty());
}

#[test]
fn one_change_touches_one_slice() {
    let mut cluster = cluster(10);
    cluster.create(service(json!({})));
    for index in 0..35 {
        add_pod(&mut cluster, index, json!({}));
    }
    cluster.settle();
    assert_eq!(slices(&cluster).len(), 4);
    cluster.remove(&POD.named("default", "p7"));
    let run = cluster.settle();
    assert_eq!(run.actions.len(), 1);
    add_pod(&mut cluster, 36, json!({}));
    let run = cluster.settle();
    assert_eq!(run.actions.len(), 1);
    assert_eq!(endpoints(&cluster).len(), 35);
}

#[test]
fn a_slice_that_was_tampered_with_is_mended() {
    let mut cluster = cluster(100);
    cluster.create(service(json!({})));
    add_pod(&mut cluster, 1, json!({}));
    cluster.settle();
    let name = slices(&cluster)[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let reference = ENDPOINT_SLICE.named("default", name);
    cluster.patch(&reference, json!({"endpoints": [], "metadata": {"labels": {"stray": "x"}}}));
    cluster.settle();
    assert_eq!(endpoints(&cluster).len(), 1);
    assert!(slices(&cluster)[0]["metadata"]["labels"].get("stray").is_none());
    cluster.remove(&reference);
    cluster.settle();
    assert_eq!(endpoints(&cluster).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Every pod with an address is in exactly one slice, no slice is too full,
    /// and a restart decides nothing.
    #[test]
    fn complete_and_bounded(steps in prop::collection::vec((0..25usize, 0..4u8), 1..40)) {
        let mut cluster = cluster(4);
        cluster.create(service(json!({})));
        for (index, what) in steps {
            let reference = POD.named("default", format!("p{index}"));
            match (what, cluster.object(&reference).is_some()) {
                (0 | 1, false) => {
                    add_pod(&mut cluster, index, json!({}));
                }
                (2, true) => cluster.remove(&reference),
                (3, true) => {
                    let waiting = json!({"conditions": [{"type": "Ready", "status": "False"}]});
                    cluster.patch_status(&reference, waiting);
                }
                _ => {}
            }
            cluster.settle();
            let listed: Vec<String> =
                endpoints(&cluster).iter().map(|endpoint| endpoint["targetRef"]["name"].as_str().unwrap().to_owned()).collect();
            let distinct: BTreeSet<String> = listed.iter().cloned().collect();
            let present: BTreeSet<String> =
                cluster.all(&POD).iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect();
            prop_assert_eq!(listed.len(), distinct.len());
            prop_assert_eq!(distinct, present);
            prop_assert!(slices(&cluster).iter().all(|slice| slice["endpoints"].as_array().unwrap().len() <= 4));
            prop_assert!(cluster.restart().actions.is_empty());
        }
    }
}
