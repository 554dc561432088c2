//! One instance of a scheduler and the calls it understands, in the host's terms.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use super::decisions;
use super::feed::Delta;
use super::live::node_kind;
use crate::bindings::scheduler::SchedulerPlugin;
use crate::bindings::types;
use crate::cluster::ObjectHandle;
use crate::convert;
use crate::pace::Pace;
use crate::program::Program;
use crate::program::scheduler_interface::Decision;
use crate::sandbox::{Fault, Sandbox, thread_time};

/// More objects never cross in one call: the call itself is cheap by then.
pub(crate) const DELTAS_PER_CALL: usize = 500;

/// So many cross in the first call, before it is known how long that takes.
const FIRST_DELTAS: usize = 64;

pub(crate) struct Instance {
    pub program: Arc<Program<SchedulerPlugin>>,
    pub sandbox: Sandbox<SchedulerPlugin>,
    /// Pods that another instance gave a node, told to this one before the
    /// event stream did.
    told: HashMap<String, ObjectHandle>,
    /// The nodes it was told of, by name.
    nodes: HashSet<Box<str>>,
    /// How many objects cross per call.
    pace: Pace,
}

impl Instance {
    pub fn new(program: Arc<Program<SchedulerPlugin>>, sandbox: Sandbox<SchedulerPlugin>) -> Self {
        let pace = Pace::new(FIRST_DELTAS, DELTAS_PER_CALL);
        Self { program, sandbox, told: HashMap::new(), nodes: HashSet::new(), pace }
    }

    pub fn sync(&mut self, deltas: &[Delta]) -> Result<(), Fault> {
        let kind = node_kind();
        for delta in deltas.iter().filter(|delta| **delta.object().kind() == kind) {
            match delta {
                Delta::Upsert(node) if self.nodes.contains(node.name()) => {}
                Delta::Upsert(node) => drop(self.nodes.insert(node.name().into())),
                Delta::Remove(node) => drop(self.nodes.remove(node.name())),
            }
        }
        let mut rest = deltas;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(self.pace.size()));
            rest = after;
            let chunk: Vec<types::Delta> = chunk
                .iter()
                .map(|delta| match delta {
                    Delta::Upsert(object) => types::Delta::Upsert(convert::object(&**object, true)),
                    Delta::Remove(object) => types::Delta::Remove(convert::object(&**object, true)),
                })
                .collect();
            self.call_sync(&chunk)?;
        }
        Ok(())
    }

    /// Takes over what another instance decided: its bindings that the event
    /// stream has not shown yet count here as if it had.
    pub fn assume(&mut self, assumed: &[(ObjectHandle, String)]) -> Result<(), Fault> {
        let mut rest = assumed;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rest.len().min(self.pace.size()));
            rest = after;
            let deltas: Vec<types::Delta> = chunk
                .iter()
                .map(|(pod, node)| {
                    let mut object = convert::object(&**pod, false);
                    object.json = with_node(pod.json(), node);
                    types::Delta::Upsert(object)
                })
                .collect();
            self.call_sync(&deltas)?;
            self.told.extend(chunk.iter().map(|(pod, _)| (pod.uid().to_owned(), pod.clone())));
        }
        Ok(())
    }

    /// These pods were not bound after all, whoever decided it.
    pub fn forget(&mut self, uids: &[String]) -> Result<(), Fault> {
        if uids.is_empty() {
            return Ok(());
        }
        let told: Vec<types::Delta> = uids
            .iter()
            .filter_map(|uid| self.told.remove(uid))
            .map(|pod| types::Delta::Remove(convert::object(&*pod, true)))
            .collect();
        if !told.is_empty() {
            self.call_sync(&told)?;
        }
        let (result, usage) = self
            .sandbox
            .call(|world, store| world.pintle_plugin_scheduler().call_forget(store, uids));
        self.program.metrics.call(&usage);
        result
    }

    /// One decision per pod, in order.
    pub fn schedule(
        &mut self,
        context: types::Context,
        pods: &[ObjectHandle],
    ) -> Result<Vec<Decision>, Fault> {
        let objects: Vec<types::Object> =
            pods.iter().map(|pod| convert::object(&**pod, true)).collect();
        self.sandbox.set_context(&context);
        let (result, usage) = self.sandbox.call(|world, store| {
            world.pintle_plugin_scheduler().call_schedule(store, context, &objects)
        });
        self.program.metrics.call(&usage);
        let decisions = result?;
        decisions::check(&decisions, pods, &self.program.grants)?;
        decisions::check_nodes(&decisions, pods, &self.nodes)?;
        Ok(decisions)
    }

    fn call_sync(&mut self, deltas: &[types::Delta]) -> Result<(), Fault> {
        let before = thread_time();
        let (result, usage) = self
            .sandbox
            .call(|world, store| world.pintle_plugin_scheduler().call_sync(store, deltas));
        self.program.metrics.call(&usage);
        self.pace.took(deltas.len(), thread_time().saturating_sub(before));
        result
    }
}

/// The pod as it will be once the binding is through.
pub(crate) fn with_node(pod: &[u8], node: &str) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_slice::<Value>(pod) else { return pod.to_vec() };
    if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("nodeName".to_owned(), node.into());
    }
    serde_json::to_vec(&value).unwrap_or_else(|_| pod.to_vec())
}
