//! Which objects to read, and the narrowest index that finds them.

use std::{fmt, sync::Arc};

use pintle_api::{kinds::ResourceId, selector::LabelSelector};
use pintle_storage::Revision;

use crate::{
    bus::Core,
    label::Slot,
    object::Object,
    pinned::RevisionGone,
    shelf::{Key, Shelf},
    topic,
};

/// All conditions that are given must hold.
#[derive(Clone, Copy, Default)]
pub struct Query<'a> {
    /// Needed unless the owner or the namespace is given.
    pub resource: Option<ResourceId>,
    pub namespace: Option<&'a str>,
    /// The uid of an owner, the managing one or another.
    pub owner_uid: Option<&'a str>,
    /// A selectable field and its value.
    pub field: Option<(&'a str, &'a str)>,
    pub labels: Option<&'a LabelSelector>,
    /// What the bus knows nothing of.
    pub also: Option<&'a dyn Fn(&Object) -> bool>,
    /// 0: no limit.
    pub limit: usize,
}

/// An index whose objects are fewer than all of the resource's by this factor is used
/// although they have to be sorted.
const WORTH_SORTING: usize = 8;

impl<'a> Query<'a> {
    pub fn of(resource: ResourceId) -> Self {
        Self { resource: Some(resource), ..Self::default() }
    }

    pub fn owned_by(uid: &'a str) -> Self {
        Self { owner_uid: Some(uid), ..Self::default() }
    }

    pub fn in_namespace(namespace: &'a str) -> Self {
        Self { namespace: Some(namespace), ..Self::default() }
    }

    pub(crate) fn matches(&self, object: &Object) -> bool {
        let owned = |uid: &str| object.meta.owners.iter().any(|owner| *owner.uid == *uid);
        self.namespace.is_none_or(|namespace| *object.meta.namespace == *namespace)
            && self.owner_uid.is_none_or(owned)
            && self.field.is_none_or(|(path, value)| object.field(path) == Some(value))
            && self.labels.is_none_or(|labels| labels.matches(|key| object.label(key)))
            && self.also.is_none_or(|also| also(object))
    }

    /// What matched at a revision (`None`: what matches now), in the order of resources
    /// and keys.
    pub(crate) fn select(
        &self,
        core: &Core,
        at: Option<Revision>,
    ) -> Result<Vec<Arc<Object>>, RevisionGone> {
        let mut found = Vec::new();
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        match self.resource {
            Some(resource) => {
                let row = core.registry.get(core.registry.get(resource).storage_id);
                self.select_from(core, row.id, at, limit, &mut found)?;
            }
            None if self.owner_uid.is_none() && self.namespace.is_none() => {}
            None => {
                // One resource after the other: the state at a revision does not change.
                for row in core.registry.iter_stored() {
                    if self.owner_uid.is_none() && !row.is_namespaced() {
                        continue;
                    }
                    self.select_from(core, row.id, at, limit, &mut found)?;
                    if found.len() >= limit {
                        break;
                    }
                }
            }
        }
        Ok(found)
    }

    fn select_from(
        &self,
        core: &Core,
        resource: ResourceId,
        at: Option<Revision>,
        limit: usize,
        found: &mut Vec<Arc<Object>>,
    ) -> Result<(), RevisionGone> {
        let shelf = core.shelf(resource).read();
        let begin = found.len();
        let pinned = at.unwrap_or(Revision::MAX);
        let mut sorted = true;
        // What changed after the pinned revision comes back below, as it was.
        let mut add = |object: &Arc<Object>| {
            if object.revision <= pinned && self.matches(object) {
                found.push(Arc::clone(object));
            }
            at.is_some() || found.len() < limit
        };
        if let Some(("metadata.name", name)) = self.field
            && let Some(namespace) = self.only_namespace(core, resource)
        {
            shelf.objects.get(topic::key(namespace, name).as_str()).into_iter().all(add);
        } else if let Some(uid) = self.owner_uid {
            if let Some(owned) = core.owners.read().get(uid) {
                let from = owned.range((resource, Key::from(""))..);
                from.take_while(|((of, _), _)| *of == resource).all(|(_, object)| add(object));
            }
        } else if let Some((path, value)) = self.field
            && let Some(slot) = core.plan(resource).slot(path)
        {
            let members = shelf.with_field(slot, value);
            members.into_iter().flatten().all(|(_, object)| add(object));
        } else if let Some(lists) = self.few_by_label(&shelf) {
            sorted = false;
            // All of them: a limit counts in the order of keys, which this is not.
            for object in lists.into_iter().flatten().filter_map(|slot| shelf.in_slot(*slot)) {
                add(object);
            }
        } else if let Some(namespace) = self.namespace {
            shelf.namespace(namespace).all(|(_, object)| add(object));
        } else {
            shelf.objects.values().all(add);
        }
        let mut undone: Vec<_> = match at {
            Some(at) => shelf.ring.undone(at)?.filter(|o| self.matches(o)).cloned().collect(),
            None => Vec::new(),
        };
        drop(shelf);
        if sorted {
            undone.sort_unstable_by(|a, b| topic::compare(a, b));
            put_between(found, begin, undone);
        } else {
            found.append(&mut undone);
            found[begin..].sort_unstable_by(|a, b| topic::compare(a, b));
        }
        found.truncate(limit);
        Ok(())
    }

    /// The namespace of all objects that can match: an object is then known by its name.
    fn only_namespace(&self, core: &Core, resource: ResourceId) -> Option<&'a str> {
        match self.namespace {
            None if !core.registry.get(resource).is_namespaced() => Some(""),
            namespace => namespace,
        }
    }

    /// The lists of slots of a label requirement, if that leads to few objects.
    fn few_by_label<'s>(&self, shelf: &'s Shelf) -> Option<Vec<&'s [Slot]>> {
        let lists = shelf.labels.candidates(self.labels?)?;
        let enough = lists.iter().map(|list| list.len()).sum::<usize>() * WORTH_SORTING;
        let others = match self.namespace {
            Some(namespace) => shelf.namespace(namespace).take(enough + 1).count(),
            None => shelf.objects.len(),
        };
        (others > enough).then_some(lists)
    }
}

/// Puts `more` where it belongs among what lies behind `begin`; both are in key order.
/// Few are looked at: reading every name of a long list costs more than copying it.
fn put_between(found: &mut Vec<Arc<Object>>, begin: usize, more: Vec<Arc<Object>>) {
    if more.is_empty() {
        return;
    }
    let mut rest = found.split_off(begin).into_iter();
    for object in more {
        let before = |known: &Arc<Object>| topic::compare(known, &object).is_lt();
        let count = rest.as_slice().partition_point(before);
        found.extend(rest.by_ref().take(count));
        found.push(object);
    }
    found.extend(rest);
}

impl fmt::Debug for Query<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query")
            .field("resource", &self.resource)
            .field("namespace", &self.namespace)
            .field("owner_uid", &self.owner_uid)
            .field("field", &self.field)
            .field("labels", &self.labels.map(ToString::to_string))
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
