//! A small cluster as plain data, and as the objects that the plugin reads.

use std::collections::{BTreeMap, BTreeSet};

use pintle_sdk::prelude::*;
use pintle_sdk::scheduler::Delta;
use serde_json::{Value, json};

pub type Labels = BTreeMap<&'static str, &'static str>;

#[derive(Debug, Clone)]
pub struct Expression {
    pub key: &'static str,
    pub operator: &'static str,
    pub values: Vec<&'static str>,
}

/// All expressions must hold.
pub type Selector = Vec<Expression>;

#[derive(Debug, Clone, Default)]
pub struct NodeModel {
    pub name: &'static str,
    pub labels: Labels,
    pub unschedulable: bool,
    /// Key and effect.
    pub taints: Vec<(&'static str, &'static str)>,
    pub milli_cpu: i64,
    pub mebibytes: i64,
    pub pods: i64,
    pub gpus: i64,
    /// Name and size in mebibytes.
    pub images: Vec<(&'static str, i64)>,
    pub volume_limit: Option<usize>,
}

#[derive(Debug, Clone)]
pub struct Term {
    pub selector: Option<Selector>,
    pub topology: &'static str,
    pub namespaces: Vec<&'static str>,
    pub namespace_selector: Option<Selector>,
    pub same: Vec<&'static str>,
    pub other: Vec<&'static str>,
}

#[derive(Debug, Clone)]
pub struct Spread {
    pub skew: i64,
    pub topology: &'static str,
    pub hard: bool,
    pub selector: Selector,
    pub min_domains: Option<i64>,
    pub honor_affinity: bool,
    pub honor_taints: bool,
    pub same: Vec<&'static str>,
}

#[derive(Debug, Clone, Default)]
pub struct PodModel {
    pub namespace: &'static str,
    pub name: String,
    pub labels: Labels,
    /// Requests of each container; `None` requests nothing.
    pub containers: Vec<Option<(i64, i64)>>,
    pub image: &'static str,
    pub overhead_milli_cpu: i64,
    pub gpus: i64,
    /// Address and port on the host.
    pub port: Option<(&'static str, u16)>,
    pub node_selector: Option<(&'static str, &'static str)>,
    /// Alternatives; a `metadata.name` key stands for a field.
    pub node_affinity: Option<Vec<Selector>>,
    pub node_preferences: Vec<(i32, Selector)>,
    /// Key (empty: all) and effect (empty: all).
    pub tolerations: Vec<(&'static str, &'static str)>,
    pub near: Vec<Term>,
    pub away: Vec<Term>,
    /// Weight below 0: preferred anti-affinity.
    pub prefer: Vec<(i32, Term)>,
    pub spread: Vec<Spread>,
    pub claims: Vec<&'static str>,
    pub owner: Option<&'static str>,
    pub priority: i32,
    pub start: u8,
    pub terminating: bool,
    pub node: Option<&'static str>,
}

#[derive(Debug, Clone)]
pub enum ClaimModel {
    /// To a volume in a zone, known by this handle.
    Bound {
        zone: Option<&'static str>,
        handle: &'static str,
        alone: bool,
    },
    Immediate,
    /// Until its first pod; can be made in these zones.
    Waiting {
        zones: Vec<&'static str>,
    },
    VolumeGone,
}

#[derive(Debug, Clone, Default)]
pub struct Cluster {
    pub nodes: BTreeMap<&'static str, NodeModel>,
    pub pods: BTreeMap<String, PodModel>,
    pub namespaces: BTreeMap<&'static str, Labels>,
    pub claims: BTreeMap<&'static str, ClaimModel>,
    /// Selector and allowed disruptions, all in the namespace `default`.
    pub budgets: Vec<(Selector, i64)>,
}

pub const ZONE: &str = "topology.kubernetes.io/zone";
pub const HOST: &str = "kubernetes.io/hostname";
pub const DRIVER: &str = "disk.example.com";

pub fn object(kind: KindRef, namespace: &str, name: &str, uid: &str, json: Value) -> Object {
    Object {
        reference: kind.named(namespace, name),
        uid: uid.to_owned(),
        revision: 1,
        json: json.to_string().into_bytes(),
    }
}

fn expressions(selector: &Selector) -> Value {
    selector
        .iter()
        .map(|e| json!({"key": e.key, "operator": e.operator, "values": e.values}))
        .collect()
}

fn label_selector(selector: &Selector) -> Value {
    json!({ "matchExpressions": expressions(selector) })
}

/// A term of a node selector: fields apart from labels.
fn node_term(selector: &Selector) -> Value {
    let (fields, labels): (Selector, Selector) =
        selector.iter().cloned().partition(|e| e.key == "metadata.name");
    json!({ "matchExpressions": expressions(&labels), "matchFields": expressions(&fields) })
}

impl Term {
    fn json(&self) -> Value {
        let mut term = json!({
            "topologyKey": self.topology,
            "matchLabelKeys": self.same, "mismatchLabelKeys": self.other,
        });
        if let Some(selector) = &self.selector {
            term["labelSelector"] = label_selector(selector);
        }
        if !self.namespaces.is_empty() {
            term["namespaces"] = json!(self.namespaces);
        }
        if let Some(selector) = &self.namespace_selector {
            term["namespaceSelector"] = label_selector(selector);
        }
        term
    }
}

impl NodeModel {
    pub fn object(&self) -> Object {
        let taints: Vec<Value> =
            self.taints.iter().map(|(key, effect)| json!({"key": key, "effect": effect})).collect();
        let images: Vec<Value> = self
            .images
            .iter()
            .map(|(name, size)| json!({"names": [name], "sizeBytes": size << 20}))
            .collect();
        let mut allocatable = json!({
            "cpu": format!("{}m", self.milli_cpu), "memory": format!("{}Mi", self.mebibytes),
            "pods": self.pods.to_string(),
        });
        if self.gpus > 0 {
            allocatable["example.com/gpu"] = json!(self.gpus.to_string());
        }
        let json = json!({
            "metadata": {"name": self.name, "labels": self.labels},
            "spec": {"unschedulable": self.unschedulable, "taints": taints},
            "status": {"allocatable": allocatable, "images": images},
        });
        object(NODE, "", self.name, self.name, json)
    }
}

impl PodModel {
    pub fn object(&self) -> Object {
        let mut containers: Vec<Value> = self
            .containers
            .iter()
            .map(|requests| match requests {
                Some((cpu, memory)) => json!({"image": self.image, "resources":
                    {"requests": {"cpu": format!("{cpu}m"), "memory": format!("{memory}Mi")}}}),
                None => json!({"image": self.image}),
            })
            .collect();
        if self.gpus > 0 {
            containers[0]["resources"]["limits"] =
                json!({"example.com/gpu": self.gpus.to_string()});
        }
        if let Some((ip, port)) = self.port {
            containers[0]["ports"] =
                json!([{"containerPort": port, "hostPort": port, "hostIP": ip}]);
        }
        let tolerations: Vec<Value> = self
            .tolerations
            .iter()
            .map(|(key, effect)| json!({"key": key, "operator": "Exists", "effect": effect}))
            .collect();
        let mut node_affinity = json!({});
        if let Some(terms) = &self.node_affinity {
            let terms: Vec<Value> = terms.iter().map(node_term).collect();
            node_affinity["requiredDuringSchedulingIgnoredDuringExecution"] =
                json!({ "nodeSelectorTerms": terms });
        }
        node_affinity["preferredDuringSchedulingIgnoredDuringExecution"] = self
            .node_preferences
            .iter()
            .map(|(weight, term)| json!({"weight": weight, "preference": node_term(term)}))
            .collect();
        let side = |required: &[Term], sign: i32| {
            let required: Vec<Value> = required.iter().map(Term::json).collect();
            let preferred: Vec<Value> = self
                .prefer
                .iter()
                .filter(|(weight, _)| weight.signum() == sign)
                .map(|(weight, term)| json!({"weight": weight.abs(), "podAffinityTerm": term.json()}))
                .collect();
            json!({
                "requiredDuringSchedulingIgnoredDuringExecution": required,
                "preferredDuringSchedulingIgnoredDuringExecution": preferred,
            })
        };
        let spread: Vec<Value> = self
            .spread
            .iter()
            .map(|spread| {
                json!({
                    "maxSkew": spread.skew, "topologyKey": spread.topology,
                    "whenUnsatisfiable": if spread.hard { "DoNotSchedule" } else { "ScheduleAnyway" },
                    "labelSelector": label_selector(&spread.selector),
                    "minDomains": spread.min_domains,
                    "nodeAffinityPolicy": if spread.honor_affinity { "Honor" } else { "Ignore" },
                    "nodeTaintsPolicy": if spread.honor_taints { "Honor" } else { "Ignore" },
                    "matchLabelKeys": spread.same,
                })
            })
            .collect();
        let volumes: Vec<Value> = self
            .claims
            .iter()
            .map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}))
            .collect();
        let mut json = json!({
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": self.labels},
            "spec": {
                "containers": containers, "tolerations": tolerations, "priority": self.priority,
                "overhead": {"cpu": format!("{}m", self.overhead_milli_cpu)},
                "affinity": {"nodeAffinity": node_affinity, "podAffinity": side(&self.near, 1),
                             "podAntiAffinity": side(&self.away, -1)},
                "topologySpreadConstraints": spread, "volumes": volumes,
            },
        });
        if self.start != crate::NOT_STARTED {
            let start = format!("2026-01-01T00:00:{:02}Z", self.start);
            json["status"] = json!({ "startTime": start });
        }
        if let Some((key, value)) = self.node_selector {
            json["spec"]["nodeSelector"] = json!({ key: value });
        }
        if let Some(owner) = self.owner {
            json["metadata"]["ownerReferences"] = json!([{"uid": owner, "controller": true}]);
        }
        if self.terminating {
            json["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        if let Some(node) = self.node {
            json["spec"]["nodeName"] = json!(node);
        }
        object(POD, self.namespace, &self.name, &self.name, json)
    }
}

impl Cluster {
    /// Everything but nodes and pods.
    pub fn others(&self) -> Vec<Delta> {
        let mut deltas = Vec::new();
        let mut push = |kind: (&'static str, &'static str), namespace: &str, name: &str, json| {
            let kind = KindRef::new(kind.0, "v1", kind.1);
            let uid = format!("{kind}/{name}");
            deltas.push(Delta::Upsert(object(kind, namespace, name, &uid, json)));
        };
        for (name, labels) in &self.namespaces {
            push(
                ("", "Namespace"),
                "",
                name,
                json!({"metadata": {"name": name, "labels": labels}}),
            );
        }
        for (index, (selector, allowed)) in self.budgets.iter().enumerate() {
            let json = json!({"spec": {"selector": label_selector(selector)},
                              "status": {"disruptionsAllowed": allowed}});
            push(("policy", "PodDisruptionBudget"), "default", &format!("b{index}"), json);
        }
        for node in self.nodes.values() {
            let driver = json!({"name": DRIVER, "allocatable": {"count": node.volume_limit}});
            let json = json!({"spec": {"drivers": [driver]}});
            push(("storage.k8s.io", "CSINode"), "", node.name, json);
        }
        for (name, claim) in &self.claims {
            let mut spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": name});
            let mut bind = |volume: &str| {
                spec["volumeName"] = json!(volume);
                json!({"phase": "Bound"})
            };
            let status = match claim {
                ClaimModel::VolumeGone => bind("nowhere"),
                ClaimModel::Bound { zone, handle, alone } => {
                    let status = bind(name);
                    if *alone {
                        spec["accessModes"] = json!(["ReadWriteOncePod"]);
                    }
                    let mut volume = json!({"csi": {"driver": DRIVER, "volumeHandle": handle}});
                    if let Some(zone) = zone {
                        volume["nodeAffinity"] = json!({"required": {"nodeSelectorTerms":
                            [{"matchExpressions": [{"key": ZONE, "operator": "In", "values": [zone]}]}]}});
                    }
                    push(("", "PersistentVolume"), "", name, json!({ "spec": volume }));
                    status
                }
                ClaimModel::Immediate => json!({"phase": "Pending"}),
                ClaimModel::Waiting { zones } => {
                    let topologies = match zones.is_empty() {
                        true => json!([]),
                        false => {
                            json!([{"matchLabelExpressions": [{"key": ZONE, "values": zones}]}])
                        }
                    };
                    let class = json!({"provisioner": DRIVER, "allowedTopologies": topologies,
                                       "volumeBindingMode": "WaitForFirstConsumer"});
                    push(("storage.k8s.io", "StorageClass"), "", name, class);
                    json!({"phase": "Pending"})
                }
            };
            let json = json!({"metadata": {}, "spec": spec, "status": status});
            push(("", "PersistentVolumeClaim"), "default", name, json);
        }
        deltas
    }

    pub fn replay(&self) -> Vec<Delta> {
        let nodes = self.nodes.values().map(|node| Delta::Upsert(node.object()));
        let pods = self.pods.values().map(|pod| Delta::Upsert(pod.object()));
        nodes.chain(self.others()).chain(pods).collect()
    }

    pub fn on(&self, node: &str) -> impl Iterator<Item = &PodModel> {
        self.pods.values().filter(move |pod| pod.node == Some(node))
    }

    /// A claim without a volume is used on one node only.
    pub fn drop_strays(&self, pod: &mut PodModel) {
        pod.claims.retain(|claim| {
            let waits = matches!(self.claims.get(claim), Some(ClaimModel::Waiting { .. }));
            let elsewhere = |other: &PodModel| {
                other.node != pod.node
                    && other.namespace == pod.namespace
                    && other.claims.contains(claim)
            };
            !(waits && self.pods.values().any(elsewhere))
        });
    }

    pub fn without(&self, names: &BTreeSet<String>) -> Cluster {
        let mut left = self.clone();
        left.pods.retain(|name, _| !names.contains(name));
        left
    }
}
