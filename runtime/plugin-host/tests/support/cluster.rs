//! A cluster in memory: one revision counter, optimistic concurrency, one
//! ordered event stream that has a commit before the commit is reported.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use pintle_api::meta::GroupVersionKind;
use pintle_api::selector::LabelSelector;
use pintle_plugin_host::action::{Action, PatchType, Target};
use pintle_plugin_host::cluster::{
    Applied, ApplyError, Change, Cluster, ClusterEvent, EventBatch, EventStream, ListQuery,
    Listing, Object, ObjectHandle, Owner, PluginIdentity, RevisionGone, Snapshot, StreamGone,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

type Key = (String, String, String);

/// So many replaced states are kept for reads of the past.
const PAST: usize = 10_000;

pub struct Stored {
    kind: Arc<GroupVersionKind>,
    namespace: String,
    name: String,
    uid: String,
    revision: u64,
    json: Bytes,
    pub value: Value,
}

impl Object for Stored {
    fn kind(&self) -> &Arc<GroupVersionKind> {
        &self.kind
    }
    fn namespace(&self) -> &str {
        &self.namespace
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn uid(&self) -> &str {
        &self.uid
    }
    fn revision(&self) -> u64 {
        self.revision
    }
    fn json(&self) -> &Bytes {
        &self.json
    }
    fn label(&self, key: &str) -> Option<&str> {
        self.value["metadata"]["labels"][key].as_str()
    }
    fn controller(&self) -> Option<Owner<'_>> {
        let owner = self.value["metadata"]["ownerReferences"]
            .as_array()?
            .iter()
            .find(|o| o["controller"] == true)?;
        let text = |field: &str| owner[field].as_str().unwrap_or_default();
        Some(Owner {
            api_version: text("apiVersion"),
            kind: text("kind"),
            name: text("name"),
            uid: text("uid"),
        })
    }
}

#[derive(Default)]
struct Inner {
    revision: u64,
    uids: u64,
    objects: BTreeMap<Key, Arc<Stored>>,
    /// States that were replaced or removed, with the revision that did it.
    past: VecDeque<(u64, Arc<Stored>)>,
    /// Of the newest event whose state before is not in `past` any more.
    forgotten: u64,
    streams: Vec<mpsc::UnboundedSender<EventBatch>>,
}

#[derive(Default)]
pub struct Memory {
    inner: Mutex<Inner>,
    /// How long a commit takes, as a disk would.
    pub latency: Mutex<Duration>,
    /// How many bindings are to be refused although they are right.
    pub refuse_bindings: AtomicUsize,
    pub bindings: AtomicUsize,
    pub double_bindings: AtomicUsize,
    pub conflicts: AtomicUsize,
    /// How many pinned reads are to be refused as if the revision were gone.
    pub forget_pins: AtomicUsize,
    pub events: Mutex<Vec<(String, String, String)>>,
    /// When each binding came, while somebody wants to know.
    pub bound_at: Mutex<Option<Vec<Instant>>>,
}

impl Memory {
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    pub fn create(&self, value: Value) -> u64 {
        let mut inner = self.inner.lock();
        inner.put(value, None).revision
    }

    /// Replaces fields of an object as a merge patch does.
    pub fn merge(&self, kind: &str, namespace: &str, name: &str, patch: Value) {
        let mut inner = self.inner.lock();
        let key = key(kind, namespace, name);
        let mut value = inner.objects[&key].value.clone();
        json_patch::merge(&mut value, &patch);
        inner.put(value, None);
    }

    pub fn delete(&self, kind: &str, namespace: &str, name: &str) {
        self.inner.lock().remove(&key(kind, namespace, name));
    }

    pub fn value(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        self.inner
            .lock()
            .objects
            .get(&key(kind, namespace, name))
            .map(|stored| stored.value.clone())
    }

    pub fn values(&self, kind: &str) -> Vec<Value> {
        let inner = self.inner.lock();
        inner
            .objects
            .values()
            .filter(|stored| stored.kind.kind == kind)
            .map(|stored| stored.value.clone())
            .collect()
    }

    pub fn count_bound(&self) -> usize {
        let inner = self.inner.lock();
        let pods = inner.objects.values().filter(|stored| stored.kind.kind == "Pod");
        pods.filter(|pod| pod.value["spec"]["nodeName"].is_string()).count()
    }

    /// Makes every reader of events fall behind.
    pub fn break_streams(&self) {
        self.inner.lock().streams.clear();
    }

    fn do_apply(&self, action: Action) -> Result<Applied, ApplyError> {
        let mut inner = self.inner.lock();
        let gone = |target: &Target| ApplyError::NotFound(target.to_string());
        match action {
            Action::Create { object, namespace, .. } => {
                let mut value: Value = serde_json::from_slice(&object)
                    .map_err(|error| ApplyError::Invalid(error.to_string()))?;
                if !namespace.is_empty() {
                    value["metadata"]["namespace"] = namespace.into();
                }
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let key = (
                    text(&value["kind"]),
                    text(&value["metadata"]["namespace"]),
                    text(&value["metadata"]["name"]),
                );
                if inner.objects.contains_key(&key) {
                    return Err(ApplyError::AlreadyExists(key.2));
                }
                Ok(Applied { revision: inner.put(value, None).revision })
            }
            Action::Update { target, object, .. } => {
                let value = serde_json::from_slice(&object)
                    .map_err(|error| ApplyError::Invalid(error.to_string()))?;
                inner.objects.get(&of(&target)).ok_or_else(|| gone(&target))?;
                Ok(Applied { revision: inner.put(value, None).revision })
            }
            Action::Patch { target, patch_type, body, revision, .. } => {
                let stored =
                    inner.objects.get(&of(&target)).cloned().ok_or_else(|| gone(&target))?;
                if revision.is_some_and(|revision| revision != stored.revision) {
                    self.conflicts.fetch_add(1, Ordering::SeqCst);
                    return Err(ApplyError::Conflict(target.to_string()));
                }
                let mut value = stored.value.clone();
                match patch_type {
                    PatchType::Json => {
                        let patch: json_patch::Patch = serde_json::from_slice(&body).unwrap();
                        json_patch::patch(&mut value, &patch).unwrap();
                    }
                    PatchType::Merge | PatchType::Strategic => {
                        json_patch::merge(&mut value, &serde_json::from_slice(&body).unwrap());
                    }
                }
                Ok(Applied { revision: inner.put(value, None).revision })
            }
            Action::Delete { target, .. } => inner
                .remove(&of(&target))
                .map(|revision| Applied { revision })
                .ok_or_else(|| gone(&target)),
            Action::Event { regarding, reason, note, .. } => {
                self.events.lock().push((regarding.name, reason, note));
                Ok(Applied { revision: inner.revision })
            }
            Action::Bind { namespace, pod, uid, node } => {
                let key = key("Pod", &namespace, &pod);
                let stored = inner
                    .objects
                    .get(&key)
                    .cloned()
                    .ok_or_else(|| ApplyError::NotFound(pod.clone()))?;
                if stored.uid != uid || stored.value["spec"]["nodeName"].is_string() {
                    self.double_bindings.fetch_add(1, Ordering::SeqCst);
                    return Err(ApplyError::Conflict(pod));
                }
                let refuse =
                    self.refuse_bindings.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                        left.checked_sub(1)
                    });
                if refuse.is_ok() {
                    return Err(ApplyError::Transient("as the test wants".into()));
                }
                let mut value = stored.value.clone();
                value["spec"]["nodeName"] = node.into();
                self.bindings.fetch_add(1, Ordering::SeqCst);
                if let Some(bound_at) = self.bound_at.lock().as_mut() {
                    bound_at.push(Instant::now());
                }
                Ok(Applied { revision: inner.put(value, None).revision })
            }
        }
    }
}

fn key(kind: &str, namespace: &str, name: &str) -> Key {
    (kind.to_owned(), namespace.to_owned(), name.to_owned())
}

fn of(target: &Target) -> Key {
    key(&target.kind.kind, &target.namespace, &target.name)
}

impl Inner {
    fn put(&mut self, mut value: Value, uid: Option<&str>) -> Arc<Stored> {
        self.revision += 1;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let kind = Arc::new(GroupVersionKind::parse(
            value["apiVersion"].as_str().unwrap_or("v1"),
            &text(&value["kind"]),
        ));
        let (namespace, name) =
            (text(&value["metadata"]["namespace"]), text(&value["metadata"]["name"]));
        let key = key(&kind.kind, &namespace, &name);
        let previous = self.objects.get(&key).cloned();
        let uid = match (&previous, uid) {
            (Some(previous), _) => previous.uid.clone(),
            (None, Some(uid)) => uid.to_owned(),
            (None, None) => {
                self.uids += 1;
                format!("uid-{}", self.uids)
            }
        };
        let generation = match &previous {
            Some(previous) => {
                let before = previous.value["metadata"]["generation"].as_i64().unwrap_or(1);
                before + i64::from(previous.value["spec"] != value["spec"])
            }
            None => 1,
        };
        value["metadata"]["uid"] = uid.clone().into();
        value["metadata"]["generation"] = generation.into();
        value["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let json = Bytes::from(value.to_string());
        let stored =
            Arc::new(Stored { kind, namespace, name, uid, revision: self.revision, json, value });
        self.objects.insert(key, stored.clone());
        let change = if previous.is_some() { Change::Modified } else { Change::Added };
        self.publish(change, stored.clone(), previous);
        stored
    }

    fn remove(&mut self, key: &Key) -> Option<u64> {
        let stored = self.objects.remove(key)?;
        self.revision += 1;
        let last = Arc::new(Stored {
            kind: stored.kind.clone(),
            namespace: stored.namespace.clone(),
            name: stored.name.clone(),
            uid: stored.uid.clone(),
            revision: self.revision,
            json: stored.json.clone(),
            value: stored.value.clone(),
        });
        self.publish(Change::Deleted, last, Some(stored));
        Some(self.revision)
    }

    fn publish(&mut self, change: Change, object: Arc<Stored>, previous: Option<Arc<Stored>>) {
        if let Some(previous) = &previous {
            self.past.push_back((self.revision, previous.clone()));
            if self.past.len() > PAST
                && let Some((revision, _)) = self.past.pop_front()
            {
                self.forgotten = revision;
            }
        }
        let event = ClusterEvent {
            revision: self.revision,
            change,
            object,
            previous: previous.map(|previous| previous as ObjectHandle),
        };
        let batch = EventBatch { events: vec![event], revision: self.revision };
        self.streams.retain(|stream| stream.send(batch.clone()).is_ok());
    }
}

struct Stream(mpsc::UnboundedReceiver<EventBatch>);

#[async_trait]
impl EventStream for Stream {
    async fn next(&mut self) -> Result<EventBatch, StreamGone> {
        let mut batch = self.0.recv().await.ok_or(StreamGone)?;
        while let Ok(more) = self.0.try_recv() {
            batch.events.extend(more.events);
            batch.revision = more.revision;
        }
        Ok(batch)
    }
}

#[async_trait]
impl Cluster for Memory {
    fn revision(&self) -> u64 {
        self.inner.lock().revision
    }

    fn get(&self, kind: &GroupVersionKind, namespace: &str, name: &str) -> Option<ObjectHandle> {
        let found = self.inner.lock().objects.get(&key(&kind.kind, namespace, name)).cloned();
        found.map(|stored| stored as ObjectHandle)
    }

    fn list(&self, query: &ListQuery) -> Listing {
        let inner = self.inner.lock();
        let objects = inner
            .objects
            .values()
            .filter(|stored| wanted(query, stored))
            .map(|stored| stored.clone() as ObjectHandle)
            .collect();
        Listing { revision: inner.revision, objects }
    }

    fn pinned(&self, revision: u64) -> Result<Box<dyn Snapshot + '_>, RevisionGone> {
        let refuse = self
            .forget_pins
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        let inner = self.inner.lock();
        if refuse.is_ok() || revision < inner.forgotten || revision > inner.revision {
            return Err(RevisionGone { revision });
        }
        Ok(Box::new(Pinned { memory: self, revision }))
    }

    fn subscribe(&self) -> Box<dyn EventStream> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.inner.lock().streams.push(sender);
        Box::new(Stream(receiver))
    }

    async fn apply(&self, _: &PluginIdentity, action: Action) -> Result<Applied, ApplyError> {
        let latency = *self.latency.lock();
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        self.do_apply(action)
    }

    fn now_unix_ms(&self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(now.as_millis()).unwrap_or_default()
    }
}

fn wanted(query: &ListQuery, stored: &Stored) -> bool {
    query.kind.as_ref().is_none_or(|kind| *kind == *stored.kind)
        && query.namespace.as_ref().is_none_or(|namespace| *namespace == stored.namespace)
        && query
            .field
            .as_ref()
            .is_none_or(|(path, value)| stored.field(path).as_deref() == Some(value))
        && query
            .owner_uid
            .as_ref()
            .is_none_or(|uid| stored.controller().is_some_and(|owner| owner.uid == *uid))
        && query.label_selector.as_ref().is_none_or(|selector| {
            LabelSelector::parse(selector)
                .is_ok_and(|selector| selector.matches(|key| stored.label(key)))
        })
}

/// What is there and not newer, and what was replaced since.
struct Pinned<'m> {
    memory: &'m Memory,
    revision: u64,
}

impl Pinned<'_> {
    fn read(
        &self,
        wanted: impl Fn(&Stored) -> bool,
    ) -> Result<BTreeMap<Key, ObjectHandle>, RevisionGone> {
        let inner = self.memory.inner.lock();
        if self.revision < inner.forgotten {
            return Err(RevisionGone { revision: self.revision });
        }
        let since = inner.past.partition_point(|(revision, _)| *revision <= self.revision);
        let replaced = inner.past.range(since..).map(|(_, stored)| stored);
        let then = inner.objects.values().chain(replaced);
        let then = then.filter(|stored| stored.revision <= self.revision && wanted(stored));
        let keyed = |stored: &Arc<Stored>| {
            let key = key(&stored.kind.kind, &stored.namespace, &stored.name);
            (key, stored.clone() as ObjectHandle)
        };
        Ok(then.map(keyed).collect())
    }
}

impl Snapshot for Pinned<'_> {
    fn revision(&self) -> u64 {
        self.revision
    }

    fn get(
        &self,
        kind: &GroupVersionKind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<ObjectHandle>, RevisionGone> {
        let present =
            self.memory.inner.lock().objects.get(&key(&kind.kind, namespace, name)).cloned();
        if let Some(stored) = present
            && stored.revision <= self.revision
        {
            return Ok(Some(stored));
        }
        let found = self.read(|stored| {
            stored.kind.kind == kind.kind && stored.namespace == namespace && stored.name == name
        })?;
        Ok(found.into_values().next())
    }

    fn list(&self, query: &ListQuery) -> Result<Vec<ObjectHandle>, RevisionGone> {
        Ok(self.read(|stored| wanted(query, stored))?.into_values().collect())
    }
}

/// A pod of the size that real ones have.
pub fn large_pod(name: &str) -> Value {
    let mut pod = pod(name);
    let env: Vec<Value> = (0..16)
        .map(|index| json!({ "name": format!("SETTING_{index}"), "value": format!("the value of setting {index}") }))
        .collect();
    pod["spec"]["containers"][0]["env"] = env.into();
    pod["spec"]["containers"][0]["resources"] = json!({ "requests": { "cpu": "100m", "memory": "128Mi" }, "limits": { "memory": "256Mi" } });
    pod
}

pub fn config_map(name: &str, data: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": name, "namespace": "default", "labels": { "copy": "yes" } },
        "data": data,
    })
}

pub fn node(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } },
        "spec": {},
        "status": {
            "allocatable": { "cpu": "64", "memory": "256Gi", "pods": "250" },
            "capacity": { "cpu": "64", "memory": "256Gi", "pods": "250" },
            "conditions": [{ "type": "Ready", "status": "True" }],
        },
    })
}

pub fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "default" },
        "spec": { "containers": [{ "name": "main", "image": "web" }] },
    })
}
