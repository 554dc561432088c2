//! One controller as the manager holds it: its queue, fed by the event stream,
//! and the thread that works it off.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::{Condvar, Mutex};

use super::mapping::Mapping;
use super::queue::{Key, Queue};
use super::worker::{Live, Worker};
use crate::bindings::controller::ControllerPlugin;
use crate::cluster::{Cluster, EventBatch, Object, PluginIdentity};
use crate::events::{Hub, Sink, Subscription};
use crate::follow::{ControllerTurn, Follower, FollowerHandle, Followers};
use crate::handover::{Taken, hand_over};
use crate::metrics::Waiting;
use crate::opening::Opening;
use crate::program::{LoadError, Program};
use crate::seed::Seeds;
use crate::supervise::{Health, Rollout};

pub(crate) struct ControllerUnit {
    shared: Arc<Shared>,
    _subscription: Subscription,
    thread: Option<JoinHandle<()>>,
}

/// What the worker, the event stream and the tasks that perform actions share.
pub(crate) struct Shared {
    pub cluster: Arc<dyn Cluster>,
    pub identity: PluginIdentity,
    pub health: Arc<Health>,
    pub seeds: Seeds,
    pub runtime: tokio::runtime::Handle,
    pub mapping: ArcSwap<Mapping>,
    /// What decides at present.
    pub active: ArcSwapOption<Program<ControllerPlugin>>,
    pub followers: Arc<Followers<ControllerTurn>>,
    pub rollout: Mutex<Rollout>,
    /// Until then nothing is decided.
    pub opening: Arc<Opening>,
    pub inbox: Mutex<Inbox>,
    pub wake: Condvar,
}

#[derive(Default)]
pub(crate) struct Inbox {
    pub queue: Queue,
    /// Keys whose actions are being performed.
    pub in_flight: usize,
    pub next: Option<Next>,
    pub resync: bool,
    pub stop: bool,
}

/// A version that is ready to take over.
pub(crate) struct Next {
    pub live: Live,
    pub rollout: Rollout,
    /// Kept until the version decides.
    pub taken: Taken,
}

impl ControllerUnit {
    pub fn start(
        program: Arc<Program<ControllerPlugin>>,
        rollout: Rollout,
        hub: &Arc<Hub>,
        cluster: Arc<dyn Cluster>,
        health: Arc<Health>,
        opening: Arc<Opening>,
    ) -> Result<Self, LoadError> {
        let live = Live::new(program)?;
        let shared = Arc::new(Shared {
            identity: PluginIdentity::Plugin(live.program.name.clone()),
            seeds: Seeds::starting_at(cluster.now_unix_ms().unsigned_abs()),
            cluster,
            health,
            runtime: tokio::runtime::Handle::current(),
            mapping: ArcSwap::new(live.mapping.clone()),
            active: ArcSwapOption::empty(),
            followers: Arc::default(),
            rollout: Mutex::new(rollout),
            opening,
            inbox: Mutex::default(),
            wake: Condvar::new(),
        });
        let weak = Arc::downgrade(&shared);
        live.program.metrics.waiting_in(move || {
            weak.upgrade().map_or_else(Waiting::default, |shared| shared.waiting())
        });
        let weak = Arc::downgrade(&shared);
        shared.opening.when_open(move || {
            if let Some(shared) = weak.upgrade() {
                // Whoever saw it closed under this lock is waiting by now.
                drop(shared.inbox.lock());
                shared.wake.notify_all();
            }
        });
        let name = format!("plugin-{}", live.program.name);
        let (subscription, delivered) = hub.add(shared.clone());
        {
            let mut inbox = shared.inbox.lock();
            inbox.queue.delivered(delivered, Instant::now());
            inbox.next = Some(Next { live, rollout, taken: hand_over().0 });
        }
        let worker = Worker::new(shared.clone());
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || worker.run())
            .map_err(|error| LoadError::Source(format!("cannot start a thread: {error}")))?;
        Ok(Self { shared, _subscription: subscription, thread: Some(thread) })
    }

    /// Hands over to another version between two calls. Returns when it has.
    pub fn swap(
        &self,
        program: Arc<Program<ControllerPlugin>>,
        rollout: Rollout,
    ) -> Result<(), LoadError> {
        let live = Live::new(program)?;
        let (taken, handed_over) = hand_over();
        self.shared.inbox.lock().next = Some(Next { live, rollout, taken });
        self.shared.wake.notify_all();
        handed_over.wait();
        Ok(())
    }

    pub fn set_rollout(&self, rollout: Rollout) {
        *self.shared.rollout.lock() = rollout;
    }

    /// What decides at present; None when it was stopped.
    pub fn active(&self) -> Option<Arc<Program<ControllerPlugin>>> {
        self.shared.active.load_full()
    }

    /// Shows `follower` all that is decided from now on.
    pub fn follow(
        &self,
        follower: Box<dyn Follower<ControllerTurn>>,
    ) -> std::io::Result<FollowerHandle> {
        self.shared.followers.add(|_| follower)
    }
}

impl Drop for ControllerUnit {
    /// Returns when the call that runs is over; actions on their way complete by themselves.
    fn drop(&mut self) {
        self.shared.inbox.lock().stop = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(
                plugin = self.shared.identity.name(),
                "the thread of a controller panicked"
            );
        }
    }
}

impl Sink for Shared {
    fn observe(&self, batch: &EventBatch) {
        let mut keys = Vec::new();
        if !batch.events.is_empty() {
            let mapping = self.mapping.load();
            for event in &batch.events {
                mapping
                    .map(event, &*self.cluster, &mut |key, uid| keys.push((key, uid.to_owned())));
            }
        }
        let now = Instant::now();
        let mut inbox = self.inbox.lock();
        let before = inbox.queue.depth();
        for (key, uid) in keys {
            inbox.queue.add(key, &uid, now);
        }
        let mut unparked = Vec::new();
        if inbox.queue.has_parked() {
            for event in &batch.events {
                let key = key_of(&*event.object);
                if inbox.queue.unpark(&key, now) {
                    unparked.push(key.id());
                }
            }
        }
        inbox.queue.delivered(batch.revision, now);
        let grown = inbox.queue.depth() > before;
        drop(inbox);
        for id in unparked {
            self.health.unparked(&id);
        }
        if grown {
            self.wake.notify_one();
        }
    }

    fn resync(&self, _: u64) {
        self.inbox.lock().resync = true;
        self.wake.notify_one();
    }
}

fn key_of(object: &dyn Object) -> Key {
    Key {
        kind: object.kind().clone(),
        namespace: object.namespace().to_owned(),
        name: object.name().to_owned(),
    }
}

impl Shared {
    fn waiting(&self) -> Waiting {
        let inbox = self.inbox.lock();
        let age = inbox.queue.age(Instant::now()).unwrap_or_default();
        Waiting { depth: inbox.queue.depth(), age }
    }

    /// Puts every key into the queue that the present objects ask for.
    pub fn enqueue_present(&self) {
        let mapping = self.mapping.load_full();
        let mut keys = Vec::new();
        mapping.map_present(&*self.cluster, &mut |key, uid| keys.push((key, uid.to_owned())));
        let now = Instant::now();
        let mut inbox = self.inbox.lock();
        for (key, uid) in keys {
            inbox.queue.add(key, &uid, now);
        }
    }
}
