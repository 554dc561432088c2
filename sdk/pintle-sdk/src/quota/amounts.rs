//! What pods take of resources, under the names that quotas have for that.

use std::collections::{BTreeMap, BTreeSet};

use pintle_api::quantity::Quantity;

use super::TrackedPod;
use crate::types::{Container, ResourceList};

/// Which of a container's two lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// `resources.requests`.
    Requests,
    /// `resources.limits`.
    Limits,
}

impl Amount {
    fn of(self, container: &Container) -> &ResourceList {
        match self {
            Amount::Requests => &container.resources.requests,
            Amount::Limits => &container.resources.limits,
        }
    }
}

pub(crate) fn add(total: &mut ResourceList, more: &ResourceList) {
    for (name, amount) in more {
        let sum = total.entry(name.clone()).or_insert(Quantity::ZERO);
        *sum = *sum + *amount;
    }
}

/// What containers take at the same time: all of them together, or an init
/// container beside the sidecars before it, whichever is more.
pub fn total_of(containers: &[Container], init: &[Container], amount: Amount) -> ResourceList {
    let mut running = ResourceList::new();
    for container in containers {
        add(&mut running, amount.of(container));
    }
    let mut sidecars = ResourceList::new();
    let mut largest = ResourceList::new();
    for container in init {
        let mut beside = sidecars.clone();
        add(&mut beside, amount.of(container));
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars = beside.clone();
        }
        for (name, quantity) in beside {
            let most = largest.entry(name).or_insert(Quantity::ZERO);
            *most = quantity.max(*most);
        }
    }
    add(&mut running, &sidecars);
    for (name, quantity) in largest {
        let most = running.entry(name).or_insert(quantity);
        *most = quantity.max(*most);
    }
    running
}

impl TrackedPod {
    /// What it takes in all.
    pub fn total(&self, amount: Amount, with_overhead: bool) -> ResourceList {
        let mut total = total_of(&self.spec.containers, &self.spec.init_containers, amount);
        if with_overhead {
            for (name, overhead) in &self.spec.overhead {
                match (amount, total.get_mut(name)) {
                    (_, Some(sum)) => *sum = *sum + *overhead,
                    (Amount::Requests, None) => {
                        total.insert(name.clone(), *overhead);
                    }
                    // Without a limit there is none, overhead or not.
                    (Amount::Limits, None) => {}
                }
            }
        }
        total
    }
}

/// Requests and limits under the names that quotas have for them.
pub(super) fn compute(requests: &ResourceList, limits: &ResourceList) -> ResourceList {
    let mut usage = ResourceList::new();
    for (name, amount) in requests {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage")
            || name.starts_with("hugepages-")
        {
            usage.insert(name.clone(), *amount);
        }
        usage.insert(format!("requests.{name}"), *amount);
    }
    for (name, amount) in limits {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            usage.insert(format!("limits.{name}"), *amount);
        }
    }
    usage
}

const MUST_BE_SAID: [&str; 6] =
    ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

/// Where processors or memory are limited, every container has to say what it
/// takes; which do not: `cpu for: a,b; memory for: b`.
pub fn unsaid(pod: &TrackedPod, hard: &ResourceList) -> Option<String> {
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for container in pod.spec.containers.iter().chain(&pod.spec.init_containers) {
        let said = compute(&container.resources.requests, &container.resources.limits);
        for name in hard.keys().filter(|name| MUST_BE_SAID.contains(&name.as_str())) {
            if !said.contains_key(name) {
                missing.entry(name).or_default().insert(&container.name);
            }
        }
    }
    let lines: Vec<String> = missing
        .into_iter()
        .map(|(name, of)| format!("{name} for: {}", of.into_iter().collect::<Vec<_>>().join(",")))
        .collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}
