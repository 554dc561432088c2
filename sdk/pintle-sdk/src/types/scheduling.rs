//! The `scheduling.k8s.io` group.

use pintle_api::meta::ObjectMeta;

use super::partial;
use crate::object::KindRef;

pub const PRIORITY_CLASS: KindRef = KindRef::new("scheduling.k8s.io", "v1", "PriorityClass");

partial! {
    pub struct PriorityClass = PRIORITY_CLASS {
        pub metadata: ObjectMeta,
        pub value: i32,
        pub global_default: bool,
        pub description: String,
        pub preemption_policy: Option<String>,
    }
}
