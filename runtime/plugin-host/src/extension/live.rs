//! One version of an extension with its instance, and the feed that keeps the
//! instance's view up to date.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pintle_api::meta::GroupVersionKind;

use super::bell::Bell;
use super::feed::{Feed, Load, News};
use super::group::Extensions;
use super::instance::Instance;
use crate::bindings::scheduler_extension::SchedulerExtensionPlugin;
use crate::cluster::{Cluster, ListQuery, ObjectHandle};
use crate::convert;
use crate::follow::{ExtensionTurn, Followers};
use crate::grants::Grants;
use crate::program::extension_interface::Ability;
use crate::program::{LoadError, Program};
use crate::sandbox::Fault;
use crate::supervise::Version;

pub(crate) struct Live {
    pub feed: Arc<Feed>,
    pub instance: Instance,
}

/// Those who are shown what the instance is told; None: nobody may.
type Told<'a> = Option<&'a Followers<ExtensionTurn>>;

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
        program: Arc<Program<SchedulerExtensionPlugin>>,
        group: &Extensions,
        bell: &Arc<Bell>,
    ) -> Result<Self, LoadError> {
        check(&program).map_err(LoadError::Description)?;
        let sandbox = program.start().map_err(LoadError::Start)?;
        let watches = watches(&program);
        let feed = group.add_feed(&watches, &program.grants, bell);
        let mut live = Self { feed, instance: Instance::new(program, sandbox) };
        live.replay(&*group.cluster, &watches).map_err(LoadError::Start)?;
        Ok(live)
    }

    pub fn program(&self) -> &Arc<Program<SchedulerExtensionPlugin>> {
        &self.instance.program
    }

    pub fn version(&self) -> Version {
        Version::of(&self.instance.program)
    }

    /// The nodes are in the feed already.
    fn replay(&mut self, cluster: &dyn Cluster, watches: &[GroupVersionKind]) -> Result<(), Fault> {
        while self.tell_some_nodes(None)? {}
        for kind in watches {
            let query = ListQuery { kind: Some(kind.clone()), ..ListQuery::default() };
            let listing = cluster.list(&query);
            self.feed.listed(kind, listing.revision);
            let grants = self.instance.program.grants.clone();
            let told = |object: &ObjectHandle| is_told(object, &grants);
            let mut objects = listing.objects.into_iter().filter(told).peekable();
            while objects.peek().is_some() {
                let mut load = Load::new(self.instance.per_call());
                let chunk = std::iter::from_fn(|| objects.next_if(|next| load.takes(Some(next))));
                let chunk: Vec<News> = chunk.map(News::Upsert).collect();
                self.instance.sync(&chunk)?;
            }
        }
        self.catch_up(None)
    }

    /// Everything that has happened, into the instance, and to those who follow it.
    pub fn catch_up(&mut self, told: Told<'_>) -> Result<(), Fault> {
        while self.tell_some_nodes(told)? {}
        while self.tell_some_objects(told)? {}
        Ok(())
    }

    /// As much of it as may be told in so long, but some. False if something is left.
    pub fn catch_up_within(
        &mut self,
        time: Option<Duration>,
        told: Told<'_>,
    ) -> Result<bool, Fault> {
        let Some(time) = time else { return self.catch_up(told).map(|()| true) };
        let started = Instant::now();
        while self.catch_up_some(told)? {
            if started.elapsed() >= time {
                return Ok(self.feed.len() == 0);
            }
        }
        Ok(true)
    }

    /// One call's worth. False if there is nothing left to be told.
    pub fn catch_up_some(&mut self, told: Told<'_>) -> Result<bool, Fault> {
        Ok(self.tell_some_nodes(told)? || self.tell_some_objects(told)?)
    }

    fn tell_some_nodes(&mut self, told: Told<'_>) -> Result<bool, Fault> {
        let news = self.feed.take_nodes(self.instance.per_call());
        if news.is_empty() {
            return Ok(false);
        }
        self.instance.sync_nodes(&news)?;
        if let Some(followers) = told.filter(|followers| !followers.is_empty()) {
            followers.tell(ExtensionTurn::SyncNodes(news.into()));
        }
        Ok(true)
    }

    fn tell_some_objects(&mut self, told: Told<'_>) -> Result<bool, Fault> {
        let news = self.feed.take_objects(self.instance.per_call());
        if news.is_empty() {
            return Ok(false);
        }
        self.instance.sync(&news)?;
        if let Some(followers) = told.filter(|followers| !followers.is_empty()) {
            followers.tell(ExtensionTurn::Sync(news.into()));
        }
        Ok(true)
    }
}

/// Whether an object of a watched kind is one that an extension is told of.
pub(super) fn is_told(object: &ObjectHandle, grants: &Grants) -> bool {
    let is_bound = || object.field("spec.nodeName").is_some();
    (**object.kind() != pod_kind() || is_bound())
        && grants.may_read_in(object.kind(), object.namespace())
}

/// Kinds besides Node, each once.
pub(crate) fn watches(program: &Program<SchedulerExtensionPlugin>) -> Vec<GroupVersionKind> {
    let mut kinds: Vec<GroupVersionKind> = Vec::new();
    for kind in program.description.watches.iter().cloned().map(convert::kind) {
        if kind != node_kind() && !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

pub(crate) fn check(program: &Program<SchedulerExtensionPlugin>) -> Result<(), String> {
    let description = &program.description;
    if description.abilities == Ability::empty() {
        return Err("the extension has neither of the abilities filter and score".to_owned());
    }
    if description.pod_fields.iter().any(|path| path.split('.').any(str::is_empty)) {
        return Err(format!(
            "the extension names pod fields that are no paths: {}",
            description.pod_fields.join(", ")
        ));
    }
    for kind in [node_kind()].into_iter().chain(watches(program)) {
        if !program.grants.may_watch(Some(&kind)) {
            return Err(format!("the extension is not granted to watch {}", kind.kind));
        }
    }
    Ok(())
}
