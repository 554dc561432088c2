//! The decision: a CronJob and its jobs in, actions out.

use std::collections::BTreeSet;

use pintle_sdk::api::time;
use pintle_sdk::owners;
use pintle_sdk::prelude::*;
use serde_json::{Value, json};

use crate::clock::{BadSchedule, Clock};
use crate::history::{End, outdated};

const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// The time itself must have come when the timer fires.
const GRACE_MS: u64 = 100;

pub fn plan(
    context: &Context,
    lister: &dyn Lister,
    cron: &Typed<CronJob>,
) -> Result<Outcome, Error> {
    let jobs: Vec<Typed<Job>> = lister
        .owned::<Job>(cron)?
        .into_iter()
        .filter(|job| job.metadata.controller().is_some_and(|owner| owner.uid == cron.uid))
        .collect();
    let mut work = Work::new(context, cron);
    work.account(&jobs);
    for job in outdated(&cron.spec, &jobs) {
        work.delete(job);
    }
    if !cron.metadata.is_being_deleted() && !cron.spec.suspend {
        work.schedule(lister, &jobs)?;
    }
    work.write_status();
    Ok(work.outcome)
}

struct Work<'a> {
    context: &'a Context,
    cron: &'a Typed<CronJob>,
    active: Vec<ObjectReference>,
    last_schedule_time: Option<String>,
    last_successful_time: Option<String>,
    outcome: Outcome,
}

impl<'a> Work<'a> {
    fn new(context: &'a Context, cron: &'a Typed<CronJob>) -> Self {
        Work {
            context,
            cron,
            active: cron.status.active.clone(),
            last_schedule_time: cron.status.last_schedule_time.clone(),
            last_successful_time: cron.status.last_successful_time.clone(),
            outcome: Outcome::done(),
        }
    }

    fn say(&mut self, reason: &str, note: String) {
        self.outcome.push(Event::normal(self.cron, reason, note));
    }

    fn warn(&mut self, reason: &str, note: String) {
        self.outcome.push(Event::warning(self.cron, reason, note));
    }

    /// Brings the list of what runs up to date.
    fn account(&mut self, jobs: &[Typed<Job>]) {
        for job in jobs {
            let known = self.active.iter().any(|active| active.uid == job.uid);
            match End::of(job) {
                Some(end) if known => {
                    self.active.retain(|active| active.uid != job.uid);
                    let note = format!(
                        "Saw completed job: {}, condition: {}",
                        job.reference.name,
                        end.as_str()
                    );
                    self.say("SawCompletedJob", note);
                }
                None if !known && !job.metadata.is_being_deleted() => {
                    self.active.push(reference_to(job));
                }
                _ => {}
            }
            if End::of(job) == Some(End::Complete) {
                let ended = job.status.completion_time.clone();
                let parsed = |text: &Option<String>| text.as_deref().and_then(time::parse);
                if parsed(&ended) > parsed(&self.last_successful_time) {
                    self.last_successful_time = ended;
                }
            }
        }
        let there: BTreeSet<&str> = jobs.iter().map(|job| job.uid.as_str()).collect();
        let missing: Vec<ObjectReference> = self
            .active
            .iter()
            .filter(|active| !there.contains(active.uid.as_str()))
            .cloned()
            .collect();
        for gone in missing {
            self.active.retain(|active| active.uid != gone.uid);
            self.say("MissingJob", format!("Active job went missing: {}", gone.name));
        }
    }

    fn delete(&mut self, job: &Typed<Job>) {
        self.outcome.push(Delete::this(job).propagation(Propagation::Background));
        self.active.retain(|active| active.uid != job.uid);
        self.say("SuccessfulDelete", format!("Deleted job {}", job.reference.name));
    }

    fn schedule(&mut self, lister: &dyn Lister, jobs: &[Typed<Job>]) -> Result<(), Error> {
        let clock = match Clock::of(&self.cron.spec) {
            Ok(clock) => clock,
            // Nothing to wait for: a changed spec brings the object back.
            Err(BadSchedule::UnknownTimeZone(note)) => {
                self.warn("UnknownTimeZone", note);
                return Ok(());
            }
            Err(BadSchedule::Unparseable(note)) => {
                self.warn("UnparseableSchedule", note);
                return Ok(());
            }
        };
        let now = self.context.now_unix_ms;
        let deadline = self.cron.spec.starting_deadline_seconds.map(|s| s.saturating_mul(1000));
        let since = self
            .last_schedule_time
            .as_deref()
            .or(self.cron.metadata.creation_timestamp.as_deref())
            .and_then(time::parse)
            .unwrap_or(now);
        let since = deadline.map_or(since, |deadline| since.max(now.saturating_sub(deadline)));
        if let Some(next) = clock.next(now) {
            self.outcome.requeue_after((next - now).unsigned_abs() + GRACE_MS);
        }
        let Some(due) = clock.due(since, now) else { return Ok(()) };
        if due.too_many_missed {
            self.warn("TooManyMissedTimes", "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew".to_owned());
        }
        if deadline.is_some_and(|deadline| due.at_ms.saturating_add(deadline) < now) {
            let at = time::format_seconds(due.at_ms);
            self.warn("MissSchedule", format!("Missed scheduled time to start a job: {at}"));
            return Ok(());
        }
        let name = format!("{}-{}", self.cron.reference.name, due.at_ms / 60_000);
        let namespace = &self.cron.reference.namespace;
        let started = lister.read::<Job>(namespace, &name)?;
        if started.is_none() && !self.may_start(jobs) {
            return Ok(());
        }
        match started {
            // Started before, and the status was not written.
            Some(job) if job.metadata.controller().is_some_and(|own| own.uid == self.cron.uid) => {}
            Some(_) => {
                let note = format!("Error creating job: jobs.batch {name:?} already exists");
                self.warn("FailedCreate", note);
                return Ok(());
            }
            None => {
                let job = new_job(self.cron, &name, &clock.format(due.at_ms));
                self.outcome.push(Create::new(JOB, namespace, &job));
                self.say("SuccessfulCreate", format!("Created job {name}"));
            }
        }
        self.last_schedule_time = Some(time::format_seconds(due.at_ms));
        Ok(())
    }

    /// By the concurrency policy; ends what is to be replaced.
    fn may_start(&mut self, jobs: &[Typed<Job>]) -> bool {
        let running: Vec<&Typed<Job>> = jobs
            .iter()
            .filter(|job| self.active.iter().any(|active| active.uid == job.uid))
            .collect();
        match self.cron.spec.concurrency_policy.as_str() {
            "Forbid" if !running.is_empty() => {
                self.say("JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid".to_owned());
                false
            }
            "Replace" => {
                for job in running {
                    self.delete(job);
                }
                true
            }
            _ => true,
        }
    }

    fn write_status(&mut self) {
        let status = &self.cron.status;
        let uids = |active: &[ObjectReference]| -> Vec<String> {
            active.iter().map(|active| active.uid.clone()).collect()
        };
        let same = uids(&self.active) == uids(&status.active)
            && self.last_schedule_time == status.last_schedule_time
            && self.last_successful_time == status.last_successful_time;
        if same {
            return;
        }
        let active = (!self.active.is_empty()).then_some(&self.active);
        self.outcome.push(Patch::status_of(
            self.cron,
            &json!({
                "active": active,
                "lastScheduleTime": self.last_schedule_time,
                "lastSuccessfulTime": self.last_successful_time,
            }),
        ));
    }
}

fn reference_to(job: &Typed<Job>) -> ObjectReference {
    ObjectReference {
        api_version: "batch/v1".to_owned(),
        kind: "Job".to_owned(),
        namespace: job.reference.namespace.clone(),
        name: job.reference.name.clone(),
        uid: job.uid.clone(),
        resource_version: job.revision.to_string(),
        ..ObjectReference::default()
    }
}

fn new_job(cron: &Typed<CronJob>, name: &str, scheduled_at: &str) -> Value {
    let template = &cron.spec.job_template;
    let mut annotations = template["metadata"]["annotations"].clone();
    if !annotations.is_object() {
        annotations = json!({});
    }
    annotations[SCHEDULED_AT] = json!(scheduled_at);
    let mut metadata = json!({
        "name": name,
        "namespace": cron.reference.namespace,
        "annotations": annotations,
        "ownerReferences": [owners::controller_reference(cron)],
    });
    if template["metadata"]["labels"].is_object() {
        metadata["labels"] = template["metadata"]["labels"].clone();
    }
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]})
}
