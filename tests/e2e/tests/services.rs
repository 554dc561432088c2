//! Addresses and node ports of Services through the real kubectl: what each type
//! gets, what is refused and in which words, and that nothing is given to two or
//! lost, with many writers, a killed server and a plugin swapped in between.

mod support;

use std::collections::BTreeSet;

use pintle_e2e::{Cluster, Output, items, name};
use serde_json::{Value, json};
use support::writers::Writers;

fn started() -> Cluster {
    let cluster = Cluster::start(0);
    let active = |c: &Cluster, plugin: &str| {
        c.get(&format!("plugins {plugin}"))["status"]["phase"] == "Active"
    };
    cluster.wait("the plugins to be active", |c| {
        active(c, "service-addresses") && active(c, "service-cidrs")
    });
    cluster
}

fn service(cluster: &Cluster, name: &str) -> Value {
    let text = cluster.kubectl(&["get", "service", name, "-o", "json"]);
    serde_json::from_str(&text).unwrap()
}

fn apply(cluster: &Cluster, object: &Value) -> Output {
    let file = cluster.path().join("object.json");
    std::fs::write(&file, object.to_string()).unwrap();
    cluster.try_kubectl(&["apply", "-f", &file.to_string_lossy()])
}

fn object(name: &str, spec: Value) -> Value {
    let mut object = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "default"}, "spec": {"ports": [{"port": 80}]}});
    for (field, value) in spec.as_object().unwrap() {
        object["spec"][field] = value.clone();
    }
    object
}

/// Every address is one Service's, and has its IPAddress; no other IPAddress is left.
fn assert_nothing_doubled_or_leaked(cluster: &Cluster) -> usize {
    let list = cluster.get("services");
    let mut given = BTreeSet::new();
    for service in items(&list) {
        let addresses = service["spec"]["clusterIPs"].as_array().cloned().unwrap_or_default();
        let addresses = addresses.iter().filter_map(Value::as_str);
        for address in addresses.filter(|address| *address != "None") {
            assert!(given.insert(address.to_owned()), "{address} is given out twice");
        }
    }
    cluster.wait("the IPAddresses to be those of the Services", |c| {
        let known: BTreeSet<String> =
            items(&c.get("ipaddresses")).iter().map(|known| name(known).to_owned()).collect();
        known == given
    });
    given.len()
}

#[test]
fn kubectl_sees_what_it_expects() {
    pintle_e2e::require_kubectl!("openssl", "xargs");
    let cluster = started();
    the_clusters_own(&cluster);
    what_commands_make(&cluster);
    what_is_refused(&cluster);
    what_changes(&cluster);
    ranges(&cluster);
}

fn the_clusters_own(cluster: &Cluster) {
    cluster.wait("the Service of the API server", |c| {
        c.try_kubectl(&["get", "endpointslice", "kubernetes"]).success
            && c.try_kubectl(&["get", "ipaddress", "10.96.0.1"]).success
    });
    let own = service(cluster, "kubernetes");
    assert_eq!(own["spec"]["clusterIPs"], json!(["10.96.0.1"]));
    let shown = cluster.kubectl(&["get", "endpoints", "kubernetes"]);
    assert!(shown.contains("10.99.0.1:6443"), "{shown}");
    let shown = cluster.kubectl(&["get", "servicecidr", "kubernetes"]);
    assert!(shown.contains("10.96.0.0/16"), "{shown}");
    let shown = cluster.kubectl(&["get", "ipaddress", "10.96.0.1"]);
    assert!(shown.contains("services/default/kubernetes"), "{shown}");
    let condition = "{.status.conditions[0].type}={.status.conditions[0].status}";
    cluster.wait("the range to be ready", |c| {
        let path = format!("jsonpath={condition}");
        c.kubectl(&["get", "servicecidr", "kubernetes", "-o", &path]) == "Ready=True"
    });
    // The certificate is valid for it.
    let script = "openssl s_client -connect 10.99.0.1:6443 </dev/null 2>/dev/null | openssl x509 -noout -text | grep -c 'IP Address:10.96.0.1' || true";
    assert_eq!(cluster.shell(script).trim(), "1");
}

fn what_commands_make(cluster: &Cluster) {
    cluster.kubectl(&[
        "create",
        "deployment",
        "web",
        "--image=example/web",
        "--port=80",
        "--replicas=0",
    ]);
    cluster.kubectl(&["expose", "deployment", "web", "--port=80"]);
    let web = service(cluster, "web");
    let address = web["spec"]["clusterIP"].as_str().unwrap();
    assert!(address.starts_with("10.96."), "{web}");
    assert_eq!(web["spec"]["ipFamilies"], json!(["IPv4"]));
    let found = cluster.kubectl(&[
        "get",
        "services",
        "-o",
        "name",
        "--field-selector",
        &format!("spec.clusterIP={address}"),
    ]);
    assert_eq!(found.trim(), "service/web");

    cluster.kubectl(&["create", "service", "nodeport", "door", "--tcp=80:80"]);
    let door = service(cluster, "door");
    let port = door["spec"]["ports"][0]["nodePort"].as_i64().unwrap();
    assert!((30086..=32767).contains(&port), "{port}");
    cluster.kubectl(&["create", "service", "loadbalancer", "gate", "--tcp=80:80"]);
    assert!(service(cluster, "gate")["spec"]["ports"][0]["nodePort"].is_i64());
    cluster.kubectl(&["create", "service", "clusterip", "headless", "--clusterip=None"]);
    assert_eq!(service(cluster, "headless")["spec"]["clusterIPs"], json!(["None"]));
    cluster.kubectl(&["create", "service", "externalname", "far", "--external-name=example.org"]);
    assert_eq!(service(cluster, "far")["spec"].get("clusterIP"), None);
    let dns = json!({"type": "NodePort", "ports": [{"name": "udp", "port": 53, "protocol": "UDP"}, {"name": "tcp", "port": 53}]});
    assert!(apply(cluster, &object("dns", dns)).success);
    let ports = &service(cluster, "dns")["spec"]["ports"];
    assert_eq!(ports[0]["nodePort"], ports[1]["nodePort"]);
    assert!(ports[0]["nodePort"].is_i64());
}

fn what_is_refused(cluster: &Cluster) {
    let refused = |spec: Value, expect: &str| {
        let output = apply(cluster, &object("refused", spec));
        assert!(!output.success && output.stderr.contains(expect), "{output:?}");
    };
    assert!(apply(cluster, &object("fixed", json!({"clusterIP": "10.96.0.77"}))).success);
    // A second time it is the same Service.
    assert!(apply(cluster, &object("fixed", json!({"clusterIP": "10.96.0.77"}))).success);
    refused(
        json!({"clusterIP": "10.96.0.77"}),
        "The Service \"refused\" is invalid: spec.clusterIPs: Invalid value: [\"10.96.0.77\"]: failed to allocate IP 10.96.0.77: provided IP is already allocated",
    );
    refused(
        json!({"clusterIP": "192.0.2.1"}),
        "failed to allocate IP 192.0.2.1: the provided network does not match the current range",
    );
    refused(
        json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 8080}]}),
        "The Service \"refused\" is invalid: spec.ports[0].nodePort: Invalid value: 8080: provided port is not in the valid range. The range of valid ports is 30000-32767",
    );
    let door = service(cluster, "door");
    refused(
        json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": door["spec"]["ports"][0]["nodePort"]}]}),
        "provided port is already allocated",
    );
    refused(
        json!({"ipFamilyPolicy": "RequireDualStack"}),
        "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
    );
    let changed = cluster.try_kubectl(&[
        "patch",
        "service",
        "fixed",
        "--type=merge",
        "-p",
        r#"{"spec":{"clusterIP":"10.96.0.78","clusterIPs":["10.96.0.78"]}}"#,
    ]);
    let expect = "spec.clusterIPs[0]: Invalid value: [\"10.96.0.78\"]: may not change once set";
    assert!(changed.stderr.contains(expect), "{changed:?}");
    // A dry run shows an address and keeps none.
    let before = items(&cluster.get("ipaddresses")).len();
    let dry = cluster.kubectl(&[
        "create",
        "service",
        "clusterip",
        "dry",
        "--tcp=80:80",
        "--dry-run=server",
        "-o",
        "jsonpath={.spec.clusterIP}",
    ]);
    assert!(dry.starts_with("10.96."), "{dry}");
    let asked = "--clusterip=10.96.0.79";
    cluster.kubectl(&[
        "create",
        "service",
        "clusterip",
        "dry",
        "--tcp=80:80",
        asked,
        "--dry-run=server",
    ]);
    cluster.kubectl(&["create", "service", "clusterip", "wet", "--tcp=80:80", asked]);
    cluster.wait("the address of the Service that was made", |c| {
        items(&c.get("ipaddresses")).len() == before + 1
    });
}

fn what_changes(cluster: &Cluster) {
    let patch = |name: &str, body: &str| {
        cluster.kubectl(&["patch", "service", name, "--type=merge", "-p", body]);
        service(cluster, name)
    };
    let door = service(cluster, "door");
    let plain = patch("door", r#"{"spec":{"type":"ClusterIP"}}"#);
    assert_eq!(plain["spec"]["ports"][0].get("nodePort"), None);
    assert_eq!(plain["spec"]["clusterIP"], door["spec"]["clusterIP"]);
    // Its port is free, and its address when it has none any more.
    let port = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": door["spec"]["ports"][0]["nodePort"]}]});
    assert!(apply(cluster, &object("next", port)).success);
    let far = patch("door", r#"{"spec":{"type":"ExternalName","externalName":"example.org"}}"#);
    assert_eq!(far["spec"].get("clusterIP"), None);
    let address = json!({"clusterIP": door["spec"]["clusterIP"]});
    assert!(apply(cluster, &object("heir", address)).success);
    let back = patch("door", r#"{"spec":{"type":"ClusterIP","externalName":null}}"#);
    assert!(back["spec"]["clusterIP"].is_string());
    assert_ne!(back["spec"]["clusterIP"], door["spec"]["clusterIP"]);
    let gate = patch("gate", r#"{"spec":{"externalTrafficPolicy":"Local"}}"#);
    assert!(gate["spec"]["healthCheckNodePort"].is_i64());
    let gate = patch("gate", r#"{"spec":{"externalTrafficPolicy":"Cluster"}}"#);
    assert_eq!(gate["spec"].get("healthCheckNodePort"), None);
    assert_nothing_doubled_or_leaked(cluster);
    // Replaced by force under the same address.
    let fixed = cluster.path().join("fixed.json");
    std::fs::write(&fixed, object("fixed", json!({"clusterIP": "10.96.0.77"})).to_string())
        .unwrap();
    cluster.kubectl(&["replace", "--force", "-f", &fixed.to_string_lossy()]);
    assert_nothing_doubled_or_leaked(cluster);
}

fn ranges(cluster: &Cluster) {
    let range = json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/28"]}});
    assert!(apply(cluster, &range).success);
    assert!(apply(cluster, &object("wide", json!({"clusterIP": "10.97.0.7"}))).success);
    cluster.wait("the range to be held", |c| {
        c.get("servicecidr more")["metadata"]["finalizers"]
            == json!(["networking.k8s.io/service-cidr-finalizer"])
    });
    cluster.kubectl(&["delete", "servicecidr", "more", "--wait=false"]);
    cluster.wait("the deletion to be held back", |c| {
        let ready = c.get("servicecidr more")["status"]["conditions"][0].clone();
        ready["status"] == "False" && ready["reason"] == "Terminating"
    });
    let late = apply(cluster, &object("late", json!({"clusterIP": "10.97.0.8"})));
    assert!(late.stderr.contains("does not match the current range"), "{late:?}");
    cluster.kubectl(&["delete", "service", "wide"]);
    cluster.wait("the range to go", |c| !c.try_kubectl(&["get", "servicecidr", "more"]).success);
    let bent = cluster.try_kubectl(&[
        "patch",
        "servicecidr",
        "kubernetes",
        "--type=merge",
        "-p",
        r#"{"spec":{"cidrs":["10.98.0.0/16"]}}"#,
    ]);
    assert!(bent.stderr.contains("field is immutable"), "{bent:?}");
}

fn assert_all_have_their_own(cluster: &Cluster, made: &[String]) {
    let list = cluster.get("services");
    let mut ports = BTreeSet::new();
    let mut names = BTreeSet::new();
    for service in items(&list) {
        names.insert(name(service).to_owned());
        let spec = &service["spec"];
        assert!(spec["clusterIP"].as_str().is_some_and(|ip| ip.starts_with("10.96.")), "{service}");
        if spec["type"] == "NodePort" {
            let port = spec["ports"][0]["nodePort"].as_i64().expect("a node port");
            assert!(ports.insert(port), "node port {port} is given out twice");
        }
    }
    let lost: Vec<&String> = made.iter().filter(|name| !names.contains(*name)).collect();
    assert!(lost.is_empty(), "{lost:?} were acknowledged and are gone");
    assert_nothing_doubled_or_leaked(cluster);
}

#[test]
fn many_at_once_and_a_server_killed_among_them() {
    pintle_e2e::require_kubectl!("openssl", "xargs");
    let mut cluster = started();
    // Two hundred at once.
    cluster.shell("seq 200 | xargs -P 20 -I{} kubectl create service clusterip c{} --tcp=80:80");
    assert_eq!(assert_nothing_doubled_or_leaked(&cluster), 201);
    for _ in 0..2 {
        let writers = Writers::start(&cluster);
        writers.go_on(&cluster);
        cluster.server.take().expect("a server").kill_9();
        cluster.start_server();
        writers.go_on(&cluster);
        let made = writers.finish();
        assert_all_have_their_own(&cluster, &made);
        // What is deleted is free again, each of it.
        // (One kubectl deletes five a second once it has deleted ten.)
        cluster.shell("kubectl get services -o name | grep service/w | xargs -n 10 -P 4 kubectl delete --wait=false >/dev/null");
        let left = assert_nothing_doubled_or_leaked(&cluster);
        assert_eq!(left, 201);
    }
}

#[test]
fn a_swap_while_services_are_made() {
    pintle_e2e::require_kubectl!("openssl", "xargs");
    let cluster = started();
    let component = component();
    let writers = Writers::start(&cluster);
    for mark in 1..=3 {
        writers.go_on(&cluster);
        let version = support::variant(&component, mark);
        let grants = json!([
            {"apiGroups": [""], "kinds": ["Service"], "verbs": ["get", "list"]},
            {"apiGroups": ["networking.k8s.io"], "kinds": ["ServiceCIDR", "IPAddress"], "verbs": ["get", "list"]},
        ]);
        let file = cluster.path().join(format!("swap-{mark}.wasm"));
        std::fs::write(&file, &version).unwrap();
        let spec = json!({"grants": grants, "priority": 900,
            "source": {"file": {"path": file.to_string_lossy()}, "embedded": null},
            "digest": support::digest(&version)});
        support::apply_plugin(&cluster, "service-addresses", "Admission", &[spec]);
        let digest = support::digest(&version);
        support::status(&cluster, "service-addresses", "the next version", |status| {
            status["activeDigest"] == digest.as_str()
        });
    }
    writers.go_on(&cluster);
    assert_all_have_their_own(&cluster, &writers.finish());
}

/// The plugin as it is built into the binary.
fn component() -> Vec<u8> {
    let source = pintle_e2e::workspace();
    let target = source.join("target/guests");
    let packages = ["pintle-plugin-service-addresses"];
    let built = pintle_plugin_build::build(&source, &packages, &target).expect("the plugin builds");
    std::fs::read(&built[0].path).unwrap()
}
