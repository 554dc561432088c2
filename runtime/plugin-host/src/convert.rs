//! Between the WIT types and the host's own.

use bytes::Bytes;
use pintle_api::meta::GroupVersionKind;

use crate::action::{Action, PatchType, Propagation, Target};
use crate::bindings::{actions, types};
use crate::cluster::Object;

pub(crate) fn kind(kind: types::KindRef) -> GroupVersionKind {
    GroupVersionKind { group: kind.group, version: kind.version, kind: kind.kind }
}

pub(crate) fn kind_ref(kind: &GroupVersionKind) -> types::KindRef {
    types::KindRef {
        group: kind.group.clone(),
        version: kind.version.clone(),
        kind: kind.kind.clone(),
    }
}

pub(crate) fn target(reference: types::ObjectRef) -> Target {
    Target { kind: kind(reference.kind), namespace: reference.namespace, name: reference.name }
}

pub(crate) fn object(object: &dyn Object, with_json: bool) -> types::Object {
    types::Object {
        ref_: types::ObjectRef {
            kind: kind_ref(object.kind()),
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
        },
        uid: object.uid().to_owned(),
        revision: object.revision(),
        json: if with_json { object.json().to_vec() } else { Vec::new() },
    }
}

/// None for an action of a later contract that this host does not know.
pub(crate) fn action(action: actions::Action) -> Option<Action> {
    Some(match action {
        actions::Action::Create(create) => Action::Create {
            kind: kind(create.kind),
            namespace: create.namespace,
            object: Bytes::from(create.json),
        },
        actions::Action::Update(update) => Action::Update {
            target: target(update.ref_),
            subresource: update.subresource,
            object: Bytes::from(update.json),
        },
        actions::Action::Patch(patch) => Action::Patch {
            target: target(patch.ref_),
            subresource: patch.subresource,
            patch_type: match patch.patch_type {
                actions::PatchType::Json => PatchType::Json,
                actions::PatchType::Merge => PatchType::Merge,
                actions::PatchType::Strategic => PatchType::Strategic,
            },
            body: Bytes::from(patch.body),
            revision: patch.revision,
        },
        actions::Action::Delete(delete) => Action::Delete {
            target: target(delete.ref_),
            uid: delete.uid,
            revision: delete.revision,
            grace_period_seconds: delete.grace_period_seconds,
            propagation: delete.propagation.map(|propagation| match propagation {
                actions::Propagation::Background => Propagation::Background,
                actions::Propagation::Foreground => Propagation::Foreground,
                actions::Propagation::Orphan => Propagation::Orphan,
            }),
        },
        actions::Action::Event(event) => Action::Event {
            regarding: target(event.regarding),
            regarding_uid: event.regarding_uid,
            event_type: event.type_,
            reason: event.reason,
            action: event.action,
            note: event.note,
        },
        actions::Action::Other(_) => return None,
    })
}
