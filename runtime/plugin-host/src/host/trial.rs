//! The time in which a candidate is only compared: how it begins, and what
//! follows when it is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::follow::{Attach, follow};
use super::load::Candidate;
use super::manager::{Manager, chain};
use super::slot::{NotLoaded, Slot, Unit};
use crate::bindings::scheduler::SchedulerPlugin;
use crate::follow::FollowerHandle;
use crate::metrics::Metrics;
use crate::plugin::{AfterShadow, Role, ShadowSpec};
use crate::priority;
use crate::program::LoadError;
use crate::shadow::{
    AdmissionShadow, AuthorizerShadow, Comparison, ControllerShadow, ExtensionShadow, Outcome,
    SchedulerShadow,
};

/// A candidate that is compared, or was and waits for a person.
pub(super) struct Trial {
    pub candidate: Candidate,
    /// Ends the comparison when dropped.
    follower: Option<FollowerHandle>,
    /// It has been shown the cluster, and decides since. One that could not
    /// keep up is shown it again, which is no news.
    joined: Arc<AtomicBool>,
}

impl Trial {
    /// The candidate is shown the cluster, and decides nothing yet.
    pub fn is_joining(&self) -> bool {
        !self.joined.load(Ordering::SeqCst)
    }
}

impl Manager {
    /// Puts the candidate beside what decides. All that is checked of a version
    /// before it decides is checked here already.
    pub(super) fn begin_trial(
        &self,
        slot: &Arc<Slot>,
        candidate: Candidate,
        spec: ShadowSpec,
        unit: &Unit,
    ) -> Result<(), LoadError> {
        let counted = {
            let metrics = slot.metrics.clone();
            Box::new(move || metrics.moved())
        };
        let over = {
            let (changed, name) = (self.changed.clone(), slot.name.clone());
            Box::new(move || changed.add(&name))
        };
        let comparison = Arc::new(Comparison::new(candidate.digest().clone(), spec, counted, over));
        let attach = self.shadow(slot, &candidate, &comparison, unit)?;
        let follower = follow(unit, attach).map_err(|error| {
            LoadError::Description(format!("what decides cannot be followed: {error}"))
        })?;
        let joined = Arc::new(AtomicBool::default());
        follower.when_following({
            let (stirred, name) = (self.stirred.clone(), slot.name.clone());
            let joined = joined.clone();
            move || {
                if !joined.swap(true, Ordering::SeqCst) {
                    stirred.add(&name);
                }
            }
        });
        let mut state = slot.state.lock();
        state.trial = Some(Trial { candidate, follower: Some(follower), joined });
        state.comparison = Some(comparison);
        Ok(())
    }

    fn shadow(
        &self,
        slot: &Arc<Slot>,
        candidate: &Candidate,
        comparison: &Arc<Comparison>,
        unit: &Unit,
    ) -> Result<Attach, LoadError> {
        // What a shadow uses up is not what the plugin used.
        let metrics: Arc<Metrics> = Arc::default();
        let comparison = comparison.clone();
        Ok(match candidate.spec.role {
            Role::Controller => {
                let program = self.program(slot, candidate, metrics)?;
                Attach::Controller(Box::new(ControllerShadow::new(program, comparison)?))
            }
            Role::Scheduler => {
                let program = self.program::<SchedulerPlugin>(slot, candidate, metrics)?;
                self.check_scheduler_names(slot, &program.description.scheduler_names)?;
                Attach::Scheduler(Box::new(SchedulerShadow::new(program, comparison)?))
            }
            Role::Admission => {
                let program = self.program(slot, candidate, metrics)?;
                Attach::Admission(Box::new(AdmissionShadow::new(program, comparison)?))
            }
            Role::SchedulerExtension => {
                let program = self.program(slot, candidate, metrics)?;
                Attach::Extension(Box::new(ExtensionShadow::new(program, comparison)?))
            }
            Role::Authorizer => {
                let program = self.program(slot, candidate, metrics)?;
                let known = match unit {
                    Unit::Authorizer(unit) => unit.watches(),
                    _ => Vec::new(),
                };
                Attach::Authorizer(Box::new(AuthorizerShadow::new(program, &known, comparison)?))
            }
            role @ Role::Cni => {
                return Err(LoadError::Description(format!(
                    "a plugin of role {role} cannot be compared before it decides; \
                     remove spec.rollout.shadow"
                )));
            }
        })
    }

    /// Does what follows from a comparison that is over. Called whenever the
    /// plugin is looked at.
    pub(super) fn settle(&self, slot: &Arc<Slot>) {
        let (trial, comparison) = {
            let mut state = slot.state.lock();
            let Some(comparison) = state.comparison.clone() else { return };
            let waits = matches!(
                (comparison.outcome(), comparison.then()),
                (Outcome::Running, _) | (Outcome::Passed, AfterShadow::Stop)
            );
            if waits {
                if let (Some(trial), Outcome::Passed) = (&mut state.trial, comparison.outcome()) {
                    trial.follower = None;
                }
                return;
            }
            if state.trial.is_none() {
                return;
            }
            if let Outcome::Failed { reason, message } = comparison.outcome() {
                // Said before the trial is gone, so that nobody sees a moment in between.
                slot.health.refused(&comparison.candidate, reason, &message);
            }
            let Some(trial) = state.trial.take() else { return };
            state.loading = comparison.outcome() == Outcome::Passed;
            (trial, comparison)
        };
        let Trial { candidate, follower, .. } = trial;
        drop(follower);
        let digest = candidate.digest();
        match comparison.outcome() {
            Outcome::Running => {}
            Outcome::Failed { reason, message } => {
                tracing::warn!(plugin = %slot.name, %digest, reason, message, "a version does not take over");
            }
            Outcome::Passed => {
                let result = priority::beside(|| self.hand_over(slot, &candidate));
                let mut state = slot.state.lock();
                state.loading = false;
                match result {
                    Ok(()) => {
                        tracing::info!(plugin = %slot.name, %digest, "plugin loaded, after it was compared");
                    }
                    Err(error) => {
                        tracing::warn!(plugin = %slot.name, %digest, reason = error.reason(), error = chain(&error), "plugin not loaded, although it was compared");
                        state.load_error = Some(NotLoaded::new(&error));
                    }
                }
            }
        }
    }
}
