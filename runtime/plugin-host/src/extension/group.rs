//! All extensions that are active, what they are fed from, and how a scheduler
//! reaches them.
//!
//! One numbering of nodes for all of them. It is kept only while there is an
//! extension: without one, an event costs one load.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use pintle_api::meta::GroupVersionKind;

use super::answers::ExtensionAnswers;
use super::bell::Bell;
use super::call::{Asking, Heard};
use super::feed::Feed;
use super::joining::Present;
use super::live::{node_kind, pod_kind};
use super::numbering::{Began, Names};
use super::opinion::{Opinion, Part, Rejection, Stated, Verdict};
use super::unit::ExtensionUnit;
use super::view::{Interest, View};
use crate::bindings::scheduler_extension::SchedulerExtensionPlugin;
use crate::bindings::types::Context;
use crate::cluster::{Change, Cluster, ClusterEvent, EventBatch, ListQuery, ObjectHandle};
use crate::events::Sink;
use crate::grants::Grants;
use crate::program::Program;

/// A feed this long is emptied although no pod is asked about.
const FEED_HIGH_WATER: usize = 64;

/// Verdicts whose version is remembered. Forgetting one costs the reader of
/// the same verdict a second reading. More of them, 15 KB each at 5000 nodes,
/// would not stay in the processor's cache.
const MOST_VERDICTS: usize = 256;

/// A scheduler, as far as extensions are concerned.
pub(crate) trait Reconsider: Send + Sync {
    /// Pods that an extension rejected may be decided otherwise now. `anew`: not
    /// because something in the cluster changed, but because extensions did.
    fn reconsider(&self, anew: bool);
}

/// By the ids and weights of their parts, each with its version.
type Verdicts = HashMap<Vec<(u64, u32)>, (u64, Arc<Verdict>)>;

/// What answers a scheduler, and what it will have heard.
type Hearing = (Box<dyn ExtensionAnswers>, Arc<Mutex<Heard>>);

pub(crate) struct Extensions {
    pub cluster: Arc<dyn Cluster>,
    units: ArcSwap<Vec<Arc<ExtensionUnit>>>,
    /// Whether the nodes are numbered: there are extensions, or one is on its way.
    followed: AtomicBool,
    view: Mutex<View>,
    verdicts: Mutex<Verdicts>,
    /// Opinions and verdicts are numbered from here; 0 is nothing.
    last_id: AtomicU64,
    schedulers: Mutex<Vec<Weak<dyn Reconsider>>>,
}

impl Extensions {
    pub fn new(cluster: Arc<dyn Cluster>) -> Arc<Self> {
        Arc::new(Self {
            cluster,
            units: ArcSwap::default(),
            followed: AtomicBool::new(false),
            view: Mutex::default(),
            verdicts: Mutex::default(),
            last_id: AtomicU64::new(0),
            schedulers: Mutex::default(),
        })
    }

    /// Puts a unit where its name says. It is asked from the next call on.
    pub fn put(&self, unit: Arc<ExtensionUnit>) {
        self.units.rcu(|units| {
            let mut units: Vec<_> =
                units.iter().filter(|other| other.name != unit.name).cloned().collect();
            units.push(unit.clone());
            units.sort_by(|a, b| a.name.cmp(&b.name));
            units
        });
        self.changed();
    }

    pub fn remove(&self, name: &str) {
        let before = self.units.rcu(|units| {
            units.iter().filter(|unit| &*unit.name != name).cloned().collect::<Vec<_>>()
        });
        if before.iter().any(|unit| &*unit.name == name) {
            self.changed();
        }
    }

    /// A scheduler that wants to know when extensions may say something else.
    pub fn tell(&self, scheduler: Weak<dyn Reconsider>) {
        self.schedulers.lock().push(scheduler);
    }

    /// Extensions are others, or can answer again.
    pub fn changed(&self) {
        self.reconsider(true);
    }

    fn reconsider(&self, anew: bool) {
        let schedulers: Vec<Arc<dyn Reconsider>> = {
            let mut schedulers = self.schedulers.lock();
            schedulers.retain(|scheduler| scheduler.strong_count() > 0);
            schedulers.iter().filter_map(Weak::upgrade).collect()
        };
        for scheduler in schedulers {
            scheduler.reconsider(anew);
        }
    }

    /// The most pods that may be decided in one call: an extension that looks at
    /// pods has to know of each that was decided before it is asked about the next.
    pub fn most_pods_per_call(&self) -> usize {
        let units = self.units.load();
        if units.iter().any(|unit| unit.looks_at_pods()) { 1 } else { usize::MAX }
    }

    /// For one `schedule` call: what answers the scheduler, and what it will
    /// have heard. None: there are no extensions.
    pub fn call(self: &Arc<Self>, context: Context, pods: &[ObjectHandle]) -> Option<Hearing> {
        let units = self.units.load_full();
        if units.is_empty() {
            return None;
        }
        let (began, names) = {
            let mut view = self.view.lock();
            (view.numbering.begin(), view.numbering.names())
        };
        let heard = Arc::new(Mutex::new(Heard { names, ..Heard::default() }));
        let asking = Asking {
            group: self.clone(),
            units,
            context,
            pods: pods.to_vec(),
            began,
            heard: heard.clone(),
            next: 0,
            spent: std::time::Duration::ZERO,
        };
        Some((Box::new(asking), heard))
    }

    pub(super) fn end(&self, call: &Began) {
        self.view.lock().numbering.end(call);
    }

    /// The pod was given a node; the event stream will show it, or `unassume`
    /// takes it back.
    pub fn assume(&self, pod: &ObjectHandle, node: &str) {
        if !self.followed.load(Ordering::Relaxed) {
            return;
        }
        let mut view = self.view.lock();
        view.assumed.insert(pod.uid().to_owned(), (pod.clone(), node.to_owned()));
        view.each(|interest, feed| {
            if interest.wants_pod(pod) {
                feed.assume(pod.clone(), node.to_owned());
            }
        });
    }

    pub fn unassume(&self, pod: &ObjectHandle) {
        let mut view = self.view.lock();
        // Otherwise the event stream has said what became of it.
        if view.assumed.remove(pod.uid()).is_some() {
            view.each(|interest, feed| {
                if interest.wants_pod(pod) {
                    feed.unassume(pod.clone());
                }
            });
        }
    }

    /// A feed for an instance that knows nothing: all nodes are in it, and the
    /// pods that were just given one.
    pub fn add_feed(
        &self,
        watches: &[GroupVersionKind],
        grants: &Arc<Grants>,
        bell: &Arc<Bell>,
    ) -> Arc<Feed> {
        let feed = Arc::new(Feed::default());
        let interest = Interest {
            feed: Arc::downgrade(&feed),
            pods: watches.contains(&pod_kind()),
            watches: watches.to_vec(),
            grants: grants.clone(),
            bell: bell.clone(),
        };
        let mut view = self.view.lock();
        if !self.followed.swap(true, Ordering::SeqCst) {
            // No event is missed: they wait for the lock.
            view.assumed.clear();
            self.list_nodes(&mut view);
        }
        for (number, node) in view.numbering.present() {
            feed.node(number, node.clone());
        }
        for (pod, node) in view.assumed.values().filter(|(pod, _)| interest.wants_pod(pod)) {
            feed.assume(pod.clone(), node.clone());
        }
        view.interests.push(interest);
        feed
    }

    /// What an instance knows that was told all it is fed; None if something
    /// lies in its feed.
    pub(super) fn present(
        &self,
        feed: &Feed,
        program: &Program<SchedulerExtensionPlugin>,
    ) -> Option<Present> {
        // Held against the event stream, which fills all feeds under it.
        let view = self.view.lock();
        if feed.len() > 0 {
            return None;
        }
        let delivered = view.delivered;
        let floors = feed.floors();
        let watches: Vec<_> =
            floors.into_iter().map(|(kind, listed)| (kind, listed.max(delivered))).collect();
        let watches_pods = watches.iter().any(|(kind, _)| *kind == pod_kind());
        let grants = program.grants.clone();
        let is_seen =
            |pod: &ObjectHandle| watches_pods && grants.may_read_in(pod.kind(), pod.namespace());
        let assumed = view.assumed.values().filter(|(pod, _)| is_seen(pod)).cloned().collect();
        Some(Present { nodes: view.numbering.all(), watches, assumed, grants })
    }

    /// Makes the numbering what the cluster is, and tells every feed.
    fn list_nodes(&self, view: &mut View) {
        let query = ListQuery { kind: Some(node_kind()), ..ListQuery::default() };
        let listing = self.cluster.list(&query);
        for name in view.numbering.gone(&listing.objects) {
            view.node_gone(&name);
        }
        for node in &listing.objects {
            view.node(node);
        }
        view.listed = listing.revision;
    }

    pub(super) fn state(&self, opinion: Opinion) -> Arc<Stated> {
        Arc::new(Stated { id: self.next_id(), opinion })
    }

    fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// No node will do.
    pub(super) fn all_rejected(&self, reason: String, names: &Names) -> Arc<Stated> {
        let in_use = (0..).zip(names.names.iter()).filter(|(_, name)| !name.is_empty());
        let nodes = in_use.map(|(number, _)| number).collect();
        self.state(Opinion { rejections: vec![Rejection { reason, nodes }], scores: None })
    }

    /// The same parts are the same verdict.
    pub(super) fn verdict(&self, parts: Vec<Part>) -> (u64, Arc<Verdict>) {
        let key: Vec<(u64, u32)> = parts.iter().map(|part| (part.stated.id, part.weight)).collect();
        let mut verdicts = self.verdicts.lock();
        if let Some((version, verdict)) = verdicts.get(&key) {
            return (*version, verdict.clone());
        }
        if verdicts.len() >= MOST_VERDICTS {
            verdicts.clear();
        }
        let known = (self.next_id(), Arc::new(Verdict::new(parts)));
        verdicts.insert(key, known.clone());
        known
    }
}

impl Sink for Extensions {
    fn observe(&self, batch: &EventBatch) {
        if !self.followed.load(Ordering::Relaxed) || batch.events.is_empty() {
            return;
        }
        let mut matters = false;
        {
            let mut view = self.view.lock();
            for event in &batch.events {
                matters |= view.observe(event);
            }
            view.delivered = batch.revision;
            view.each(|interest, feed| {
                if feed.len() >= FEED_HIGH_WATER {
                    interest.bell.drain();
                }
            });
            // Also while one is built anew: it may have to be said of every node that it failed.
            if view.interests.is_empty() && self.units.load().is_empty() {
                view.numbering.clear();
                self.followed.store(false, Ordering::SeqCst);
            }
        }
        let units = self.units.load();
        for event in batch.events.iter().filter(|event| is_settled(event)) {
            units.iter().for_each(|unit| unit.unpark(event.object.uid()));
        }
        if matters {
            self.reconsider(false);
        }
    }

    fn resync(&self, _: u64) {
        let mut view = self.view.lock();
        if !self.followed.load(Ordering::SeqCst) {
            return;
        }
        self.list_nodes(&mut view);
        view.assumed.retain(|uid, (pod, _)| {
            let now = self.cluster.get(&pod_kind(), pod.namespace(), pod.name());
            now.is_some_and(|now| now.uid() == uid && now.field("spec.nodeName").is_none())
        });
        for interest in &view.interests {
            interest.bell.resync();
        }
    }
}

/// A pod that waits for no decision any more.
fn is_settled(event: &ClusterEvent) -> bool {
    **event.object.kind() == pod_kind()
        && (event.change == Change::Deleted || event.object.field("spec.nodeName").is_some())
}
