//! The cluster as of one revision, although newer events exist.

use std::{collections::HashMap, sync::Arc};

use pintle_api::{kinds::ResourceId, selector::LabelSelector};
use pintle_storage::Revision;
use thiserror::Error;

use crate::{
    bus::{Bus, Core},
    event::{Event, EventKind},
    object::Object,
    query::Query,
    topic::{self, Topic},
};

/// The events after the revision are not all kept any more, or it has not come yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("revision {revision} cannot be read from memory, read at a newer one")]
pub struct RevisionGone {
    pub revision: Revision,
}

/// What is different for a query between two revisions, in the order of keys.
#[derive(Debug, Default)]
pub struct Changes {
    /// What matches, as it is at the later one.
    pub changed: Vec<Arc<Object>>,
    /// What matched in between, at the earlier one perhaps, and does no more.
    pub gone: Vec<Arc<Object>>,
}

/// Reads that all answer as of one revision, whatever is written meanwhile.
///
/// Nothing is held: each read takes what is current and undoes what happened since. So a
/// handle costs nothing, and each read can find that the revision is gone.
#[derive(Clone, Copy)]
pub struct Pinned<'b> {
    core: &'b Core,
    revision: Revision,
}

impl Bus {
    /// Reads at a revision of the recent past.
    pub fn at(&self, revision: Revision) -> Result<Pinned<'_>, RevisionGone> {
        if revision > self.revision() {
            return Err(RevisionGone { revision });
        }
        Ok(Pinned { core: &self.core, revision })
    }
}

impl Pinned<'_> {
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// `namespace` is empty for cluster-scoped resources.
    pub fn get(
        &self,
        resource: ResourceId,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Object>>, RevisionGone> {
        let shelf = self.core.shelf(resource).read();
        match shelf.objects.get(topic::key(namespace, name).as_str()) {
            Some(object) if object.revision <= self.revision => Ok(Some(Arc::clone(object))),
            _ => Ok(shelf.ring.undone_one(self.revision, namespace, name)?.cloned()),
        }
    }

    pub fn list(
        &self,
        resource: ResourceId,
        namespace: Option<&str>,
    ) -> Result<Vec<Arc<Object>>, RevisionGone> {
        self.select(&Query { namespace, ..Query::of(resource) })
    }

    pub fn list_topic(
        &self,
        resource: ResourceId,
        topic: &Topic,
    ) -> Result<Vec<Arc<Object>>, RevisionGone> {
        match topic {
            Topic::All => self.list(resource, None),
            Topic::Namespace(namespace) => self.list(resource, Some(namespace)),
            Topic::Name(namespace, name) => {
                Ok(self.get(resource, namespace, name)?.into_iter().collect())
            }
            Topic::Field(path, value) => {
                self.select(&Query { field: Some((path, value)), ..Query::of(resource) })
            }
        }
    }

    pub fn labelled(
        &self,
        resource: ResourceId,
        labels: &LabelSelector,
    ) -> Result<Vec<Arc<Object>>, RevisionGone> {
        self.select(&Query { labels: Some(labels), ..Query::of(resource) })
    }

    /// All objects, of whatever kind, that name an owner with this uid.
    pub fn owned_by(&self, uid: &str) -> Result<Vec<Arc<Object>>, RevisionGone> {
        self.select(&Query::owned_by(uid))
    }

    /// All objects, of whatever kind, in a namespace.
    pub fn by_namespace(&self, namespace: &str) -> Result<Vec<Arc<Object>>, RevisionGone> {
        self.select(&Query::in_namespace(namespace))
    }

    /// What became different for a query of one resource after `since`, up to this
    /// revision. Costs as much as has happened to the resource, not as much as matches.
    pub fn changes(
        &self,
        query: &Query<'_>,
        resource: ResourceId,
        since: Revision,
    ) -> Result<Changes, RevisionGone> {
        let row = self.core.registry.get(self.core.registry.get(resource).storage_id);
        let shelf = self.core.shelf(row.id).read();
        // The last event of an object that it concerns tells whether it matches now.
        let mut last: HashMap<(&str, &str), &Arc<Event>> = HashMap::new();
        for event in shelf.ring.events_after(since)? {
            if event.revision > self.revision {
                break;
            }
            let concerned = query.matches(&event.object)
                || event.previous.as_ref().is_some_and(|before| query.matches(before));
            if concerned {
                last.insert((event.object.namespace(), event.object.name()), event);
            }
        }
        let mut changes = Changes::default();
        for event in last.into_values() {
            let object = Arc::clone(&event.object);
            if event.kind != EventKind::Deleted && query.matches(&object) {
                changes.changed.push(object);
            } else {
                changes.gone.push(object);
            }
        }
        drop(shelf);
        changes.changed.sort_unstable_by(|a, b| topic::compare(a, b));
        changes.gone.sort_unstable_by(|a, b| topic::compare(a, b));
        Ok(changes)
    }

    /// By all conditions at once.
    pub fn select(&self, query: &Query<'_>) -> Result<Vec<Arc<Object>>, RevisionGone> {
        query.select(self.core, Some(self.revision))
    }
}
