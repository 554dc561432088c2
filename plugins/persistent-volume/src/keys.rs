//! Annotations and finalizers, and small questions about claims and volumes.

use pintle_sdk::prelude::*;
use serde_json::json;

/// The claim was bound once; its volume may be lost, but it is never bound anew.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// This side of the binding was chosen here and not by a person.
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// Who made the volume.
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Who is asked to make a volume for the claim.
pub const STORAGE_PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
/// The same, as older provisioners look for it.
pub const STORAGE_PROVISIONER_BETA: &str = "volume.beta.kubernetes.io/storage-provisioner";
/// The node of the first pod that uses the claim.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// The class of a claim or volume, as it was said before there was a field.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const DEFAULT_CLASS: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];

pub const CLAIM_PROTECTION: &str = "kubernetes.io/pvc-protection";
pub const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";

pub fn class_of_claim(claim: &PersistentVolumeClaim) -> &str {
    match claim.metadata.annotations.get(CLASS_ANNOTATION) {
        Some(class) => class,
        None => claim.spec.storage_class_name.as_deref().unwrap_or_default(),
    }
}

/// The claim leaves the choice of its class to the cluster.
pub fn has_no_class(claim: &PersistentVolumeClaim) -> bool {
    claim.spec.storage_class_name.is_none()
        && !claim.metadata.annotations.contains_key(CLASS_ANNOTATION)
}

pub fn class_of_volume(volume: &PersistentVolume) -> &str {
    match volume.metadata.annotations.get(CLASS_ANNOTATION) {
        Some(class) => class,
        None => &volume.spec.storage_class_name,
    }
}

pub fn waits(class: &StorageClass) -> bool {
    class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
}

/// The class for claims that name none: of several the newest, then by name.
pub fn default_class(lister: &dyn Lister) -> Result<Option<Typed<StorageClass>>, Error> {
    let mut classes = lister.read_all::<StorageClass>(Query::of(STORAGE_CLASS))?;
    classes.retain(|class| {
        let annotations = &class.metadata.annotations;
        DEFAULT_CLASS.iter().any(|key| annotations.get(*key).is_some_and(|value| value == "true"))
    });
    classes.sort_by(|a, b| {
        let (ours, theirs) = (&a.metadata.creation_timestamp, &b.metadata.creation_timestamp);
        theirs.cmp(ours).then_with(|| a.reference.name.cmp(&b.reference.name))
    });
    Ok(classes.into_iter().next())
}

/// The volume is meant for the claim: by name, and by uid where it says one.
pub fn is_meant_for(volume: &PersistentVolume, claim: &Typed<PersistentVolumeClaim>) -> bool {
    volume.spec.claim_ref.as_ref().is_some_and(|found| {
        found.namespace == claim.reference.namespace
            && found.name == claim.reference.name
            && (found.uid.is_empty() || found.uid == claim.uid)
    })
}

/// The finalizer put on, or taken off; none if it is so already.
pub fn finalizer<T>(
    target: &Typed<T>,
    metadata: &ObjectMeta,
    name: &str,
    wanted: bool,
) -> Option<Patch> {
    let has = metadata.finalizers.iter().any(|found| found == name);
    if has == wanted {
        return None;
    }
    let mut list: Vec<&str> = metadata.finalizers.iter().map(String::as_str).collect();
    match wanted {
        true => list.push(name),
        false => list.retain(|found| *found != name),
    }
    // Lists are replaced as a whole, so only as it was looked at.
    Some(Patch::merge(target, &json!({"metadata": {"finalizers": list}})).at(target.revision))
}
