//! Jobs from their first pod to their last word.

use pintle_plugin_job::Plugin;
use pintle_sdk::prelude::*;
use pintle_sdk_testing::Cluster;
use serde_json::{Value, json};

struct Batch(Cluster);

impl Batch {
    fn new(spec: Value) -> Self {
        let mut cluster = Cluster::new().with::<Plugin>(json!({}));
        let mut job = json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": "pi", "namespace": "default"},
            "spec": {
                "completions": 1, "parallelism": 1, "backoffLimit": 6,
                "selector": {"matchLabels": {"job": "pi"}},
                "template": {
                    "metadata": {"labels": {"job": "pi", "batch.kubernetes.io/job-name": "pi"}},
                    "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "pi"}]},
                },
            },
        });
        pintle_sdk_testing::merge_patch(&mut job, &json!({ "spec": spec }));
        cluster.create(job);
        cluster.settle();
        Batch(cluster)
    }

    fn job() -> ObjectRef {
        JOB.named("default", "pi")
    }

    fn pods(&self, phase: &str) -> Vec<Value> {
        self.0
            .all(&POD)
            .into_iter()
            .filter(|pod| pod["status"]["phase"].as_str().unwrap_or("Pending") == phase)
            .cloned()
            .collect()
    }

    fn end(&mut self, pod: &Value, phase: &str, exit_code: i64) {
        let now = pintle_sdk::api::time::format_seconds(self.0.now_unix_ms);
        let containers = json!([{"name": "c", "state": {"terminated": {"exitCode": exit_code, "finishedAt": now}}}]);
        let reference = POD.named("default", pod["metadata"]["name"].as_str().unwrap());
        self.0.patch_status(&reference, json!({"phase": phase, "containerStatuses": containers}));
        self.0.settle();
    }

    /// Ends one pod that runs.
    fn end_one(&mut self, phase: &str, exit_code: i64) {
        let pod = self.pods("Pending").remove(0);
        self.end(&pod, phase, exit_code);
    }

    fn status(&self) -> Value {
        self.0.object(&Self::job()).unwrap()["status"].clone()
    }

    fn condition(&self, kind: &str) -> Option<(String, String)> {
        let status = self.status();
        let found = status["conditions"]
            .as_array()?
            .iter()
            .find(|found| found["type"] == kind && found["status"] == "True")?;
        let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        Some((text("reason"), text("message")))
    }

    fn change(&mut self, spec: Value) {
        self.0.patch(&Self::job(), json!({ "spec": spec }));
        self.0.settle();
    }
}

#[test]
fn one_pod_that_succeeds_completes_the_job() {
    let mut batch = Batch::new(json!({}));
    assert_eq!(batch.pods("Pending").len(), 1);
    assert_eq!(batch.status()["active"], 1);
    let pod = batch.pods("Pending").remove(0);
    assert_eq!(pod["metadata"]["finalizers"], json!(["batch.kubernetes.io/job-tracking"]));
    batch.end(&pod, "Succeeded", 0);
    assert_eq!(batch.condition("Complete").unwrap().0, "CompletionsReached");
    let status = batch.status();
    assert_eq!(status["succeeded"], 1);
    assert!(status["completionTime"].is_string());
    assert_eq!(status["uncountedTerminatedPods"], json!({}));
    assert!(batch.0.all(&POD)[0]["metadata"]["finalizers"].is_null());
    assert!(batch.0.restart().actions.is_empty());
}

#[test]
fn so_many_at_a_time_until_so_many_have_succeeded() {
    let mut batch = Batch::new(json!({"completions": 5, "parallelism": 2}));
    for _ in 0..5 {
        assert!(batch.pods("Pending").len() <= 2);
        batch.end_one("Succeeded", 0);
    }
    assert_eq!(batch.0.all(&POD).len(), 5);
    assert!(batch.condition("Complete").is_some());
}

#[test]
fn failures_are_retried_more_and_more_slowly() {
    let mut batch = Batch::new(json!({"backoffLimit": 2}));
    batch.end_one("Failed", 1);
    assert!(batch.pods("Pending").is_empty());
    batch.0.advance(10_000);
    batch.end_one("Failed", 1);
    batch.0.advance(19_000);
    assert!(batch.pods("Pending").is_empty());
    batch.0.advance(1_000);
    batch.end_one("Failed", 1);
    assert_eq!(batch.condition("Failed").unwrap().0, "BackoffLimitExceeded");
    assert_eq!(batch.status()["failed"], 3);
    batch.0.advance(10_000_000);
    assert_eq!(batch.0.all(&POD).len(), 3);
}

#[test]
fn an_indexed_job_runs_every_index_once() {
    let mut batch =
        Batch::new(json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3}));
    let pods = batch.pods("Pending");
    let mut indexes: Vec<&str> = pods
        .iter()
        .map(|pod| {
            pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"]
                .as_str()
                .unwrap()
        })
        .collect();
    indexes.sort_unstable();
    assert_eq!(indexes, ["0", "1", "2"]);
    assert_eq!(pods[0]["spec"]["containers"][0]["env"][0]["name"], "JOB_COMPLETION_INDEX");
    let of = |index: &str| {
        pods.iter()
            .find(|pod| {
                pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] == index
            })
            .unwrap()
    };
    batch.end(of("2"), "Succeeded", 0);
    batch.end(of("1"), "Failed", 1);
    assert_eq!(batch.status()["completedIndexes"], "2");
    batch.end(of("0"), "Succeeded", 0);
    batch.0.advance(10_000);
    let again = batch.pods("Pending").remove(0);
    assert_eq!(again["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"], "1");
    batch.end(&again, "Succeeded", 0);
    assert_eq!(batch.status()["completedIndexes"], "0-2");
    assert!(batch.condition("Complete").is_some());
}

#[test]
fn an_index_that_fails_too_often_does_not_stop_the_others() {
    let mut batch =
        Batch::new(json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2,
        "backoffLimit": 1_000_000, "backoffLimitPerIndex": 0}));
    let pods = batch.pods("Pending");
    let first = pods
        .iter()
        .find(|pod| pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] == "0")
        .unwrap();
    batch.end(first, "Failed", 1);
    assert_eq!(batch.status()["failedIndexes"], "0");
    batch.end_one("Succeeded", 0);
    assert_eq!(batch.condition("Failed").unwrap().0, "FailedIndexes");
}

#[test]
fn a_deadline_ends_what_runs() {
    let mut batch = Batch::new(json!({"activeDeadlineSeconds": 30}));
    batch.0.advance(29_000);
    assert_eq!(batch.pods("Pending").len(), 1);
    batch.0.advance(1_000);
    assert!(batch.pods("Pending").is_empty());
    assert_eq!(batch.condition("Failed").unwrap().0, "DeadlineExceeded");
}

#[test]
fn a_suspended_job_ends_its_pods_without_counting_them() {
    let mut batch = Batch::new(json!({"completions": 2, "parallelism": 2}));
    batch.change(json!({"suspend": true}));
    assert!(batch.0.all(&POD).is_empty());
    assert_eq!(batch.condition("Suspended").unwrap().0, "JobSuspended");
    assert!(batch.status()["startTime"].is_null());
    assert!(batch.status()["failed"].is_null());
    batch.change(json!({"suspend": false}));
    assert_eq!(batch.pods("Pending").len(), 2);
    assert!(batch.condition("Suspended").is_none());
}

#[test]
fn policies_tell_disruptions_from_bugs() {
    let policy = json!({"rules": [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}]});
    let mut batch = Batch::new(json!({"backoffLimit": 0, "podFailurePolicy": policy}));
    let pod = batch.pods("Pending").remove(0);
    let reference = POD.named("default", pod["metadata"]["name"].as_str().unwrap());
    let conditions = json!([{"type": "DisruptionTarget", "status": "True"}]);
    batch.0.patch_status(&reference, json!({ "conditions": conditions }));
    batch.end(&pod, "Failed", 137);
    assert!(batch.condition("Failed").is_none());
    batch.0.advance(10_000);
    batch.end_one("Failed", 42);
    let (reason, message) = batch.condition("Failed").unwrap();
    assert_eq!(reason, "PodFailurePolicy");
    assert!(
        message.ends_with("failed with exit code 42 matching FailJob rule at index 1"),
        "{message}"
    );
}

#[test]
fn a_success_policy_ends_the_rest() {
    let policy = json!({"rules": [{"succeededIndexes": "0"}]});
    let mut batch = Batch::new(
        json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3, "successPolicy": policy}),
    );
    let pods = batch.pods("Pending");
    let first = pods
        .iter()
        .find(|pod| pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] == "0")
        .unwrap();
    batch.end(first, "Succeeded", 0);
    assert_eq!(batch.condition("Complete").unwrap().0, "SuccessPolicy");
    assert!(batch.pods("Pending").is_empty());
}

#[test]
fn a_work_queue_is_empty_when_one_pod_says_so() {
    let mut batch = Batch::new(json!({"completions": null, "parallelism": 2}));
    batch.end_one("Succeeded", 0);
    assert_eq!(batch.pods("Pending").len(), 1, "no new ones, and the others end by themselves");
    assert!(batch.condition("Complete").is_none());
    batch.end_one("Succeeded", 0);
    assert!(batch.condition("Complete").is_some());
}

#[test]
fn pods_of_a_deleted_job_are_let_go() {
    let mut batch = Batch::new(json!({}));
    let pod = batch.pods("Pending").remove(0);
    let reference = POD.named("default", pod["metadata"]["name"].as_str().unwrap());
    batch.0.delete(&Batch::job());
    batch.0.delete(&reference);
    batch.0.settle();
    assert!(batch.0.object(&reference).is_none());
}
