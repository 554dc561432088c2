//! One scheduler as the manager holds it: what the event stream fills and the
//! worker empties.

use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

use arc_swap::ArcSwapOption;
use parking_lot::{Condvar, Mutex};
use pintle_api::meta::GroupVersionKind;
use tokio::sync::Semaphore;

use super::announce::Announcements;
use super::feed::{Delta, Feed};
use super::inbox::Inbox;
use super::joining::Joining;
use super::live::{self, Live, is_node, is_pod, pod_kind};
use super::worker::Worker;
use crate::bindings::scheduler::SchedulerPlugin;
use crate::cluster::{Cluster, ClusterEvent, EventBatch, ListQuery, PluginIdentity};
use crate::events::{Hub, Sink, Subscription};
use crate::extension::{Extensions, Reconsider};
use crate::follow::{Follower, FollowerHandle, Followers, SchedulerTurn};
use crate::handover::{Taken, hand_over};
use crate::metrics::Waiting;
use crate::program::scheduler_interface::Wake;
use crate::program::{LoadError, Program};
use crate::seed::Seeds;
use crate::supervise::{Health, Rollout};

/// Conditions and events that are being written at a time.
const CONCURRENT_REPORTS: usize = 64;

/// A feed this long is emptied into the instance although no pod waits.
pub(crate) const FEED_HIGH_WATER: usize = 256;

pub(crate) struct SchedulerUnit {
    shared: Arc<Shared>,
    _subscription: Subscription,
    thread: Option<JoinHandle<()>>,
}

pub(crate) struct Shared {
    pub cluster: Arc<dyn Cluster>,
    pub identity: PluginIdentity,
    pub health: Arc<Health>,
    pub extensions: Arc<Extensions>,
    pub seeds: Seeds,
    pub runtime: tokio::runtime::Handle,
    pub reports: Arc<Semaphore>,
    pub announcements: Announcements,
    feeds: Mutex<Vec<Interest>>,
    /// What decides at present.
    pub active: ArcSwapOption<Program<SchedulerPlugin>>,
    pub followers: Arc<Followers<SchedulerTurn>>,
    pub rollout: Mutex<Rollout>,
    pub inbox: Mutex<Inbox>,
    pub wake: Condvar,
}

/// A feed lives as long as the instance that reads it.
struct Interest {
    feed: Weak<Feed>,
    watches: Vec<GroupVersionKind>,
}

pub(crate) struct Next {
    pub live: Live,
    pub rollout: Rollout,
    /// Kept until the version decides.
    pub taken: Taken,
}

impl SchedulerUnit {
    pub fn start(
        program: Arc<Program<SchedulerPlugin>>,
        rollout: Rollout,
        hub: &Arc<Hub>,
        cluster: Arc<dyn Cluster>,
        extensions: Arc<Extensions>,
        health: Arc<Health>,
    ) -> Result<Self, LoadError> {
        let shared = Arc::new(Shared {
            identity: PluginIdentity::Plugin(program.name.clone()),
            seeds: Seeds::starting_at(cluster.now_unix_ms().unsigned_abs()),
            cluster,
            health,
            extensions,
            runtime: tokio::runtime::Handle::current(),
            reports: Arc::new(Semaphore::new(CONCURRENT_REPORTS)),
            announcements: Announcements::default(),
            feeds: Mutex::default(),
            active: ArcSwapOption::empty(),
            followers: Arc::default(),
            rollout: Mutex::new(rollout),
            inbox: Mutex::default(),
            wake: Condvar::new(),
        });
        let reconsiders: Weak<Shared> = Arc::downgrade(&shared);
        shared.extensions.tell(reconsiders);
        let (subscription, delivered) = hub.add(shared.clone());
        {
            let mut inbox = shared.inbox.lock();
            inbox.delivered = inbox.delivered.max(delivered);
        }
        let weak = Arc::downgrade(&shared);
        program.metrics.waiting_in(move || {
            weak.upgrade().map_or_else(Waiting::default, |shared| shared.waiting())
        });
        let name = format!("plugin-{}", program.name);
        let live = Live::start(program, &shared)?;
        shared.inbox.lock().next = Some(Next { live, rollout, taken: hand_over().0 });
        let worker = Worker::new(shared.clone());
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || worker.run())
            .map_err(|error| LoadError::Source(format!("cannot start a thread: {error}")))?;
        Ok(Self { shared, _subscription: subscription, thread: Some(thread) })
    }

    /// Prepares another version, which replays the cluster while the present one
    /// goes on deciding, and hands over between two calls. Returns when it has.
    pub fn swap(
        &self,
        program: Arc<Program<SchedulerPlugin>>,
        rollout: Rollout,
    ) -> Result<(), LoadError> {
        let live = Live::start(program, &self.shared)?;
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
    pub fn active(&self) -> Option<Arc<Program<SchedulerPlugin>>> {
        self.shared.active.load_full()
    }

    /// Shows `follower` the present, and from then on all that the active
    /// version is fed, asked and decides.
    pub fn follow(
        &self,
        follower: Box<dyn Follower<SchedulerTurn>>,
    ) -> std::io::Result<FollowerHandle> {
        let shared = self.shared.clone();
        self.shared.followers.add(|id| Box::new(Joining { id, shared, follower }))
    }
}

impl Drop for SchedulerUnit {
    /// Returns when the call that runs is over; bindings on their way complete by themselves.
    fn drop(&mut self) {
        self.shared.inbox.lock().stop = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(
                plugin = self.shared.identity.name(),
                "the thread of a scheduler panicked"
            );
        }
    }
}

impl Reconsider for Shared {
    fn reconsider(&self, anew: bool) {
        self.inbox.lock().pending.reconsider(anew, Instant::now());
        self.wake.notify_one();
    }
}

impl Sink for Shared {
    fn observe(&self, batch: &EventBatch) {
        let longest = self.feed(batch);
        let now = Instant::now();
        let mut inbox = self.inbox.lock();
        let mut flags = Wake::empty();
        for event in &batch.events {
            flags |= inbox.take_in(event, now);
        }
        inbox.pending.wake(flags, now);
        inbox.feed_full = longest >= FEED_HIGH_WATER;
        inbox.delivered = inbox.delivered.max(batch.revision);
        // Heartbeats of thousands of nodes must not wake a thread that has nothing to decide.
        let concerns = flags != Wake::empty()
            || inbox.feed_full
            || !inbox.joins.is_empty()
            || inbox.pending.is_ready(now);
        let freed = inbox.pending.take_freed();
        drop(inbox);
        for uid in freed {
            self.health.unparked(&uid);
        }
        if concerns {
            self.wake.notify_one();
        }
    }

    fn resync(&self, revision: u64) {
        let mut inbox = self.inbox.lock();
        inbox.resync = true;
        inbox.delivered = inbox.delivered.max(revision);
        drop(inbox);
        self.wake.notify_one();
    }
}

impl Shared {
    pub fn add_feed(&self, feed: &Arc<Feed>, program: &Program<SchedulerPlugin>) {
        let watches = live::watches(program);
        self.feeds.lock().push(Interest { feed: Arc::downgrade(feed), watches });
    }

    /// A feed of what the active version watches; returns what that is besides
    /// nodes and pods.
    pub fn add_feed_like_active(&self, feed: &Arc<Feed>) -> Vec<GroupVersionKind> {
        let active = self.active.load();
        let watches = active.as_ref().map(|program| live::watches(program)).unwrap_or_default();
        self.feeds.lock().push(Interest { feed: Arc::downgrade(feed), watches: watches.clone() });
        watches
    }

    /// All that two feeds hold at one moment, in which both have been given the
    /// same events.
    pub fn empty_both(&self, first: &Feed, second: &Feed) -> (Vec<Delta>, Vec<Delta>) {
        // Held against the event stream, which fills all feeds under it.
        let _feeds = self.feeds.lock();
        (first.take_all(), second.take_all())
    }

    /// Gives every instance what concerns it; returns the length of the longest feed.
    fn feed(&self, batch: &EventBatch) -> usize {
        if batch.events.is_empty() {
            return 0;
        }
        let mut longest = 0;
        self.feeds.lock().retain(|interest| {
            let Some(feed) = interest.feed.upgrade() else { return false };
            for event in &batch.events {
                let kind = &**event.object.kind();
                let wanted = if is_pod(kind) {
                    is_or_was_bound(event)
                } else {
                    is_node(kind) || interest.watches.contains(kind)
                };
                if wanted {
                    feed.push(event);
                }
            }
            longest = longest.max(feed.len());
            true
        });
        longest
    }

    fn waiting(&self) -> Waiting {
        let inbox = self.inbox.lock();
        let age = inbox.pending.age(Instant::now()).unwrap_or_default();
        Waiting { depth: inbox.pending.depth(), age }
    }

    /// The pods that wait, from a list: at the start, and when events were lost.
    pub fn list_pending(&self) {
        self.inbox.lock().begin_listing();
        let listing =
            self.cluster.list(&ListQuery { kind: Some(pod_kind()), ..ListQuery::default() });
        let mut inbox = self.inbox.lock();
        inbox.listed(listing, Instant::now());
        let freed = inbox.pending.take_freed();
        drop(inbox);
        for uid in freed {
            self.health.unparked(&uid);
        }
    }
}

fn is_or_was_bound(event: &ClusterEvent) -> bool {
    event.object.field("spec.nodeName").is_some()
}
