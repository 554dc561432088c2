//! Services ask for addresses and ports: what they get, what they are refused.

use std::collections::BTreeSet;

use pintle_plugin_service_addresses::Plugin;
use pintle_sdk::prelude::*;
use pintle_sdk_testing::Reviewing;
use proptest::prelude::*;
use serde_json::{Value, json};

fn range(name: &str, cidrs: &[&str]) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": name}, "spec": {"cidrs": cidrs}})
}

fn cluster(cidrs: &[&str]) -> Reviewing {
    let mut reviewing = Reviewing::with::<Plugin>(json!({}));
    reviewing.insert(range("kubernetes", cidrs));
    reviewing
}

fn service(name: &str, spec: Value) -> Value {
    let mut service = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"type": "ClusterIP", "selector": {"app": name}, "ports": [{"port": 80, "protocol": "TCP"}]}});
    for (field, value) in spec.as_object().unwrap() {
        service["spec"][field] = value.clone();
    }
    // As the API server completes it.
    let single = service["spec"]["clusterIP"].clone();
    if single.is_string() && service["spec"]["clusterIPs"].is_null() {
        service["spec"]["clusterIPs"] = json!([single]);
    }
    service
}

/// Creates and stores it.
fn create(cluster: &mut Reviewing, name: &str, spec: Value) -> Value {
    let admitted =
        cluster.create(service(name, spec)).unwrap_or_else(|denied| panic!("{denied:?}"));
    cluster.insert(admitted.object.clone());
    admitted.object
}

fn refused(cluster: &mut Reviewing, spec: Value, code: u16, expect: &str) {
    let denied = cluster.create(service("refused", spec)).expect_err(expect);
    let reason = if code == 422 { "Invalid" } else { "InternalError" };
    assert_eq!(
        (denied.code, denied.reason.as_str(), denied.message.as_str()),
        (code, reason, expect)
    );
}

#[test]
fn every_type_gets_what_it_has() {
    let mut cluster = cluster(&["10.96.0.0/24"]);
    let made = create(&mut cluster, "a", json!({}));
    let address = made["spec"]["clusterIP"].as_str().unwrap();
    assert!(address.starts_with("10.96.0."), "{address}");
    assert_eq!(made["spec"]["clusterIPs"], json!([address]));
    assert_eq!(made["spec"]["ipFamilies"], json!(["IPv4"]));
    assert_eq!(made["spec"]["ipFamilyPolicy"], "SingleStack");
    assert!(made["spec"]["ports"][0].get("nodePort").is_none());

    let made = create(&mut cluster, "b", json!({"type": "NodePort"}));
    let port = made["spec"]["ports"][0]["nodePort"].as_i64().unwrap();
    assert!((30086..=32767).contains(&port), "{port}");
    assert!(made["spec"]["clusterIP"].is_string());

    let balancer = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"});
    let made = create(&mut cluster, "c", balancer.clone());
    let health = made["spec"]["healthCheckNodePort"].as_i64().unwrap();
    assert_ne!(made["spec"]["ports"][0]["nodePort"], health);

    let mut bare = balancer;
    bare["allocateLoadBalancerNodePorts"] = json!(false);
    bare["externalTrafficPolicy"] = json!("Cluster");
    let made = create(&mut cluster, "d", bare);
    assert!(made["spec"]["ports"][0].get("nodePort").is_none());
    assert!(made["spec"].get("healthCheckNodePort").is_none());

    let made = create(&mut cluster, "e", json!({"clusterIP": "None"}));
    assert_eq!(made["spec"]["clusterIPs"], json!(["None"]));
    assert_eq!(made["spec"]["ipFamilies"], json!(["IPv4"]));

    let made = cluster
        .create(service("f", json!({"type": "ExternalName", "externalName": "x.y"})))
        .unwrap();
    assert!(!made.patched, "{made:?}");
}

#[test]
fn what_is_asked_for_is_kept_or_refused() {
    let mut cluster = cluster(&["10.96.0.0/24"]);
    let made = create(&mut cluster, "a", json!({"clusterIP": "10.96.0.7"}));
    assert_eq!(made["spec"]["clusterIP"], "10.96.0.7");
    let port = |number: i64| json!({"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP", "nodePort": number}]});
    create(&mut cluster, "b", port(30007));
    refused(
        &mut cluster,
        json!({"clusterIP": "10.96.0.7"}),
        422,
        r#"spec.clusterIPs: Invalid value: ["10.96.0.7"]: failed to allocate IP 10.96.0.7: provided IP is already allocated"#,
    );
    for outside in ["10.97.0.1", "10.96.0.0", "10.96.0.255"] {
        let text = format!(
            r#"spec.clusterIPs: Invalid value: ["{outside}"]: failed to allocate IP {outside}: the provided network does not match the current range"#
        );
        refused(&mut cluster, json!({"clusterIP": outside}), 422, &text);
    }
    refused(
        &mut cluster,
        json!({"clusterIP": "fd00::1"}),
        422,
        r#"spec.clusterIPs[0]: Invalid value: ["fd00::1"]: IPv6 is not configured on this cluster"#,
    );
    refused(
        &mut cluster,
        port(30007),
        422,
        "spec.ports[0].nodePort: Invalid value: 30007: provided port is already allocated",
    );
    refused(
        &mut cluster,
        port(80),
        422,
        "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
    );
    // What makes no sense is said by validation.
    for nonsense in [json!({"clusterIP": "x"}), json!({"clusterIPs": ["10.96.0.9"]})] {
        assert!(!cluster.create(service("n", nonsense)).unwrap().patched);
    }
}

#[test]
fn addresses_of_others_are_taken_too() {
    let mut cluster = cluster(&["10.96.0.0/28"]);
    let address = |name: &str, parent: Value| {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
            "metadata": {"name": name}, "spec": {"parentRef": parent}})
    };
    cluster.insert(address(
        "10.96.0.5",
        json!({"group": "gateway.networking.k8s.io", "resource": "gateways", "name": "g"}),
    ));
    // Left behind by a Service that is gone.
    cluster.insert(address(
        "10.96.0.6",
        json!({"resource": "services", "namespace": "default", "name": "gone"}),
    ));
    let taken = cluster.create(service("a", json!({"clusterIP": "10.96.0.5"}))).unwrap_err();
    assert!(taken.message.ends_with("provided IP is already allocated"), "{taken:?}");
    create(&mut cluster, "b", json!({"clusterIP": "10.96.0.6"}));
    // A second address is known by its IPAddress.
    cluster.insert(range("six", &["fd00::/124"]));
    let dual = json!({"ipFamilyPolicy": "RequireDualStack", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "fd00::9"]});
    create(&mut cluster, "c", dual);
    cluster.insert(address(
        "fd00::9",
        json!({"resource": "services", "namespace": "default", "name": "c"}),
    ));
    let taken = cluster.create(service("d", json!({"clusterIP": "fd00::9"}))).unwrap_err();
    assert!(taken.message.ends_with("provided IP is already allocated"), "{taken:?}");
}

#[test]
fn a_range_fills_up_and_a_second_one_widens_it() {
    let mut cluster = cluster(&["10.96.0.0/28"]);
    // Fourteen usable ones, of which the first is the API server's.
    for number in 0..13 {
        create(&mut cluster, &format!("s{number}"), json!({}));
    }
    let full = "failed to allocate a serviceIP: range is full";
    refused(&mut cluster, json!({}), 500, full);
    create(&mut cluster, "kubernetes", json!({"clusterIP": "10.96.0.1"}));
    refused(&mut cluster, json!({}), 500, full);
    cluster.insert(range("more", &["10.97.0.0/28"]));
    let made = create(&mut cluster, "wide", json!({}));
    assert!(made["spec"]["clusterIP"].as_str().unwrap().starts_with("10.97.0."), "{made}");
    // Nothing is given out of one that is going or not ready.
    let mut going = range("more", &["10.97.0.0/28"]);
    going["status"] = json!({"conditions": [{"type": "Ready", "status": "False"}]});
    cluster.insert(going);
    refused(&mut cluster, json!({}), 500, full);
}

#[test]
fn the_lower_band_comes_last() {
    let mut cluster = cluster(&["10.96.0.0/27"]);
    let last = |made: &Value| -> u8 {
        made["spec"]["clusterIP"].as_str().unwrap().rsplit('.').next().unwrap().parse().unwrap()
    };
    // 16 of 30 are kept back.
    for number in 0..14 {
        let made = create(&mut cluster, &format!("s{number}"), json!({}));
        assert!(last(&made) > 16, "{made}");
    }
    assert!(last(&create(&mut cluster, "low", json!({}))) <= 16);
}

#[test]
fn a_port_of_two_protocols_has_one_node_port() {
    let mut cluster = cluster(&["10.96.0.0/24"]);
    let dns = |more: Value| {
        let mut tcp = json!({"name": "tcp", "port": 53, "protocol": "TCP"});
        for (field, value) in more.as_object().unwrap() {
            tcp[field] = value.clone();
        }
        json!({"type": "NodePort", "ports": [
            {"name": "udp", "port": 53, "protocol": "UDP"}, tcp,
            {"name": "metrics", "port": 9153, "protocol": "TCP"}]})
    };
    let ports = |made: &Value| -> Vec<i64> {
        made["spec"]["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["nodePort"].as_i64().unwrap())
            .collect()
    };
    let made = ports(&create(&mut cluster, "dns", dns(json!({}))));
    assert!(made[0] == made[1] && made[1] != made[2], "{made:?}");
    let made = ports(&create(&mut cluster, "asked", dns(json!({"nodePort": 30053}))));
    assert_eq!((made[0], made[1]), (30053, 30053));
}

#[test]
fn updates_give_and_take() {
    let mut cluster = cluster(&["10.96.0.0/24"]);
    let old = create(&mut cluster, "a", json!({}));
    assert!(!cluster.update(old.clone(), old.clone()).unwrap().patched);
    let mut exposed = old.clone();
    exposed["spec"]["type"] = json!("NodePort");
    let made = cluster.update(old.clone(), exposed).unwrap().object;
    assert!(made["spec"]["ports"][0]["nodePort"].is_i64());
    assert_eq!(made["spec"]["clusterIP"], old["spec"]["clusterIP"]);
    // It keeps its own and may name it.
    cluster.insert(made.clone());
    assert!(!cluster.update(made.clone(), made.clone()).unwrap().patched);
    let external = service("b", json!({"type": "ExternalName"}));
    let back = cluster.update(external, service("b", json!({}))).unwrap().object;
    assert!(back["spec"]["clusterIP"].is_string());
    // From before there were addresses.
    let bare = service("c", json!({}));
    assert!(cluster.update(bare.clone(), bare).unwrap().object["spec"]["clusterIP"].is_string());
    // Another address is refused by validation, not here.
    let mut other = old.clone();
    other["spec"]["clusterIP"] = json!("10.96.0.200");
    other["spec"]["clusterIPs"] = json!(["10.96.0.200"]);
    assert!(!cluster.update(old, other).unwrap().patched);
}

#[test]
fn two_families() {
    let mut cluster = cluster(&["10.96.0.0/24", "fd00:96::/112"]);
    let families = |made: &Value| made["spec"]["ipFamilies"].clone();
    let single = create(&mut cluster, "single", json!({}));
    assert_eq!(families(&single), json!(["IPv4"]));
    let six = create(&mut cluster, "six", json!({"ipFamilies": ["IPv6"]}));
    assert!(six["spec"]["clusterIP"].as_str().unwrap().starts_with("fd00:96::"));
    let dual = create(&mut cluster, "dual", json!({"ipFamilyPolicy": "PreferDualStack"}));
    assert_eq!(families(&dual), json!(["IPv4", "IPv6"]));
    assert_eq!(dual["spec"]["clusterIPs"].as_array().unwrap().len(), 2);
    // Up and down again; the first address stays.
    let mut up = single.clone();
    up["spec"]["ipFamilyPolicy"] = json!("RequireDualStack");
    let up = cluster.update(single.clone(), up).unwrap().object;
    assert_eq!(up["spec"]["clusterIPs"][0], single["spec"]["clusterIP"]);
    assert_eq!(up["spec"]["clusterIPs"].as_array().unwrap().len(), 2);
    let mut down = up.clone();
    down["spec"]["ipFamilyPolicy"] = json!("SingleStack");
    let down = cluster.update(up.clone(), down).unwrap().object;
    assert_eq!(down["spec"]["clusterIPs"], single["spec"]["clusterIPs"]);
    assert_eq!(families(&down), json!(["IPv4"]));
    let mut fewer = up.clone();
    fewer["spec"]["clusterIPs"] = single["spec"]["clusterIPs"].clone();
    let denied = cluster.update(up, fewer).unwrap_err();
    assert_eq!(
        denied.message,
        "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": must be 'SingleStack' to release the secondary cluster IP"
    );
    let headless = json!({"clusterIP": "None", "selector": null});
    let made = create(&mut cluster, "headless", headless);
    assert_eq!(made["spec"]["ipFamilyPolicy"], "RequireDualStack");
    assert_eq!(families(&made), json!(["IPv4", "IPv6"]));
}

#[test]
fn one_family_only() {
    let mut cluster = cluster(&["10.96.0.0/24"]);
    refused(
        &mut cluster,
        json!({"ipFamilyPolicy": "RequireDualStack"}),
        422,
        "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
    );
    refused(
        &mut cluster,
        json!({"ipFamilies": ["IPv6"]}),
        422,
        "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
    );
    let dual = create(&mut cluster, "a", json!({"ipFamilyPolicy": "PreferDualStack"}));
    assert_eq!(dual["spec"]["ipFamilies"], json!(["IPv4"]));
    // A second family that comes later changes nobody.
    cluster.insert(range("six", &["fd00::/112"]));
    assert!(!cluster.update(dual.clone(), dual).unwrap().patched);
}

#[test]
fn a_crowded_range_is_searched_to_the_end() {
    let mut cluster = cluster(&["10.96.0.0/23"]);
    for last in 1..=510u16 {
        let address = format!("10.96.{}.{}", last / 256, last % 256);
        if last != 300 {
            cluster.insert(service(&format!("s{last}"), json!({"clusterIP": address})));
            cluster.insert(json!({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
                "metadata": {"name": address}, "spec": {"parentRef":
                    {"resource": "services", "namespace": "default", "name": format!("s{last}")}}}));
        }
    }
    let made = create(&mut cluster, "last", json!({}));
    assert_eq!(made["spec"]["clusterIP"], "10.96.1.44");
    refused(&mut cluster, json!({}), 500, "failed to allocate a serviceIP: range is full");
}

#[test]
fn node_ports_run_out() {
    let mut cluster = Reviewing::with::<Plugin>(json!({"nodePortRange": "31000-31002"}));
    cluster.insert(range("kubernetes", &["10.96.0.0/24"]));
    for name in ["a", "b", "c"] {
        create(&mut cluster, name, json!({"type": "NodePort"}));
    }
    refused(
        &mut cluster,
        json!({"type": "NodePort"}),
        500,
        "failed to allocate a nodePort: range is full",
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever is asked for in whichever order, nobody gets what another has, all of it
    /// lies in the ranges, and asking again changes nothing.
    #[test]
    fn nothing_is_given_twice(
        seed in any::<i64>(),
        steps in prop::collection::vec((0..30u8, 0..5u8, 0..40u8), 1..60),
    ) {
        let mut cluster = Reviewing::with::<Plugin>(json!({"nodePortRange": "30000-30019"}));
        cluster.now_unix_ms = seed;
        cluster.insert(range("kubernetes", &["10.96.0.0/27", "fd00::/122"]));
        for (number, kind, asked) in steps {
            let name = format!("s{number}");
            let reference = SERVICE.named("default", &*name);
            let spec = match kind {
                0 => { cluster.remove(&reference); continue; }
                1 => json!({"clusterIP": format!("10.96.0.{asked}")}),
                2 => json!({"type": "NodePort", "ipFamilyPolicy": "PreferDualStack"}),
                3 => json!({"type": "NodePort", "ports": [{"port": 1, "protocol": "TCP", "nodePort": 30000 + i64::from(asked)}]}),
                _ => json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"}),
            };
            if cluster.object(&reference).is_some() {
                continue;
            }
            let Ok(admitted) = cluster.create(service(&name, spec)) else { continue };
            let object = admitted.object;
            cluster.insert(object.clone());
            for address in object["spec"]["clusterIPs"].as_array().unwrap() {
                let address = address.as_str().unwrap();
                if address.contains(':') {
                    cluster.insert(json!({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
                        "metadata": {"name": address}, "spec": {"parentRef":
                            {"resource": "services", "namespace": "default", "name": name}}}));
                }
            }
            let again = cluster.update(object.clone(), object).unwrap();
            prop_assert!(!again.patched);
            let (mut addresses, mut ports) = (BTreeSet::new(), BTreeSet::new());
            for service in cluster.all(&SERVICE) {
                for address in service["spec"]["clusterIPs"].as_array().unwrap() {
                    let address = address.as_str().unwrap().to_owned();
                    prop_assert!(address.starts_with("10.96.0.") || address.starts_with("fd00::"));
                    prop_assert!(addresses.insert(address.clone()), "{address} twice");
                }
                let of_ports = service["spec"]["ports"].as_array().unwrap().iter().map(|p| &p["nodePort"]);
                for port in of_ports.chain([&service["spec"]["healthCheckNodePort"]]) {
                    if let Some(port) = port.as_i64() {
                        prop_assert!((30000..=30019).contains(&port));
                        prop_assert!(ports.insert(port), "{port} twice");
                    }
                }
            }
        }
    }
}
