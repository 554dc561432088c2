//! Where workloads have to stand: so many pods as they want, of the newest
//! template, on the right nodes.

use std::collections::{BTreeMap, BTreeSet};

use pintle_sdk::prelude::*;
use serde_json::{Value, json};

use super::{
    Checked, View, controller, has_ended, has_labels, image, is_ready, name, namespace, wanted,
};
use crate::objects::{HOME, REPLICATION_CONTROLLER};

impl<'a> View<'a> {
    pub(super) fn workloads_have_their_pods(&self) -> Checked {
        for kind in [REPLICA_SET, REPLICATION_CONTROLLER] {
            for set in self.cluster.all(&kind) {
                let found = self.active(set).len();
                if !self.is_enough(set, found, wanted(set)) {
                    let wanted = wanted(set);
                    return Err(format!("{kind} {} wants {wanted} and has {found}", name(set)));
                }
            }
        }
        Ok(())
    }

    /// All of it, or no more than a quota lets through.
    fn is_enough(&self, owner: &Value, found: usize, wanted: usize) -> bool {
        found == wanted || (found < wanted && self.has_quota(owner))
    }

    pub(super) fn deployments_are_rolled_out(&self) -> Checked {
        for deployment in self.cluster.all(&DEPLOYMENT) {
            if self.has_quota(deployment) {
                continue;
            }
            let uid = deployment["metadata"]["uid"].as_str();
            let sets = self.cluster.all(&REPLICA_SET);
            let live: Vec<&&Value> =
                sets.iter().filter(|set| controller(set) == uid && wanted(set) > 0).collect();
            let total: usize = live.iter().map(|set| wanted(set)).sum();
            if total != wanted(deployment) || live.len() > 1 {
                return Err(format!(
                    "{} has {} live sets with {total} pods",
                    name(deployment),
                    live.len()
                ));
            }
            if live.iter().any(|set| image(set) != image(deployment)) {
                return Err(format!("{} was not rolled out", name(deployment)));
            }
            let observed = &deployment["status"]["observedGeneration"];
            if *observed != deployment["metadata"]["generation"] {
                return Err(format!("{} has seen {observed} only", name(deployment)));
            }
        }
        Ok(())
    }

    pub(super) fn stateful_sets_are_complete(&self) -> Checked {
        for set in self.cluster.all(&STATEFUL_SET) {
            if self.has_quota(set) {
                continue;
            }
            let names: BTreeSet<String> = self.active(set).iter().map(|pod| name(pod)).collect();
            let expect: BTreeSet<String> =
                (0..wanted(set)).map(|number| format!("{}-{number}", name(set))).collect();
            if names != expect {
                return Err(format!("{} has {names:?}, {} are wanted", name(set), wanted(set)));
            }
            self.is_of_template(set)?;
        }
        Ok(())
    }

    pub(super) fn every_node_has_its_daemons(&self) -> Checked {
        for set in self.cluster.all(&DAEMON_SET) {
            if self.has_quota(set) {
                continue;
            }
            let mut per_node: BTreeMap<&str, usize> = BTreeMap::new();
            for pod in self.active(set) {
                *per_node
                    .entry(pod["spec"]["nodeName"].as_str().unwrap_or_default())
                    .or_default() += 1;
            }
            if per_node.len() != self.nodes.len() || per_node.values().any(|count| *count != 1) {
                return Err(format!("{} has {per_node:?} on {:?}", name(set), self.nodes));
            }
            self.is_of_template(set)?;
        }
        Ok(())
    }

    pub(super) fn jobs_are_complete(&self) -> Checked {
        for job in self.cluster.all(&JOB) {
            if self.has_quota(job) {
                continue;
            }
            let status = &job["status"];
            let completed = status["conditions"].as_array().is_some_and(|list| {
                list.iter().any(|found| found["type"] == "Complete" && found["status"] == "True")
            });
            let uncounted = &status["uncountedTerminatedPods"];
            if !completed || status["succeeded"] != job["spec"]["completions"] {
                return Err(format!("job {} stands at {status}", name(job)));
            }
            if *uncounted != json!({}) && !uncounted.is_null() {
                return Err(format!("job {} has not counted {uncounted}", name(job)));
            }
            if !job["spec"]["ttlSecondsAfterFinished"].is_null() {
                return Err(format!("job {} has outlived its time", name(job)));
            }
        }
        for cron in self.cluster.all(&CRON_JOB) {
            let uid = cron["metadata"]["uid"].as_str();
            let kept =
                self.cluster.all(&JOB).into_iter().filter(|job| controller(job) == uid).count();
            if kept > 3 && !self.has_quota(cron) {
                return Err(format!("{} keeps {kept} jobs", name(cron)));
            }
        }
        Ok(())
    }

    pub(super) fn autoscalers_stay_in_their_bounds(&self) -> Checked {
        for hpa in self.cluster.all(&HORIZONTAL_POD_AUTOSCALER) {
            let target = DEPLOYMENT.named(HOME, name(hpa));
            let Some(deployment) = self.cluster.object(&target) else { continue };
            let (found, most) = (wanted(deployment), hpa["spec"]["maxReplicas"].as_u64());
            // None at all switches it off.
            if found as u64 > most.unwrap_or(u64::MAX) {
                return Err(format!("{} was scaled to {found}", name(deployment)));
            }
        }
        Ok(())
    }

    pub(super) fn budgets_count_right(&self) -> Checked {
        for budget in self.cluster.all(&POD_DISRUPTION_BUDGET) {
            let labels = &budget["spec"]["selector"]["matchLabels"];
            let healthy = self
                .pods
                .iter()
                .filter(|pod| namespace(pod) == namespace(budget) && has_labels(pod, labels))
                .filter(|pod| is_ready(pod))
                .count() as i64;
            let status = &budget["status"];
            if status["currentHealthy"] != healthy
                || status["disruptionsAllowed"] != (healthy - 1).max(0)
            {
                return Err(format!("{} counts {status}, {healthy} are ready", name(budget)));
            }
        }
        Ok(())
    }

    /// Its pods that have not ended.
    fn active(&self, owner: &Value) -> Vec<&'a Value> {
        let uid = owner["metadata"]["uid"].as_str();
        let own = self.pods.iter().filter(|pod| controller(pod) == uid && !has_ended(pod));
        own.copied().collect()
    }

    fn is_of_template(&self, owner: &Value) -> Checked {
        let outdated = self
            .active(owner)
            .into_iter()
            .find(|pod| pod["spec"]["containers"][0]["image"] != *image(owner));
        outdated.map_or(Ok(()), |pod| Err(format!("{} is of an older template", name(pod))))
    }
}
