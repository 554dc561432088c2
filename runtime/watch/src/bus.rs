//! The bus itself: reading what is current, and taking in what the store commits.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock, RwLockWriteGuard};
use pintle_api::kinds::{Registry, ResourceId};
use pintle_storage::{Batch, Record, Revision, Store, StoreEvent};
use tokio::sync::watch;

use crate::{
    event::Event,
    object::Object,
    parse::Plan,
    query::Query,
    ring::Bounds,
    shelf::{Key, Shelf, Wakes},
    topic::{self, Topic},
    watcher::{From, Gone, Watcher},
};

/// How much past the bus keeps in memory, and the clock it tells the past by.
#[derive(Clone)]
pub struct Options {
    /// Per resource: beyond this the oldest events go, however young.
    pub ring_bytes: usize,
    /// Events older than this go even if there is room.
    pub history: Duration,
    /// Time since any fixed moment.
    pub now: Arc<dyn Fn() -> Duration + Send + Sync>,
}

impl Default for Options {
    fn default() -> Self {
        let start = Instant::now();
        Self {
            ring_bytes: 16 << 20,
            history: Duration::from_secs(90),
            now: Arc::new(move || start.elapsed()),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("ring_bytes", &self.ring_bytes)
            .field("history", &self.history)
            .finish_non_exhaustive()
    }
}

/// Objects as of one revision.
#[derive(Clone, Debug)]
pub struct Listing {
    pub revision: Revision,
    /// In key order.
    pub objects: Vec<Arc<Object>>,
}

/// A handle on the watch bus; clones share it.
#[derive(Clone)]
pub struct Bus {
    pub(crate) core: Arc<Core>,
}

pub(crate) struct Core {
    pub(crate) registry: &'static Registry,
    /// Per resource, by index: which fields are indexed.
    pub(crate) plans: Vec<Plan>,
    /// Per resource. Whoever needs several takes them in ascending order.
    pub(crate) shelves: Vec<RwLock<Shelf>>,
    /// Owner uid to what it owns. Taken after the shelves.
    pub(crate) owners: RwLock<HashMap<Box<str>, Owned>>,
    publishing: Mutex<Publishing>,
    /// Changes only while the shelves of what changed are locked for writing.
    revision: AtomicU64,
    pub(crate) progress: watch::Sender<Revision>,
    pub(crate) store: OnceLock<Arc<dyn Store>>,
    options: Options,
}

/// Fewer objects than this are not worth a thread.
const RECORDS_PER_THREAD: usize = 1024;

pub(crate) type Owned = BTreeMap<(ResourceId, Key), Arc<Object>>;

struct Publishing {
    /// Batches that came while the bus was loading; `None` afterwards.
    pending: Option<Vec<Batch>>,
    /// The shelf that is trimmed with the next batch, so that quiet ones are, too.
    trim: usize,
}

/// One committed change of one object.
struct Change {
    shelf: usize,
    key: Key,
    object: Option<Arc<Object>>,
    revision: Revision,
}

impl Bus {
    pub fn new(registry: &'static Registry, options: Options) -> Self {
        let plans: Vec<_> = registry.iter().map(Plan::of).collect();
        let shelves = plans.iter().map(|plan| RwLock::new(Shelf::new(plan))).collect();
        let core = Core {
            registry,
            plans,
            shelves,
            owners: RwLock::default(),
            publishing: Mutex::new(Publishing { pending: Some(Vec::new()), trim: 0 }),
            revision: AtomicU64::new(0),
            progress: watch::channel(0).0,
            store: OnceLock::new(),
            options,
        };
        Self { core: Arc::new(core) }
    }

    pub fn registry(&self) -> &'static Registry {
        self.core.registry
    }

    /// The newest revision the bus has; not older than any acknowledged write.
    pub fn revision(&self) -> Revision {
        self.core.revision()
    }

    /// `namespace` is empty for cluster-scoped resources.
    pub fn get(&self, resource: ResourceId, namespace: &str, name: &str) -> Option<Arc<Object>> {
        let shelf = self.core.shelf(resource).read();
        shelf.objects.get(topic::key(namespace, name).as_str()).cloned()
    }

    pub fn list(&self, resource: ResourceId, namespace: Option<&str>) -> Listing {
        self.list_topic(resource, &namespace.map_or(Topic::All, Topic::namespace))
    }

    pub fn list_topic(&self, resource: ResourceId, topic: &Topic) -> Listing {
        let shelf = self.core.shelf(resource).read();
        let objects = shelf.list(topic, self.core.plan(resource));
        Listing { revision: self.core.revision(), objects }
    }

    pub fn count(&self, resource: ResourceId) -> usize {
        self.core.shelf(resource).read().objects.len()
    }

    /// All objects, of whatever kind, that name an owner with this uid.
    pub fn owned_by(&self, uid: &str) -> Vec<Arc<Object>> {
        let owners = self.core.owners.read();
        owners.get(uid).map(|owned| owned.values().cloned().collect()).unwrap_or_default()
    }

    /// All objects, of whatever kind, in a namespace.
    pub fn by_namespace(&self, namespace: &str) -> Vec<Arc<Object>> {
        let mut objects = Vec::new();
        for resource in self.core.registry.iter_stored().filter(|row| row.is_namespaced()) {
            let shelf = self.core.shelf(resource.id).read();
            objects.extend(shelf.namespace(namespace).map(|(_, object)| Arc::clone(object)));
        }
        objects
    }

    /// What matches now, in the order of resources and keys. Of one resource, that is the
    /// state of one revision; of several, pin one with [`Bus::at`] if that matters.
    pub fn select(&self, query: &Query<'_>) -> Vec<Arc<Object>> {
        // Only the past can be gone.
        query.select(&self.core, None).unwrap_or_default()
    }

    /// Watches one resource. [`Gone`] at once or later means: list again.
    pub fn watch(&self, resource: ResourceId, topic: Topic, from: From) -> Result<Watcher, Gone> {
        Watcher::one(&self.core, resource, topic, from)
    }

    /// Watches several resources in one order, that of revisions.
    pub fn watch_kinds(&self, resources: &[ResourceId], from: From) -> Result<Watcher, Gone> {
        Watcher::many(&self.core, resources, from)
    }

    /// Watches everything.
    pub fn watch_all(&self, from: From) -> Result<Watcher, Gone> {
        let all: Vec<_> = self.core.registry.iter_stored().map(|row| row.id).collect();
        self.watch_kinds(&all, from)
    }

    /// Waits until the bus has a revision, for requests that name one from the future.
    /// On timeout the answer is the revision it has.
    pub async fn wait_for(&self, revision: Revision, timeout: Duration) -> Result<(), Revision> {
        if self.revision() >= revision {
            return Ok(());
        }
        let mut progress = self.core.progress.subscribe();
        let arrived = progress.wait_for(|current| *current >= revision);
        match tokio::time::timeout(timeout, arrived).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(self.revision()),
        }
    }

    /// Each new revision, for whoever acts on progress as such.
    pub fn progress(&self) -> watch::Receiver<Revision> {
        self.core.progress.subscribe()
    }
}

impl Core {
    pub(crate) fn index(&self, resource: ResourceId) -> usize {
        self.registry.get(resource).storage_id.index()
    }

    pub(crate) fn shelf(&self, resource: ResourceId) -> &RwLock<Shelf> {
        &self.shelves[self.index(resource)]
    }

    pub(crate) fn plan(&self, resource: ResourceId) -> &Plan {
        &self.plans[self.index(resource)]
    }

    pub(crate) fn revision(&self) -> Revision {
        self.revision.load(Ordering::Acquire)
    }

    fn bounds(&self) -> Bounds {
        Bounds { bytes: self.options.ring_bytes, history: self.options.history }
    }

    /// Takes in a batch of the store; called by its committer.
    pub(crate) fn publish(&self, batch: &Batch) {
        let mut publishing = self.publishing.lock();
        match &mut publishing.pending {
            Some(pending) => pending.push(batch.clone()),
            None => self.apply(&batch.events, &mut publishing),
        }
    }

    /// Takes in what the store held at `revision`, then what came since.
    pub(crate) fn start(&self, records: Vec<Record>, revision: Revision) {
        let mut publishing = self.publishing.lock();
        let mut owners = self.owners.write();
        for change in self.parse(records) {
            let mut shelf = self.shelves[change.shelf].write();
            shelf.set(&change.key, change.object.as_ref());
            update_owners(&mut owners, &change.key, None, change.object.as_ref());
        }
        for shelf in &self.shelves {
            shelf.write().ring.start_after(revision);
        }
        self.revision.store(revision, Ordering::Release);
        drop(owners);
        for batch in publishing.pending.take().unwrap_or_default() {
            self.apply(&batch.events, &mut publishing);
        }
        self.progress.send_replace(self.revision());
    }

    /// Parses what the store held, on all cores: a start waits for this.
    fn parse(&self, records: Vec<Record>) -> Vec<Change> {
        let parse = |records: Vec<Record>| -> Vec<Change> {
            let event = |record: Record| StoreEvent {
                key: record.key.clone(),
                revision: record.mod_revision,
                record: Some(record),
            };
            records.into_iter().filter_map(|record| self.change(event(record))).collect()
        };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let share = records.len().div_ceil(cores).max(RECORDS_PER_THREAD);
        let (mut rest, mut shares) = (records, Vec::new());
        while rest.len() > share {
            shares.push(rest.split_off(rest.len() - share));
        }
        thread::scope(|scope| {
            let others: Vec<_> =
                shares.into_iter().rev().map(|share| scope.spawn(move || parse(share))).collect();
            let mut changes = parse(rest);
            for other in others {
                match other.join() {
                    Ok(more) => changes.extend(more),
                    // Nothing may be served without them.
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            changes
        })
    }

    fn apply(&self, events: &[StoreEvent], publishing: &mut Publishing) {
        let Some(revision) = events.last().map(|event| event.revision) else { return };
        // Parsing is the expensive part: it happens before anything is locked.
        let changes: Vec<_> =
            events.iter().cloned().filter_map(|event| self.change(event)).collect();
        let now = (self.options.now)();
        let mut wakes = Wakes::default();

        publishing.trim = (publishing.trim + 1) % self.shelves.len();
        let mut shelves: Vec<Option<RwLockWriteGuard<'_, Shelf>>> =
            self.shelves.iter().map(|_| None).collect();
        let mut touched: Vec<_> = changes.iter().map(|change| change.shelf).collect();
        touched.push(publishing.trim);
        touched.sort_unstable();
        touched.dedup();
        for index in touched.iter().copied() {
            shelves[index] = Some(self.shelves[index].write());
        }
        let mut owners = self.owners.write();
        for Change { shelf, key, object, revision } in changes {
            let Some(shelf) = &mut shelves[shelf] else { continue };
            let previous = shelf.set(&key, object.as_ref());
            update_owners(&mut owners, &key, previous.as_ref(), object.as_ref());
            let event = match (object, previous) {
                (Some(object), previous) => Event::put(object, previous),
                (None, Some(last)) => Event::delete(last, revision),
                (None, None) => continue,
            };
            shelf.push(now, &key, Arc::new(event), &mut wakes);
        }
        drop(owners);
        for shelf in shelves.iter_mut().flatten() {
            shelf.trim(now, self.bounds());
        }
        self.revision.store(revision, Ordering::Release);
        drop(shelves);
        wakes.wake();
        self.progress.send_replace(revision);
    }

    /// `None` for keys that belong to no resource.
    fn change(&self, event: StoreEvent) -> Option<Change> {
        let key = std::str::from_utf8(&event.key).ok()?;
        let (row, namespace, name) = self.registry.by_key(key)?;
        let shelf = row.storage_id.index();
        let object = event.record.map(|record| {
            let plan = &self.plans[shelf];
            Arc::new(Object::new(self.registry, row.id, plan, namespace, name, &record))
        });
        let key = Key::from(&key[row.registry_prefix().len()..]);
        Some(Change { shelf, key, object, revision: event.revision })
    }
}

fn update_owners(
    owners: &mut HashMap<Box<str>, Owned>,
    key: &Key,
    previous: Option<&Arc<Object>>,
    object: Option<&Arc<Object>>,
) {
    if let Some(previous) = previous {
        for owner in &previous.meta.owners {
            let kept = object
                .is_some_and(|object| object.meta.owners.iter().any(|new| new.uid == owner.uid));
            if !kept && let Some(owned) = owners.get_mut(&owner.uid) {
                owned.remove(&(previous.resource, Arc::clone(key)));
                if owned.is_empty() {
                    owners.remove(&owner.uid);
                }
            }
        }
    }
    if let Some(object) = object {
        for owner in &object.meta.owners {
            let owned = match owners.get_mut(&owner.uid) {
                Some(owned) => owned,
                None => owners.entry(owner.uid.clone()).or_default(),
            };
            owned.insert((object.resource, Arc::clone(key)), Arc::clone(object));
        }
    }
}
