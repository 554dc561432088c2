//! Ranges, addresses and the API server's Service come, go and are repaired.

use pintle_plugin_service_cidrs::{ENDPOINTS, Plugin};
use pintle_sdk::prelude::*;
use pintle_sdk_testing::Cluster;
use proptest::prelude::*;
use serde_json::{Value, json};

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";

fn cluster() -> Cluster {
    let config = json!({"serviceCIDRs": ["10.96.0.0/24"],
        "apiServer": {"addresses": ["192.0.2.1"], "port": 6443}});
    let mut cluster = Cluster::new().with::<Plugin>(config);
    add_range(&mut cluster, "kubernetes", "10.96.0.0/24");
    cluster.settle();
    cluster
}

fn add_range(cluster: &mut Cluster, name: &str, cidr: &str) -> ObjectRef {
    cluster.create(json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": name}, "spec": {"cidrs": [cidr]}}))
}

fn add_service(cluster: &mut Cluster, name: &str, addresses: &[&str]) -> ObjectRef {
    cluster.create(json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"type": "ClusterIP", "clusterIP": addresses[0], "clusterIPs": addresses, "ports": [{"port": 80}]}}))
}

fn addresses(cluster: &Cluster) -> Vec<String> {
    let line = |address: &Value| {
        let parent = &address["spec"]["parentRef"];
        let name = address["metadata"]["name"].as_str().unwrap();
        format!(
            "{name} {}/{}",
            parent["namespace"].as_str().unwrap(),
            parent["name"].as_str().unwrap()
        )
    };
    cluster.all(&IP_ADDRESS).into_iter().map(line).collect()
}

fn condition(cluster: &Cluster, name: &str) -> (String, String) {
    let range = cluster.object(&SERVICE_CIDR.named("", name)).unwrap();
    let ready = &range["status"]["conditions"][0];
    let text = |field: &str| ready[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

#[test]
fn the_api_server_has_a_service_of_its_own() {
    let mut cluster = cluster();
    let service = SERVICE.named("default", "kubernetes");
    let found = cluster.object(&service).unwrap();
    assert_eq!(found["spec"]["clusterIPs"], json!(["10.96.0.1"]));
    assert_eq!(found["spec"]["ports"][0]["targetPort"], 6443);
    let endpoints = cluster.object(&ENDPOINTS.named("default", "kubernetes")).unwrap();
    assert_eq!(
        endpoints["subsets"],
        json!([{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}]}])
    );
    let slice = ENDPOINT_SLICE.named("default", "kubernetes");
    let found = cluster.object(&slice).unwrap();
    assert_eq!(found["metadata"]["labels"]["kubernetes.io/service-name"], "kubernetes");
    assert_eq!(found["endpoints"][0]["addresses"], json!(["192.0.2.1"]));
    assert_eq!(addresses(&cluster), ["10.96.0.1 default/kubernetes"]);
    // Whatever of it is taken away or bent comes back.
    cluster.delete(&service);
    cluster.delete(&slice);
    cluster.settle();
    assert!(cluster.object(&service).is_some() && cluster.object(&slice).is_some());
    cluster.patch(&slice, json!({"endpoints": []}));
    cluster.patch(
        &service,
        json!({"spec": {"ports": [{"name": "https", "port": 443, "targetPort": 1}]}}),
    );
    cluster.settle();
    assert_eq!(cluster.object(&slice).unwrap()["endpoints"].as_array().unwrap().len(), 1);
    assert_eq!(cluster.object(&service).unwrap()["spec"]["ports"][0]["targetPort"], 6443);
    assert!(cluster.restart().actions.is_empty());
}

#[test]
fn addresses_follow_their_services() {
    let mut cluster = cluster();
    let web = add_service(&mut cluster, "web", &["10.96.0.7", "fd00::7"]);
    cluster.settle();
    let own = "10.96.0.1 default/kubernetes";
    assert_eq!(addresses(&cluster), [own, "10.96.0.7 default/web", "fd00::7 default/web"]);
    // One that leaks away is made again; one that leaks is removed.
    cluster.delete(&IP_ADDRESS.named("", "10.96.0.7"));
    cluster.create(json!({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {"name": "10.96.0.99", "labels": {"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}},
        "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "gone"}}}));
    // That of somebody else is none of its business.
    cluster.create(json!({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {"name": "10.96.0.98"},
        "spec": {"parentRef": {"resource": "gateways", "namespace": "n", "name": "g"}}}));
    cluster.settle();
    assert_eq!(
        addresses(&cluster),
        [own, "10.96.0.7 default/web", "10.96.0.98 n/g", "fd00::7 default/web"]
    );
    cluster.delete(&web);
    cluster.settle();
    assert_eq!(addresses(&cluster), [own, "10.96.0.98 n/g"]);
}

#[test]
fn an_address_changes_hands() {
    let mut cluster = cluster();
    let first = add_service(&mut cluster, "first", &["10.96.0.7"]);
    cluster.settle();
    cluster.delete(&first);
    add_service(&mut cluster, "second", &["10.96.0.7"]);
    cluster.settle();
    assert_eq!(addresses(&cluster)[1], "10.96.0.7 default/second");
}

#[test]
fn ranges_are_ready_and_go_when_nobody_needs_them() {
    let mut cluster = cluster();
    assert_eq!(condition(&cluster, "kubernetes"), ("True".to_owned(), String::new()));
    let more = add_range(&mut cluster, "more", "10.97.0.0/24");
    let web = add_service(&mut cluster, "web", &["10.97.0.7"]);
    cluster.settle();
    assert_eq!(cluster.object(&more).unwrap()["metadata"]["finalizers"], json!([FINALIZER]));
    cluster.delete(&more);
    cluster.settle();
    assert_eq!(condition(&cluster, "more"), ("False".to_owned(), "Terminating".to_owned()));
    cluster.delete(&web);
    cluster.settle();
    cluster.advance(5_000);
    assert!(cluster.object(&more).is_none());
}

#[test]
fn a_wider_range_sets_a_narrow_one_free() {
    let mut cluster = cluster();
    let narrow = add_range(&mut cluster, "narrow", "10.97.0.0/24");
    add_service(&mut cluster, "web", &["10.97.0.7"]);
    cluster.settle();
    cluster.delete(&narrow);
    cluster.settle();
    assert!(cluster.object(&narrow).is_some());
    add_range(&mut cluster, "wide", "10.97.0.0/16");
    cluster.settle();
    cluster.advance(5_000);
    assert!(cluster.object(&narrow).is_none());
}

#[test]
fn the_clusters_own_range_comes_back() {
    let mut cluster = cluster();
    let own = SERVICE_CIDR.named("", "kubernetes");
    cluster.delete(&own);
    cluster.settle();
    // The API server's address is in it.
    assert_eq!(condition(&cluster, "kubernetes"), ("False".to_owned(), "Terminating".to_owned()));
    cluster.remove(&own);
    cluster.settle();
    assert_eq!(cluster.object(&own).unwrap()["spec"]["cidrs"], json!(["10.96.0.0/24"]));
}

#[test]
fn services_from_before_are_written_once() {
    let mut cluster = cluster();
    let bare = cluster.create(json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "bare", "namespace": "default"}, "spec": {"ports": [{"port": 80}]}}));
    cluster.settle();
    // Here nobody gives it an address, and that is the end of it.
    assert_eq!(cluster.object(&bare).unwrap()["spec"].get("clusterIP"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// In the end every address of a Service has its IPAddress and no other does, whatever
    /// happened and whichever writes were lost on the way.
    #[test]
    fn addresses_converge(
        seed in any::<u64>(),
        steps in prop::collection::vec((0..6u8, 0..4u8, 0..8u8), 1..40),
    ) {
        let config = json!({"serviceCIDRs": ["10.96.0.0/24"]});
        let mut cluster = Cluster::new().with_faults(seed, 8).with::<Plugin>(config);
        for (number, what, last) in steps {
            let name = format!("s{number}");
            let reference = SERVICE.named("default", &*name);
            let exists = cluster.object(&reference).is_some();
            let free = !cluster.all(&SERVICE).iter().any(|service| service["spec"]["clusterIP"] == format!("10.96.0.{last}"));
            match what {
                0 if exists => cluster.delete(&reference),
                1 => { cluster.remove(&IP_ADDRESS.named("", format!("10.96.0.{last}"))); }
                _ if !exists && free => {
                    add_service(&mut cluster, &name, &[&format!("10.96.0.{last}")]);
                }
                _ => {}
            }
            if what == 3 {
                cluster.settle();
            }
        }
        cluster.settle();
        let wanted: Vec<String> = cluster.all(&SERVICE).iter().map(|service| {
            format!("{} default/{}", service["spec"]["clusterIP"].as_str().unwrap(), service["metadata"]["name"].as_str().unwrap())
        }).collect();
        let (mut found, mut wanted) = (addresses(&cluster), wanted);
        found.sort();
        wanted.sort();
        prop_assert_eq!(found, wanted);
    }
}
