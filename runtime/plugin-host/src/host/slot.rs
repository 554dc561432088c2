//! One Plugin object and what runs for it.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;

use crate::admission::AdmissionUnit;
use crate::artifact::Digest;
use crate::controller::ControllerUnit;
use crate::metrics::Metrics;
use crate::plugin::{GrantRule, Plugin, PluginSpec, PluginStatus, Role};
use crate::scheduler::SchedulerUnit;
use crate::supervise::{Health, Standing};

/// What runs, by role. The last handle ends it, and waits for the call that runs.
#[derive(Clone)]
pub(super) enum Unit {
    Controller(Arc<ControllerUnit>),
    Scheduler {
        unit: Arc<SchedulerUnit>,
        names: Vec<String>,
    },
    Admission(Arc<AdmissionUnit>),
    /// Checked here, run by the node agents.
    Cni,
}

impl Unit {
    pub fn role(&self) -> Role {
        match self {
            Self::Controller(_) => Role::Controller,
            Self::Scheduler { .. } => Role::Scheduler,
            Self::Admission(_) => Role::Admission,
            Self::Cni => Role::Cni,
        }
    }
}

pub(super) struct Slot {
    pub name: Arc<str>,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    pub state: Mutex<SlotState>,
}

/// Why a version could not be loaded.
pub(super) struct NotLoaded {
    pub reason: &'static str,
    pub message: String,
    /// What it asks for, when that is why.
    pub needs: Vec<GrantRule>,
}

/// What a status of another life of the server says.
#[derive(Clone)]
pub(super) struct Remembered {
    pub active: Digest,
    pub config: Option<Value>,
    /// The version of the spec, which must not be tried again.
    pub rolled_back_from: Option<Digest>,
}

impl Remembered {
    pub fn of(plugin: &Plugin) -> Option<Self> {
        let status = &plugin.status;
        let same_spec = status.observed_generation == plugin.metadata.generation;
        Some(Self {
            active: Digest::parse(&status.active_digest)?,
            config: status.active_config.clone(),
            rolled_back_from: Digest::parse(&status.rolled_back_from).filter(|_| same_spec),
        })
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
    /// The configuration of the version that was loaded last.
    pub config: Option<Bytes>,
    /// The configuration of the version before that one.
    pub previous_config: Option<Bytes>,
    pub loading: bool,
    pub unit: Option<Unit>,
    /// Somebody is loading, swapping or stopping.
    pub busy: bool,
    /// Look again once whoever is busy is done.
    pub again: bool,
    pub written: Option<PluginStatus>,
    pub written_at: Option<Instant>,
}

impl SlotState {
    /// The configuration of the version that decides.
    pub fn config_in_use(&self, standing: &Standing) -> Option<&Bytes> {
        match standing {
            Standing::RolledBack { .. } => self.previous_config.as_ref(),
            Standing::Running | Standing::Failed { .. } => self.config.as_ref(),
        }
    }
}
