//! The `apps` group. Pod templates stay JSON: they are copied, not understood.

use pintle_api::meta::ObjectMeta;
use serde_json::Value;

use super::{IntOrString, PersistentVolumeClaim, partial};
use crate::conditions::Condition;
use crate::object::KindRef;
use crate::selector::LabelSelector;

pub const DEPLOYMENT: KindRef = KindRef::new("apps", "v1", "Deployment");
pub const REPLICA_SET: KindRef = KindRef::new("apps", "v1", "ReplicaSet");
pub const STATEFUL_SET: KindRef = KindRef::new("apps", "v1", "StatefulSet");
pub const DAEMON_SET: KindRef = KindRef::new("apps", "v1", "DaemonSet");
pub const CONTROLLER_REVISION: KindRef = KindRef::new("apps", "v1", "ControllerRevision");

partial! {
    pub struct Deployment = DEPLOYMENT {
        pub metadata: ObjectMeta,
        pub spec: DeploymentSpec,
        pub status: DeploymentStatus,
    }

    pub struct DeploymentSpec {
        pub replicas: Option<i64>,
        pub selector: LabelSelector,
        pub template: Value,
        pub strategy: DeploymentStrategy,
        pub min_ready_seconds: i64,
        pub revision_history_limit: Option<i64>,
        pub paused: bool,
        pub progress_deadline_seconds: Option<i64>,
    }

    pub struct DeploymentStrategy {
        pub r#type: String,
        pub rolling_update: Option<RollingUpdate>,
    }

    pub struct RollingUpdate {
        pub max_unavailable: Option<IntOrString>,
        pub max_surge: Option<IntOrString>,
    }

    pub struct DeploymentStatus {
        pub observed_generation: i64,
        pub replicas: i64,
        pub updated_replicas: i64,
        pub ready_replicas: i64,
        pub available_replicas: i64,
        pub unavailable_replicas: i64,
        pub terminating_replicas: Option<i64>,
        pub conditions: Vec<Condition>,
        pub collision_count: Option<i64>,
    }

    pub struct ReplicaSet = REPLICA_SET {
        pub metadata: ObjectMeta,
        pub spec: ReplicaSetSpec,
        pub status: ReplicaSetStatus,
    }

    pub struct ReplicaSetSpec {
        pub replicas: Option<i64>,
        pub min_ready_seconds: i64,
        pub selector: LabelSelector,
        pub template: Value,
    }

    pub struct ReplicaSetStatus {
        pub replicas: i64,
        pub fully_labeled_replicas: i64,
        pub ready_replicas: i64,
        pub available_replicas: i64,
        pub terminating_replicas: Option<i64>,
        pub observed_generation: i64,
        pub conditions: Vec<Condition>,
    }

    pub struct StatefulSet = STATEFUL_SET {
        pub metadata: ObjectMeta,
        pub spec: StatefulSetSpec,
        pub status: StatefulSetStatus,
    }

    pub struct StatefulSetSpec {
        pub replicas: Option<i64>,
        pub selector: LabelSelector,
        pub template: Value,
        pub volume_claim_templates: Vec<PersistentVolumeClaim>,
        pub service_name: String,
        pub pod_management_policy: String,
        pub update_strategy: StatefulSetUpdateStrategy,
        pub revision_history_limit: Option<i64>,
        pub min_ready_seconds: i64,
        pub persistent_volume_claim_retention_policy: Option<ClaimRetentionPolicy>,
        pub ordinals: Option<StatefulSetOrdinals>,
    }

    pub struct StatefulSetUpdateStrategy {
        pub r#type: String,
        pub rolling_update: Option<RollingUpdateStatefulSet>,
    }

    pub struct RollingUpdateStatefulSet {
        pub partition: Option<i64>,
        pub max_unavailable: Option<IntOrString>,
    }

    pub struct ClaimRetentionPolicy {
        pub when_deleted: String,
        pub when_scaled: String,
    }

    pub struct StatefulSetOrdinals {
        pub start: i64,
    }

    pub struct StatefulSetStatus {
        pub observed_generation: i64,
        pub replicas: i64,
        pub ready_replicas: i64,
        pub current_replicas: i64,
        pub updated_replicas: i64,
        pub available_replicas: i64,
        pub current_revision: String,
        pub update_revision: String,
        pub collision_count: Option<i64>,
        pub conditions: Vec<Condition>,
    }

    pub struct DaemonSet = DAEMON_SET {
        pub metadata: ObjectMeta,
        pub spec: DaemonSetSpec,
        pub status: DaemonSetStatus,
    }

    pub struct DaemonSetSpec {
        pub selector: LabelSelector,
        pub template: Value,
        pub update_strategy: DaemonSetUpdateStrategy,
        pub min_ready_seconds: i64,
        pub revision_history_limit: Option<i64>,
    }

    pub struct DaemonSetUpdateStrategy {
        pub r#type: String,
        pub rolling_update: Option<RollingUpdate>,
    }

    pub struct DaemonSetStatus {
        pub current_number_scheduled: i64,
        pub number_misscheduled: i64,
        pub desired_number_scheduled: i64,
        pub number_ready: i64,
        pub observed_generation: i64,
        pub updated_number_scheduled: i64,
        pub number_available: i64,
        pub number_unavailable: i64,
        pub collision_count: Option<i64>,
        pub conditions: Vec<Condition>,
    }

    pub struct ControllerRevision = CONTROLLER_REVISION {
        pub metadata: ObjectMeta,
        pub data: Value,
        pub revision: i64,
    }
}
