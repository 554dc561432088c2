//! A volume for a claim, and its end.

use pintle_sdk::prelude::*;
use serde_json::json;

use crate::Config;

const STORAGE_PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const HOSTNAME: &str = "kubernetes.io/hostname";
/// Why nothing was made, as it was last told; so it is told once.
const FAILURE: &str = "pintle.dev/provisioning-failure";

type Claim = Typed<PersistentVolumeClaim>;

/// Makes the volume that the claim asks for.
pub fn plan(config: &Config, lister: &dyn Lister, claim: &Claim) -> Result<Outcome, Error> {
    let annotations = &claim.metadata.annotations;
    let asked = annotations.get(STORAGE_PROVISIONER) == Some(&config.provisioner);
    if !asked || claim.metadata.is_being_deleted() || !claim.spec.volume_name.is_empty() {
        return Ok(Outcome::done());
    }
    let name = format!("pvc-{}", claim.uid);
    if lister.get(&PERSISTENT_VOLUME.named("", name.as_str())).is_some() {
        return Ok(Outcome::done());
    }
    let class_name = claim.spec.storage_class_name.as_deref().unwrap_or_default();
    let Some(class) = lister.read::<StorageClass>("", class_name)? else {
        return Ok(Outcome::done());
    };
    if let Some(why) = impossible(claim) {
        return Ok(failed(claim, why));
    }
    let Some(node_name) = annotations.get(SELECTED_NODE) else {
        // Nobody will choose one for a class that does not wait for a pod.
        return Ok(match class.volume_binding_mode.as_deref() {
            Some("WaitForFirstConsumer") => Outcome::done(),
            _ => failed(
                claim,
                "a folder needs a node: the class must have volumeBindingMode WaitForFirstConsumer",
            ),
        });
    };
    let Some(node) = lister.read::<Node>("", node_name)? else {
        // Let another one be chosen.
        return Ok(Outcome::of(Patch::annotate(claim, SELECTED_NODE, None).at(claim.revision)));
    };
    let hostname = node.metadata.labels.get(HOSTNAME).unwrap_or(node_name);
    let volume = volume(config, claim, &class, &name, hostname);
    let mut outcome = Outcome::of(Create::new(PERSISTENT_VOLUME, "", &volume));
    outcome.push(Event::normal(
        claim,
        "ProvisioningSucceeded",
        format!("Successfully provisioned volume {name}"),
    ));
    Ok(outcome)
}

/// What a folder on one node cannot be.
fn impossible(claim: &Claim) -> Option<&'static str> {
    let one_node = |mode: &String| matches!(mode.as_str(), "ReadWriteOnce" | "ReadWriteOncePod");
    if !claim.spec.access_modes.iter().all(one_node) {
        return Some("only access modes ReadWriteOnce and ReadWriteOncePod are supported");
    }
    if claim.spec.volume_mode.as_deref() == Some("Block") {
        return Some("only volumeMode Filesystem is supported");
    }
    if claim.spec.selector.is_some() {
        return Some("claim.spec.selector is not supported");
    }
    None
}

fn failed(claim: &Claim, why: &str) -> Outcome {
    if claim.metadata.annotations.get(FAILURE).is_some_and(|told| told == why) {
        return Outcome::done();
    }
    let mut outcome = Outcome::of(Patch::annotate(claim, FAILURE, Some(why)).at(claim.revision));
    let class = claim.spec.storage_class_name.as_deref().unwrap_or_default();
    let note = format!("failed to provision volume with StorageClass \"{class}\": {why}");
    outcome.push(Event::warning(claim, "ProvisioningFailed", note));
    outcome
}

fn volume(
    config: &Config,
    claim: &Claim,
    class: &StorageClass,
    name: &str,
    hostname: &str,
) -> serde_json::Value {
    let at = &claim.reference;
    let path = format!("{}/{name}_{}_{}", config.root, at.namespace, at.name);
    json!({
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: config.provisioner}},
        "spec": {
            "accessModes": claim.spec.access_modes,
            "capacity": {"storage": claim.spec.resources.requests.get("storage")},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": at.namespace,
                "name": at.name,
                "uid": claim.uid,
                "resourceVersion": claim.metadata.resource_version,
            },
            "hostPath": {"path": path, "type": "DirectoryOrCreate"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": HOSTNAME, "operator": "In", "values": [hostname]}]}]}},
            "persistentVolumeReclaimPolicy": class.reclaim_policy.as_deref().unwrap_or("Delete"),
            "storageClassName": claim.spec.storage_class_name,
            "volumeMode": "Filesystem",
        },
    })
}

/// A volume that was made here and has lost its claim.
pub fn release(config: &Config, volume: &Typed<PersistentVolume>) -> Outcome {
    let ours = volume.metadata.annotations.get(PROVISIONED_BY) == Some(&config.provisioner);
    let ends = volume.spec.persistent_volume_reclaim_policy == "Delete"
        && volume.status.phase == "Released"
        && !volume.metadata.is_being_deleted();
    match ours && ends {
        true => Outcome::of(Delete::this(volume).at(volume.revision)),
        false => Outcome::done(),
    }
}
