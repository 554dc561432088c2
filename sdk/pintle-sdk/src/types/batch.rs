//! The `batch` group.

use pintle_api::meta::ObjectMeta;
use serde_json::Value;

use super::{ObjectReference, partial};
use crate::conditions::Condition;
use crate::object::KindRef;
use crate::selector::LabelSelector;

pub const JOB: KindRef = KindRef::new("batch", "v1", "Job");
pub const CRON_JOB: KindRef = KindRef::new("batch", "v1", "CronJob");

partial! {
    pub struct Job = JOB {
        pub metadata: ObjectMeta,
        pub spec: JobSpec,
        pub status: JobStatus,
    }

    pub struct JobSpec {
        pub parallelism: Option<i64>,
        pub completions: Option<i64>,
        pub completion_mode: String,
        pub backoff_limit: Option<i64>,
        pub backoff_limit_per_index: Option<i64>,
        pub max_failed_indexes: Option<i64>,
        pub active_deadline_seconds: Option<i64>,
        pub ttl_seconds_after_finished: Option<i64>,
        pub selector: LabelSelector,
        pub manual_selector: Option<bool>,
        pub template: Value,
        pub pod_failure_policy: Option<Value>,
        pub pod_replacement_policy: String,
        pub suspend: bool,
    }

    pub struct JobStatus {
        pub start_time: Option<String>,
        pub completion_time: Option<String>,
        pub active: i64,
        pub ready: Option<i64>,
        pub succeeded: i64,
        pub failed: i64,
        pub terminating: Option<i64>,
        pub completed_indexes: String,
        pub failed_indexes: Option<String>,
        pub uncounted_terminated_pods: Option<UncountedTerminatedPods>,
        pub conditions: Vec<Condition>,
    }

    pub struct UncountedTerminatedPods {
        pub succeeded: Vec<String>,
        pub failed: Vec<String>,
    }

    pub struct CronJob = CRON_JOB {
        pub metadata: ObjectMeta,
        pub spec: CronJobSpec,
        pub status: CronJobStatus,
    }

    pub struct CronJobSpec {
        pub schedule: String,
        pub time_zone: Option<String>,
        pub starting_deadline_seconds: Option<i64>,
        pub concurrency_policy: String,
        pub suspend: bool,
        pub job_template: Value,
        pub successful_jobs_history_limit: Option<i64>,
        pub failed_jobs_history_limit: Option<i64>,
    }

    pub struct CronJobStatus {
        pub active: Vec<ObjectReference>,
        pub last_schedule_time: Option<String>,
        pub last_successful_time: Option<String>,
    }
}
