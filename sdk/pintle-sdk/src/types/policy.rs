//! The `policy` group.

use std::collections::BTreeMap;

use pintle_api::meta::ObjectMeta;

use super::{IntOrString, partial};
use crate::conditions::Condition;
use crate::object::KindRef;
use crate::selector::LabelSelector;

pub const POD_DISRUPTION_BUDGET: KindRef = KindRef::new("policy", "v1", "PodDisruptionBudget");

partial! {
    pub struct PodDisruptionBudget = POD_DISRUPTION_BUDGET {
        pub metadata: ObjectMeta,
        pub spec: PodDisruptionBudgetSpec,
        pub status: PodDisruptionBudgetStatus,
    }

    pub struct PodDisruptionBudgetSpec {
        pub min_available: Option<IntOrString>,
        pub max_unavailable: Option<IntOrString>,
        /// Absent selects nothing, empty everything in the namespace.
        pub selector: Option<LabelSelector>,
        pub unhealthy_pod_eviction_policy: Option<String>,
    }

    pub struct PodDisruptionBudgetStatus {
        pub observed_generation: i64,
        /// Pods whose eviction was granted and is not seen yet, with the time.
        pub disrupted_pods: BTreeMap<String, String>,
        pub disruptions_allowed: i64,
        pub current_healthy: i64,
        pub desired_healthy: i64,
        pub expected_pods: i64,
        pub conditions: Vec<Condition>,
    }
}
