//! The plugin host's view of the cluster: reads from the watch bus, writes
//! through the API server's verbs, under the plugin's own name.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use pintle_api::kinds::{Registry, Resource, SIGNATURE, Scope, Subresource};
use pintle_api::meta::GroupVersionKind;
use pintle_api::selector::LabelSelector;
use pintle_api::status::StatusError;
use pintle_apiserver::verbs::{DeleteOptions, Patch, Preconditions, Propagation, WriteOptions};
use pintle_apiserver::{ApiServer, Clock, User};
use pintle_plugin_host::action::{Action, PatchType, Propagation as PluginPropagation, Target};
use pintle_plugin_host::cluster::{
    Applied, ApplyError, Change, Changes, Cluster, ClusterEvent, EventBatch, EventStream,
    ListQuery, Listing, Object, ObjectHandle, Owner, PluginIdentity, RefusalPlace, RevisionGone,
    Snapshot, StreamGone,
};
use pintle_plugin_host::outline::Outline;
use pintle_watch::{Bus, EventKind, From, Pinned, Query};
use serde_json::{Value, json};

use super::events;
use super::signing::Signing;

/// Not a field: what an object holds for itself alone, see `Resource::claims`.
const CLAIMS: &str = "claims";

/// The kinds of the registry as the plugin host names them, by `ResourceId`.
struct Kinds(Vec<Arc<GroupVersionKind>>);

impl Kinds {
    fn new(registry: &Registry) -> Self {
        Self(
            registry
                .iter()
                .map(|r| Arc::new(GroupVersionKind::new(r.group, r.version, r.kind)))
                .collect(),
        )
    }
}

pub struct LocalCluster {
    api: Arc<ApiServer>,
    bus: Bus,
    registry: &'static Registry,
    clock: Arc<dyn Clock>,
    signing: Signing,
    kinds: Arc<Kinds>,
    /// What was refused last, by plugin.
    refusals: Mutex<HashMap<(String, RefusalPlace), String>>,
}

/// More refusals are not kept; they come again with the next try.
const MAX_REFUSALS: usize = 10_000;

impl LocalCluster {
    pub fn new(
        api: Arc<ApiServer>,
        bus: Bus,
        registry: &'static Registry,
        clock: Arc<dyn Clock>,
        signing: Signing,
    ) -> Self {
        let kinds = Arc::new(Kinds::new(registry));
        Self { api, bus, registry, clock, signing, kinds, refusals: Mutex::default() }
    }

    fn row(&self, kind: &GroupVersionKind) -> Option<&'static Resource> {
        self.registry.by_kind(&kind.group, &kind.version, &kind.kind)
    }

    fn known(&self, kind: &GroupVersionKind) -> Result<&'static Resource, ApplyError> {
        self.row(kind).ok_or_else(|| {
            let api_version = kind.api_version();
            ApplyError::Invalid(format!("there is no kind {} in {api_version}", kind.kind))
        })
    }

    /// Asks `read` for what a query means on the bus; `None` if it can match nothing.
    fn select<R>(&self, query: &ListQuery, read: impl FnOnce(&Query<'_>) -> R) -> Option<R> {
        let labels = query.label_selector.as_deref().map(LabelSelector::parse);
        // A selector that cannot be read selects nothing.
        let labels = labels.transpose().ok()?;
        let row = match &query.kind {
            Some(kind) => Some(self.row(kind)?),
            None => None,
        };
        let mut field = query.field.as_ref().map(|(path, value)| (path.as_str(), value.as_str()));
        let mut namespace = query.namespace.as_deref();
        // Whoever holds a claim is found by the claim itself.
        let holder;
        if let Some((CLAIMS, claim)) = field {
            holder = self.api.verbs().claim_holder(row?, claim)?;
            if namespace.is_some_and(|namespace| namespace != holder.0) {
                return None;
            }
            field = Some(("metadata.name", &holder.1));
            namespace = Some(holder.0.as_str()).filter(|namespace| !namespace.is_empty());
        }
        let by_bus = |path: &str| {
            matches!(path, "metadata.name" | "metadata.namespace")
                || row.is_some_and(|row| row.selectable.iter().any(|known| known.path == path))
        };
        let offered = field.is_some_and(|(path, _)| by_bus(path));
        let by_text = |object: &pintle_watch::Object| {
            field.is_none_or(|(path, value)| field_text(object, path).unwrap_or_default() == value)
        };
        let query = Query {
            resource: row.map(|row| row.storage_id),
            namespace,
            owner_uid: query.owner_uid.as_deref(),
            field: field.filter(|_| offered),
            labels: labels.as_ref(),
            also: if field.is_some() && !offered { Some(&by_text) } else { None },
            limit: query.limit,
        };
        Some(read(&query))
    }

    fn handles(&self, objects: Vec<Arc<pintle_watch::Object>>) -> Vec<ObjectHandle> {
        objects.into_iter().map(|object| self.handle(object)).collect()
    }

    fn handle(&self, object: Arc<pintle_watch::Object>) -> ObjectHandle {
        let kind = self.kinds.0[object.resource.index()].clone();
        Arc::new(BusObject { kind, object, outline: OnceLock::new() })
    }
}

/// An object of the bus, handed out as it is.
struct BusObject {
    kind: Arc<GroupVersionKind>,
    object: Arc<pintle_watch::Object>,
    /// Found when the first field is asked for.
    outline: OnceLock<Outline>,
}

impl Object for BusObject {
    fn kind(&self) -> &Arc<GroupVersionKind> {
        &self.kind
    }

    fn namespace(&self) -> &str {
        self.object.namespace()
    }

    fn name(&self) -> &str {
        self.object.name()
    }

    fn uid(&self) -> &str {
        &self.object.meta.uid
    }

    fn revision(&self) -> u64 {
        self.object.revision
    }

    fn json(&self) -> &Bytes {
        &self.object.bytes
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.object.label(key)
    }

    fn controller(&self) -> Option<Owner<'_>> {
        self.object.meta.controller().map(|owner| Owner {
            api_version: &owner.api_version,
            kind: &owner.kind,
            name: &owner.name,
            uid: &owner.uid,
        })
    }

    fn field(&self, path: &str) -> Option<Cow<'_, str>> {
        field_text(&self.object, path)
    }

    fn raw(&self, path: &str) -> Option<&str> {
        let json = &self.object.bytes;
        self.outline.get_or_init(|| Outline::of(json)).raw(json, path)
    }
}

/// Indexed fields without parsing; others as the bytes have them.
fn field_text<'o>(object: &'o pintle_watch::Object, path: &str) -> Option<Cow<'o, str>> {
    match object.field(path) {
        Some("") => None,
        Some(value) => Some(Cow::Borrowed(value)),
        None => pintle_plugin_host::fields::text(&object.bytes, path),
    }
}

/// The bus at one revision.
struct LocalSnapshot<'c> {
    cluster: &'c LocalCluster,
    pinned: Pinned<'c>,
}

impl Snapshot for LocalSnapshot<'_> {
    fn revision(&self) -> u64 {
        self.pinned.revision()
    }

    fn get(
        &self,
        kind: &GroupVersionKind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<ObjectHandle>, RevisionGone> {
        let Some(row) = self.cluster.row(kind) else { return Ok(None) };
        let namespace = if row.scope == Scope::Namespaced { namespace } else { "" };
        let found = self.pinned.get(row.storage_id, namespace, name).map_err(gone)?;
        Ok(found.map(|object| self.cluster.handle(object)))
    }

    fn list(&self, query: &ListQuery) -> Result<Vec<ObjectHandle>, RevisionGone> {
        let found = self.cluster.select(query, |query| self.pinned.select(query));
        Ok(self.cluster.handles(found.transpose().map_err(gone)?.unwrap_or_default()))
    }

    fn changes(&self, query: &ListQuery, since: u64) -> Option<Changes> {
        // Who holds a claim does not show in the objects that change.
        if query.field.as_ref().is_some_and(|(path, _)| path == CLAIMS) {
            return None;
        }
        let found = self.cluster.select(query, |query| {
            let resource = query.resource?;
            self.pinned.changes(query, resource, since).ok()
        });
        let found = found.flatten()?;
        Some(Changes {
            changed: self.cluster.handles(found.changed),
            gone: self.cluster.handles(found.gone),
        })
    }
}

fn gone(gone: pintle_watch::RevisionGone) -> RevisionGone {
    RevisionGone { revision: gone.revision }
}

struct BusStream {
    watcher: pintle_watch::Watcher,
    kinds: Arc<Kinds>,
}

#[async_trait]
impl EventStream for BusStream {
    async fn next(&mut self) -> Result<EventBatch, StreamGone> {
        let events = self.watcher.next().await.map_err(|_| StreamGone)?;
        let handle = |object: &Arc<pintle_watch::Object>| -> ObjectHandle {
            let kind = self.kinds.0[object.resource.index()].clone();
            Arc::new(BusObject { kind, object: object.clone(), outline: OnceLock::new() })
        };
        let events = events
            .iter()
            .map(|event| ClusterEvent {
                revision: event.revision,
                change: match event.kind {
                    EventKind::Added => Change::Added,
                    EventKind::Modified => Change::Modified,
                    EventKind::Deleted => Change::Deleted,
                },
                object: handle(&event.object),
                previous: event.previous.as_ref().map(handle),
            })
            .collect();
        Ok(EventBatch { events, revision: self.watcher.revision() })
    }
}

#[async_trait]
impl Cluster for LocalCluster {
    fn revision(&self) -> u64 {
        self.bus.revision()
    }

    fn get(&self, kind: &GroupVersionKind, namespace: &str, name: &str) -> Option<ObjectHandle> {
        let row = self.row(kind)?;
        let namespace = if row.scope == Scope::Namespaced { namespace } else { "" };
        self.bus.get(row.storage_id, namespace, name).map(|object| self.handle(object))
    }

    fn list(&self, query: &ListQuery) -> Listing {
        let revision = self.bus.revision();
        let found = self.select(query, |query| self.bus.select(query)).unwrap_or_default();
        Listing { revision, objects: self.handles(found) }
    }

    fn pinned(&self, revision: u64) -> Result<Box<dyn Snapshot + '_>, RevisionGone> {
        let pinned = self.bus.at(revision).map_err(gone)?;
        Ok(Box::new(LocalSnapshot { cluster: self, pinned }))
    }

    fn subscribe(&self) -> Box<dyn EventStream> {
        // A watch from now on cannot have missed anything.
        let watcher = self.bus.watch_all(From::Now).expect("the present is always at hand");
        Box::new(BusStream { watcher, kinds: self.kinds.clone() })
    }

    async fn apply(
        &self,
        identity: &PluginIdentity,
        action: Action,
    ) -> Result<Applied, ApplyError> {
        let user = User::new(identity.user_name(), identity.groups().iter().copied());
        self.perform(&user, identity.name(), action).await
    }

    fn now_unix_ms(&self) -> i64 {
        self.clock.now_unix_ms()
    }

    fn note_refusal(&self, plugin: &str, place: RefusalPlace, message: Option<String>) {
        let mut refusals = self.refusals.lock();
        let key = (plugin.to_owned(), place);
        match message {
            None => {
                refusals.remove(&key);
            }
            Some(message) => {
                if refusals.len() >= MAX_REFUSALS {
                    refusals.clear();
                }
                refusals.insert(key, message);
            }
        }
    }

    fn serves(&self, kind: &GroupVersionKind) -> bool {
        self.row(kind).is_some()
    }

    fn refusal(&self, plugin: &str, place: &RefusalPlace) -> Option<String> {
        self.refusals.lock().get(&(plugin.to_owned(), place.clone())).cloned()
    }
}

impl LocalCluster {
    async fn perform(
        &self,
        user: &User,
        component: &str,
        action: Action,
    ) -> Result<Applied, ApplyError> {
        let verbs = self.api.verbs();
        let options = WriteOptions::default();
        let written = match action {
            Action::Create { kind, namespace, object } => {
                let row = self.known(&kind)?;
                let object = parse(&object)?;
                verbs.create(user, row, &namespace, object, &options).await
            }
            Action::Update { target, subresource, object } if subresource == SIGNATURE => {
                let row = self.known(&target.kind)?;
                let Target { namespace, name, .. } = &target;
                self.signing.sign(verbs, user, row, namespace, name, &object).await
            }
            Action::Update { target, subresource, object } => {
                let row = self.known(&target.kind)?;
                let subresource = parse_subresource(row, &subresource)?;
                let object = parse(&object)?;
                verbs
                    .update(
                        user,
                        row,
                        subresource,
                        &target.namespace,
                        &target.name,
                        object,
                        &options,
                    )
                    .await
            }
            Action::Patch { target, subresource, patch_type, body, revision } => {
                let row = self.known(&target.kind)?;
                let subresource = parse_subresource(row, &subresource)?;
                let patch = patch_of(patch_type, parse(&body)?, revision)?;
                verbs
                    .patch(
                        user,
                        row,
                        subresource,
                        &target.namespace,
                        &target.name,
                        &patch,
                        &options,
                    )
                    .await
            }
            Action::Delete { target, uid, revision, grace_period_seconds, propagation } => {
                let row = self.known(&target.kind)?;
                let options = DeleteOptions {
                    grace_period_seconds,
                    propagation: propagation.map(|p| match p {
                        PluginPropagation::Background => Propagation::Background,
                        PluginPropagation::Foreground => Propagation::Foreground,
                        PluginPropagation::Orphan => Propagation::Orphan,
                    }),
                    preconditions: Preconditions {
                        uid,
                        resource_version: revision.map(|revision| revision.to_string()),
                    },
                    dry_run: false,
                };
                return verbs
                    .delete(user, row, &target.namespace, &target.name, &options)
                    .await
                    .map(|_| Applied { revision: self.bus.revision() })
                    .map_err(rejected);
            }
            Action::Event { regarding, regarding_uid, event_type, reason, action, note } => {
                let event = events::Occurrence {
                    regarding: &regarding,
                    uid: &regarding_uid,
                    event_type: &event_type,
                    reason: &reason,
                    action: &action,
                    note: &note,
                    component,
                };
                return events::record(verbs, self, user, &event).await.map_err(rejected);
            }
            Action::Bind { namespace, pod, uid, node } => {
                let row = self.known(&GroupVersionKind::new("", "v1", "Pod"))?;
                verbs.bind_to_node(user, row, &namespace, &pod, &uid, &node).await
            }
        };
        written.map(|written| Applied { revision: written.revision }).map_err(rejected)
    }

    /// The current object, for callers inside the server.
    pub fn current(&self, target: &Target) -> Option<Arc<pintle_watch::Object>> {
        let row = self.row(&target.kind)?;
        self.bus.get(row.storage_id, &target.namespace, &target.name)
    }
}

fn parse(json: &[u8]) -> Result<Value, ApplyError> {
    serde_json::from_slice(json).map_err(|e| ApplyError::Invalid(format!("no valid JSON: {e}")))
}

fn parse_subresource(row: &Resource, name: &str) -> Result<Option<Subresource>, ApplyError> {
    if name.is_empty() {
        return Ok(None);
    }
    row.subresource(name)
        .map(Some)
        .ok_or_else(|| ApplyError::Invalid(format!("there is no subresource {name:?}")))
}

/// A patch that holds only at `revision`, if one is given.
fn patch_of(
    patch_type: PatchType,
    mut body: Value,
    revision: Option<u64>,
) -> Result<Patch, ApplyError> {
    if let Some(revision) = revision {
        let revision = revision.to_string();
        match (&mut body, patch_type) {
            (Value::Array(operations), PatchType::Json) => operations.insert(
                0,
                json!({"op": "test", "path": "/metadata/resourceVersion", "value": revision}),
            ),
            (Value::Object(fields), PatchType::Merge | PatchType::Strategic) => {
                let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
                metadata["resourceVersion"] = json!(revision);
            }
            _ => return Err(ApplyError::Invalid("the patch has the wrong shape".into())),
        }
    }
    Ok(match patch_type {
        PatchType::Json => Patch::Json(body),
        PatchType::Merge => Patch::Merge(body),
        PatchType::Strategic => Patch::Strategic(body),
    })
}

fn rejected(error: StatusError) -> ApplyError {
    let message = error.message().to_owned();
    match (error.code(), error.reason()) {
        (404, _) => ApplyError::NotFound(message),
        (409, "AlreadyExists") => ApplyError::AlreadyExists(message),
        (409, _) => ApplyError::Conflict(message),
        (403, _) if error.has_cause("NamespaceTerminating") => {
            ApplyError::NamespaceTerminating(message)
        }
        (401 | 403, _) => ApplyError::Forbidden(message),
        (429 | 500..=599, _) => ApplyError::Transient(message),
        _ => ApplyError::Invalid(message),
    }
}
