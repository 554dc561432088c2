//! The plugin host's view of the cluster: reads from the watch bus, writes
//! through the API server's verbs, under the plugin's own name.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pintle_api::kinds::{Registry, Resource, Scope, Subresource};
use pintle_api::meta::GroupVersionKind;
use pintle_api::selector::LabelSelector;
use pintle_api::status::StatusError;
use pintle_apiserver::verbs::{DeleteOptions, Patch, Preconditions, Propagation, WriteOptions};
use pintle_apiserver::{ApiServer, Clock, User};
use pintle_plugin_host::action::{Action, PatchType, Propagation as PluginPropagation, Target};
use pintle_plugin_host::cluster::{
    Applied, ApplyError, Change, Cluster, ClusterEvent, EventBatch, EventStream, ListQuery,
    Listing, Object, ObjectHandle, Owner, PluginIdentity, StreamGone,
};
use pintle_watch::{Bus, EventKind, From, Topic};
use serde_json::{Value, json};

use super::events;

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
    kinds: Arc<Kinds>,
}

impl LocalCluster {
    pub fn new(
        api: Arc<ApiServer>,
        bus: Bus,
        registry: &'static Registry,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { api, bus, registry, clock, kinds: Arc::new(Kinds::new(registry)) }
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

    fn handle(&self, object: Arc<pintle_watch::Object>) -> ObjectHandle {
        let kind = self.kinds.0[object.resource.index()].clone();
        Arc::new(BusObject { kind, object })
    }
}

/// An object of the bus, handed out as it is.
struct BusObject {
    kind: Arc<GroupVersionKind>,
    object: Arc<pintle_watch::Object>,
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
        match self.object.field(path) {
            Some("") => None,
            Some(value) => Some(Cow::Borrowed(value)),
            None => pintle_plugin_host::fields::text(&self.object.bytes, path),
        }
    }
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
            Arc::new(BusObject { kind, object: object.clone() })
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
        let nothing = Listing { revision, objects: Vec::new() };
        let selector = match query.label_selector.as_deref().map(LabelSelector::parse) {
            Some(Ok(selector)) => Some(selector),
            Some(Err(_)) => return nothing,
            None => None,
        };
        let row = match &query.kind {
            Some(kind) => match self.row(kind) {
                Some(row) => Some(row),
                None => return nothing,
            },
            None => None,
        };
        // The narrowest index first; what it does not cover is filtered below.
        let candidates = match (&query.owner_uid, row, &query.field, &query.namespace) {
            (Some(uid), ..) => self.bus.owned_by(uid),
            (None, Some(row), Some((path, value)), _)
                if row.selectable.iter().any(|f| f.indexed && f.path == path) =>
            {
                self.bus.list_topic(row.storage_id, &Topic::field(path, value)).objects
            }
            (None, Some(row), _, namespace) => {
                self.bus.list(row.storage_id, namespace.as_deref()).objects
            }
            (None, None, _, Some(namespace)) => self.bus.by_namespace(namespace),
            (None, None, _, None) => return nothing,
        };
        let limit = if query.limit == 0 { usize::MAX } else { query.limit };
        let objects = candidates
            .into_iter()
            .filter(|o| row.is_none_or(|row| o.resource == row.storage_id))
            .filter(|o| query.namespace.as_deref().is_none_or(|ns| o.namespace() == ns))
            .filter(|o| selector.as_ref().is_none_or(|s| s.matches(|key| o.label(key))))
            .map(|object| self.handle(object))
            .filter(|o| {
                query
                    .field
                    .as_ref()
                    .is_none_or(|(path, value)| o.field(path).unwrap_or_default() == value.as_str())
            })
            .take(limit)
            .collect();
        Listing { revision, objects }
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
        (401 | 403, _) => ApplyError::Forbidden(message),
        (429 | 500..=599, _) => ApplyError::Transient(message),
        _ => ApplyError::Invalid(message),
    }
}
