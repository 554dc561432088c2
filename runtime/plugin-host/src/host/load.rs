//! From a spec to a version that decides: source, component, checks, hand-over;
//! and what comes back after a restart of the server.

use std::sync::Arc;

use bytes::Bytes;

use super::embedded::{self, Sourced};
use super::manager::{Manager, chain};
use super::slot::{Recipe, Remembered, Slot, Unit};
use crate::artifact::{Artifact, Digest};
use crate::plugin::{PluginSpec, Role};
use crate::program::LoadError;
use crate::sandbox::Fault;
use crate::supervise::{Rollout, Standing};

/// How often the version that decided before a restart may exceed its deadline
/// while it starts.
const RESTORE_ATTEMPTS: u32 = 5;

/// A version that could decide: its parts, and what they were made from.
pub(super) struct Candidate {
    pub spec: PluginSpec,
    pub sourced: Sourced,
    pub artifact: Artifact,
    pub recipe: Recipe,
}

impl Candidate {
    fn new(spec: PluginSpec, sourced: Sourced, artifact: Artifact) -> Self {
        let recipe = Recipe::new(&spec, &sourced, &artifact);
        Self { spec, sourced, artifact, recipe }
    }

    pub fn digest(&self) -> &Digest {
        &self.artifact.digest
    }
}

impl Manager {
    /// Everything from the source to the hand-over, or to the shadow that comes
    /// before it. Returns the digest.
    pub(super) fn load(&self, slot: &Arc<Slot>, spec: &PluginSpec) -> Result<String, LoadError> {
        let sourced = self.source(slot, spec)?;
        let artifact =
            self.artifacts.load(&sourced.component, spec.digest.as_deref(), spec.role)?;
        let candidate = Candidate::new(spec.clone(), sourced, artifact);
        let digest = candidate.digest().to_string();
        let report = slot.health.read();
        let decides = !matches!(report.standing, Standing::Failed { .. });
        let (unit, in_use) = {
            let state = slot.state.lock();
            (state.unit.clone(), state.recipe_in_use(&report).cloned())
        };
        if let (Some(unit), Some(in_use), true) = (unit, in_use, decides)
            && unit.role() == spec.role
        {
            if in_use == candidate.recipe {
                // Only what says how to go on has changed, if anything.
                unit.set_rollout(Rollout::from_spec(&spec.rollout));
                slot.health.confirmed();
                return Ok(digest);
            }
            if let Some(shadow) = &spec.rollout.shadow
                && in_use.is_another_version(&candidate.recipe)
                && spec.role != Role::Cni
            {
                self.begin_trial(slot, candidate, shadow.clone(), &unit)?;
                return Ok(digest);
            }
        }
        self.hand_over(slot, &candidate)?;
        Ok(digest)
    }

    /// The bytes of the spec's version, vouched for by whom it takes.
    fn source(&self, slot: &Slot, spec: &PluginSpec) -> Result<Sourced, LoadError> {
        if let Some(oci) = spec.source.only_oci() {
            let component = self.supply.get(&slot.name, oci, spec)?;
            let config = embedded::config(None, spec.config.as_ref())?;
            return Ok(Sourced { component, config, is_embedded: false });
        }
        self.supply.forget(&slot.name);
        let sourced = embedded::source(spec, &self.embedded)?;
        if !sourced.is_embedded {
            self.supply.components().check_own(spec, &sourced.component)?;
        }
        Ok(sourced)
    }

    /// The first load of a plugin that decided before this server started: a
    /// version that was rolled back, could not be loaded or was being compared
    /// is not given a cluster that the version before it served well.
    pub(super) fn take_up(
        &self,
        slot: &Arc<Slot>,
        spec: &PluginSpec,
        remembered: &Remembered,
    ) -> Result<String, LoadError> {
        if remembered.rolled_back_from.is_some() {
            match self.restore(slot, spec, remembered) {
                Ok(digest) => return Ok(digest),
                Err(error) => {
                    tracing::warn!(plugin = %slot.name, error = chain(&error), "the version that was rolled back to is lost; the spec's version is tried again");
                }
            }
        } else if self.is_to_be_compared(spec, remembered) {
            match self.restore(slot, spec, remembered) {
                // Begins the comparison, anew if there was one.
                Ok(_) => return self.load(slot, spec),
                Err(error) => {
                    tracing::warn!(plugin = %slot.name, error = chain(&error), "the version that decided before is lost; there is nothing to compare the spec's version with");
                }
            }
        }
        let result = self.load(slot, spec);
        if result.is_ok() {
            return result;
        }
        let restored = match spec.role {
            // Nodes run these, and remember nothing.
            Role::Cni => false,
            _ => match self.restore(slot, spec, remembered) {
                Ok(_) => true,
                Err(error) => {
                    tracing::warn!(plugin = %slot.name, error = chain(&error), "the version that decided before is lost");
                    false
                }
            },
        };
        if !restored {
            slot.state.lock().remembered = None;
        }
        result
    }

    /// Whether the spec's version is to be compared with the remembered one.
    fn is_to_be_compared(&self, spec: &PluginSpec, remembered: &Remembered) -> bool {
        if spec.rollout.shadow.is_none() || spec.role == Role::Cni {
            return false;
        }
        // What the embedded plugin's digest is, only its bytes say.
        let digest = match &spec.digest {
            Some(digest) => Digest::parse(digest),
            None => embedded::source(spec, &self.embedded)
                .ok()
                .map(|sourced| Digest::of(&sourced.component)),
        };
        remembered.was_compared || digest.is_some_and(|digest| digest != remembered.active)
    }

    /// Runs the version that decided before this server started. It decided well:
    /// if it starts too slowly now, when everything starts at once, that is the
    /// machine's doing, and nothing else is to decide in its place.
    fn restore(
        &self,
        slot: &Arc<Slot>,
        spec: &PluginSpec,
        remembered: &Remembered,
    ) -> Result<String, LoadError> {
        let mut attempts = 1;
        loop {
            match self.restore_once(slot, spec, remembered) {
                Err(LoadError::Start(fault @ Fault::Deadline(_)))
                    if attempts < RESTORE_ATTEMPTS =>
                {
                    tracing::warn!(plugin = %slot.name, %fault, attempts, "the version that decided before starts slowly; trying again");
                    attempts += 1;
                }
                result => return result,
            }
        }
    }

    fn restore_once(
        &self,
        slot: &Arc<Slot>,
        spec: &PluginSpec,
        remembered: &Remembered,
    ) -> Result<String, LoadError> {
        let embedded = self.embedded.values().find(|embedded| {
            embedded.role == spec.role && Digest::of(&embedded.wasm) == remembered.active
        });
        let mut spec = spec.clone();
        let artifact = match embedded {
            Some(embedded) => {
                // The grants are meant for the other version; this one came with the server.
                spec.grants = None;
                self.artifacts.load(&embedded.wasm, None, spec.role)?
            }
            None => {
                let components = self.supply.components();
                components.check_remembered(&remembered.active)?;
                let compiled = self.artifacts.remembered(&remembered.active, spec.role);
                match (compiled, components.remembered(&remembered.active)) {
                    (Some(compiled), _) => compiled?,
                    // Compiled by a version of pintle that is gone.
                    (None, Some(bytes)) => self.artifacts.load(&bytes, None, spec.role)?,
                    (None, None) => {
                        let lost = format!("{} is not in the cache", remembered.active);
                        return Err(LoadError::Source(lost));
                    }
                }
            }
        };
        let config = remembered.config.clone().or_else(|| spec.config.clone());
        let config = embedded::config(embedded, config.as_ref())?;
        let sourced = Sourced { component: Bytes::new(), config, is_embedded: embedded.is_some() };
        let candidate = Candidate::new(spec, sourced, artifact);
        slot.health.expect_rolled_back(remembered.rolled_back_from.clone());
        let result = self.hand_over(slot, &candidate);
        if result.is_err() {
            slot.health.expect_rolled_back(None);
        }
        result.map(|()| candidate.digest().to_string())
    }

    /// Everything from the compiled component to the moment in which it decides.
    pub(super) fn hand_over(
        &self,
        slot: &Arc<Slot>,
        candidate: &Candidate,
    ) -> Result<(), LoadError> {
        // A plugin changes its role by being another plugin.
        let other_role = {
            let mut state = slot.state.lock();
            state.unit.take_if(|unit| unit.role() != candidate.spec.role)
        };
        if other_role.is_some() {
            self.admission.remove(&slot.name);
            self.extensions.remove(&slot.name);
            self.authorizers.remove(&slot.name);
            drop(other_role);
        }
        let load = match candidate.spec.role {
            Role::Controller => self.run_controller(slot, candidate)?,
            Role::Scheduler => self.run_scheduler(slot, candidate)?,
            Role::SchedulerExtension => self.run_extension(slot, candidate)?,
            Role::Admission => self.run_admission(slot, candidate)?,
            Role::Authorizer => self.run_authorizer(slot, candidate)?,
            Role::Cni => self.check_cni(slot, candidate)?,
        };
        let report = slot.health.read();
        let (recipe, spec) = (candidate.recipe.clone(), candidate.spec.clone());
        slot.state.lock().keep_recipe(load, recipe, spec, &report);
        Ok(())
    }

    /// Whoever runs for a slot after a role's part of the hand-over.
    pub(super) fn put_unit(slot: &Slot, unit: Unit) {
        slot.state.lock().unit = Some(unit);
    }
}
