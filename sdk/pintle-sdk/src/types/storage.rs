//! Volumes, claims and the `storage.k8s.io` group.

use std::collections::BTreeMap;

use pintle_api::meta::ObjectMeta;
use serde_json::Value;

use super::{ObjectReference, ResourceList, ResourceRequirements, partial};
use crate::conditions::Condition;
use crate::object::KindRef;
use crate::selector::LabelSelector;

pub const PERSISTENT_VOLUME: KindRef = KindRef::new("", "v1", "PersistentVolume");
pub const PERSISTENT_VOLUME_CLAIM: KindRef = KindRef::new("", "v1", "PersistentVolumeClaim");
pub const STORAGE_CLASS: KindRef = KindRef::new("storage.k8s.io", "v1", "StorageClass");

partial! {
    pub struct PersistentVolume = PERSISTENT_VOLUME {
        pub metadata: ObjectMeta,
        pub spec: PersistentVolumeSpec,
        pub status: PersistentVolumeStatus,
    }

    pub struct PersistentVolumeSpec {
        pub capacity: ResourceList,
        pub access_modes: Vec<String>,
        pub claim_ref: Option<ObjectReference>,
        pub persistent_volume_reclaim_policy: String,
        pub storage_class_name: String,
        pub volume_mode: Option<String>,
        pub host_path: Option<HostPath>,
        pub local: Option<LocalVolume>,
        pub node_affinity: Option<Value>,
    }

    pub struct HostPath {
        pub path: String,
        pub r#type: Option<String>,
    }

    pub struct LocalVolume {
        pub path: String,
        pub fs_type: Option<String>,
    }

    pub struct PersistentVolumeStatus {
        pub phase: String,
        pub message: String,
        pub reason: String,
    }

    pub struct PersistentVolumeClaim = PERSISTENT_VOLUME_CLAIM {
        pub metadata: ObjectMeta,
        pub spec: PersistentVolumeClaimSpec,
        pub status: PersistentVolumeClaimStatus,
    }

    pub struct PersistentVolumeClaimSpec {
        pub access_modes: Vec<String>,
        pub selector: Option<LabelSelector>,
        pub resources: ResourceRequirements,
        pub volume_name: String,
        /// Absent: the default class; empty: none.
        pub storage_class_name: Option<String>,
        pub volume_mode: Option<String>,
    }

    pub struct PersistentVolumeClaimStatus {
        pub phase: String,
        pub access_modes: Vec<String>,
        pub capacity: ResourceList,
        pub conditions: Vec<Condition>,
    }

    pub struct StorageClass = STORAGE_CLASS {
        pub metadata: ObjectMeta,
        pub provisioner: String,
        pub parameters: BTreeMap<String, String>,
        pub reclaim_policy: Option<String>,
        pub mount_options: Vec<String>,
        pub allow_volume_expansion: Option<bool>,
        pub volume_binding_mode: Option<String>,
    }
}
