//! A CronJob through its minutes, hours and accidents.

use pintle_plugin_cronjob::Plugin;
use pintle_sdk::api::time;
use pintle_sdk::prelude::*;
use pintle_sdk_testing::Cluster;
use serde_json::{Value, json};

const MINUTE: i64 = 60_000;

struct Nightly(Cluster);

impl Nightly {
    /// It is noon, and the CronJob has just been created.
    fn new(spec: Value) -> Self {
        let mut cluster = Cluster::new().with::<Plugin>(json!({}));
        cluster.now_unix_ms = time::parse("2026-01-01T12:00:30Z").unwrap();
        let mut cron = json!({
            "apiVersion": "batch/v1", "kind": "CronJob",
            "metadata": {"name": "report", "namespace": "default"},
            "spec": {
                "schedule": "*/10 * * * *", "concurrencyPolicy": "Allow",
                "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1,
                "jobTemplate": {"metadata": {"labels": {"app": "report"}}, "spec": {"template": {"spec": {}}}},
            },
        });
        pintle_sdk_testing::merge_patch(&mut cron, &json!({ "spec": spec }));
        cluster.create(cron);
        cluster.settle();
        Nightly(cluster)
    }

    fn cron() -> ObjectRef {
        CRON_JOB.named("default", "report")
    }

    fn jobs(&self) -> Vec<String> {
        self.0
            .all(&JOB)
            .iter()
            .map(|job| {
                let at = &job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"];
                let end = job["status"]["conditions"][0]["type"].as_str().unwrap_or("runs");
                format!("{} {end}", at.as_str().unwrap())
            })
            .collect()
    }

    fn end_all(&mut self, condition: &str) {
        let now = time::format_seconds(self.0.now_unix_ms);
        let running: Vec<ObjectRef> = self
            .0
            .all(&JOB)
            .iter()
            .filter(|job| job["status"]["conditions"].is_null())
            .map(|job| JOB.named("default", job["metadata"]["name"].as_str().unwrap()))
            .collect();
        for job in running {
            let conditions = json!([{"type": condition, "status": "True"}]);
            let status = json!({"startTime": now, "completionTime": now, "conditions": conditions});
            self.0.patch_status(&job, status);
        }
        self.0.settle();
    }

    fn status(&self) -> Value {
        self.0.object(&Self::cron()).unwrap()["status"].clone()
    }

    fn reasons(&self) -> Vec<&str> {
        self.0.events.iter().map(|event| event.reason.as_str()).collect()
    }
}

#[test]
fn a_job_at_every_time_of_the_schedule() {
    let mut cron = Nightly::new(json!({}));
    assert!(cron.jobs().is_empty());
    cron.0.advance(9 * MINUTE);
    assert!(cron.jobs().is_empty());
    cron.0.advance(MINUTE);
    assert_eq!(cron.jobs(), ["2026-01-01T12:10:00Z runs"]);
    let status = cron.status();
    assert_eq!(status["lastScheduleTime"], "2026-01-01T12:10:00Z");
    assert_eq!(status["active"][0]["kind"], "Job");
    let job = cron.0.all(&JOB)[0].clone();
    assert_eq!(
        job["metadata"]["name"],
        format!("report-{}", time::parse("2026-01-01T12:10:00Z").unwrap() / 60_000)
    );
    assert_eq!(job["metadata"]["labels"]["app"], "report");
    cron.end_all("Complete");
    let status = cron.status();
    assert!(status["active"].is_null() && status["lastSuccessfulTime"].is_string());
    assert!(cron.reasons().contains(&"SawCompletedJob"));
    cron.0.advance(10 * MINUTE);
    assert_eq!(cron.jobs().len(), 2);
    assert!(cron.0.restart().actions.is_empty());
}

#[test]
fn only_so_many_finished_jobs_are_kept() {
    let mut cron = Nightly::new(json!({"successfulJobsHistoryLimit": 1}));
    for _ in 0..3 {
        cron.0.advance(10 * MINUTE);
        cron.end_all("Complete");
    }
    assert_eq!(cron.jobs(), ["2026-01-01T12:30:00Z Complete"]);
    for _ in 0..2 {
        cron.0.advance(10 * MINUTE);
        cron.end_all("Failed");
    }
    assert_eq!(cron.jobs(), ["2026-01-01T12:30:00Z Complete", "2026-01-01T12:50:00Z Failed"]);
}

#[test]
fn policies_for_a_job_that_still_runs() {
    fn check(policy: &str, expect: &[&str]) {
        let mut cron = Nightly::new(json!({"concurrencyPolicy": policy}));
        cron.0.advance(20 * MINUTE);
        assert_eq!(cron.jobs(), expect, "{policy}");
    }
    check("Allow", &["2026-01-01T12:10:00Z runs", "2026-01-01T12:20:00Z runs"]);
    check("Forbid", &["2026-01-01T12:10:00Z runs"]);
    check("Replace", &["2026-01-01T12:20:00Z runs"]);
}

#[test]
fn a_forbidden_start_is_made_up_for_when_the_job_ends() {
    let mut cron = Nightly::new(json!({"concurrencyPolicy": "Forbid"}));
    cron.0.advance(25 * MINUTE);
    assert!(cron.reasons().contains(&"JobAlreadyActive"));
    cron.end_all("Complete");
    assert_eq!(cron.jobs(), ["2026-01-01T12:10:00Z Complete", "2026-01-01T12:20:00Z runs"]);
}

#[test]
fn of_missed_times_the_last_one_counts() {
    let mut cron = Nightly::new(json!({"suspend": true}));
    cron.0.advance(45 * MINUTE);
    assert!(cron.jobs().is_empty());
    cron.0.patch(&Nightly::cron(), json!({"spec": {"suspend": false}}));
    cron.0.settle();
    assert_eq!(cron.jobs(), ["2026-01-01T12:40:00Z runs"]);
}

#[test]
fn times_that_are_too_old_are_not_made_up_for() {
    let mut cron = Nightly::new(json!({"suspend": true, "startingDeadlineSeconds": 60}));
    cron.0.advance(45 * MINUTE);
    cron.0.patch(&Nightly::cron(), json!({"spec": {"suspend": false}}));
    cron.0.settle();
    assert!(cron.jobs().is_empty());
    cron.0.advance(5 * MINUTE);
    assert_eq!(cron.jobs(), ["2026-01-01T12:50:00Z runs"]);
}

#[test]
fn a_schedule_that_never_fires_and_one_that_nobody_understands() {
    let mut cron = Nightly::new(json!({"schedule": "0 0 31 2 *"}));
    let run = cron.0.advance(60 * MINUTE);
    assert!(cron.jobs().is_empty() && run.reconciles <= 1);
    let cron = Nightly::new(json!({"schedule": "often"}));
    assert_eq!(cron.reasons(), ["UnparseableSchedule"]);
    let cron = Nightly::new(json!({"timeZone": "Mars/Olympus"}));
    assert_eq!(cron.reasons(), ["UnknownTimeZone"]);
}

#[test]
fn a_job_that_was_deleted_by_somebody_is_missed() {
    let mut cron = Nightly::new(json!({}));
    cron.0.advance(10 * MINUTE);
    let name = cron.0.all(&JOB)[0]["metadata"]["name"].as_str().unwrap().to_owned();
    cron.0.delete(&JOB.named("default", name));
    cron.0.settle();
    assert!(cron.reasons().contains(&"MissingJob"));
    assert!(cron.status()["active"].is_null());
    assert!(cron.jobs().is_empty(), "the time has had its job");
}
