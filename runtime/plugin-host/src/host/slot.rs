//! One Plugin object and what runs for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;

use super::embedded::Sourced;
use super::manager::chain;
use super::trial::Trial;
use crate::admission::AdmissionUnit;
use crate::artifact::{Artifact, Digest};
use crate::authorizer::AuthorizerUnit;
use crate::controller::ControllerUnit;
use crate::extension::ExtensionUnit;
use crate::metrics::Metrics;
use crate::plugin::{
    BudgetSpec, FailurePolicy, GrantRule, Phase, Plugin, PluginSpec, PluginStatus, ReviewRule, Role,
};
use crate::program::LoadError;
use crate::scheduler::SchedulerUnit;
use crate::shadow::Comparison;
use crate::supervise::{Health, Report, Rollout, Standing};

/// What runs, by role. The last handle ends it, and waits for the call that runs.
#[derive(Clone)]
pub(super) enum Unit {
    Controller(Arc<ControllerUnit>),
    Scheduler {
        unit: Arc<SchedulerUnit>,
        names: Vec<String>,
    },
    Admission(Arc<AdmissionUnit>),
    Extension(Arc<ExtensionUnit>),
    Authorizer(Arc<AuthorizerUnit>),
    /// Checked here, run by the node agents.
    Cni,
}

impl Unit {
    pub fn role(&self) -> Role {
        match self {
            Self::Controller(_) => Role::Controller,
            Self::Scheduler { .. } => Role::Scheduler,
            Self::Admission(_) => Role::Admission,
            Self::Extension(_) => Role::SchedulerExtension,
            Self::Authorizer(_) => Role::Authorizer,
            Self::Cni => Role::Cni,
        }
    }

    /// How it goes on from here.
    pub fn set_rollout(&self, rollout: Rollout) {
        match self {
            Self::Controller(unit) => unit.set_rollout(rollout),
            Self::Scheduler { unit, .. } => unit.set_rollout(rollout),
            Self::Admission(unit) => unit.set_rollout(rollout),
            Self::Extension(unit) => unit.set_rollout(rollout),
            Self::Authorizer(unit) => unit.set_rollout(rollout),
            Self::Cni => {}
        }
    }
}

pub(super) struct Slot {
    pub name: Arc<str>,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    pub state: Mutex<SlotState>,
}

impl Slot {
    /// Whether a version decides in this role, so that another one has time.
    pub fn is_served(&self, role: Role) -> bool {
        let failed = matches!(self.health.read().standing, Standing::Failed { .. });
        !failed && self.state.lock().unit.as_ref().is_some_and(|unit| unit.role() == role)
    }
}

/// Why a version could not be loaded.
pub(super) struct NotLoaded {
    pub reason: &'static str,
    pub message: String,
    /// What it asks for, when that is why.
    pub needs: Vec<GrantRule>,
}

impl NotLoaded {
    pub fn new(error: &LoadError) -> Self {
        let needs = match error {
            LoadError::NeedsNotGranted { needs, .. } => needs.clone(),
            _ => Vec::new(),
        };
        Self { reason: error.reason(), message: chain(error), needs }
    }
}

/// What a status of another life of the server says.
#[derive(Clone)]
pub(super) struct Remembered {
    pub active: Digest,
    pub config: Option<Value>,
    /// The version of the spec, which must not be tried again.
    pub rolled_back_from: Option<Digest>,
    /// The version of the spec was compared with the active one.
    pub was_compared: bool,
}

impl Remembered {
    pub fn of(plugin: &Plugin) -> Option<Self> {
        let status = &plugin.status;
        let same_spec = status.observed_generation == plugin.metadata.generation;
        let compared = match status.phase {
            Phase::Shadowing | Phase::Shadowed => true,
            // Perhaps it was about to be: another configuration of the same component.
            Phase::Loading => status.active_config.is_some(),
            _ => false,
        };
        Some(Self {
            active: Digest::parse(&status.active_digest)?,
            config: status.active_config.clone(),
            rolled_back_from: Digest::parse(&status.rolled_back_from).filter(|_| same_spec),
            was_compared: same_spec && compared,
        })
    }
}

/// All of a spec that makes a version what it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Recipe {
    digest: Digest,
    pub config: Bytes,
    grants: Option<Vec<GrantRule>>,
    budgets: BudgetSpec,
    priority: i32,
    weight: Option<u32>,
    failure_policy: Option<FailurePolicy>,
}

impl Recipe {
    pub fn new(spec: &PluginSpec, sourced: &Sourced, artifact: &Artifact) -> Self {
        Self {
            digest: artifact.digest.clone(),
            config: sourced.config.clone(),
            grants: spec.grants.clone(),
            budgets: spec.budgets.clone(),
            priority: spec.priority,
            weight: spec.weight,
            failure_policy: spec.failure_policy,
        }
    }

    /// Whether the other one may decide differently.
    pub fn is_another_version(&self, other: &Self) -> bool {
        (&self.digest, &self.config) != (&other.digest, &other.config)
    }
}

#[derive(Default)]
pub(super) struct SlotState {
    pub uid: String,
    pub generation: i64,
    /// The spec that was acted upon last, whether it could be loaded or not.
    pub spec: Option<PluginSpec>,
    /// Why the spec could not be loaded.
    pub load_error: Option<NotLoaded>,
    /// What decided before this server started, until something decides now.
    pub remembered: Option<Remembered>,
    /// What the version that was there last reviewed, of an admission plugin.
    pub reviewed: Vec<ReviewRule>,
    /// What the latest versions were made from, by the number of their load.
    recipes: BTreeMap<u64, Recipe>,
    /// Where their components came from.
    specs: BTreeMap<u64, PluginSpec>,
    /// What is compared with the version that decides.
    pub trial: Option<Trial>,
    /// The latest comparison, until the spec changes.
    pub comparison: Option<Arc<Comparison>>,
    pub loading: bool,
    /// How far the component has come, while it is pulled.
    pub pulling: Option<String>,
    pub unit: Option<Unit>,
    /// Somebody is loading, swapping or stopping.
    pub busy: bool,
    /// Look again once whoever is busy is done.
    pub again: bool,
    pub written: Option<PluginStatus>,
    pub written_at: Option<Instant>,
}

/// The active version, the one before and those that were refused at once.
const MAX_RECIPES: usize = 4;

impl SlotState {
    /// What the version that decides was made from, or is about to decide.
    pub fn recipe_in_use(&self, report: &Report) -> Option<&Recipe> {
        match &report.active {
            Some(active) => self.recipes.get(&active.load),
            None => self.recipes.values().next_back(),
        }
    }

    /// Forgets the oldest that nobody needs: what decides may have been there
    /// long before many that were rolled back.
    pub fn keep_recipe(&mut self, load: u64, recipe: Recipe, spec: PluginSpec, report: &Report) {
        self.recipes.insert(load, recipe);
        self.specs.insert(load, spec);
        if self.recipes.len() > MAX_RECIPES {
            let in_use = |load: &u64| {
                let versions = report.active.iter().chain(&report.previous);
                versions.map(|version| version.load).any(|used| used == *load)
            };
            if let Some(oldest) = self.recipes.keys().find(|load| !in_use(load)).copied() {
                self.recipes.remove(&oldest);
                self.specs.remove(&oldest);
            }
        }
    }

    /// The present spec, and those of the latest versions.
    pub fn specs(&self) -> impl Iterator<Item = &PluginSpec> {
        self.spec.iter().chain(self.specs.values())
    }

    /// What an admission plugin reviews; what it last did, when nothing runs.
    pub fn reviews(&self) -> Vec<ReviewRule> {
        match &self.unit {
            Some(Unit::Admission(unit)) => unit.reviews(),
            _ => self.reviewed.clone(),
        }
    }

    /// Nothing is compared any more, and nothing was.
    pub fn end_trial(&mut self) {
        self.trial = None;
        self.comparison = None;
    }

    pub fn forget_versions(&mut self) {
        self.end_trial();
        self.recipes.clear();
        self.specs.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::Version;

    #[test]
    fn what_decides_is_remembered_however_many_versions_were_refused_since() {
        let recipe = |config: &str| Recipe {
            digest: Digest::of(b"component"),
            config: Bytes::from(config.to_owned()),
            grants: None,
            budgets: BudgetSpec::default(),
            priority: 0,
            weight: None,
            failure_policy: None,
        };
        let version = Version {
            digest: Digest::of(b"component"),
            version: String::new(),
            needs: Vec::new(),
            load: 1,
        };
        let report = Report { active: Some(version), ..Report::default() };
        let spec =
            serde_json::json!({ "role": "Controller", "source": { "embedded": { "name": "x" } } });
        let spec: PluginSpec = serde_json::from_value(spec).unwrap();
        let mut state = SlotState::default();
        for load in 1..=20 {
            state.keep_recipe(load, recipe(&load.to_string()), spec.clone(), &report);
            assert_eq!(state.recipe_in_use(&report), Some(&recipe("1")));
            assert!(state.recipes.contains_key(&load) && state.recipes.len() <= MAX_RECIPES);
        }
    }
}
