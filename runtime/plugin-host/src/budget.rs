//! What one call may use up: work, memory and time.

use std::time::Duration;

use crate::plugin::{BudgetSpec, Role};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budgets {
    /// About one unit per WebAssembly instruction; deterministic.
    pub fuel_per_call: u64,
    /// Linear memory of one instance.
    pub memory_bytes: usize,
    /// Of the thread's own time. Against a runaway: fuel is the budget proper.
    pub deadline: Duration,
    /// A thread that did not get the processor is no runaway. By the clock a
    /// call may take so many times the deadline, but not more.
    pub max_starvation: u32,
    /// Thousandths of a processor over time; no limit when absent.
    pub cpu_millicores: Option<u32>,
    /// Of an admission plugin; as many as there are processors when absent.
    pub max_instances: Option<u32>,
}

const MAX_STARVATION: u32 = 10;

const MIB: usize = 1 << 20;

impl Budgets {
    /// Admission runs within a request and gets little. A scheduler holds the
    /// whole cluster, but pods wait for it: its calls are cut so that they take
    /// a quarter of its deadline.
    pub fn of_role(role: Role) -> Self {
        let (fuel_per_call, memory_mib, deadline_ms) = match role {
            Role::Controller => (2_000_000_000, 128, 250),
            Role::Scheduler => (4_000_000_000, 512, 17),
            // Once or twice for each pod.
            Role::SchedulerExtension => (50_000_000, 64, 15),
            Role::Admission => (200_000_000, 64, 15),
            // Before anything else happens to a request.
            Role::Authorizer => (50_000_000, 64, 15),
            Role::Cni => (1_000_000_000, 32, 1000),
        };
        Self {
            fuel_per_call,
            memory_bytes: memory_mib * MIB,
            deadline: Duration::from_millis(deadline_ms),
            max_starvation: MAX_STARVATION,
            cpu_millicores: None,
            max_instances: None,
        }
    }

    /// The role's defaults, with what the Plugin object says instead.
    pub fn from_spec(role: Role, spec: &BudgetSpec) -> Self {
        let default = Self::of_role(role);
        Self {
            fuel_per_call: spec.fuel_per_call.unwrap_or(default.fuel_per_call),
            memory_bytes: spec
                .memory_bytes
                .map_or(default.memory_bytes, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
            deadline: spec.deadline_milliseconds.map_or(default.deadline, Duration::from_millis),
            cpu_millicores: spec.cpu_millicores,
            max_instances: spec.max_instances,
            ..default
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spec_overrides_the_roles_defaults_field_by_field() {
        let spec = BudgetSpec { deadline_milliseconds: Some(7), ..BudgetSpec::default() };
        let budgets = Budgets::from_spec(Role::Admission, &spec);
        assert_eq!(budgets.deadline, Duration::from_millis(7));
        assert_eq!(budgets.memory_bytes, Budgets::of_role(Role::Admission).memory_bytes);
    }
}
