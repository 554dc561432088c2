//! Controllers.

use super::convert::{kind_out, manifest, ref_in, ref_out};
use super::{HostLister, NOT_DESCRIBED, Slot};
use crate::action::{Action, PatchType, Propagation};
use crate::bindings::controller::exports::pintle::plugin::controller as wit;
use crate::bindings::controller::pintle::plugin::actions;
pub use crate::bindings::controller::pintle::plugin::types::Context as WitContext;
use crate::controller::{Controller, Enqueue, Request, Watch};

pub fn describe<T: Controller>(slot: &Slot<T>, config: &[u8]) -> Result<wit::Description, String> {
    let plugin = T::new(super::config(config)?)?;
    let description = plugin.describe();
    slot.set(plugin);
    Ok(wit::Description {
        manifest: manifest(description.manifest),
        watches: description.watches.into_iter().map(watch).collect(),
    })
}

pub fn reconcile<T: Controller>(
    slot: &Slot<T>,
    context: WitContext,
    request: wit::Request,
) -> Result<wit::Outcome, String> {
    let context = super::convert::context(context);
    let request =
        Request { reference: ref_in(request.ref_), uid: request.uid, attempt: request.attempt };
    let outcome = slot
        .with(|plugin| plugin.reconcile(&context, &HostLister, &request))
        .ok_or_else(|| NOT_DESCRIBED.to_owned())?
        .map_err(|error| error.to_string())?;
    Ok(wit::Outcome {
        actions: outcome.actions.into_iter().map(action).collect(),
        requeue_after_ms: outcome.requeue_after_ms,
    })
}

fn watch(watch: Watch) -> wit::Watch {
    let mut changes = wit::Change::empty();
    if watch.changes.added {
        changes = changes | wit::Change::ADDED;
    }
    if watch.changes.modified {
        changes = changes | wit::Change::MODIFIED;
    }
    if watch.changes.deleted {
        changes = changes | wit::Change::DELETED;
    }
    wit::Watch {
        kind: watch.kind.map(kind_out),
        changes,
        having: watch.having,
        when_changed: watch.when_changed,
        enqueue: match watch.enqueue {
            Enqueue::Itself => wit::Enqueue::Itself,
            Enqueue::ControllerOwner(kind) => wit::Enqueue::ControllerOwner(kind_out(kind)),
            Enqueue::SameName(kind) => wit::Enqueue::SameName(kind_out(kind)),
            Enqueue::NamedBy(kind, field) => wit::Enqueue::NamedBy((kind_out(kind), field)),
            Enqueue::SelectedBy(kind, field) => wit::Enqueue::SelectedBy((kind_out(kind), field)),
            Enqueue::AllOf(kind) => wit::Enqueue::AllOf(kind_out(kind)),
        },
    }
}

fn action(action: Action) -> actions::Action {
    match action {
        Action::Create(create) => actions::Action::Create(actions::Create {
            kind: kind_out(create.kind),
            namespace: create.namespace,
            json: create.json,
        }),
        Action::Update(update) => actions::Action::Update(actions::Update {
            ref_: ref_out(update.reference),
            subresource: update.subresource,
            json: update.json,
        }),
        Action::Patch(patch) => actions::Action::Patch(actions::Patch {
            ref_: ref_out(patch.reference),
            subresource: patch.subresource,
            patch_type: match patch.patch_type {
                PatchType::Json => actions::PatchType::Json,
                PatchType::Merge => actions::PatchType::Merge,
                PatchType::Strategic => actions::PatchType::Strategic,
            },
            body: patch.body,
            revision: patch.revision,
        }),
        Action::Delete(delete) => actions::Action::Delete(actions::Delete {
            ref_: ref_out(delete.reference),
            uid: delete.uid,
            revision: delete.revision,
            grace_period_seconds: delete.grace_period_seconds,
            propagation: delete.propagation.map(|propagation| match propagation {
                Propagation::Background => actions::Propagation::Background,
                Propagation::Foreground => actions::Propagation::Foreground,
                Propagation::Orphan => actions::Propagation::Orphan,
            }),
        }),
        Action::Event(event) => actions::Action::Event(actions::Event {
            regarding: ref_out(event.regarding),
            regarding_uid: event.regarding_uid,
            type_: event.event_type,
            reason: event.reason,
            action: event.action,
            note: event.note,
        }),
    }
}
