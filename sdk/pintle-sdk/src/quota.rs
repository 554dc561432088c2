//! What an object counts for in a `ResourceQuota`, and which quotas it counts
//! in. Shared by what refuses requests and by what writes `status.used`, so that
//! both mean the same.
//!
//! Does not know: requests that are under way. Read first: [`Tracked`], then [`used`].

mod amounts;
pub mod custom;
mod scopes;
#[cfg(test)]
mod tests;
mod tracked;
mod used;

use pintle_api::meta::ObjectMeta;
use serde::{Deserialize, Serialize};

pub(crate) use self::amounts::add;
pub use self::amounts::{Amount, total_of, unsaid};
pub(crate) use self::tracked::read;
pub use self::tracked::{
    Tracked, TrackedClaim, TrackedClaimSpec, TrackedPod, TrackedPodSpec, TrackedService,
    TrackedServiceSpec,
};
pub use self::used::used;
use crate::object::KindRef;
use crate::types::{ResourceList, null_default};

/// The kind of quotas.
pub const RESOURCE_QUOTA: KindRef = KindRef::new("", "v1", "ResourceQuota");

/// A limit on what a namespace uses in all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceQuota {
    /// Where it is.
    pub metadata: ObjectMeta,
    /// What is allowed.
    pub spec: QuotaSpec,
    /// What is used.
    pub status: QuotaStatus,
}
crate::resource!(ResourceQuota, RESOURCE_QUOTA);

/// What a quota allows, and to which objects it applies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QuotaSpec {
    /// By resource name: `pods`, `requests.cpu`, `count/deployments.apps`.
    #[serde(deserialize_with = "null_default")]
    pub hard: ResourceList,
    /// All must hold.
    #[serde(deserialize_with = "null_default")]
    pub scopes: Vec<String>,
    /// All of its expressions must hold too.
    pub scope_selector: Option<ScopeSelector>,
}

/// As the controller last saw it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QuotaStatus {
    /// `spec.hard` at that time.
    #[serde(deserialize_with = "null_default")]
    pub hard: ResourceList,
    /// What was used of it.
    #[serde(deserialize_with = "null_default")]
    pub used: ResourceList,
}

/// Expressions over scopes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScopeSelector {
    /// All must hold.
    #[serde(deserialize_with = "null_default")]
    pub match_expressions: Vec<ScopeExpression>,
}

/// One scope, and for some which values.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScopeExpression {
    /// `PriorityClass`, `BestEffort`, ...
    pub scope_name: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// For `In` and `NotIn`.
    #[serde(deserialize_with = "null_default")]
    pub values: Vec<String>,
}

/// The kinds that quotas count, with the names that quotas use for them. Events
/// and Leases come and go by themselves and are not counted.
pub const TRACKED: &[(KindRef, &str)] = &[
    (KindRef::new("", "v1", "Pod"), "pods"),
    (KindRef::new("", "v1", "Service"), "services"),
    (KindRef::new("", "v1", "PersistentVolumeClaim"), "persistentvolumeclaims"),
    (KindRef::new("", "v1", "ConfigMap"), "configmaps"),
    (KindRef::new("", "v1", "Secret"), "secrets"),
    (KindRef::new("", "v1", "ReplicationController"), "replicationcontrollers"),
    (KindRef::new("", "v1", "ResourceQuota"), "resourcequotas"),
    (KindRef::new("", "v1", "ServiceAccount"), "serviceaccounts"),
    (KindRef::new("", "v1", "Endpoints"), "endpoints"),
    (KindRef::new("", "v1", "LimitRange"), "limitranges"),
    (KindRef::new("", "v1", "PodTemplate"), "podtemplates"),
    (KindRef::new("apps", "v1", "Deployment"), "deployments.apps"),
    (KindRef::new("apps", "v1", "ReplicaSet"), "replicasets.apps"),
    (KindRef::new("apps", "v1", "StatefulSet"), "statefulsets.apps"),
    (KindRef::new("apps", "v1", "DaemonSet"), "daemonsets.apps"),
    (KindRef::new("apps", "v1", "ControllerRevision"), "controllerrevisions.apps"),
    (KindRef::new("batch", "v1", "Job"), "jobs.batch"),
    (KindRef::new("batch", "v1", "CronJob"), "cronjobs.batch"),
    (
        KindRef::new("autoscaling", "v2", "HorizontalPodAutoscaler"),
        "horizontalpodautoscalers.autoscaling",
    ),
    (KindRef::new("policy", "v1", "PodDisruptionBudget"), "poddisruptionbudgets.policy"),
    (KindRef::new("networking.k8s.io", "v1", "Ingress"), "ingresses.networking.k8s.io"),
    (KindRef::new("networking.k8s.io", "v1", "NetworkPolicy"), "networkpolicies.networking.k8s.io"),
    (KindRef::new("discovery.k8s.io", "v1", "EndpointSlice"), "endpointslices.discovery.k8s.io"),
    (KindRef::new("rbac.authorization.k8s.io", "v1", "Role"), "roles.rbac.authorization.k8s.io"),
    (
        KindRef::new("rbac.authorization.k8s.io", "v1", "RoleBinding"),
        "rolebindings.rbac.authorization.k8s.io",
    ),
];

/// Kinds that are counted under their plain name too, besides `count/NAME`.
const PLAIN: [&str; 7] = [
    "pods",
    "services",
    "persistentvolumeclaims",
    "configmaps",
    "secrets",
    "replicationcontrollers",
    "resourcequotas",
];
const CLASS_SUFFIX: &str = ".storageclass.storage.k8s.io/";

/// The name that quotas use for a kind.
pub fn counted_as(kind: &KindRef) -> Option<&'static str> {
    TRACKED
        .iter()
        .find(|(known, _)| known.group == kind.group && known.kind == kind.kind)
        .map(|(_, name)| *name)
}

/// Only the resources that `hard` names.
pub fn masked(mut usage: ResourceList, hard: &ResourceList) -> ResourceList {
    usage.retain(|name, _| hard.contains_key(name));
    usage
}

/// `cpu=1,pods=2`.
pub fn printed(list: &ResourceList) -> String {
    let lines: Vec<String> = list.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
    lines.join(",")
}
