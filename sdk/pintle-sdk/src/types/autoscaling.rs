//! The `autoscaling` group. Metrics stay JSON: each source has a shape of its own.

use pintle_api::meta::ObjectMeta;
use serde_json::Value;

use super::partial;
use crate::conditions::Condition;
use crate::object::KindRef;

pub const HORIZONTAL_POD_AUTOSCALER: KindRef =
    KindRef::new("autoscaling", "v2", "HorizontalPodAutoscaler");

partial! {
    pub struct HorizontalPodAutoscaler = HORIZONTAL_POD_AUTOSCALER {
        pub metadata: ObjectMeta,
        pub spec: HorizontalPodAutoscalerSpec,
        pub status: HorizontalPodAutoscalerStatus,
    }

    pub struct HorizontalPodAutoscalerSpec {
        pub scale_target_ref: CrossVersionObjectReference,
        pub min_replicas: Option<i64>,
        pub max_replicas: i64,
        pub metrics: Vec<Value>,
        pub behavior: Option<Value>,
    }

    pub struct CrossVersionObjectReference {
        pub api_version: String,
        pub kind: String,
        pub name: String,
    }

    pub struct HorizontalPodAutoscalerStatus {
        pub observed_generation: Option<i64>,
        pub last_scale_time: Option<String>,
        pub current_replicas: i64,
        pub desired_replicas: i64,
        pub current_metrics: Vec<Value>,
        pub conditions: Vec<Condition>,
    }
}
