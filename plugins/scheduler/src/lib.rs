//! Decides on which node each pod runs.
//!
//! Keeps a resident view of nodes (columns, one slot per node) and of the pods
//! on them, fed by deltas. Per pod: filter (unschedulable nodes, taints, node
//! selector and affinity, host ports, resources, claims for storage, topology
//! spread constraints, affinity and anti-affinity between pods, scheduler
//! extensions), then score (least or most allocated or a line of one's own,
//! balanced allocation, images, preferred node affinity, tolerated
//! `PreferNoSchedule` taints, preferred affinity between pods, spreading,
//! extensions). Every node is scored for every pod. If no node fits, pods of
//! lower priority may be preempted; disruption budgets are kept where possible.
//!
//! Pods made from one template share one [`shape::Shape`] and its score per
//! node; only nodes that changed since are scored again. Rules between pods are
//! answered from counts per domain, see [`tallies`].
//!
//! Watches Node and Pod (the role's own), Namespace, PersistentVolumeClaim,
//! PersistentVolume, StorageClass, CSINode and PodDisruptionBudget; needs `bind`
//! and `delete` on Pod. The configuration is [`config::Config`].
//!
//! Does not know: which volume a claim will be bound to, how a pod is bound,
//! which pods are pending, or any queue; those are the host's and the binder's.
//! Read first: [`view::View`], then [`decide::Decider`].

pub mod affinity;
pub mod budgets;
pub mod config;
pub mod counts;
pub mod decide;
pub mod extensions;
pub mod filter;
pub mod images;
pub mod labels;
pub mod lanes;
pub mod mask;
pub mod neighbours;
pub mod node;
pub mod pod;
pub mod preemption;
pub mod report;
pub mod requests;
pub mod rules;
pub mod score;
pub mod shape;
pub mod shapes;
pub mod spread;
pub mod spreading;
pub mod tallies;
pub mod tally;
pub mod topology;
pub mod total;
pub mod usage;
pub mod view;
pub mod volumes;

use pintle_sdk::prelude::{EVENT, Manifest, NAMESPACE, NODE, POD};
use pintle_sdk::scheduler::{Decision, Delta, Description, Scheduler};
use pintle_sdk::{Context, Extensions, KindRef, Object, log};

pub use crate::config::Config;
use crate::decide::Decider;

const CLAIM: KindRef = KindRef::new("", "v1", "PersistentVolumeClaim");
const VOLUME: KindRef = KindRef::new("", "v1", "PersistentVolume");
const CLASS: KindRef = KindRef::new("storage.k8s.io", "v1", "StorageClass");
const CSI_NODE: KindRef = KindRef::new("storage.k8s.io", "v1", "CSINode");
const BUDGET: KindRef = KindRef::new("policy", "v1", "PodDisruptionBudget");

pub struct Plugin {
    names: Vec<String>,
    decider: Decider,
}

impl Scheduler for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        let profiles = config.profiles()?;
        Ok(Plugin {
            names: profiles.iter().map(|(name, _)| name.clone()).collect(),
            decider: Decider::new(profiles),
        })
    }

    fn describe(&self) -> Description {
        let see = ["get", "list", "watch"];
        Description {
            manifest: Manifest::new("scheduler", env!("CARGO_PKG_VERSION"))
                .needs(NODE, &see, "room, labels and taints of nodes")
                .needs(
                    POD,
                    &["get", "list", "watch", "bind", "delete", "patch/status"],
                    "binds pods; preempts pods of lower priority",
                )
                .needs(NAMESPACE, &see, "labels that affinity between pods selects by")
                .needs(CLAIM, &see, "where the storage of pods is")
                .needs(VOLUME, &see, "from which nodes a volume can be reached")
                .needs(CLASS, &see, "whether a claim waits for its first pod")
                .needs(CSI_NODE, &see, "how many volumes a node may have")
                .needs(BUDGET, &see, "whom not to preempt if possible")
                .needs(EVENT, &["create"], "Scheduled, FailedScheduling, Preempted"),
            scheduler_names: self.names.clone(),
            watches: vec![NAMESPACE, CLAIM, VOLUME, CLASS, CSI_NODE, BUDGET],
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
        extensions: &dyn Extensions,
        pods: Vec<Object>,
    ) -> Vec<Decision> {
        self.decider.expire_nominations(context.now_unix_ms);
        pods.iter().map(|pod| self.decider.decide(context, extensions, pod)).collect()
    }

    fn forget(&mut self, pod_uids: Vec<String>) {
        for uid in pod_uids {
            self.decider.forget(&uid);
        }
    }
}

pintle_sdk::export_scheduler!(Plugin);
