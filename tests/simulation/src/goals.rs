//! Where everything has to stand once it rests.

use std::collections::{BTreeMap, BTreeSet};

use pintle_sdk::prelude::*;
use pintle_sdk_testing::{Cluster, overcommitted};
use serde_json::{Value, json};

const REPLICATION_CONTROLLER: KindRef = KindRef::new("", "v1", "ReplicationController");

/// Panics with the seed and what is wrong.
pub fn check(cluster: &Cluster, seed: u64) {
    let world = View::of(cluster);
    let fail = |what: String| panic!("seed {seed}: {what}");
    for name in overcommitted(cluster) {
        fail(format!("too much was promised on {name}"));
    }
    for pod in &world.pods {
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        if node.is_empty() || !world.nodes.contains(node) {
            fail(format!(
                "{} is left on node {node:?}: {}",
                name(pod),
                pod["status"]["conditions"]
            ));
        }
        if let Some(owner) = controller(pod)
            && !world.uids.contains(owner)
        {
            fail(format!("{} is left without owner", name(pod)));
        }
    }
    for set in cluster.all(&REPLICA_SET) {
        world.has_pods(set, wanted(set)).unwrap_or_else(fail);
    }
    for set in cluster.all(&REPLICATION_CONTROLLER) {
        world.has_pods(set, wanted(set)).unwrap_or_else(fail);
    }
    for deployment in cluster.all(&DEPLOYMENT) {
        let uid = deployment["metadata"]["uid"].as_str();
        let sets = cluster.all(&REPLICA_SET);
        let live: Vec<&&Value> =
            sets.iter().filter(|set| controller(set) == uid && wanted(set) > 0).collect();
        let total: usize = live.iter().map(|set| wanted(set)).sum();
        if total != wanted(deployment) || live.len() > 1 {
            fail(format!("{} has {} live sets with {total} pods", name(deployment), live.len()));
        }
        let image =
            |object: &Value| object["spec"]["template"]["spec"]["containers"][0]["image"].clone();
        if live.iter().any(|set| image(set) != image(deployment)) {
            fail(format!("{} was not rolled out", name(deployment)));
        }
    }
    for set in cluster.all(&STATEFUL_SET) {
        let names: BTreeSet<String> = world.active(set).iter().map(|pod| name(pod)).collect();
        let expect: BTreeSet<String> =
            (0..wanted(set)).map(|number| format!("{}-{number}", name(set))).collect();
        if names != expect {
            fail(format!("{} has {names:?}", name(set)));
        }
        world.is_of_template(set).unwrap_or_else(fail);
    }
    for set in cluster.all(&DAEMON_SET) {
        let mut per_node: BTreeMap<&str, usize> = BTreeMap::new();
        for pod in world.active(set) {
            *per_node.entry(pod["spec"]["nodeName"].as_str().unwrap_or_default()).or_default() += 1;
        }
        if per_node.len() != world.nodes.len() || per_node.values().any(|count| *count != 1) {
            fail(format!("{} has {per_node:?} on {:?}", name(set), world.nodes));
        }
        world.is_of_template(set).unwrap_or_else(fail);
    }
    for job in cluster.all(&JOB) {
        let status = &job["status"];
        let completed = status["conditions"]
            .as_array()
            .is_some_and(|list| list.iter().any(|found| found["type"] == "Complete"));
        let uncounted = &status["uncountedTerminatedPods"];
        if !completed || status["succeeded"] != job["spec"]["completions"] {
            fail(format!("job {} stands at {status}", name(job)));
        }
        if *uncounted != json!({}) && !uncounted.is_null() {
            fail(format!("job {} has not counted {uncounted}", name(job)));
        }
    }
}

struct View<'a> {
    pods: Vec<&'a Value>,
    nodes: BTreeSet<&'a str>,
    uids: BTreeSet<&'a str>,
}

impl<'a> View<'a> {
    fn of(cluster: &'a Cluster) -> Self {
        let owners = [REPLICA_SET, STATEFUL_SET, DAEMON_SET, JOB, REPLICATION_CONTROLLER];
        View {
            pods: cluster.all(&POD),
            nodes: cluster
                .all(&NODE)
                .iter()
                .filter_map(|n| n["metadata"]["name"].as_str())
                .collect(),
            uids: owners
                .iter()
                .flat_map(|kind| cluster.all(kind))
                .filter_map(|owner| owner["metadata"]["uid"].as_str())
                .collect(),
        }
    }

    /// Its pods that have not ended.
    fn active(&self, owner: &Value) -> Vec<&'a Value> {
        let uid = owner["metadata"]["uid"].as_str();
        self.pods
            .iter()
            .filter(|pod| controller(pod) == uid)
            .filter(|pod| !matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded")))
            .copied()
            .collect()
    }

    fn has_pods(&self, owner: &Value, count: usize) -> Result<(), String> {
        let found = self.active(owner).len();
        if found == count {
            Ok(())
        } else {
            Err(format!("{} wants {count} and has {found}", name(owner)))
        }
    }

    fn is_of_template(&self, owner: &Value) -> Result<(), String> {
        let image = &owner["spec"]["template"]["spec"]["containers"][0]["image"];
        let outdated = self
            .active(owner)
            .into_iter()
            .find(|pod| pod["spec"]["containers"][0]["image"] != *image);
        outdated.map_or(Ok(()), |pod| Err(format!("{} is of an older template", name(pod))))
    }
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

fn wanted(object: &Value) -> usize {
    object["spec"]["replicas"].as_u64().unwrap_or(1) as usize
}

fn controller(object: &Value) -> Option<&str> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    owners.iter().find(|owner| owner["controller"] == true)?["uid"].as_str()
}
