//! The part of a hand-over that each role has of its own.

use std::sync::Arc;
use std::time::Duration;

use super::load::Candidate;
use super::manager::Manager;
use super::slot::{Slot, Unit};
use crate::admission::{self, AdmissionUnit};
use crate::authorizer::{self, AuthorizerUnit};
use crate::bindings::cni::CniPlugin;
use crate::bindings::scheduler::SchedulerPlugin;
use crate::budget::Budgets;
use crate::controller::ControllerUnit;
use crate::extension::{ExtensionUnit, Terms};
use crate::grants::Grants;
use crate::metrics::Metrics;
use crate::program::{GrantPolicy, Ingredients, LoadError, Program, World};
use crate::scheduler::SchedulerUnit;
use crate::supervise::{Rollout, Version};

impl Manager {
    /// The candidate's program, which counts in `metrics`.
    pub(super) fn program<W: World>(
        &self,
        slot: &Slot,
        candidate: &Candidate,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Program<W>>, LoadError> {
        let Candidate { spec, sourced, artifact, .. } = candidate;
        let grants = match &spec.grants {
            Some(rules) => GrantPolicy::Given(Grants::new(rules.clone())),
            None if sourced.is_embedded => GrantPolicy::AsNeeded,
            None => GrantPolicy::Given(Grants::default()),
        };
        let ingredients = Ingredients {
            name: slot.name.clone(),
            config: sourced.config.clone(),
            budgets: Budgets::from_spec(spec.role, &spec.budgets),
            grants,
            cluster: Some(self.cluster.clone()),
            metrics,
        };
        Program::load(self.artifacts.wasm(), artifact, ingredients).map(Arc::new)
    }

    /// Returns the number of the load, here and below.
    pub(super) fn run_controller(
        &self,
        slot: &Slot,
        candidate: &Candidate,
    ) -> Result<u64, LoadError> {
        let program = self.program(slot, candidate, slot.metrics.clone())?;
        let load = program.load;
        let rollout = Rollout::from_spec(&candidate.spec.rollout);
        // The call that runs may take its time; the status may be read meanwhile.
        let running = slot.state.lock().unit.clone();
        if let Some(Unit::Controller(unit)) = running {
            unit.swap(program, rollout)?;
            return Ok(load);
        }
        let unit = ControllerUnit::start(
            program,
            rollout,
            &self.hub,
            self.cluster.clone(),
            slot.health.clone(),
            self.opening.clone(),
        )?;
        Self::put_unit(slot, Unit::Controller(Arc::new(unit)));
        Ok(load)
    }

    pub(super) fn run_scheduler(
        &self,
        slot: &Arc<Slot>,
        candidate: &Candidate,
    ) -> Result<u64, LoadError> {
        let program = self.program::<SchedulerPlugin>(slot, candidate, slot.metrics.clone())?;
        let load = program.load;
        let rollout = Rollout::from_spec(&candidate.spec.rollout);
        let answered = program.description.scheduler_names.clone();
        self.check_scheduler_names(slot, &answered)?;
        // The replay takes its time; the status may be read meanwhile.
        let running = slot.state.lock().unit.clone();
        let unit = match running {
            Some(Unit::Scheduler { unit, .. }) => {
                unit.swap(program, rollout)?;
                unit
            }
            _ => Arc::new(SchedulerUnit::start(
                program,
                rollout,
                &self.hub,
                self.cluster.clone(),
                self.extensions.clone(),
                slot.health.clone(),
            )?),
        };
        Self::put_unit(slot, Unit::Scheduler { unit, names: answered });
        Ok(load)
    }

    /// Two schedulers for one name would bind each pod twice over.
    pub(super) fn check_scheduler_names(
        &self,
        slot: &Arc<Slot>,
        answered: &[String],
    ) -> Result<(), LoadError> {
        let others: Vec<Arc<Slot>> =
            self.slots.lock().values().filter(|other| !Arc::ptr_eq(other, slot)).cloned().collect();
        for other in others {
            if let Some(Unit::Scheduler { names, .. }) = &other.state.lock().unit
                && let Some(taken) = names.iter().find(|name| answered.contains(name))
            {
                return Err(LoadError::Description(format!(
                    "plugin {} schedules for {taken} already; suspend it, or give this one another name in its config",
                    other.name
                )));
            }
        }
        Ok(())
    }

    pub(super) fn run_extension(
        &self,
        slot: &Slot,
        candidate: &Candidate,
    ) -> Result<u64, LoadError> {
        let program = self.program(slot, candidate, slot.metrics.clone())?;
        let load = program.load;
        let rollout = Rollout::from_spec(&candidate.spec.rollout);
        let terms = Terms {
            weight: candidate.spec.weight.unwrap_or(1),
            failure_policy: candidate.spec.failure_policy(),
        };
        // The replay takes its time; the status may be read meanwhile.
        let running = slot.state.lock().unit.clone();
        if let Some(Unit::Extension(unit)) = running {
            unit.swap(program, rollout, terms)?;
            return Ok(load);
        }
        let (extensions, health) = (self.extensions.clone(), slot.health.clone());
        let unit = Arc::new(ExtensionUnit::start(program, rollout, terms, extensions, health)?);
        self.extensions.put(unit.clone());
        Self::put_unit(slot, Unit::Extension(unit));
        Ok(load)
    }

    pub(super) fn run_admission(
        &self,
        slot: &Slot,
        candidate: &Candidate,
    ) -> Result<u64, LoadError> {
        let program = self.program(slot, candidate, slot.metrics.clone())?;
        let load = program.load;
        let terms = admission::Terms::of(&candidate.spec);
        let rollout = Rollout::from_spec(&candidate.spec.rollout);
        let mut state = slot.state.lock();
        let unit = match &state.unit {
            Some(Unit::Admission(unit)) => unit.succeed(program, terms, rollout),
            _ => AdmissionUnit::start(
                program,
                terms,
                rollout,
                self.cluster.clone(),
                slot.health.clone(),
            ),
        };
        let unit = Arc::new(unit);
        self.admission.put(unit.clone());
        state.unit = Some(Unit::Admission(unit));
        Ok(load)
    }

    pub(super) fn run_authorizer(
        &self,
        slot: &Slot,
        candidate: &Candidate,
    ) -> Result<u64, LoadError> {
        let program = self.program(slot, candidate, slot.metrics.clone())?;
        let load = program.load;
        let rollout = Rollout::from_spec(&candidate.spec.rollout);
        let terms = authorizer::Terms::of(&candidate.spec);
        // The replay takes its time; the status may be read meanwhile.
        let running = slot.state.lock().unit.clone();
        let unit = match running {
            Some(Unit::Authorizer(unit)) => {
                unit.swap(program, rollout, terms)?;
                unit
            }
            _ => {
                let (cluster, hub) = (self.cluster.clone(), self.hub.clone());
                let health = slot.health.clone();
                Arc::new(AuthorizerUnit::start(program, rollout, terms, cluster, hub, health)?)
            }
        };
        // Also one that is there: its priority may be another one.
        self.authorizers.put(unit.clone());
        Self::put_unit(slot, Unit::Authorizer(unit));
        Ok(load)
    }

    pub(super) fn check_cni(&self, slot: &Slot, candidate: &Candidate) -> Result<u64, LoadError> {
        let program = self.program::<CniPlugin>(slot, candidate, slot.metrics.clone())?;
        slot.health.activated(Version::of(&program), None, Duration::ZERO);
        Self::put_unit(slot, Unit::Cni);
        Ok(program.load)
    }
}
