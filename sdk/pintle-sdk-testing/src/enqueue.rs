//! Which keys a change means for a watch; the rules of the host's work queue.

use std::collections::BTreeSet;

use pintle_sdk::controller::{Enqueue, Watch};
use pintle_sdk::selector::LabelSelector;
use pintle_sdk::{KindRef, ObjectRef};
use serde_json::Value;

use crate::fields::{at, labels, text};
use crate::world::{Change, ChangeKind, World};

/// The keys with the uid of the object that triggered them.
pub fn keys(watch: &Watch, change: &Change, world: &World) -> BTreeSet<(ObjectRef, String)> {
    let mut keys = BTreeSet::new();
    if !concerns(watch, change) {
        return keys;
    }
    let forms = || change.previous.iter().chain([&change.object]).map(|object| &**object);
    let namespace = &change.reference.namespace;
    let mut add = |reference: ObjectRef, uid: &str| keys.insert((reference, uid.to_owned()));
    match &watch.enqueue {
        Enqueue::Itself => {
            add(change.reference.clone(), text(&change.object, "metadata.uid"));
        }
        Enqueue::ControllerOwner(kind) => {
            for object in forms() {
                let owners = at(object, "metadata.ownerReferences").and_then(Value::as_array);
                for owner in owners.into_iter().flatten() {
                    let of_kind = KindRef::parse(text(owner, "apiVersion"), text(owner, "kind"));
                    if owner["controller"] == Value::Bool(true)
                        && (&of_kind.group, &of_kind.kind) == (&kind.group, &kind.kind)
                    {
                        add(kind.named(namespace.clone(), text(owner, "name")), text(owner, "uid"));
                    }
                }
            }
        }
        Enqueue::SameName(kind) => {
            let name = change.reference.name.clone();
            let cluster = kind.named("", name.clone());
            let reference = if world.object(&cluster).is_some() {
                cluster
            } else {
                kind.named(namespace.clone(), name)
            };
            add(reference, "");
        }
        Enqueue::NamedBy(kind, field) => {
            for name in forms().map(|object| text(object, field)).filter(|name| !name.is_empty()) {
                add(kind.named("", name), "");
            }
        }
        Enqueue::SelectedBy(kind, field) => {
            let there = |(at, _): &(&ObjectRef, &Value)| at.namespace == *namespace;
            for (candidate, object) in world.of_kind(kind).filter(there) {
                let Some(selector) = selector(object, field) else { continue };
                if forms().any(|object| selector.matches(&labels(object, "metadata.labels"))) {
                    add(candidate.clone(), text(object, "metadata.uid"));
                }
            }
        }
        Enqueue::AllOf(kind) => {
            for (candidate, object) in world.of_kind(kind) {
                let theirs = &candidate.namespace;
                if theirs.is_empty() || namespace.is_empty() || theirs == namespace {
                    add(candidate.clone(), text(object, "metadata.uid"));
                }
            }
        }
    }
    keys
}

/// A label map or a label selector; none where there is neither.
fn selector(object: &Value, field: &str) -> Option<LabelSelector> {
    let found = at(object, field)?;
    if found.as_object()?.values().all(Value::is_string) {
        let labels = labels(object, field);
        return Some(LabelSelector { match_labels: Some(labels), match_expressions: None });
    }
    serde_json::from_value(found.clone()).ok()
}

fn concerns(watch: &Watch, change: &Change) -> bool {
    let wanted = match change.kind {
        ChangeKind::Added => watch.changes.added,
        ChangeKind::Modified => watch.changes.modified,
        ChangeKind::Deleted => watch.changes.deleted,
    };
    let differs = |path: &String| {
        change.previous.as_ref().is_none_or(|known| at(known, path) != at(&change.object, path))
    };
    wanted
        && watch.kind.as_ref().is_none_or(|kind| *kind == change.reference.kind)
        && watch.having.as_ref().is_none_or(|field| at(&change.object, field).is_some())
        && (change.kind != ChangeKind::Modified
            || watch.when_changed.is_empty()
            || watch.when_changed.iter().any(differs))
}
