//! Which quotas an object counts in: scopes, and expressions over them.

use serde_json::Value;

use super::{QuotaSpec, ScopeExpression, Tracked, TrackedPod};
use crate::types::ResourceList;

impl Tracked {
    /// Does the quota look at objects like this one?
    pub fn is_in(&self, quota: &QuotaSpec) -> bool {
        let scopes = quota.scopes.iter().map(|scope| self.has_scope(scope));
        let expressions = quota.scope_selector.iter().flat_map(|all| &all.match_expressions);
        scopes.chain(expressions.map(|expression| self.matches(expression))).all(|holds| holds)
    }

    fn has_scope(&self, scope: &str) -> bool {
        match self {
            Tracked::Pod(pod) => pod.has_scope(scope),
            Tracked::Claim(claim) => {
                scope == "VolumeAttributesClass"
                    && claim.spec.volume_attributes_class_name.is_some()
            }
            _ => false,
        }
    }

    fn matches(&self, expression: &ScopeExpression) -> bool {
        let value = match (self, expression.scope_name.as_str()) {
            (Tracked::Pod(pod), "PriorityClass") => {
                let name = pod.spec.priority_class_name.as_str();
                (!name.is_empty()).then_some(name)
            }
            (Tracked::Claim(claim), "VolumeAttributesClass") => {
                claim.spec.volume_attributes_class_name.as_deref()
            }
            // The others know `Exists` alone.
            (_, scope) => return self.has_scope(scope),
        };
        let listed = || expression.values.iter().any(|wanted| Some(wanted.as_str()) == value);
        match expression.operator.as_str() {
            "In" => listed(),
            "NotIn" => !listed(),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    }
}

impl TrackedPod {
    fn has_scope(&self, scope: &str) -> bool {
        let ends = self.spec.active_deadline_seconds.is_some_and(|seconds| seconds >= 0);
        match scope {
            "Terminating" => ends,
            "NotTerminating" => !ends,
            "BestEffort" => self.is_best_effort(),
            "NotBestEffort" => !self.is_best_effort(),
            "PriorityClass" => !self.spec.priority_class_name.is_empty(),
            "CrossNamespacePodAffinity" => self.spec.affinity.as_ref().is_some_and(looks_elsewhere),
            _ => false,
        }
    }

    /// No container asks for or is limited in processors or memory.
    fn is_best_effort(&self) -> bool {
        let asks = |list: &ResourceList| {
            list.iter().any(|(name, amount)| {
                matches!(name.as_str(), "cpu" | "memory") && !amount.is_zero()
            })
        };
        !self
            .spec
            .containers
            .iter()
            .chain(&self.spec.init_containers)
            .any(|one| asks(&one.resources.requests) || asks(&one.resources.limits))
    }
}

/// A term of pod affinity that names namespaces, or selects them.
fn looks_elsewhere(affinity: &Value) -> bool {
    let names = |term: &Value| {
        term["namespaces"].as_array().is_some_and(|list| !list.is_empty())
            || !term["namespaceSelector"].is_null()
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let required = &affinity[kind]["requiredDuringSchedulingIgnoredDuringExecution"];
        let preferred = &affinity[kind]["preferredDuringSchedulingIgnoredDuringExecution"];
        required.as_array().into_iter().flatten().any(names)
            || preferred.as_array().into_iter().flatten().any(|one| names(&one["podAffinityTerm"]))
    })
}
