//! The suite of controllers, on ranges and Services in every state.

use pintle_plugin_service_cidrs::Plugin;
use pintle_sdk::prelude::*;
use pintle_sdk_testing::{World, properties, subject};
use serde_json::json;

#[test]
fn the_suite_of_controllers() {
    let config = json!({"serviceCIDRs": ["10.96.0.0/24"],
        "apiServer": {"addresses": ["192.0.2.1"], "port": 6443}});
    let mut world = World::new();
    for (name, cidr) in [("kubernetes", "10.96.0.0/24"), ("more", "10.97.0.0/24")] {
        world.create(json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
            "metadata": {"name": name}, "spec": {"cidrs": [cidr]}}));
    }
    for number in 10..16 {
        let address = format!("10.9{}.0.{number}", 6 + number % 2);
        world.create(json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": format!("s{number}"), "namespace": "default"},
            "spec": {"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "ports": [{"port": 80}]}}));
    }
    let subject = subject::controller::<Plugin>();
    properties::is_deterministic(&subject, &config, &world);
    properties::is_idempotent(&subject, &config, &world);
    properties::converges(&subject, &config, &world, 0..50, |settled| {
        // The six, and the API server's own.
        assert_eq!(settled.all(&IP_ADDRESS).len(), 7);
    });
    properties::does_not_flap(&subject, &config, &world);
}
