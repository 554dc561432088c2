//! The role of a scheduler extension: one rule beside those of the scheduler,
//! with a resident view of nodes that have numbers.
//!
//! Most rules look at one pod and one node at a time; for those
//! [`NodeRule`](crate::NodeRule) is the shorter way.

use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::extension::Rejection;
use crate::manifest::Manifest;
use crate::object::{KindRef, Object};
use crate::scheduler::Delta;

/// A scheduler extension; exported with
/// [`export_scheduler_extension!`](crate::export_scheduler_extension!).
pub trait SchedulerExtension: Sized {
    /// `spec.config` of the Plugin object; use `#[serde(deny_unknown_fields, default)]`.
    type Config: DeserializeOwned;

    /// An error text refuses the configuration.
    fn new(config: Self::Config) -> Result<Self, String>;

    /// What it can do, and on what its answers depend.
    fn describe(&self) -> Description;

    /// Nodes that came, went or changed. On activation all of them come in. One
    /// call may have a number twice: its node went, another came.
    fn sync_nodes(&mut self, nodes: Vec<NumberedNode>);

    /// Changes of the other watched kinds, in revision order; on activation the
    /// present comes in as upserts.
    fn sync(&mut self, deltas: Vec<Delta>) {
        let _ = deltas;
    }

    /// On which nodes the pod must not run; asked only with the ability `filter`.
    fn filter(&mut self, context: &Context, pod: &Object) -> Vec<Rejection> {
        let _ = (context, pod);
        Vec::new()
    }

    /// How good each node is for the pod, 0 to 100, by node number; a number
    /// beyond the list counts as 0. Asked only with the ability `score`.
    fn score(&mut self, context: &Context, pod: &Object) -> Vec<u8> {
        let _ = (context, pod);
        Vec::new()
    }
}

/// A node has a number as long as it exists; numbers are small and used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberedNode {
    /// Its number.
    pub number: u32,
    /// `None`: the node is gone and its number free.
    pub node: Option<Object>,
}

/// What an extension has a say in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Abilities {
    /// It is asked where a pod must not run.
    pub filter: bool,
    /// It is asked how good nodes are. One that only filters must not claim
    /// this: its zeros would count.
    pub score: bool,
}

#[allow(missing_docs)]
impl Abilities {
    pub const FILTER: Abilities = Abilities { filter: true, score: false };
    pub const SCORE: Abilities = Abilities { filter: false, score: true };
    pub const BOTH: Abilities = Abilities { filter: true, score: true };
}

/// What an extension says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its name and what it needs: `watch` on Node and on what it watches.
    pub manifest: Manifest,
    /// `spec.schedulerName` values of the pods it has a say in; empty: all.
    pub scheduler_names: Vec<String>,
    /// Kinds besides Node that `sync` wants. With Pod come the pods that are bound.
    pub watches: Vec<KindRef>,
    /// What it is asked.
    pub abilities: Abilities,
    /// Fields of the pod that the answer depends on (`metadata.labels`): pods
    /// that agree in all of them are answered for once. Empty: each is asked about.
    pub pod_fields: Vec<String>,
}

impl Description {
    /// Of an extension that watches nodes only and is asked about every pod.
    pub fn new(manifest: Manifest, abilities: Abilities) -> Self {
        Description {
            manifest,
            scheduler_names: Vec::new(),
            watches: Vec::new(),
            abilities,
            pod_fields: Vec::new(),
        }
    }

    /// Only pods of these schedulers.
    pub fn scheduler_names(mut self, names: &[&str]) -> Self {
        self.scheduler_names = names.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// Also hears of this kind, through [`SchedulerExtension::sync`].
    pub fn watch(mut self, kind: KindRef) -> Self {
        self.watches.push(kind);
        self
    }

    /// The answer depends on these fields of the pod only.
    pub fn pod_fields(mut self, fields: &[&str]) -> Self {
        self.pod_fields = fields.iter().map(|&field| field.to_owned()).collect();
        self
    }
}
