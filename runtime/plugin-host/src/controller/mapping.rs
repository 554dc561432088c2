//! From events to keys, as the plugin's watches say.

use std::sync::Arc;

use parking_lot::Mutex;
use pintle_api::meta::{GroupVersionKind, split_api_version};

use super::queue::Key;
use super::selecting::Selecting;
use crate::bindings::types::KindRef;
use crate::cluster::{Change, Cluster, ClusterEvent, ListQuery, Object, ObjectHandle};
use crate::convert;
use crate::fields;
use crate::grants::{Ask, Grants};
use crate::plugin;
use crate::program::controller_interface::{Change as Changes, Description, Enqueue, Watch};

/// The watches of one version of a controller.
pub(crate) struct Mapping {
    watches: Vec<CompiledWatch>,
    grants: Arc<Grants>,
}

struct CompiledWatch {
    kind: Option<GroupVersionKind>,
    /// The grants do not depend on the namespace.
    is_granted_everywhere: bool,
    changes: Changes,
    having: Option<String>,
    when_changed: Vec<String>,
    enqueue: Target,
}

enum Target {
    Itself,
    ControllerOwner(Arc<GroupVersionKind>),
    SameName(Arc<GroupVersionKind>),
    NamedBy(Arc<GroupVersionKind>, String),
    SelectedBy(Arc<GroupVersionKind>, Mutex<Selecting>),
    AllOf(Arc<GroupVersionKind>),
}

/// Where keys go: the key and the uid of the object it stands for, if known.
pub(crate) type Emit<'a> = &'a mut dyn FnMut(Key, &str);

impl Mapping {
    /// Refuses watches that the grants do not allow.
    pub fn new(description: &Description, grants: Arc<Grants>) -> Result<Self, String> {
        let mut watches: Vec<CompiledWatch> = description.watches.iter().map(compile).collect();
        for watch in &mut watches {
            if !grants.may_watch(watch.kind.as_ref()) {
                let kind = watch.kind.as_ref().map_or("every kind", |kind| kind.kind.as_str());
                return Err(format!("the plugin watches {kind} but is not granted to watch it"));
            }
            watch.is_granted_everywhere = grants.may_watch_everywhere(watch.kind.as_ref());
        }
        Ok(Self { watches, grants })
    }

    /// The keys that one event asks to reconcile.
    pub fn map(&self, event: &ClusterEvent, cluster: &dyn Cluster, emit: Emit<'_>) {
        for watch in &self.watches {
            watch.index(event);
            if watch.wants(event) && self.may_watch(watch, &*event.object) {
                watch.emit(&event.object, event.previous.as_ref(), cluster, emit);
            }
        }
    }

    /// The keys that the present objects ask for: every watched object as if it
    /// had just been added.
    pub fn map_present(&self, cluster: &dyn Cluster, emit: Emit<'_>) {
        for watch in &self.watches {
            if let Target::SelectedBy(kind, selecting) = &watch.enqueue {
                let query = ListQuery { kind: Some((**kind).clone()), ..ListQuery::default() };
                selecting.lock().replace(&cluster.list(&query).objects);
            }
        }
        for watch in &self.watches {
            if !watch.changes.contains(Changes::ADDED) && !watch.changes.contains(Changes::MODIFIED)
            {
                continue;
            }
            let listing =
                cluster.list(&ListQuery { kind: watch.kind.clone(), ..ListQuery::default() });
            for object in &listing.objects {
                if watch.has_field(&**object) && self.may_watch(watch, &**object) {
                    watch.emit(object, None, cluster, emit);
                }
            }
        }
    }

    fn may_watch(&self, watch: &CompiledWatch, object: &dyn Object) -> bool {
        watch.is_granted_everywhere
            || self.grants.allows(&Ask {
                kind: object.kind(),
                verb: "watch",
                subresource: "",
                namespace: object.namespace(),
            })
    }
}

fn compile(watch: &Watch) -> CompiledWatch {
    let kind = |kind: &KindRef| Arc::new(convert::kind(kind.clone()));
    CompiledWatch {
        kind: watch.kind.clone().map(convert::kind),
        is_granted_everywhere: false,
        changes: watch.changes,
        having: watch.having.clone(),
        when_changed: watch.when_changed.clone(),
        enqueue: match &watch.enqueue {
            Enqueue::Itself => Target::Itself,
            Enqueue::ControllerOwner(owner) => Target::ControllerOwner(kind(owner)),
            Enqueue::SameName(other) => Target::SameName(kind(other)),
            Enqueue::NamedBy((other, path)) => Target::NamedBy(kind(other), path.clone()),
            Enqueue::SelectedBy((other, path)) => {
                Target::SelectedBy(kind(other), Mutex::new(Selecting::new(path.clone())))
            }
            Enqueue::AllOf(other) => Target::AllOf(kind(other)),
        },
    }
}

/// Versions of one kind are the same objects.
fn same_kind(a: &GroupVersionKind, b: &GroupVersionKind) -> bool {
    a.kind == b.kind && a.group == b.group
}

impl CompiledWatch {
    /// Keeps the selectors of a `selected-by` watch up to date.
    fn index(&self, event: &ClusterEvent) {
        if let Target::SelectedBy(kind, selecting) = &self.enqueue
            && same_kind(kind, event.object.kind())
        {
            let mut selecting = selecting.lock();
            match event.change {
                Change::Deleted => selecting.remove(&*event.object),
                Change::Added | Change::Modified => selecting.put(&*event.object),
            }
        }
    }

    fn wants(&self, event: &ClusterEvent) -> bool {
        let object = &*event.object;
        match &self.kind {
            Some(kind) if !same_kind(kind, object.kind()) => return false,
            // The host writes counters into Plugin objects because plugins are
            // called; a plugin that watches everything must not be called because of that.
            None if event.change == Change::Modified && is_bookkeeping(event) => return false,
            _ => {}
        }
        let wanted = match event.change {
            Change::Added => Changes::ADDED,
            Change::Modified => Changes::MODIFIED,
            Change::Deleted => Changes::DELETED,
        };
        self.changes.contains(wanted) && self.has_field(object) && self.has_changed(event)
    }

    fn has_field(&self, object: &dyn Object) -> bool {
        self.having.as_ref().is_none_or(|path| object.raw(path).is_some())
    }

    fn has_changed(&self, event: &ClusterEvent) -> bool {
        match (&event.previous, event.change) {
            (Some(previous), Change::Modified) if !self.when_changed.is_empty() => self
                .when_changed
                .iter()
                .any(|path| fields::texts_differ(previous.raw(path), event.object.raw(path))),
            _ => true,
        }
    }

    fn emit(
        &self,
        object: &ObjectHandle,
        previous: Option<&ObjectHandle>,
        cluster: &dyn Cluster,
        emit: Emit<'_>,
    ) {
        match &self.enqueue {
            Target::Itself => emit(key_of(&**object), object.uid()),
            Target::ControllerOwner(kind) => {
                for object in previous.into_iter().chain([object]) {
                    emit_owner(kind, &**object, cluster, emit);
                }
            }
            Target::SameName(kind) => {
                emit(locate(kind, object.namespace(), object.name(), cluster), "")
            }
            Target::NamedBy(kind, path) => {
                let mut seen = None;
                for object in previous.into_iter().chain([object]) {
                    let name = match path.as_str() {
                        "metadata.namespace" => {
                            Some(object.namespace().to_owned()).filter(|name| !name.is_empty())
                        }
                        path => object.field(path).map(|name| name.into_owned()),
                    };
                    if let Some(name) = name
                        && seen.as_ref() != Some(&name)
                    {
                        emit(
                            Key {
                                kind: kind.clone(),
                                namespace: String::new(),
                                name: name.clone(),
                            },
                            "",
                        );
                        seen = Some(name);
                    }
                }
            }
            Target::SelectedBy(kind, selecting) => {
                let selecting = selecting.lock();
                selecting.matching(&**object, previous.map(|object| &**object), |name, uid| {
                    let namespace = object.namespace().to_owned();
                    emit(Key { kind: kind.clone(), namespace, name: name.to_owned() }, uid);
                });
            }
            Target::AllOf(kind) => {
                let mut query = ListQuery { kind: Some((**kind).clone()), ..ListQuery::default() };
                if !object.namespace().is_empty() {
                    query.namespace = Some(object.namespace().to_owned());
                }
                let mut found = cluster.list(&query).objects;
                if found.is_empty() && query.namespace.take().is_some() {
                    // A cluster-scoped kind is in no namespace.
                    found = cluster.list(&query).objects;
                    found.retain(|object| object.namespace().is_empty());
                }
                for object in found {
                    emit(key_of(&*object), object.uid());
                }
            }
        }
    }
}

fn is_bookkeeping(event: &ClusterEvent) -> bool {
    let Some(previous) = &event.previous else { return false };
    let kind = event.object.kind();
    kind.kind == plugin::KIND
        && kind.group == plugin::GROUP
        && [
            "metadata.generation",
            "metadata.deletionTimestamp",
            "metadata.finalizers",
            "metadata.ownerReferences",
        ]
        .iter()
        .all(|path| fields::raw(previous.json(), path) == fields::raw(event.object.json(), path))
}

fn key_of(object: &dyn Object) -> Key {
    Key {
        kind: object.kind().clone(),
        namespace: object.namespace().to_owned(),
        name: object.name().to_owned(),
    }
}

fn emit_owner(
    kind: &Arc<GroupVersionKind>,
    object: &dyn Object,
    cluster: &dyn Cluster,
    emit: Emit<'_>,
) {
    let Some(owner) = object.controller() else { return };
    if owner.kind == kind.kind && split_api_version(owner.api_version).0 == kind.group {
        let mut key = locate(kind, object.namespace(), owner.name, cluster);
        key.name = owner.name.to_owned();
        emit(key, owner.uid);
    }
}

/// The object of that name in the namespace or, for a cluster-scoped kind, in
/// none. One that does not exist is taken to be in the namespace.
fn locate(kind: &Arc<GroupVersionKind>, namespace: &str, name: &str, cluster: &dyn Cluster) -> Key {
    let in_none = !namespace.is_empty()
        && cluster.get(kind, namespace, name).is_none()
        && cluster.get(kind, "", name).is_some();
    let namespace = if in_none { "" } else { namespace };
    Key { kind: kind.clone(), namespace: namespace.to_owned(), name: name.to_owned() }
}

#[cfg(test)]
mod tests;
