//! Where everything has to stand once it rests.

mod workloads;

use std::collections::BTreeSet;

use pintle_sdk::prelude::*;
use pintle_sdk_testing::{Cluster, overcommitted};
use serde_json::{Value, json};

use crate::objects::{ENDPOINTS, RESOURCE_QUOTA};

/// Panics with what is wrong.
pub fn check(cluster: &Cluster) {
    let world = View::of(cluster);
    for failed in [
        world.nothing_hangs(),
        world.pods_are_placed(),
        world.nodes_are_in_order(),
        world.workloads_have_their_pods(),
        world.deployments_are_rolled_out(),
        world.stateful_sets_are_complete(),
        world.every_node_has_its_daemons(),
        world.jobs_are_complete(),
        world.autoscalers_stay_in_their_bounds(),
        world.budgets_count_right(),
        world.services_know_their_pods(),
        world.volumes_are_bound(),
        world.namespaces_are_furnished(),
        world.quotas_count_right(),
    ] {
        if let Err(what) = failed {
            panic!("{what}");
        }
    }
}

/// Pods in a namespace that have not ended and are not ending.
pub fn live_pods(cluster: &Cluster, namespace: &str) -> i64 {
    let live = cluster.all(&POD).into_iter().filter(|pod| {
        pod["metadata"]["namespace"] == namespace && !has_ended(pod) && !is_ending(pod)
    });
    live.count() as i64
}

struct View<'a> {
    cluster: &'a Cluster,
    pods: Vec<&'a Value>,
    nodes: BTreeSet<&'a str>,
    uids: BTreeSet<&'a str>,
}

type Checked = Result<(), String>;

impl<'a> View<'a> {
    fn of(cluster: &'a Cluster) -> Self {
        let all = cluster.references();
        View {
            cluster,
            pods: cluster.all(&POD),
            nodes: cluster
                .all(&NODE)
                .iter()
                .filter_map(|n| n["metadata"]["name"].as_str())
                .collect(),
            uids: all
                .iter()
                .filter_map(|reference| cluster.object(reference)?["metadata"]["uid"].as_str())
                .collect(),
        }
    }

    /// Nothing is still going, and whoever has owners has one that is there.
    fn nothing_hangs(&self) -> Checked {
        for reference in self.cluster.references() {
            let Some(object) = self.cluster.object(&reference) else { continue };
            if is_ending(object) {
                return Err(format!("{reference} does not go: {}", object["metadata"]));
            }
            let owners = object["metadata"]["ownerReferences"].as_array();
            let missing = owners.is_some_and(|owners| {
                !owners.is_empty()
                    && owners.iter().all(|owner| {
                        !owner["uid"].as_str().is_some_and(|uid| self.uids.contains(uid))
                    })
            });
            if missing {
                return Err(format!("{reference} is left without owner"));
            }
        }
        Ok(())
    }

    fn pods_are_placed(&self) -> Checked {
        if let Some(line) = overcommitted(self.cluster).first() {
            return Err(format!("too much was promised: {line}"));
        }
        let lost = self.pods.iter().find(|pod| {
            let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
            !self.nodes.contains(node)
        });
        lost.map_or(Ok(()), |pod| {
            let (node, why) = (&pod["spec"]["nodeName"], &pod["status"]["conditions"]);
            Err(format!("{} is left on node {node}: {why}", name(pod)))
        })
    }

    /// Ready, without taints, each with a range of its own.
    fn nodes_are_in_order(&self) -> Checked {
        let mut ranges = BTreeSet::new();
        for node in self.cluster.all(&NODE) {
            let taints = node["spec"]["taints"].as_array().map_or(0, Vec::len);
            if taints > 0 {
                return Err(format!("{} is tainted: {}", name(node), node["spec"]));
            }
            let Some(range) = node["spec"]["podCIDR"].as_str() else {
                return Err(format!("{} has no range", name(node)));
            };
            if !ranges.insert(range) {
                return Err(format!("{range} was given twice"));
            }
        }
        Ok(())
    }

    fn has_quota(&self, object: &Value) -> bool {
        let quotas = self.cluster.all(&RESOURCE_QUOTA);
        quotas.iter().any(|quota| namespace(quota) == namespace(object))
    }

    /// Slices and Endpoints name exactly the pods that are ready.
    fn services_know_their_pods(&self) -> Checked {
        for service in self.cluster.all(&SERVICE) {
            let selector = &service["spec"]["selector"];
            let of_service = |object: &&Value| {
                namespace(object) == namespace(service)
                    && object["metadata"]["labels"]["kubernetes.io/service-name"]
                        == service["metadata"]["name"]
            };
            let slices = self.cluster.all(&ENDPOINT_SLICE).into_iter().filter(of_service);
            let told: BTreeSet<&str> = slices
                .flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten())
                .filter(|endpoint| endpoint["conditions"]["ready"] != false)
                .filter_map(|endpoint| endpoint["addresses"][0].as_str())
                .collect();
            let reference = ENDPOINTS.named(namespace(service), name(service));
            let endpoints: BTreeSet<&str> = self
                .cluster
                .object(&reference)
                .and_then(|endpoints| endpoints["subsets"].as_array())
                .into_iter()
                .flatten()
                .flat_map(|subset| subset["addresses"].as_array().into_iter().flatten())
                .filter_map(|address| address["ip"].as_str())
                .collect();
            let expect: BTreeSet<&str> = match selector.is_object() {
                true => self
                    .pods
                    .iter()
                    .filter(|pod| namespace(pod) == namespace(service))
                    .filter(|pod| has_labels(pod, selector) && is_ready(pod))
                    .filter_map(|pod| pod["status"]["podIP"].as_str())
                    .collect(),
                false => endpoints.clone(),
            };
            if told != expect || endpoints != expect {
                return Err(format!(
                    "service {} is {expect:?}; slices say {told:?}, Endpoints say {endpoints:?}",
                    name(service)
                ));
            }
        }
        Ok(())
    }

    fn volumes_are_bound(&self) -> Checked {
        for pod in &self.pods {
            for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
                let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str() else {
                    continue;
                };
                let reference = PERSISTENT_VOLUME_CLAIM.named(namespace(pod), claim);
                let phase = self.cluster.object(&reference).map(|claim| &claim["status"]["phase"]);
                if !has_ended(pod) && phase != Some(&json!("Bound")) {
                    return Err(format!("{} waits for {claim}", name(pod)));
                }
            }
        }
        for volume in self.cluster.all(&PERSISTENT_VOLUME) {
            let uid = volume["spec"]["claimRef"]["uid"].as_str();
            if uid.is_some_and(|uid| !self.uids.contains(uid)) {
                return Err(format!("{} is kept for nobody: {}", name(volume), volume["status"]));
            }
        }
        Ok(())
    }

    fn namespaces_are_furnished(&self) -> Checked {
        for namespace in self.cluster.all(&NAMESPACE) {
            let account = SERVICE_ACCOUNT.named(name(namespace), "default");
            if self.cluster.object(&account).is_none() {
                return Err(format!("namespace {} has no account", name(namespace)));
            }
        }
        Ok(())
    }

    fn quotas_count_right(&self) -> Checked {
        for quota in self.cluster.all(&RESOURCE_QUOTA) {
            let used = &quota["status"]["used"]["pods"];
            let found = live_pods(self.cluster, namespace(quota));
            if used.as_str() != Some(found.to_string().as_str()) {
                return Err(format!("quota {} counts {used} pods of {found}", name(quota)));
            }
        }
        Ok(())
    }
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

fn namespace(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or_default()
}

fn image(owner: &Value) -> &Value {
    &owner["spec"]["template"]["spec"]["containers"][0]["image"]
}

fn wanted(object: &Value) -> usize {
    object["spec"]["replicas"].as_u64().unwrap_or(1) as usize
}

fn is_ending(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

fn has_ended(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded"))
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|found| found["type"] == "Ready" && found["status"] == "True")
}

fn has_labels(object: &Value, labels: &Value) -> bool {
    let wanted = labels.as_object();
    wanted.into_iter().flatten().all(|(key, value)| object["metadata"]["labels"][key] == *value)
}

fn controller(object: &Value) -> Option<&str> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    owners.iter().find(|owner| owner["controller"] == true)?["uid"].as_str()
}
