//! The ReplicaSets of a Deployment: claiming, telling the new one from the old
//! ones, and collecting what is to be changed in each.

use std::collections::{BTreeMap, BTreeSet};

use pintle_sdk::lister::METADATA;
use pintle_sdk::prelude::*;
use pintle_sdk::{names, owners};
use serde_json::{Value, json};

use crate::rolling::Bounds;
use crate::template::{self, HASH_LABEL};

pub const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
/// Not copied from the Deployment to its sets.
const OWN_ANNOTATIONS: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
];
/// Longest text that the history of revisions may become.
const MOST_HISTORY: usize = 2000;

/// A set as it will be after this reconcile.
#[derive(Debug, Clone)]
pub struct Set {
    pub object: Typed<ReplicaSet>,
    pub replicas: i64,
    annotations: BTreeMap<String, String>,
    min_ready_seconds: Option<i64>,
}

impl Set {
    pub fn new(object: Typed<ReplicaSet>) -> Self {
        let replicas = object.spec.replicas.unwrap_or(1);
        Set { object, replicas, annotations: BTreeMap::new(), min_ready_seconds: None }
    }

    pub fn name(&self) -> &str {
        &self.object.reference.name
    }

    pub fn available(&self) -> i64 {
        self.object.status.available_replicas
    }

    /// Order of creation; the name decides between sets of one second.
    pub fn age_key(&self) -> (Option<&str>, &str) {
        (self.object.metadata.creation_timestamp.as_deref(), self.name())
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations
            .get(key)
            .or_else(|| self.object.metadata.annotations.get(key))
            .map(String::as_str)
    }

    fn annotate(&mut self, key: &str, value: String) {
        if self.annotation(key) != Some(&value) {
            self.annotations.insert(key.to_owned(), value);
        }
    }

    fn number(&self, key: &str) -> Option<i64> {
        self.annotation(key)?.parse().ok()
    }

    pub fn revision(&self) -> i64 {
        self.number(REVISION).unwrap_or(0)
    }

    pub fn desired(&self) -> Option<i64> {
        self.number(DESIRED_REPLICAS)
    }

    pub fn max_replicas(&self) -> Option<i64> {
        self.number(MAX_REPLICAS)
    }

    /// Notes the size; the Event goes to the Deployment.
    pub fn resize(
        &mut self,
        deployment: &Typed<Deployment>,
        replicas: i64,
        bounds: &Bounds,
        outcome: &mut Outcome,
    ) {
        self.annotate(DESIRED_REPLICAS, bounds.desired.to_string());
        self.annotate(MAX_REPLICAS, bounds.most().to_string());
        if replicas != self.replicas {
            let direction = if replicas > self.replicas { "up" } else { "down" };
            let note = format!(
                "Scaled {direction} replica set {} from {} to {replicas}",
                self.name(),
                self.replicas
            );
            outcome.push(Event::normal(deployment, "ScalingReplicaSet", note).action("Scale"));
            self.replicas = replicas;
        }
    }

    /// Makes the set the one of the newest revision and copies what belongs on it.
    pub fn make_newest(&mut self, deployment: &Deployment, revision: i64) {
        for (key, value) in inherited(&deployment.metadata.annotations) {
            self.annotate(key, value.clone());
        }
        let known = self.revision();
        if known < revision {
            if known > 0 {
                let history =
                    self.annotation(REVISION_HISTORY).filter(|history| !history.is_empty());
                let history =
                    history.map_or(known.to_string(), |history| format!("{history},{known}"));
                // Anybody may have written there, so it need not be digits.
                let most = history.len().saturating_sub(MOST_HISTORY);
                let start = (most..history.len()).find(|&at| history.is_char_boundary(at));
                let start = start.unwrap_or(0);
                let history = history[start..]
                    .split_once(',')
                    .filter(|_| start > 0)
                    .map_or(&history[..], |(_, rest)| rest);
                self.annotate(REVISION_HISTORY, history.to_owned());
            }
            self.annotate(REVISION, revision.to_string());
        }
        let wanted = deployment.spec.min_ready_seconds;
        self.min_ready_seconds = (self.object.spec.min_ready_seconds != wanted).then_some(wanted);
    }

    /// One patch with everything that was noted.
    pub fn flush(&self, outcome: &mut Outcome) {
        let mut body = json!({});
        if !self.annotations.is_empty() {
            body["metadata"] = json!({"annotations": self.annotations});
        }
        if self.object.spec.replicas != Some(self.replicas) {
            body["spec"]["replicas"] = json!(self.replicas);
        }
        if let Some(seconds) = self.min_ready_seconds {
            body["spec"]["minReadySeconds"] = json!(seconds);
        }
        if body.as_object().is_some_and(|fields| !fields.is_empty()) {
            // Not an object of the same name that came after it.
            body["metadata"]["uid"] = json!(self.object.uid);
            outcome.push(Patch::merge(&self.object, &body));
        }
    }
}

fn inherited(annotations: &BTreeMap<String, String>) -> impl Iterator<Item = (&String, &String)> {
    annotations.iter().filter(|(key, _)| !OWN_ANNOTATIONS.contains(&key.as_str()))
}

/// The sets that are the Deployment's own, oldest first.
pub fn claim(
    lister: &dyn Lister,
    deployment: &Typed<Deployment>,
    outcome: &mut Outcome,
) -> Result<Vec<Set>, Error> {
    let namespace = &deployment.reference.namespace;
    let selector = &deployment.spec.selector;
    let deleting = deployment.metadata.is_being_deleted();
    let mut own = Vec::new();
    let mut owned = BTreeSet::new();
    let owned_sets = Query::any_kind().namespace(namespace).owned_by(&deployment.uid);
    let looked_at = owned_sets.fields(METADATA).fields(&["spec", "status"]);
    for set in lister.read_all::<ReplicaSet>(looked_at)? {
        owned.insert(set.uid.clone());
        let controlled = set.metadata.controller().is_some_and(|owner| owner.uid == deployment.uid);
        if controlled && selector.matches(&set.metadata.labels) {
            own.push(Set::new(set));
        } else if controlled && !deleting && !set.metadata.is_being_deleted() {
            outcome.push(owners::release(&set, &deployment.uid));
        }
    }
    let matching =
        Query::of(REPLICA_SET).namespace(namespace).labels(selector.to_string()).metadata_only();
    for stranger in lister.list(&matching) {
        if deleting || owned.contains(&stranger.uid) {
            continue;
        }
        let Some(set) = lister.read::<ReplicaSet>(namespace, &stranger.reference.name)? else {
            continue;
        };
        if set.metadata.controller().is_none() && !set.metadata.is_being_deleted() {
            outcome.push(owners::adopt(&set, deployment));
            own.push(Set::new(set));
        }
    }
    own.sort_unstable_by(|a, b| a.age_key().cmp(&b.age_key()));
    Ok(own)
}

/// The set with the Deployment's present template, and all others, oldest first.
pub fn split(deployment: &Deployment, mut sets: Vec<Set>) -> (Option<Set>, Vec<Set>) {
    let newest = sets
        .iter()
        .position(|set| template::same(&set.object.spec.template, &deployment.spec.template));
    (newest.map(|index| sets.remove(index)), sets)
}

fn as_object(value: &mut Value) -> &mut Value {
    if !value.is_object() {
        *value = json!({});
    }
    value
}

/// A set for the present template, with its name.
pub fn new_set(
    deployment: &Typed<Deployment>,
    replicas: i64,
    revision: i64,
    bounds: &Bounds,
) -> (String, Value) {
    let hash = template::hash(&deployment.spec.template, deployment.status.collision_count);
    let prefix = names::cut(&deployment.reference.name, 252 - hash.len());
    let name = format!("{prefix}-{hash}");
    let mut pod_template = deployment.spec.template.clone();
    // What is no object there becomes one: the API server says what is wrong with it.
    let labels = ["metadata", "labels"]
        .iter()
        .fold(&mut pod_template, |place, field| &mut as_object(place)[*field]);
    as_object(labels)[HASH_LABEL] = json!(hash);
    let mut selector = deployment.spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash);
    let mut annotations: BTreeMap<&str, String> = inherited(&deployment.metadata.annotations)
        .map(|(key, value)| (key.as_str(), value.clone()))
        .collect();
    annotations.insert(REVISION, revision.to_string());
    annotations.insert(DESIRED_REPLICAS, bounds.desired.to_string());
    annotations.insert(MAX_REPLICAS, bounds.most().to_string());
    let mut spec = json!({"replicas": replicas, "selector": selector, "template": pod_template});
    if deployment.spec.min_ready_seconds > 0 {
        spec["minReadySeconds"] = json!(deployment.spec.min_ready_seconds);
    }
    let set = json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "namespace": deployment.reference.namespace,
            "labels": spec["template"]["metadata"]["labels"],
            "annotations": annotations,
            "ownerReferences": [owners::controller_reference(deployment)],
        },
        "spec": spec,
    });
    (name, set)
}
