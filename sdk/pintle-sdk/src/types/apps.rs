//! The `apps` group. Pod templates stay JSON: they are copied, not understood.

use pintle_api::meta::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;

use super::{IntOrString, null_default, resource};
use crate::conditions::Condition;
use crate::object::KindRef;
use crate::selector::LabelSelector;

pub const DEPLOYMENT: KindRef = KindRef::new("apps", "v1", "Deployment");
pub const REPLICA_SET: KindRef = KindRef::new("apps", "v1", "ReplicaSet");

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Deployment {
    pub metadata: ObjectMeta,
    pub spec: DeploymentSpec,
    pub status: DeploymentStatus,
}
resource!(Deployment, DEPLOYMENT);

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentSpec {
    pub replicas: Option<i64>,
    #[serde(deserialize_with = "null_default")]
    pub selector: LabelSelector,
    #[serde(deserialize_with = "null_default")]
    pub template: Value,
    #[serde(deserialize_with = "null_default")]
    pub strategy: DeploymentStrategy,
    #[serde(deserialize_with = "null_default")]
    pub min_ready_seconds: i64,
    pub revision_history_limit: Option<i64>,
    #[serde(deserialize_with = "null_default")]
    pub paused: bool,
    pub progress_deadline_seconds: Option<i64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentStrategy {
    #[serde(deserialize_with = "null_default")]
    pub r#type: String,
    pub rolling_update: Option<RollingUpdate>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RollingUpdate {
    pub max_unavailable: Option<IntOrString>,
    pub max_surge: Option<IntOrString>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeploymentStatus {
    pub observed_generation: i64,
    pub replicas: i64,
    pub updated_replicas: i64,
    pub ready_replicas: i64,
    pub available_replicas: i64,
    pub unavailable_replicas: i64,
    #[serde(deserialize_with = "null_default")]
    pub conditions: Vec<Condition>,
    pub collision_count: Option<i64>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ReplicaSet {
    pub metadata: ObjectMeta,
    pub spec: ReplicaSetSpec,
    pub status: ReplicaSetStatus,
}
resource!(ReplicaSet, REPLICA_SET);

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetSpec {
    pub replicas: Option<i64>,
    #[serde(deserialize_with = "null_default")]
    pub min_ready_seconds: i64,
    #[serde(deserialize_with = "null_default")]
    pub selector: LabelSelector,
    #[serde(deserialize_with = "null_default")]
    pub template: Value,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaSetStatus {
    pub replicas: i64,
    pub fully_labeled_replicas: i64,
    pub ready_replicas: i64,
    pub available_replicas: i64,
    pub observed_generation: i64,
    #[serde(deserialize_with = "null_default")]
    pub conditions: Vec<Condition>,
}
