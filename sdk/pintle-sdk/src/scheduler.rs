//! The role of a scheduler: a resident view of nodes and bound pods, fed by
//! deltas, and decisions for batches of pending pods.

use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::extension::Extensions;
use crate::manifest::Manifest;
use crate::object::{KindRef, Object};

/// A scheduler; exported with [`export_scheduler!`](crate::export_scheduler!).
pub trait Scheduler: Sized {
    /// `spec.config` of the Plugin object; use `#[serde(deny_unknown_fields, default)]`.
    type Config: DeserializeOwned;

    /// An error text refuses the configuration.
    fn new(config: Self::Config) -> Result<Self, String>;

    /// What it watches and which grants that needs.
    fn describe(&self) -> Description;

    /// Changes of nodes, of bound pods and of the other watched kinds, in
    /// revision order. On activation the whole present comes in as upserts.
    fn sync(&mut self, deltas: Vec<Delta>);

    /// One decision per pod, in the same order. A pod that is bound counts from
    /// then on as if its delta had arrived; [`Scheduler::forget`] takes that back.
    /// What third parties' rules say about a pod is in `extensions`, for a
    /// scheduler that wants to know.
    fn schedule(
        &mut self,
        context: &Context,
        extensions: &dyn Extensions,
        pods: Vec<Object>,
    ) -> Vec<Decision>;

    /// These pods were not bound after all: release what was assumed for them.
    fn forget(&mut self, pod_uids: Vec<String>);
}

/// What a scheduler says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its name and what it needs.
    pub manifest: Manifest,
    /// `spec.schedulerName` values this scheduler answers to.
    pub scheduler_names: Vec<String>,
    /// Kinds besides Node and Pod that `sync` wants.
    pub watches: Vec<KindRef>,
}

/// One change of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delta {
    /// The object exists in this form now.
    Upsert(Object),
    /// The object is gone; this was its last form.
    Remove(Object),
}

/// What may make a pod schedulable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wake {
    /// A node appeared or changed.
    pub node_changed: bool,
    /// A bound pod went away or ended.
    pub pod_removed: bool,
    /// A pod was bound (affinity may now be satisfied).
    pub pod_added: bool,
    /// Another watched kind changed.
    pub other_changed: bool,
}

/// What becomes of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Decision {
    /// It runs on this node.
    Bind { pod_uid: String, node: String },
    /// It waits: `message` is the text of its condition and Event
    /// (`0/3 nodes are available: 3 Insufficient cpu.`), `wake_on` what may help.
    Unschedulable { pod_uid: String, message: String, wake_on: Wake },
    /// `victims` are pod uids; the pod is nominated to `node`.
    Preempt { pod_uid: String, node: String, victims: Vec<String>, message: String },
    /// Not for this scheduler, or no longer pending; says why.
    Ignore(String),
}
