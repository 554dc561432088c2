//! Follows Plugin objects: loads, swaps and unloads, and keeps their status.
//!
//! A version that cannot be loaded never replaces one that works: everything
//! that can fail happens before the hand-over, off the path of any decision.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch as ready_watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Embedded;
use super::slot::{NotLoaded, Remembered, Slot, SlotState, Unit};
use super::watch::{Names, PluginEvents};
use crate::admission::AdmissionChain;
use crate::artifact::Artifacts;
use crate::authorizer::AuthorizerChain;
use crate::cluster::{Cluster, ListQuery};
use crate::events::{Hub, Subscription};
use crate::extension::Extensions;
use crate::metrics::Metrics;
use crate::opening::Opening;
use crate::plugin::{self, Plugin, Role};
use crate::priority;
use crate::program::LoadError;
use crate::shadow::Comparison;
use crate::source::{Components, Retries, Supply};
use crate::supervise::Health;

/// So long, at the start, plugins wait for scheduler extensions.
const EXTENSIONS_FIRST: Duration = Duration::from_secs(10);

pub(super) struct Manager {
    pub(super) cluster: Arc<dyn Cluster>,
    pub(super) hub: Arc<Hub>,
    pub(super) artifacts: Arc<Artifacts>,
    /// Pulls what comes from registries.
    pub(super) supply: Arc<Supply>,
    /// Plugins whose component came, or does not come, since they were looked at.
    supplied: Arc<Names>,
    pub(super) admission: Arc<AdmissionChain>,
    pub(super) authorizers: Arc<AuthorizerChain>,
    pub(super) extensions: Arc<Extensions>,
    _extensions_are_fed: Subscription,
    pub(super) embedded: BTreeMap<String, Embedded>,
    pub(super) slots: Mutex<BTreeMap<String, Arc<Slot>>>,
    /// Plugin objects that changed, or have something to be done for.
    pub(super) changed: Arc<Names>,
    /// Plugins whose status may have changed.
    pub(super) stirred: Arc<Names>,
    relist: Arc<AtomicBool>,
    settled: ready_watch::Sender<bool>,
    /// For controllers, when it is settled.
    pub(super) opening: Arc<Opening>,
}

impl Manager {
    pub fn new(
        cluster: Arc<dyn Cluster>,
        hub: Arc<Hub>,
        artifacts: Arc<Artifacts>,
        components: Components,
        admission: Arc<AdmissionChain>,
        embedded: BTreeMap<String, Embedded>,
        settled: ready_watch::Sender<bool>,
    ) -> Arc<Self> {
        let (changed, stirred) = (Arc::<Names>::default(), Arc::<Names>::default());
        let supplied = Arc::<Names>::default();
        let look_again = {
            let (supplied, changed) = (supplied.clone(), changed.clone());
            move |plugin: &str| {
                supplied.add(plugin);
                changed.add(plugin);
            }
        };
        let stir = {
            let stirred = stirred.clone();
            move |plugin: &str| stirred.add(plugin)
        };
        let supply = Supply::new(
            components,
            cluster.clone(),
            Box::new(look_again),
            Box::new(stir),
            Retries::default(),
        );
        let extensions = Extensions::new(cluster.clone());
        let authorizers = Arc::new(AuthorizerChain::new(cluster.clone(), hub.clone()));
        // Before any scheduler: what one of them has seen, extensions have been fed.
        let (fed, _) = hub.add(extensions.clone());
        Arc::new(Self {
            cluster,
            hub,
            artifacts,
            supply,
            supplied,
            admission,
            authorizers,
            extensions,
            _extensions_are_fed: fed,
            embedded,
            slots: Mutex::default(),
            changed,
            stirred,
            relist: Arc::default(),
            settled,
            opening: Arc::default(),
        })
    }

    pub async fn run(self: &Arc<Self>, shutdown: CancellationToken) {
        let sink = PluginEvents { changed: self.changed.clone(), relist: self.relist.clone() };
        let (_subscription, _) = self.hub.add(Arc::new(sink));
        self.relist.store(true, Ordering::SeqCst);
        let statuses = {
            let (manager, shutdown) = (self.clone(), shutdown.clone());
            tokio::spawn(async move { manager.keep_statuses(shutdown).await })
        };
        self.load_extensions().await;
        let mut loads = JoinSet::new();
        let mut first = true;
        loop {
            self.look_around(&mut loads);
            if std::mem::take(&mut first) {
                // What was there at the start is loaded before the host calls itself ready.
                while loads.join_next().await.is_some() {}
                self.settled.send_replace(true);
                self.opening.open();
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.changed.wait() => {}
                Some(_) = loads.join_next(), if !loads.is_empty() => {}
            }
        }
        while loads.join_next().await.is_some() {}
        let slots = std::mem::take(&mut *self.slots.lock());
        // Ending a plugin waits for its thread.
        let ended = tokio::task::spawn_blocking(move || drop(slots)).await;
        if let Err(error) = statuses.await.and(ended) {
            tracing::error!(%error, "a task of the plugin host ended badly");
        }
    }

    /// Before anything else: no pod is to be bound before the rules are in
    /// force. One that takes very long does not keep a cluster from working.
    async fn load_extensions(self: &Arc<Self>) {
        let query = ListQuery { kind: Some(plugin::kind()), ..ListQuery::default() };
        let mut plugins = self.cluster.list(&query).objects;
        let role = Role::SchedulerExtension.as_str();
        plugins.retain(|plugin| plugin.field("spec.role").as_deref() == Some(role));
        let mut loads = JoinSet::new();
        for plugin in plugins {
            let manager = self.clone();
            loads.spawn_blocking(move || manager.look_at(plugin.name()));
        }
        let loaded = async { while loads.join_next().await.is_some() {} };
        if tokio::time::timeout(EXTENSIONS_FIRST, loaded).await.is_err() {
            tracing::warn!("scheduler extensions are not loaded yet; other plugins start without");
        }
        loads.detach_all();
    }

    /// Starts looking at every plugin that changed.
    fn look_around(self: &Arc<Self>, loads: &mut JoinSet<()>) {
        let mut names = self.changed.take();
        if self.relist.swap(false, Ordering::SeqCst) {
            let query = ListQuery { kind: Some(plugin::kind()), ..ListQuery::default() };
            names.extend(
                self.cluster.list(&query).objects.iter().map(|object| object.name().to_owned()),
            );
            names.extend(self.slots.lock().keys().cloned());
        }
        for name in names {
            let manager = self.clone();
            // Reading files, compiling, replaying: nothing for the async threads.
            loads.spawn_blocking(move || manager.look_at(&name));
        }
    }

    fn slot(&self, name: &str) -> Arc<Slot> {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get(name) {
            return slot.clone();
        }
        let stir = {
            let (stirred, name) = (self.stirred.clone(), name.to_owned());
            move || stirred.add(&name)
        };
        let metrics = Arc::new(Metrics::notifying(Box::new(stir.clone())));
        let health = Health::new(metrics.clone(), Box::new(stir));
        let slot = Arc::new(Slot {
            name: name.into(),
            metrics,
            health,
            state: Mutex::new(SlotState::default()),
        });
        slots.insert(name.to_owned(), slot.clone());
        slot
    }

    /// What runs for the plugin of that name.
    pub fn unit(&self, name: &str) -> Option<Unit> {
        let slot = self.slots.lock().get(name).cloned()?;
        let state = slot.state.lock();
        state.unit.clone()
    }

    /// The latest comparison of a candidate of the plugin.
    pub fn comparison(&self, name: &str) -> Option<Arc<Comparison>> {
        let slot = self.slots.lock().get(name).cloned()?;
        let state = slot.state.lock();
        state.comparison.clone()
    }

    /// Makes what runs match the Plugin object. Blocks; one at a time per plugin.
    fn look_at(&self, name: &str) {
        let slot = self.slot(name);
        {
            let mut state = slot.state.lock();
            if state.busy {
                state.again = true;
                return;
            }
            state.busy = true;
        }
        loop {
            self.look_once(&slot);
            let mut state = slot.state.lock();
            if !std::mem::take(&mut state.again) {
                state.busy = false;
                return;
            }
        }
    }

    fn look_once(&self, slot: &Arc<Slot>) {
        let object = self.cluster.get(&plugin::kind(), "", &slot.name);
        let parsed = object.as_ref().map(|object| serde_json::from_slice::<Plugin>(object.json()));
        match parsed {
            None => self.forget(slot),
            Some(Ok(plugin)) if plugin.metadata.is_being_deleted() => self.unload(slot),
            Some(Ok(plugin)) => self.follow(slot, plugin),
            Some(Err(error)) => {
                if let Some(object) = &object {
                    self.put_unreadable(slot, &**object, &error.to_string());
                }
                let mut state = slot.state.lock();
                state.uid = object.map(|object| object.uid().to_owned()).unwrap_or_default();
                state.spec = None;
                state.end_trial();
                state.load_error = Some(NotLoaded {
                    reason: "InvalidSpec",
                    message: format!("the Plugin object cannot be read: {error}"),
                    needs: Vec::new(),
                });
                drop(state);
                self.stirred.add(&slot.name);
            }
        }
    }

    fn follow(&self, slot: &Arc<Slot>, plugin: Plugin) {
        let supplied = self.supplied.take_one(&slot.name);
        {
            let mut state = slot.state.lock();
            if state.uid != plugin.metadata.uid {
                // Another object of the same name: its status is not written yet.
                state.uid.clone_from(&plugin.metadata.uid);
                state.written = None;
            }
            state.generation = plugin.metadata.generation;
            if state.spec.as_ref() == Some(&plugin.spec) && !supplied {
                drop(state);
                self.settle(slot);
                return self.stirred.add(&slot.name);
            }
            let first = state.spec.is_none() && state.unit.is_none();
            state.remembered =
                if first && !plugin.spec.suspended { Remembered::of(&plugin) } else { None };
            if first {
                state.reviewed.clone_from(&plugin.status.reviews);
            }
            state.spec = Some(plugin.spec.clone());
            state.load_error = None;
            state.end_trial();
            state.loading = !plugin.spec.suspended;
        }
        self.stirred.add(&slot.name);
        if plugin.spec.suspended {
            return self.unload(slot);
        }
        let started = Instant::now();
        let remembered = slot.state.lock().remembered.clone();
        let result = match remembered {
            None if slot.is_served(plugin.spec.role) => {
                priority::beside(|| self.load(slot, &plugin.spec))
            }
            None => self.load(slot, &plugin.spec),
            Some(remembered) => self.take_up(slot, &plugin.spec, &remembered),
        };
        if let Err(error @ LoadError::Pulling) = &result {
            self.put_absent(slot, &plugin.spec, &chain(error));
            // It stays `Loading`, and is looked at again when the component is there.
            return self.stirred.add(&slot.name);
        }
        {
            let mut state = slot.state.lock();
            state.loading = false;
            if let Err(error) = &result {
                state.load_error = Some(NotLoaded::new(error));
            }
        }
        if let Err(error) = &result {
            self.put_absent(slot, &plugin.spec, &chain(error));
        }
        match result {
            Ok(digest) => tracing::info!(
                plugin = %slot.name, role = %plugin.spec.role, digest,
                milliseconds = started.elapsed().as_millis() as u64, "plugin loaded"
            ),
            Err(error) => {
                tracing::warn!(plugin = %slot.name, reason = error.reason(), error = chain(&error), "plugin not loaded");
            }
        }
        self.stirred.add(&slot.name);
    }

    fn unload(&self, slot: &Slot) {
        self.supply.forget(&slot.name);
        self.admission.remove(&slot.name);
        self.extensions.remove(&slot.name);
        self.authorizers.remove(&slot.name);
        let unit = {
            let mut state = slot.state.lock();
            state.loading = false;
            state.forget_versions();
            state.reviewed = state.reviews();
            state.unit.take()
        };
        // Waits for the call that runs.
        match unit {
            // A call of a scheduler may hold it a little longer.
            Some(Unit::Extension(unit)) => unit.stop(),
            unit => drop(unit),
        }
        slot.health.unloaded();
    }

    /// The object is gone: so is the slot, unless the object is back already.
    fn forget(&self, slot: &Arc<Slot>) {
        self.unload(slot);
        let mut slots = self.slots.lock();
        let mut state = slot.state.lock();
        state.spec = None;
        state.reviewed.clear();
        state.uid.clear();
        state.written = None;
        if !state.again {
            slots.remove(&*slot.name);
        }
        tracing::info!(plugin = %slot.name, "plugin unloaded");
    }
}

/// An error with its causes, for people.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
