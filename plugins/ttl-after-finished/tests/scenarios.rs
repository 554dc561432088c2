//! Finished jobs and their time to live.

use pintle_plugin_ttl_after_finished::Plugin;
use pintle_sdk_testing::Cluster;
use serde_json::{Value, json};

fn check(ttl: Value, condition: &str, advance_ms: i64, expect_deleted: bool) {
    let mut cluster = Cluster::new().with::<Plugin>(json!({}));
    let now = pintle_sdk::api::time::format_seconds(cluster.now_unix_ms);
    let job = cluster.create(json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "pi", "namespace": "default"},
        "spec": {"ttlSecondsAfterFinished": ttl}}));
    let conditions = json!([{"type": condition, "status": "True", "lastTransitionTime": now}]);
    cluster.patch_status(&job, json!({ "conditions": conditions }));
    cluster.advance(advance_ms);
    let gone =
        cluster.object(&job).is_none_or(|job| !job["metadata"]["deletionTimestamp"].is_null());
    assert_eq!(gone, expect_deleted, "{ttl} {condition} {advance_ms}");
}

#[test]
fn finished_jobs_go_when_their_time_is_over() {
    check(json!(60), "Complete", 59_000, false);
    check(json!(60), "Complete", 60_000, true);
    check(json!(60), "Failed", 60_000, true);
    check(json!(0), "Complete", 0, true);
    check(json!(60), "Suspended", 1_000_000, false);
    check(Value::Null, "Complete", 1_000_000, false);
}

#[test]
fn a_raised_time_is_followed() {
    let mut cluster = Cluster::new().with::<Plugin>(json!({}));
    let now = pintle_sdk::api::time::format_seconds(cluster.now_unix_ms);
    let conditions = json!([{"type": "Complete", "status": "True", "lastTransitionTime": now}]);
    let job = cluster.create(json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "pi", "namespace": "default"},
        "spec": {"ttlSecondsAfterFinished": 60}, "status": {"conditions": conditions}}));
    cluster.advance(30_000);
    cluster.patch(&job, json!({"spec": {"ttlSecondsAfterFinished": 120}}));
    cluster.advance(60_000);
    assert!(cluster.object(&job).is_some());
    cluster.advance(30_000);
    assert!(
        cluster.object(&job).is_none_or(|job| job["metadata"]["deletionTimestamp"].is_string())
    );
}
