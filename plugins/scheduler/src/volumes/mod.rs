//! Claims for storage and what there is of it: PersistentVolumeClaims, volumes,
//! classes, and how many volumes each node may have.
//!
//! A decision names a node and nothing else: which volume a claim gets that waits
//! for its first pod is chosen, near that node, by whoever binds volumes; until
//! then [`promised`] keeps others from counting on it. [`plan::Plan`] is what one
//! pod's claims ask of nodes.

pub mod plan;
mod promised;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use pintle_sdk::api::quantity::Quantity;
use pintle_sdk::selector::LabelSelector;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::affinity::NodeSelector;
use crate::labels::{LabelMap, Selector};
use crate::shape::Shape;
use crate::view::{Placed, Slot};

#[derive(Debug, Default)]
pub struct Volumes {
    claims: BTreeMap<String, Claim>,
    volumes: BTreeMap<String, Volume>,
    classes: BTreeMap<String, Class>,
    /// By node and driver: how many volumes may be attached.
    limits: BTreeMap<String, BTreeMap<String, usize>>,
    /// By claim: the pods that use it.
    users: BTreeMap<Rc<str>, BTreeSet<Rc<str>>>,
    /// Claims that have users and no volume yet.
    awaiting: BTreeSet<Rc<str>>,
    /// By slot: pods with claims.
    with_claims: BTreeMap<Slot, BTreeMap<Rc<str>, Rc<Shape>>>,
    epoch: u64,
}

#[derive(Debug)]
struct Claim {
    volume: String,
    class: String,
    bound: bool,
    lost: bool,
    deleting: bool,
    modes: Vec<String>,
    mode: String,
    bytes: i64,
    selector: Option<Selector>,
    selected_node: Option<String>,
    created: String,
}

#[derive(Debug)]
struct Volume {
    affinity: Option<NodeSelector>,
    labels: LabelMap,
    class: String,
    modes: Vec<String>,
    mode: String,
    bytes: i64,
    /// `namespace/name` of the claim it is meant for.
    claim: Option<String>,
    available: bool,
    driver: Option<(String, String)>,
}

#[derive(Debug)]
struct Class {
    waits: bool,
    provisioner: String,
    /// Alternatives of labels a node must have; empty: any node.
    topologies: Vec<Vec<(String, Vec<String>)>>,
}

const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    labels: Option<LabelMap>,
    annotations: Option<LabelMap>,
    creation_timestamp: Option<String>,
    deletion_timestamp: Option<IgnoredAny>,
}

#[derive(Deserialize, Default)]
#[serde(default, bound = "S: DeserializeOwned + Default, T: DeserializeOwned + Default")]
struct Raw<S, T> {
    metadata: Meta,
    spec: S,
    status: T,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Phase {
    phase: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ClaimSpec {
    volume_name: Option<String>,
    storage_class_name: Option<String>,
    access_modes: Option<Vec<String>>,
    volume_mode: Option<String>,
    resources: Resources,
    selector: Option<LabelSelector>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Resources {
    requests: Option<BTreeMap<String, serde_json::Value>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct VolumeSpec {
    node_affinity: Option<VolumeAffinity>,
    storage_class_name: Option<String>,
    access_modes: Option<Vec<String>>,
    volume_mode: Option<String>,
    capacity: Option<BTreeMap<String, serde_json::Value>>,
    claim_ref: Option<ClaimRef>,
    csi: Option<Csi>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct VolumeAffinity {
    required: Option<NodeSelector>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ClaimRef {
    namespace: String,
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Csi {
    driver: String,
    volume_handle: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawClass {
    provisioner: String,
    volume_binding_mode: Option<String>,
    allowed_topologies: Option<Vec<RawTopology>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawTopology {
    match_label_expressions: Option<Vec<RawTopologyLabel>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawTopologyLabel {
    key: String,
    values: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CsiNodeSpec {
    drivers: Option<Vec<Driver>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Driver {
    name: String,
    allocatable: Option<Allocatable>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Allocatable {
    count: Option<usize>,
}

fn bytes(amounts: &Option<BTreeMap<String, serde_json::Value>>) -> i64 {
    let text = amounts.as_ref().and_then(|amounts| amounts.get("storage")).and_then(|v| v.as_str());
    text.and_then(|text| Quantity::parse(text).ok()).map_or(0, |quantity| quantity.value())
}

fn filesystem(mode: Option<String>) -> String {
    mode.unwrap_or_else(|| "Filesystem".to_owned())
}

impl Volumes {
    /// Grows with every change of what there is.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// True if it was one of the kinds that are kept here.
    pub fn upsert(
        &mut self,
        kind: &str,
        namespace: &str,
        name: &str,
        json: &[u8],
    ) -> Result<bool, serde_json::Error> {
        match kind {
            "PersistentVolumeClaim" => {
                let claim = Claim::read(json)?;
                let key = format!("{namespace}/{name}");
                self.claims.insert(key.clone(), claim);
                self.note_awaiting(&key);
            }
            "PersistentVolume" => {
                self.volumes.insert(name.to_owned(), Volume::read(json)?);
            }
            "StorageClass" => {
                self.classes.insert(name.to_owned(), Class::read(json)?);
            }
            "CSINode" => {
                let node: Raw<CsiNodeSpec, Nothing> = pintle_sdk::reading::parse(json)?;
                let drivers = node.spec.drivers.into_iter().flatten();
                let limits =
                    drivers.filter_map(|driver| Some((driver.name, driver.allocatable?.count?)));
                self.limits.insert(name.to_owned(), limits.collect());
            }
            _ => return Ok(false),
        }
        self.epoch += 1;
        Ok(true)
    }

    pub fn remove(&mut self, kind: &str, namespace: &str, name: &str) {
        let gone = match kind {
            "PersistentVolumeClaim" => {
                let key = format!("{namespace}/{name}");
                self.awaiting.remove(key.as_str());
                self.claims.remove(&key).is_some()
            }
            "PersistentVolume" => self.volumes.remove(name).is_some(),
            "StorageClass" => self.classes.remove(name).is_some(),
            "CSINode" => self.limits.remove(name).is_some(),
            _ => false,
        };
        self.epoch += u64::from(gone);
    }

    pub(crate) fn come(&mut self, uid: &Rc<str>, pod: &Placed) {
        if pod.shape.claims.is_empty() {
            return;
        }
        for claim in &pod.shape.claims {
            self.users.entry(Rc::clone(&claim.key)).or_default().insert(Rc::clone(uid));
            self.note_awaiting(&claim.key);
        }
        let pods = self.with_claims.entry(pod.slot).or_default();
        pods.insert(Rc::clone(uid), Rc::clone(&pod.shape));
    }

    pub(crate) fn go(&mut self, uid: &str, pod: &Placed) {
        for claim in &pod.shape.claims {
            if let Some(users) = self.users.get_mut(&claim.key) {
                users.remove(uid);
                if users.is_empty() {
                    self.users.remove(&claim.key);
                    self.awaiting.remove(&claim.key);
                }
            }
        }
        if let Some(pods) = self.with_claims.get_mut(&pod.slot) {
            pods.remove(uid);
            if pods.is_empty() {
                self.with_claims.remove(&pod.slot);
            }
        }
    }

    fn note_awaiting(&mut self, key: &str) {
        let waits = self.claims.get(key).is_some_and(|claim| !claim.bound);
        match self.users.get_key_value(key) {
            Some((key, _)) if waits => self.awaiting.insert(Rc::clone(key)),
            _ => self.awaiting.remove(key),
        };
    }

    /// The volume that the binder would give to a claim on a node: one that is meant
    /// for it, else the smallest that is large enough.
    fn choice(
        &self,
        key: &str,
        claim: &Claim,
        node: &str,
        labels: &LabelMap,
        is_free: impl Fn(&str) -> bool,
    ) -> Option<&str> {
        let suits = |(name, volume): &(&String, &Volume)| {
            volume.suits(key, claim, node, labels) && is_free(name)
        };
        let found = self.volumes.iter().filter(suits);
        let (name, _) = found.min_by_key(|(_, volume)| (volume.claim.is_none(), volume.bytes))?;
        Some(name)
    }

    /// What a claim would attach to a node: the driver and a name for the volume.
    fn attachment(&self, key: &str) -> Option<(String, String)> {
        let claim = self.claims.get(key)?;
        match claim.bound {
            true => self.volumes.get(&claim.volume)?.driver.clone(),
            false => {
                let class = self.classes.get(&claim.class)?;
                Some((class.provisioner.clone(), format!("claim {key}")))
            }
        }
    }
}

/// A status that nobody reads.
#[derive(Deserialize, Default)]
struct Nothing {}

impl Claim {
    fn read(json: &[u8]) -> Result<Self, serde_json::Error> {
        let Raw { metadata, spec, status }: Raw<ClaimSpec, Phase> =
            pintle_sdk::reading::parse(json)?;
        let annotations = metadata.annotations.unwrap_or_default();
        let volume = spec.volume_name.unwrap_or_default();
        let phase = status.phase.unwrap_or_default();
        let completed = phase == "Bound" || annotations.contains_key(BIND_COMPLETED);
        let class = annotations.get(CLASS_ANNOTATION).cloned().or(spec.storage_class_name);
        Ok(Claim {
            bound: completed && !volume.is_empty(),
            volume,
            class: class.unwrap_or_default(),
            lost: phase == "Lost",
            deleting: metadata.deletion_timestamp.is_some(),
            modes: spec.access_modes.unwrap_or_default(),
            mode: filesystem(spec.volume_mode),
            bytes: bytes(&spec.resources.requests),
            selector: spec.selector.as_ref().map(Selector::of),
            selected_node: annotations.get(SELECTED_NODE).cloned(),
            created: metadata.creation_timestamp.unwrap_or_default(),
        })
    }
}

impl Volume {
    fn read(json: &[u8]) -> Result<Self, serde_json::Error> {
        let Raw { metadata, spec, status }: Raw<VolumeSpec, Phase> =
            pintle_sdk::reading::parse(json)?;
        let deleting = metadata.deletion_timestamp.is_some();
        Ok(Volume {
            affinity: spec.node_affinity.and_then(|affinity| affinity.required),
            labels: metadata.labels.unwrap_or_default(),
            class: spec.storage_class_name.unwrap_or_default(),
            modes: spec.access_modes.unwrap_or_default(),
            mode: filesystem(spec.volume_mode),
            bytes: bytes(&spec.capacity),
            claim: spec.claim_ref.map(|claim| format!("{}/{}", claim.namespace, claim.name)),
            available: !deleting && status.phase.as_deref() == Some("Available"),
            driver: spec.csi.map(|csi| (csi.driver, csi.volume_handle)),
        })
    }
}

impl Class {
    fn read(json: &[u8]) -> Result<Self, serde_json::Error> {
        let class: RawClass = pintle_sdk::reading::parse(json)?;
        let labels = |topology: RawTopology| {
            let labels = topology.match_label_expressions.into_iter().flatten();
            labels.map(|label| (label.key, label.values.unwrap_or_default())).collect()
        };
        Ok(Class {
            waits: class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"),
            provisioner: class.provisioner,
            topologies: class.allowed_topologies.into_iter().flatten().map(labels).collect(),
        })
    }
}
