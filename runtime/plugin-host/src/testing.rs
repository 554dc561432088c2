//! Objects for unit tests.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use pintle_api::meta::GroupVersionKind;
use serde_json::Value;

use crate::action::Action;
use crate::cluster::{
    Applied, ApplyError, Change, Cluster, ClusterEvent, EventStream, ListQuery, Listing, Object,
    ObjectHandle, Owner, PluginIdentity, RevisionGone, Snapshot,
};

pub(crate) struct Fixed {
    kind: Arc<GroupVersionKind>,
    value: Value,
    json: Bytes,
    revision: u64,
}

/// An object from JSON; its uid is its name unless it says otherwise.
pub(crate) fn object(revision: u64, value: Value) -> ObjectHandle {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let api_version = value["apiVersion"].as_str().unwrap_or("v1");
    let kind = Arc::new(GroupVersionKind::parse(api_version, &text(&value["kind"])));
    Arc::new(Fixed { kind, json: Bytes::from(value.to_string()), value, revision })
}

pub(crate) fn event(
    change: Change,
    object: &ObjectHandle,
    previous: Option<&ObjectHandle>,
) -> ClusterEvent {
    ClusterEvent {
        revision: object.revision(),
        change,
        object: object.clone(),
        previous: previous.cloned(),
    }
}

impl Object for Fixed {
    fn kind(&self) -> &Arc<GroupVersionKind> {
        &self.kind
    }
    fn namespace(&self) -> &str {
        self.value["metadata"]["namespace"].as_str().unwrap_or_default()
    }
    fn name(&self) -> &str {
        self.value["metadata"]["name"].as_str().unwrap_or_default()
    }
    fn uid(&self) -> &str {
        self.value["metadata"]["uid"].as_str().unwrap_or(self.name())
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
        let owner = &self.value["metadata"]["ownerReferences"][0];
        Some(Owner {
            api_version: owner["apiVersion"].as_str()?,
            kind: owner["kind"].as_str()?,
            name: owner["name"].as_str()?,
            uid: owner["uid"].as_str()?,
        })
    }
    fn field(&self, path: &str) -> Option<Cow<'_, str>> {
        crate::fields::text(&self.json, path)
    }
}

/// A namespace of [`Still`] that is being deleted.
pub(crate) const ENDING: &str = "ending";

/// A cluster that holds objects and performs nothing.
pub(crate) struct Still(pub Vec<ObjectHandle>);

#[async_trait::async_trait]
impl Cluster for Still {
    fn revision(&self) -> u64 {
        0
    }
    fn get(&self, kind: &GroupVersionKind, namespace: &str, name: &str) -> Option<ObjectHandle> {
        let same = |object: &&ObjectHandle| {
            **object.kind() == *kind && object.namespace() == namespace && object.name() == name
        };
        self.0.iter().find(same).cloned()
    }
    fn list(&self, query: &ListQuery) -> Listing {
        let wanted = |object: &&ObjectHandle| {
            query.kind.as_ref().is_none_or(|kind| *kind == **object.kind())
                && query.namespace.as_ref().is_none_or(|namespace| *namespace == object.namespace())
        };
        Listing { revision: 0, objects: self.0.iter().filter(wanted).cloned().collect() }
    }
    fn pinned(&self, revision: u64) -> Result<Box<dyn Snapshot + '_>, RevisionGone> {
        if revision > 0 {
            Err(RevisionGone { revision })
        } else {
            Ok(Box::new(StillSnapshot(self)))
        }
    }
    fn subscribe(&self) -> Box<dyn EventStream> {
        unreachable!("unit tests bring their own events")
    }
    async fn apply(&self, _: &PluginIdentity, action: Action) -> Result<Applied, ApplyError> {
        if matches!(&action, Action::Create { namespace, .. } if namespace == ENDING) {
            return Err(ApplyError::NamespaceTerminating(ENDING.to_owned()));
        }
        Err(ApplyError::Transient("nothing is performed here".to_owned()))
    }
    fn now_unix_ms(&self) -> i64 {
        0
    }
}

/// It has one revision only.
struct StillSnapshot<'c>(&'c Still);

impl Snapshot for StillSnapshot<'_> {
    fn revision(&self) -> u64 {
        0
    }
    fn get(
        &self,
        kind: &GroupVersionKind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<ObjectHandle>, RevisionGone> {
        Ok(self.0.get(kind, namespace, name))
    }
    fn list(&self, query: &ListQuery) -> Result<Vec<ObjectHandle>, RevisionGone> {
        Ok(self.0.list(query).objects)
    }
}
