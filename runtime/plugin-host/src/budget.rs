//! What one call may use up: work, memory and time.

use std::time::Duration;

use crate::plugin::{BudgetSpec, Role};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budgets {
    /// About one unit per WebAssembly instruction; deterministic.
    pub fuel_per_call: u64,
    /// Linear memory of one instance.
    pub memory_bytes: usize,
    /// Against a runaway only: fuel is the budget proper.
    pub deadline: Duration,
}

const MIB: usize = 1 << 20;

impl Budgets {
    /// Admission runs within a request and gets little; a scheduler holds the
    /// whole cluster and replays it in one call.
    pub fn of_role(role: Role) -> Self {
        let (fuel_per_call, memory_mib, deadline_ms) = match role {
            Role::Controller => (2_000_000_000, 128, 1000),
            Role::Scheduler => (4_000_000_000, 512, 1000),
            Role::Admission => (200_000_000, 64, 100),
            Role::Cni => (1_000_000_000, 32, 1000),
        };
        Self {
            fuel_per_call,
            memory_bytes: memory_mib * MIB,
            deadline: Duration::from_millis(deadline_ms),
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
