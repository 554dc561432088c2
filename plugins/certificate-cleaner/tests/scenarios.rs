//! Requests come, are decided about, and go.

use pintle_plugin_certificate_cleaner::Plugin;
use pintle_sdk::prelude::*;
use pintle_sdk_testing::objects::certificate_request;
use pintle_sdk_testing::{Cluster, World, properties, subject};
use proptest::prelude::*;
use serde_json::{Value, json};

const JANE: &str = include_str!("../../../runtime/api/tests/x509/jane.csr");
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// The moment at which a world begins.
const START: &str = "2026-01-01T00:00:00Z";

fn csr(name: &str, conditions: &[&str], certificate: &str) -> Value {
    let conditions: Vec<Value> = conditions
        .iter()
        .map(|kind| json!({"type": kind, "status": "True", "lastUpdateTime": START}))
        .collect();
    let mut csr: Value = certificate_request(name, JANE).into();
    csr["status"] = json!({"conditions": conditions});
    if !certificate.is_empty() {
        csr["status"]["certificate"] = certificate.into();
    }
    csr
}

/// It is there until shortly before `after`, and gone shortly behind that.
fn check(conditions: &[&str], certificate: &str, after: i64) {
    let mut cluster = Cluster::new().with::<Plugin>(json!({}));
    let reference = cluster.create(csr("csr", conditions, certificate));
    cluster.advance(after - MINUTE);
    assert!(cluster.object(&reference).is_some(), "{conditions:?}");
    cluster.advance(2 * MINUTE);
    assert!(cluster.object(&reference).is_none(), "{conditions:?}");
}

#[test]
fn requests_go_when_nobody_needs_them() {
    check(&[], "", 24 * HOUR);
    check(&["Denied"], "", HOUR);
    check(&["Approved"], "b2s=", HOUR);
    check(&["Approved", "Failed"], "", HOUR);
}

#[test]
fn an_approved_request_waits_for_its_certificate() {
    let mut cluster = Cluster::new().with::<Plugin>(json!({}));
    let reference = cluster.create(csr("csr", &["Approved"], ""));
    cluster.advance(1000 * HOUR);
    assert!(cluster.object(&reference).is_some());
    cluster.patch_status(&reference, json!({"certificate": "b2s="}));
    cluster.settle();
    assert!(cluster.object(&reference).is_none());
}

#[test]
fn a_request_that_is_decided_late_stays_for_its_hour() {
    let mut cluster = Cluster::new().with::<Plugin>(json!({}));
    let reference = cluster.create(csr("csr", &[], ""));
    cluster.advance(24 * HOUR - 10 * MINUTE);
    let now = pintle_sdk::time::format_seconds(cluster.now_unix_ms);
    let denied = json!([{"type": "Denied", "status": "True", "lastUpdateTime": now}]);
    cluster.patch_status(&reference, json!({"conditions": denied}));
    cluster.advance(50 * MINUTE);
    assert!(cluster.object(&reference).is_some());
    cluster.advance(11 * MINUTE);
    assert!(cluster.object(&reference).is_none());
}

#[test]
fn the_suite_of_controllers() {
    let mut world = World::new();
    for (index, conditions) in [&[][..], &["Denied"], &["Approved"]].into_iter().enumerate() {
        world.create(csr(&format!("csr-{index}"), conditions, "b2s="));
    }
    world.now_unix_ms += 2 * HOUR;
    let subject = subject::controller::<Plugin>();
    properties::is_idempotent(&subject, &json!({}), &world);
    properties::is_deterministic(&subject, &json!({}), &world);
    properties::does_not_flap(&subject, &json!({}), &world);
    properties::converges(&subject, &json!({}), &world, 0..50, |settled| {
        let left = settled.all(&CERTIFICATE_SIGNING_REQUEST);
        assert_eq!(left.len(), 1);
        assert_eq!(left[0]["metadata"]["name"], "csr-0");
    });
}

proptest! {
    /// Nothing goes before an hour, whatever was decided.
    #[test]
    fn everybody_has_an_hour(
        conditions in prop::collection::vec(prop::sample::select(vec!["Approved", "Denied", "Failed", "Odd"]), 0..4),
        certificate in prop::sample::select(vec!["", "b2s=", "!"]),
        minutes in 0..60_i64,
    ) {
        let mut cluster = Cluster::new().with::<Plugin>(json!({}));
        let reference = cluster.create(csr("csr", &conditions, certificate));
        cluster.advance(minutes * MINUTE);
        prop_assert!(cluster.object(&reference).is_some());
    }
}
