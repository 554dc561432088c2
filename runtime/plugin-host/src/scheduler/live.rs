//! One version of a scheduler with its instance and the feed that keeps the
//! instance's view up to date.

use std::collections::HashMap;
use std::sync::Arc;

use pintle_api::meta::GroupVersionKind;
use serde_json::Value;

use super::feed::{Delta, Feed};
use super::pod::PodView;
use super::unit::Shared;
use crate::bindings::scheduler::SchedulerPlugin;
use crate::bindings::types;
use crate::cluster::{ListQuery, ObjectHandle};
use crate::convert;
use crate::program::scheduler_interface::Decision;
use crate::program::{LoadError, Program};
use crate::sandbox::{Fault, Sandbox};
use crate::supervise::Version;

/// So many objects cross per call: large enough to make the call itself cheap,
/// small enough to stay far below one call's budgets.
const DELTAS_PER_CALL: usize = 500;

pub(crate) struct Live {
    pub program: Arc<Program<SchedulerPlugin>>,
    pub feed: Arc<Feed>,
    sandbox: Sandbox<SchedulerPlugin>,
    /// Pods that another instance gave a node, told to this one before the
    /// event stream did.
    told: HashMap<String, ObjectHandle>,
}

pub(crate) fn node_kind() -> GroupVersionKind {
    GroupVersionKind::new("", "v1", "Node")
}

pub(crate) fn pod_kind() -> GroupVersionKind {
    GroupVersionKind::new("", "v1", "Pod")
}

impl Live {
    /// A fresh instance that knows the present cluster. Its feed is registered
    /// first, so that nothing falls between the lists and the events.
    pub fn start(
        program: Arc<Program<SchedulerPlugin>>,
        shared: &Shared,
    ) -> Result<Self, LoadError> {
        check(&program).map_err(LoadError::Description)?;
        let feed = Arc::new(Feed::default());
        shared.add_feed(&feed, &program);
        let sandbox = program.start().map_err(LoadError::Start)?;
        let mut live = Self { program, feed, sandbox, told: HashMap::new() };
        live.replay(shared).map_err(LoadError::Start)?;
        Ok(live)
    }

    pub fn version(&self) -> Version {
        Version::new(&self.program.digest, self.program.manifest())
    }

    /// Nodes first, pods last: a view in which every pod's node is known.
    fn replay(&mut self, shared: &Shared) -> Result<(), Fault> {
        let watches = self.program.description.watches.iter().cloned().map(convert::kind);
        let kinds: Vec<_> =
            std::iter::once(node_kind()).chain(watches).chain([pod_kind()]).collect();
        for kind in kinds {
            let is_pod = kind == pod_kind();
            let listing = shared
                .cluster
                .list(&ListQuery { kind: Some(kind.clone()), ..ListQuery::default() });
            self.feed.listed(&kind, listing.revision);
            let objects: Vec<ObjectHandle> = listing
                .objects
                .into_iter()
                .filter(|object| !is_pod || PodView::of(&**object).is_bound())
                .collect();
            for chunk in objects.chunks(DELTAS_PER_CALL) {
                let deltas = chunk
                    .iter()
                    .map(|object| types::Delta::Upsert(convert::object(&**object, true)));
                self.sync(&deltas.collect::<Vec<_>>())?;
            }
        }
        self.catch_up()
    }

    /// Everything that has happened, into the instance.
    pub fn catch_up(&mut self) -> Result<(), Fault> {
        loop {
            let deltas = self.feed.take(DELTAS_PER_CALL);
            if deltas.is_empty() {
                return Ok(());
            }
            let deltas: Vec<types::Delta> = deltas
                .into_iter()
                .map(|delta| match delta {
                    Delta::Upsert(object) => types::Delta::Upsert(convert::object(&*object, true)),
                    Delta::Remove(object) => types::Delta::Remove(convert::object(&*object, true)),
                })
                .collect();
            self.sync(&deltas)?;
        }
    }

    fn sync(&mut self, deltas: &[types::Delta]) -> Result<(), Fault> {
        let (result, usage) = self
            .sandbox
            .call(|world, store| world.pintle_plugin_scheduler().call_sync(store, deltas));
        self.program.metrics.call(&usage);
        result
    }

    /// Takes over what another instance decided: its bindings that the event
    /// stream has not shown yet count here as if it had.
    pub fn assume(&mut self, assumed: &[(ObjectHandle, String)]) -> Result<(), Fault> {
        for chunk in assumed.chunks(DELTAS_PER_CALL) {
            let deltas: Vec<types::Delta> = chunk
                .iter()
                .map(|(pod, node)| {
                    let mut object = convert::object(&**pod, false);
                    object.json = with_node(pod.json(), node);
                    types::Delta::Upsert(object)
                })
                .collect();
            self.sync(&deltas)?;
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
            self.sync(&told)?;
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
        self.sandbox.set_context(context.now_unix_ms, context.seed);
        let (result, usage) = self.sandbox.call(|world, store| {
            world.pintle_plugin_scheduler().call_schedule(store, context, &objects)
        });
        self.program.metrics.call(&usage);
        let decisions = result?;
        super::decisions::check(&decisions, pods, &self.program.grants)?;
        Ok(decisions)
    }
}

/// The pod as it will be once the binding is through.
fn with_node(pod: &[u8], node: &str) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_slice::<Value>(pod) else { return pod.to_vec() };
    if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("nodeName".to_owned(), node.into());
    }
    serde_json::to_vec(&value).unwrap_or_else(|_| pod.to_vec())
}

fn check(program: &Program<SchedulerPlugin>) -> Result<(), String> {
    if program.description.scheduler_names.is_empty() {
        return Err("the scheduler names no spec.schedulerName that it answers to".to_owned());
    }
    let watches = program.description.watches.iter().cloned().map(convert::kind);
    for kind in [node_kind(), pod_kind()].into_iter().chain(watches) {
        if !program.grants.may_watch(Some(&kind)) {
            return Err(format!("the scheduler is not granted to watch {}", kind.kind));
        }
    }
    Ok(())
}
