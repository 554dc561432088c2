//! One version of a scheduler with its instance and the feed that keeps the
//! instance's view up to date.

use std::sync::Arc;

use pintle_api::meta::GroupVersionKind;

use super::feed::{Delta, Feed};
use super::instance::{DELTAS_PER_CALL, Instance};
use super::pod::PodView;
use super::unit::Shared;
use crate::bindings::scheduler::SchedulerPlugin;
use crate::cluster::{Cluster, ListQuery, ObjectHandle};
use crate::convert;
use crate::follow::{Followers, SchedulerTurn};
use crate::program::{LoadError, Program};
use crate::sandbox::Fault;
use crate::supervise::Version;

pub(crate) struct Live {
    pub instance: Instance,
    pub feed: Arc<Feed>,
    /// The view is complete once the event stream has come so far.
    pub floor: u64,
}

pub(crate) fn node_kind() -> GroupVersionKind {
    GroupVersionKind::new("", "v1", "Node")
}

pub(crate) fn pod_kind() -> GroupVersionKind {
    GroupVersionKind::new("", "v1", "Pod")
}

/// Asked of every event; versions of one kind are the same objects.
pub(super) fn is_pod(kind: &GroupVersionKind) -> bool {
    kind.kind == "Pod" && kind.group.is_empty()
}

pub(super) fn is_node(kind: &GroupVersionKind) -> bool {
    kind.kind == "Node" && kind.group.is_empty()
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
        let mut instance = Instance::new(program, sandbox);
        let watches = watches(&instance.program);
        let floor =
            present(&*shared.cluster, &watches, &feed, &mut |deltas| instance.sync(&deltas))
                .map_err(LoadError::Start)?;
        let mut live = Self { instance, feed, floor };
        live.catch_up(None).map_err(LoadError::Start)?;
        Ok(live)
    }

    pub fn program(&self) -> &Arc<Program<SchedulerPlugin>> {
        &self.instance.program
    }

    pub fn version(&self) -> Version {
        Version::of(self.program())
    }

    /// Everything that has happened, into the instance, and to those who
    /// follow it.
    pub fn catch_up(&mut self, followers: Option<&Followers<SchedulerTurn>>) -> Result<(), Fault> {
        loop {
            let deltas = self.feed.take(DELTAS_PER_CALL);
            if deltas.is_empty() {
                return Ok(());
            }
            self.sync(deltas, followers)?;
        }
    }

    pub fn sync(
        &mut self,
        deltas: Vec<Delta>,
        followers: Option<&Followers<SchedulerTurn>>,
    ) -> Result<(), Fault> {
        self.instance.sync(&deltas)?;
        if let Some(followers) = followers.filter(|followers| !followers.is_empty()) {
            followers.tell(SchedulerTurn::Sync(deltas.into()));
        }
        Ok(())
    }
}

/// The kinds, besides Node and Pod, that a scheduler wants to see.
pub(crate) fn watches(program: &Program<SchedulerPlugin>) -> Vec<GroupVersionKind> {
    program.description.watches.iter().cloned().map(convert::kind).collect()
}

/// Shows the present to `sync`, in the pieces of one call: nodes first, pods
/// last, so that every pod's node is known. What the lists cover is void in
/// `feed`. Returns the revision up to which the event stream has been covered
/// in part already.
pub(crate) fn present<E>(
    cluster: &dyn Cluster,
    watches: &[GroupVersionKind],
    feed: &Feed,
    sync: &mut dyn FnMut(Vec<Delta>) -> Result<(), E>,
) -> Result<u64, E> {
    let mut floor = 0;
    let kinds = std::iter::once(node_kind()).chain(watches.iter().cloned()).chain([pod_kind()]);
    for kind in kinds {
        let is_pod = kind == pod_kind();
        let listing = cluster.list(&ListQuery { kind: Some(kind.clone()), ..ListQuery::default() });
        feed.listed(&kind, listing.revision);
        floor = floor.max(listing.revision);
        let objects: Vec<ObjectHandle> = listing
            .objects
            .into_iter()
            .filter(|object| !is_pod || PodView::of(&**object).is_bound())
            .collect();
        for chunk in objects.chunks(DELTAS_PER_CALL) {
            sync(chunk.iter().cloned().map(Delta::Upsert).collect())?;
        }
    }
    Ok(floor)
}

pub(crate) fn check(program: &Program<SchedulerPlugin>) -> Result<(), String> {
    if program.description.scheduler_names.is_empty() {
        return Err("the scheduler names no spec.schedulerName that it answers to".to_owned());
    }
    for kind in [node_kind(), pod_kind()].into_iter().chain(watches(program)) {
        if !program.grants.may_watch(Some(&kind)) {
            return Err(format!("the scheduler is not granted to watch {}", kind.kind));
        }
    }
    Ok(())
}
