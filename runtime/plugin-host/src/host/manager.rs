//! Follows Plugin objects: loads, swaps and unloads, and keeps their status.
//!
//! A version that cannot be loaded never replaces one that works: everything
//! that can fail happens before the hand-over, off the path of any decision.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch as ready_watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Embedded;
use super::embedded::{self, Sourced};
use super::slot::{NotLoaded, Remembered, Slot, SlotState, Unit};
use super::status::{self, COUNTERS_EVERY, Due};
use super::watch::{Names, PluginEvents};
use crate::admission::{AdmissionChain, AdmissionUnit};
use crate::artifact::{Artifact, Artifacts, Digest};
use crate::bindings::cni::CniPlugin;
use crate::bindings::scheduler::SchedulerPlugin;
use crate::budget::Budgets;
use crate::cluster::{ApplyError, Cluster, ListQuery, PluginIdentity};
use crate::controller::ControllerUnit;
use crate::events::Hub;
use crate::grants::Grants;
use crate::metrics::Metrics;
use crate::plugin::{self, Plugin, PluginSpec, Role};
use crate::program::{GrantPolicy, Ingredients, LoadError, Program, World};
use crate::scheduler::SchedulerUnit;
use crate::supervise::{Health, Rollout, Version};

pub(super) struct Manager {
    cluster: Arc<dyn Cluster>,
    hub: Arc<Hub>,
    artifacts: Arc<Artifacts>,
    admission: Arc<AdmissionChain>,
    pub(super) embedded: BTreeMap<String, Embedded>,
    pub(super) slots: Mutex<BTreeMap<String, Arc<Slot>>>,
    /// Plugin objects that changed.
    changed: Arc<Names>,
    /// Plugins whose status may have changed.
    stirred: Arc<Names>,
    relist: Arc<AtomicBool>,
    settled: ready_watch::Sender<bool>,
}

impl Manager {
    pub fn new(
        cluster: Arc<dyn Cluster>,
        hub: Arc<Hub>,
        artifacts: Arc<Artifacts>,
        admission: Arc<AdmissionChain>,
        embedded: BTreeMap<String, Embedded>,
        settled: ready_watch::Sender<bool>,
    ) -> Arc<Self> {
        Arc::new(Self {
            cluster,
            hub,
            artifacts,
            admission,
            embedded,
            slots: Mutex::default(),
            changed: Arc::default(),
            stirred: Arc::default(),
            relist: Arc::default(),
            settled,
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
        let mut loads = JoinSet::new();
        let mut first = true;
        loop {
            self.look_around(&mut loads);
            if std::mem::take(&mut first) {
                // What was there at the start is loaded before the host calls itself ready.
                while loads.join_next().await.is_some() {}
                self.settled.send_replace(true);
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
                let mut state = slot.state.lock();
                state.uid = object.map(|object| object.uid().to_owned()).unwrap_or_default();
                state.spec = None;
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
        {
            let mut state = slot.state.lock();
            if state.uid != plugin.metadata.uid {
                // Another object of the same name: its status is not written yet.
                state.uid.clone_from(&plugin.metadata.uid);
                state.written = None;
            }
            state.generation = plugin.metadata.generation;
            if state.spec.as_ref() == Some(&plugin.spec) {
                drop(state);
                return self.stirred.add(&slot.name);
            }
            let first = state.spec.is_none() && state.unit.is_none();
            state.remembered =
                if first && !plugin.spec.suspended { Remembered::of(&plugin) } else { None };
            state.spec = Some(plugin.spec.clone());
            state.load_error = None;
            state.loading = !plugin.spec.suspended;
        }
        self.stirred.add(&slot.name);
        if plugin.spec.suspended {
            return self.unload(slot);
        }
        let started = Instant::now();
        let remembered = slot.state.lock().remembered.clone();
        let result = match remembered {
            None => self.load(slot, &plugin.spec),
            Some(remembered) => self.take_up(slot, &plugin.spec, &remembered),
        };
        {
            let mut state = slot.state.lock();
            state.loading = false;
            if let Err(error) = &result {
                state.load_error = Some(NotLoaded {
                    reason: error.reason(),
                    message: chain(error),
                    needs: match error {
                        LoadError::NeedsNotGranted { needs, .. } => needs.clone(),
                        _ => Vec::new(),
                    },
                });
            }
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

    /// Everything from the source to the hand-over. Returns the digest.
    fn load(&self, slot: &Arc<Slot>, spec: &PluginSpec) -> Result<String, LoadError> {
        let sourced = embedded::source(spec, &self.embedded)?;
        let artifact =
            self.artifacts.load(&sourced.component, spec.digest.as_deref(), spec.role)?;
        self.hand_over(slot, spec, &sourced, &artifact)
    }

    /// The first load of a plugin that decided before this server started: a
    /// version that was rolled back or could not be loaded is not given a
    /// cluster that the version before it served well.
    fn take_up(
        &self,
        slot: &Arc<Slot>,
        spec: &PluginSpec,
        remembered: &Remembered,
    ) -> Result<String, LoadError> {
        if remembered.rolled_back_from.is_some() {
            match self.restore(slot, spec, remembered) {
                Ok(digest) => return Ok(digest),
                Err(error) => {
                    tracing::warn!(plugin = %slot.name, error = chain(&error), "the version that was rolled back to is lost; the spec's version is tried again");
                }
            }
        }
        let result = self.load(slot, spec);
        if result.is_ok() {
            return result;
        }
        let restored = match spec.role {
            // Nodes run these, and remember nothing.
            Role::Cni => false,
            _ => match self.restore(slot, spec, remembered) {
                Ok(_) => true,
                Err(error) => {
                    tracing::warn!(plugin = %slot.name, error = chain(&error), "the version that decided before is lost");
                    false
                }
            },
        };
        if !restored {
            slot.state.lock().remembered = None;
        }
        result
    }

    /// Runs the version that decided before this server started.
    fn restore(
        &self,
        slot: &Arc<Slot>,
        spec: &PluginSpec,
        remembered: &Remembered,
    ) -> Result<String, LoadError> {
        let embedded = self.embedded.values().find(|embedded| {
            embedded.role == spec.role && Digest::of(&embedded.wasm) == remembered.active
        });
        let mut spec = spec.clone();
        let artifact =
            match embedded {
                Some(embedded) => {
                    // The grants are meant for the other version; this one came with the server.
                    spec.grants = None;
                    self.artifacts.load(&embedded.wasm, None, spec.role)?
                }
                None => self.artifacts.remembered(&remembered.active, spec.role).ok_or_else(
                    || LoadError::Source(format!("{} is not in the cache", remembered.active)),
                )??,
            };
        let config = remembered.config.clone().or_else(|| spec.config.clone());
        let config = embedded::config(embedded, config.as_ref())?;
        let sourced = Sourced { component: Bytes::new(), config, is_embedded: embedded.is_some() };
        slot.health.expect_rolled_back(remembered.rolled_back_from.clone());
        let result = self.hand_over(slot, &spec, &sourced, &artifact);
        if result.is_err() {
            slot.health.expect_rolled_back(None);
        }
        if remembered.rolled_back_from.is_some() && result.is_ok() {
            let mut state = slot.state.lock();
            state.previous_config = state.config.take();
        }
        result
    }

    /// Everything from the compiled component to the hand-over. Returns the digest.
    fn hand_over(
        &self,
        slot: &Arc<Slot>,
        spec: &PluginSpec,
        sourced: &Sourced,
        artifact: &Artifact,
    ) -> Result<String, LoadError> {
        // Whatever happens to the version that decides, it was loaded with this.
        let standing = slot.health.read().standing;
        let in_use = slot.state.lock().config_in_use(&standing).cloned();
        // A plugin changes its role by being another plugin.
        let other_role = {
            let mut state = slot.state.lock();
            state.unit.take_if(|unit| unit.role() != spec.role)
        };
        if other_role.is_some() {
            self.admission.remove(&slot.name);
            drop(other_role);
        }
        match spec.role {
            Role::Controller => self.run_controller(slot, spec, sourced, artifact)?,
            Role::Scheduler => self.run_scheduler(slot, spec, sourced, artifact)?,
            Role::Admission => self.run_admission(slot, spec, sourced, artifact)?,
            Role::Cni => self.check_cni(slot, spec, sourced, artifact)?,
        }
        let mut state = slot.state.lock();
        state.previous_config = in_use;
        state.config = Some(sourced.config.clone());
        Ok(artifact.digest.to_string())
    }

    fn program<W: World>(
        &self,
        slot: &Slot,
        spec: &PluginSpec,
        sourced: &Sourced,
        artifact: &Artifact,
    ) -> Result<Arc<Program<W>>, LoadError> {
        let grants = match &spec.grants {
            Some(rules) => GrantPolicy::Given(Grants::new(rules.clone())),
            None if sourced.is_embedded => GrantPolicy::AsNeeded,
            None => GrantPolicy::Given(Grants::default()),
        };
        let ingredients = Ingredients {
            name: slot.name.clone(),
            config: sourced.config.clone(),
            budgets: Budgets::from_spec(spec.role, &spec.budgets),
            grants,
            cluster: Some(self.cluster.clone()),
            metrics: slot.metrics.clone(),
        };
        Program::load(self.artifacts.wasm(), artifact, ingredients).map(Arc::new)
    }

    fn run_controller(
        &self,
        slot: &Slot,
        spec: &PluginSpec,
        sourced: &Sourced,
        artifact: &Artifact,
    ) -> Result<(), LoadError> {
        let program = self.program(slot, spec, sourced, artifact)?;
        let rollout = Rollout::from_spec(&spec.rollout);
        // The call that runs may take its time; the status may be read meanwhile.
        let running = slot.state.lock().unit.clone();
        if let Some(Unit::Controller(unit)) = running {
            return unit.swap(program, rollout);
        }
        let unit = ControllerUnit::start(
            program,
            rollout,
            &self.hub,
            self.cluster.clone(),
            slot.health.clone(),
        )?;
        slot.state.lock().unit = Some(Unit::Controller(Arc::new(unit)));
        Ok(())
    }

    fn run_scheduler(
        &self,
        slot: &Arc<Slot>,
        spec: &PluginSpec,
        sourced: &Sourced,
        artifact: &Artifact,
    ) -> Result<(), LoadError> {
        let program = self.program::<SchedulerPlugin>(slot, spec, sourced, artifact)?;
        let rollout = Rollout::from_spec(&spec.rollout);
        let answered = program.description.scheduler_names.clone();
        self.check_scheduler_names(slot, &answered)?;
        // The replay takes its time; the status may be read meanwhile.
        let running = slot.state.lock().unit.clone();
        let unit = match running {
            Some(Unit::Scheduler { unit, .. }) => {
                unit.swap(program, rollout)?;
                unit
            }
            _ => Arc::new(SchedulerUnit::start(
                program,
                rollout,
                &self.hub,
                self.cluster.clone(),
                slot.health.clone(),
            )?),
        };
        slot.state.lock().unit = Some(Unit::Scheduler { unit, names: answered });
        Ok(())
    }

    /// Two schedulers for one name would bind each pod twice over.
    fn check_scheduler_names(
        &self,
        slot: &Arc<Slot>,
        answered: &[String],
    ) -> Result<(), LoadError> {
        let others: Vec<Arc<Slot>> =
            self.slots.lock().values().filter(|other| !Arc::ptr_eq(other, slot)).cloned().collect();
        for other in others {
            if let Some(Unit::Scheduler { names, .. }) = &other.state.lock().unit
                && let Some(taken) = names.iter().find(|name| answered.contains(name))
            {
                return Err(LoadError::Description(format!(
                    "plugin {} schedules for {taken} already; suspend it, or give this one another name in its config",
                    other.name
                )));
            }
        }
        Ok(())
    }

    fn run_admission(
        &self,
        slot: &Slot,
        spec: &PluginSpec,
        sourced: &Sourced,
        artifact: &Artifact,
    ) -> Result<(), LoadError> {
        let program = self.program(slot, spec, sourced, artifact)?;
        let rollout = Rollout::from_spec(&spec.rollout);
        let mut state = slot.state.lock();
        let unit = match &state.unit {
            Some(Unit::Admission(unit)) => unit.succeed(program, spec.priority, rollout)?,
            _ => AdmissionUnit::start(
                program,
                spec.priority,
                rollout,
                self.cluster.clone(),
                slot.health.clone(),
            )?,
        };
        let unit = Arc::new(unit);
        self.admission.put(unit.clone());
        state.unit = Some(Unit::Admission(unit));
        Ok(())
    }

    fn check_cni(
        &self,
        slot: &Slot,
        spec: &PluginSpec,
        sourced: &Sourced,
        artifact: &Artifact,
    ) -> Result<(), LoadError> {
        let program = self.program::<CniPlugin>(slot, spec, sourced, artifact)?;
        slot.health.activated(
            Version::new(&program.digest, program.manifest()),
            None,
            Duration::ZERO,
        );
        slot.state.lock().unit = Some(Unit::Cni);
        Ok(())
    }

    fn unload(&self, slot: &Slot) {
        self.admission.remove(&slot.name);
        let unit = {
            let mut state = slot.state.lock();
            state.loading = false;
            (state.config, state.previous_config) = (None, None);
            state.unit.take()
        };
        // Waits for the call that runs.
        drop(unit);
        slot.health.unloaded();
    }

    /// The object is gone: so is the slot, unless the object is back already.
    fn forget(&self, slot: &Arc<Slot>) {
        self.unload(slot);
        let mut slots = self.slots.lock();
        let mut state = slot.state.lock();
        state.spec = None;
        state.uid.clear();
        state.written = None;
        if !state.again {
            slots.remove(&*slot.name);
        }
        tracing::info!(plugin = %slot.name, "plugin unloaded");
    }

    /// Writes statuses as they change.
    async fn keep_statuses(&self, shutdown: CancellationToken) {
        let mut waiting: BTreeMap<String, Instant> = BTreeMap::new();
        loop {
            let next = waiting.values().min().copied();
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.stirred.wait() => {}
                () = sleep_until(next) => {}
            }
            let now = Instant::now();
            let mut names = self.stirred.take();
            names
                .extend(waiting.iter().filter(|(_, at)| **at <= now).map(|(name, _)| name.clone()));
            for name in names {
                waiting.remove(&name);
                if let Some(at) = self.keep_status(&name).await {
                    waiting.insert(name, at);
                }
            }
        }
    }

    /// Returns when to look again.
    async fn keep_status(&self, name: &str) -> Option<Instant> {
        let slot = self.slots.lock().get(name).cloned()?;
        slot.metrics.rearm();
        let now = Instant::now();
        let due = {
            let state = slot.state.lock();
            if state.uid.is_empty() {
                return None;
            }
            status::due(&slot, &state, now, self.cluster.now_unix_ms())
        };
        let (status, event) = match due {
            Due::Nothing => return None,
            Due::Later(at) => return Some(at),
            Due::Now { status, event } => (status, event),
        };
        match self.cluster.apply(&PluginIdentity::Host, status::patch(name, &status)).await {
            Ok(_) => {}
            Err(ApplyError::NotFound(_)) => return None,
            Err(error) => {
                tracing::warn!(plugin = name, %error, "cannot write the status of a plugin; trying again");
                return Some(now + COUNTERS_EVERY);
            }
        }
        {
            let mut state = slot.state.lock();
            state.written = Some(*status);
            state.written_at = Some(now);
        }
        if let Some(event) = event
            && let Err(error) = self.cluster.apply(&PluginIdentity::Host, *event).await
        {
            tracing::debug!(plugin = name, %error, "an event was not recorded");
        }
        // It may have changed meanwhile.
        Some(now + COUNTERS_EVERY)
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// An error with its causes, for people.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
