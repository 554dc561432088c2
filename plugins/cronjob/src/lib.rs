//! Makes the jobs of a CronJob by the clock.
//!
//! Watches CronJobs, and Jobs through their controlling owner; asks to be woken
//! at the next time of the schedule. A job is named after the minute it was
//! meant for, so a time never starts two, whatever is restarted when. Times that
//! were missed are made up for once, unless `startingDeadlineSeconds` says they
//! are too old; times between them are skipped.
//!
//! Time zones are those of the IANA database, which is built in.
//!
//! No configuration.
//!
//! Does not know: how jobs run. Read first: [`plan::plan`], then [`clock::Clock`].

pub mod clock;
pub mod history;
pub mod plan;

use pintle_sdk::prelude::*;

pub struct Plugin;

impl Controller for Plugin {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Plugin)
    }

    fn describe(&self) -> Description {
        Description::new(
            Manifest::new("cronjob", env!("CARGO_PKG_VERSION"))
                .needs(
                    CRON_JOB,
                    &["get", "list", "watch", "patch/status"],
                    "reads schedules, reports what was started",
                )
                .needs(
                    JOB,
                    &["get", "list", "watch", "create", "delete"],
                    "starts jobs, deletes old ones",
                )
                .needs(EVENT, &["create"], "says what was started and missed"),
        )
        .watch(Watch::of(CRON_JOB).when_changed(&["spec", "metadata.deletionTimestamp"]))
        .watch(
            Watch::of(JOB)
                .when_changed(&["status.conditions", "metadata.deletionTimestamp"])
                .enqueue(Enqueue::ControllerOwner(CRON_JOB)),
        )
    }

    fn reconcile(
        &self,
        context: &Context,
        lister: &dyn Lister,
        request: &Request,
    ) -> Result<Outcome, Error> {
        match request.read::<CronJob>(lister)? {
            None => Ok(Outcome::done()),
            Some(cron) => plan::plan(context, lister, &cron),
        }
    }
}

pintle_sdk::export_controller!(Plugin);
