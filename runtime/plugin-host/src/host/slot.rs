//! One Plugin object and what runs for it.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::admission::AdmissionUnit;
use crate::controller::ControllerUnit;
use crate::metrics::Metrics;
use crate::plugin::{PluginSpec, PluginStatus, Role};
use crate::scheduler::SchedulerUnit;
use crate::supervise::Health;

/// What runs, by role.
pub(super) enum Unit {
    Controller(ControllerUnit),
    Scheduler {
        unit: SchedulerUnit,
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

#[derive(Default)]
pub(super) struct SlotState {
    pub uid: String,
    pub generation: i64,
    /// The spec that was acted upon last, whether it could be loaded or not.
    pub spec: Option<PluginSpec>,
    /// Why the spec could not be loaded.
    pub load_error: Option<(&'static str, String)>,
    pub loading: bool,
    pub unit: Option<Unit>,
    /// Somebody is loading, swapping or stopping.
    pub busy: bool,
    /// Look again once whoever is busy is done.
    pub again: bool,
    pub written: Option<PluginStatus>,
    pub written_at: Option<Instant>,
}
