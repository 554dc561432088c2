//! Decides on which node each pod runs.
//!
//! Keeps a resident view of nodes (columns, one slot per node) and of the pods
//! on them, fed by deltas. Per pod: filter (unschedulable nodes, taints, node
//! selector and affinity, host ports, cpu, memory, ephemeral storage, extended
//! resources, number of pods, required affinity and anti-affinity between pods,
//! topology spread constraints), then score (least or most allocated, balanced
//! allocation, preferred node affinity, tolerated `PreferNoSchedule` taints,
//! spreading of pods of one owner). Every node is scored for every pod. If no
//! node fits, pods of lower priority may be preempted.
//!
//! Pods made from one template share one [`shape::Shape`] and its score per
//! node; only nodes that changed since are scored again.
//!
//! Watches Node and Pod (the role's own); needs `bind` and `delete` on Pod.
//! Config (all optional): `schedulerNames` (`["default-scheduler"]`),
//! `scoringStrategy` (`LeastAllocated`, `MostAllocated`), `weights`
//! (`resources` 1, `balance` 1, `nodeAffinity` 2, `taints` 3, `spread` 2).
//!
//! Preferred affinity between pods and constraints that may be violated
//! (`ScheduleAnyway`) do not influence the score; nor do image locations.
//!
//! Does not know: volumes, labels of namespaces, how a pod is bound, which pods are pending, or any queue;
//! those are the host's. Read first: [`view::View`], then [`decide::Decider`].

pub mod affinity;
pub mod decide;
pub mod filter;
pub mod neighbours;
pub mod pod;
pub mod preemption;
pub mod report;
pub mod requests;
pub mod score;
pub mod shape;
pub mod view;

use pintle_sdk::prelude::{EVENT, Manifest, NODE, POD};
use pintle_sdk::scheduler::{Decision, Delta, Description, Scheduler};
use pintle_sdk::{Context, Extensions, Object, log};

use crate::decide::Decider;
use crate::score::{Strategy, Weights};

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    pub scheduler_names: Vec<String>,
    pub scoring_strategy: Strategy,
    pub weights: Weights,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            scheduler_names: vec!["default-scheduler".to_owned()],
            scoring_strategy: Strategy::default(),
            weights: Weights::default(),
        }
    }
}

pub struct Plugin {
    names: Vec<String>,
    decider: Decider,
}

impl Scheduler for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        if config.scheduler_names.is_empty() {
            return Err("spec.config.schedulerNames: must name at least one scheduler".to_owned());
        }
        config.weights.check()?;
        Ok(Plugin {
            names: config.scheduler_names,
            decider: Decider::new(config.scoring_strategy, config.weights),
        })
    }

    fn describe(&self) -> Description {
        Description {
            manifest: Manifest::new("scheduler", env!("CARGO_PKG_VERSION"))
                .needs(NODE, &["get", "list", "watch"], "room, labels and taints of nodes")
                .needs(
                    POD,
                    &["get", "list", "watch", "bind", "delete", "patch/status"],
                    "binds pods; preempts pods of lower priority",
                )
                .needs(EVENT, &["create"], "Scheduled, FailedScheduling, Preempted"),
            scheduler_names: self.names.clone(),
            watches: Vec::new(),
        }
    }

    fn sync(&mut self, deltas: Vec<Delta>) {
        for delta in deltas {
            let result = match &delta {
                Delta::Upsert(object) => self.decider.upsert(object),
                Delta::Remove(object) => {
                    self.decider.remove(object);
                    Ok(())
                }
            };
            if let Err(error) = result {
                log::warn!("{error}");
            }
        }
    }

    fn schedule(
        &mut self,
        context: &Context,
        _: &dyn Extensions,
        pods: Vec<Object>,
    ) -> Vec<Decision> {
        self.decider.expire_nominations(context.now_unix_ms);
        pods.iter().map(|pod| self.decider.decide(context, pod)).collect()
    }

    fn forget(&mut self, pod_uids: Vec<String>) {
        for uid in pod_uids {
            self.decider.forget(&uid);
        }
    }
}

pintle_sdk::export_scheduler!(Plugin);
