//! Deletes finished Jobs when their time is over (`spec.ttlSecondsAfterFinished`).
//!
//! Watches Jobs; asks to be woken when the time of a finished one is over. What
//! the Job owns goes with it, in the foreground.
//!
//! No configuration.
//!
//! Does not know: how jobs finish. Read first: [`expiry`].

use pintle_sdk::api::time;
use pintle_sdk::prelude::*;

pub struct Plugin;

impl Controller for Plugin {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Plugin)
    }

    fn describe(&self) -> Description {
        Description::new(Manifest::new("ttl-after-finished", env!("CARGO_PKG_VERSION")).needs(
            JOB,
            &["get", "list", "watch", "delete"],
            "deletes finished jobs whose time is over",
        ))
        .watch(
            Watch::of(JOB)
                .having("spec.ttlSecondsAfterFinished")
                .on(Change::ADDED.or(Change::MODIFIED))
                .when_changed(&["spec.ttlSecondsAfterFinished", "status.conditions"]),
        )
    }

    fn reconcile(
        &self,
        context: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        let mut outcome = Outcome::done();
        let Some(job) = request.read::<Job>(lister)? else { return Ok(outcome) };
        let Some(expiry) = expiry(&job) else { return Ok(outcome) };
        match u64::try_from(expiry - context.now_unix_ms) {
            Ok(wait) if wait > 0 => outcome.requeue_after(wait),
            // As it was looked at: its time to live may be raised meanwhile.
            _ => outcome
                .push(Delete::this(&job).at(job.revision).propagation(Propagation::Foreground)),
        }
        Ok(outcome)
    }
}

/// When a finished job is to be deleted, in Unix milliseconds; none while it
/// runs, is being deleted, or has no time to live.
pub fn expiry(job: &Job) -> Option<i64> {
    let seconds = job.spec.ttl_seconds_after_finished?;
    if job.metadata.is_being_deleted() {
        return None;
    }
    let finished = job
        .status
        .conditions
        .iter()
        .filter(|found| matches!(found.r#type.as_str(), "Complete" | "Failed") && found.is_true())
        .find_map(|found| time::parse(found.last_transition_time.as_deref()?))?;
    Some(finished.saturating_add(seconds.saturating_mul(1000)))
}

pintle_sdk::export_controller!(Plugin);
