//! Between the contract's types and the trace's.

use super::model::{
    ActionRecord, Blob, ContextRecord, DecisionRecord, DeltaRecord, KindRecord, ObjectRecord,
    OperationRecord, PatchTypeRecord, PhaseRecord, PropagationRecord, QueryRecord, RefRecord,
    RejectionRecord, RequestRecord, Told, VerdictRecord, WakeRecord,
};
use crate::action::{Action, PatchType, Propagation, Target};
use crate::bindings::scheduler::pintle::plugin::extensions::{self, Evaluation};
use crate::bindings::{actions, lister, types};
use crate::program::admission_interface::{Operation, Phase, Request, Response, User, Verdict};
use crate::program::scheduler_interface::{Decision, Wake};

pub(super) fn kind(kind: &types::KindRef) -> KindRecord {
    KindRecord { group: kind.group.clone(), version: kind.version.clone(), kind: kind.kind.clone() }
}

fn kind_ref(kind: &KindRecord) -> types::KindRef {
    types::KindRef {
        group: kind.group.clone(),
        version: kind.version.clone(),
        kind: kind.kind.clone(),
    }
}

pub(super) fn reference(reference: &types::ObjectRef) -> RefRecord {
    RefRecord {
        kind: kind(&reference.kind),
        namespace: reference.namespace.clone(),
        name: reference.name.clone(),
    }
}

pub(super) fn object_ref(reference: &RefRecord) -> types::ObjectRef {
    types::ObjectRef {
        kind: kind_ref(&reference.kind),
        namespace: reference.namespace.clone(),
        name: reference.name.clone(),
    }
}

pub(super) fn object(object: types::Object) -> ObjectRecord {
    ObjectRecord {
        reference: reference(&object.ref_),
        uid: object.uid,
        revision: object.revision,
        json: Blob(object.json),
    }
}

pub(super) fn to_object(object: &ObjectRecord) -> types::Object {
    types::Object {
        ref_: object_ref(&object.reference),
        uid: object.uid.clone(),
        revision: object.revision,
        json: object.json.0.clone(),
    }
}

pub(super) fn to_deltas(deltas: &[DeltaRecord]) -> Vec<types::Delta> {
    let to_delta = |delta: &DeltaRecord| match delta {
        DeltaRecord::Upsert(object) => types::Delta::Upsert(to_object(object)),
        DeltaRecord::Remove(object) => types::Delta::Remove(to_object(object)),
    };
    deltas.iter().map(to_delta).collect()
}

pub(super) fn context(context: &types::Context) -> ContextRecord {
    ContextRecord {
        now_unix_ms: context.now_unix_ms,
        seed: context.seed,
        revision: context.revision,
    }
}

pub(super) fn to_context(context: &ContextRecord) -> types::Context {
    types::Context {
        now_unix_ms: context.now_unix_ms,
        seed: context.seed,
        revision: context.revision,
    }
}

pub(super) fn query(query: &lister::Query) -> QueryRecord {
    QueryRecord {
        kind: query.kind.as_ref().map(kind),
        namespace: query.namespace.clone(),
        owner_uid: query.owner_uid.clone(),
        label_selector: query.label_selector.clone(),
        field: query.field.clone(),
        metadata_only: query.metadata_only,
        limit: query.limit,
    }
}

pub(super) fn request(request: &Request) -> RequestRecord {
    let operation = request.operation;
    RequestRecord {
        reference: reference(&request.ref_),
        subresource: request.subresource.clone(),
        operation: if operation.contains(Operation::CREATE) {
            OperationRecord::Create
        } else if operation.contains(Operation::UPDATE) {
            OperationRecord::Update
        } else if operation.contains(Operation::DELETE) {
            OperationRecord::Delete
        } else {
            OperationRecord::Connect
        },
        phase: match request.phase {
            Phase::Mutating => PhaseRecord::Mutating,
            Phase::Validating => PhaseRecord::Validating,
        },
        dry_run: request.dry_run,
        user: request.user.name.clone(),
        user_uid: request.user.uid.clone(),
        groups: request.user.groups.clone(),
        json: Blob(request.json.clone()),
        old_json: Blob(request.old_json.clone()),
    }
}

pub(super) fn to_request(request: &RequestRecord) -> Request {
    Request {
        ref_: object_ref(&request.reference),
        subresource: request.subresource.clone(),
        operation: match request.operation {
            OperationRecord::Create => Operation::CREATE,
            OperationRecord::Update => Operation::UPDATE,
            OperationRecord::Delete => Operation::DELETE,
            OperationRecord::Connect => Operation::CONNECT,
        },
        phase: match request.phase {
            PhaseRecord::Mutating => Phase::Mutating,
            PhaseRecord::Validating => Phase::Validating,
        },
        dry_run: request.dry_run,
        user: User {
            name: request.user.clone(),
            uid: request.user_uid.clone(),
            groups: request.groups.clone(),
        },
        json: request.json.0.clone(),
        old_json: request.old_json.0.clone(),
    }
}

pub(super) fn review(response: Response) -> (VerdictRecord, Vec<String>) {
    let verdict = match response.verdict {
        Verdict::Allow => VerdictRecord::Allow,
        Verdict::Patch(patch) => VerdictRecord::Patch(Blob(patch)),
        Verdict::Deny(denial) => VerdictRecord::Deny {
            code: denial.code,
            reason: denial.reason,
            message: denial.message,
        },
    };
    (verdict, response.warnings)
}

pub(super) fn decision(decision: &Decision) -> DecisionRecord {
    match decision {
        Decision::Bind(binding) => {
            DecisionRecord::Bind { pod_uid: binding.pod_uid.clone(), node: binding.node.clone() }
        }
        Decision::Unschedulable(unschedulable) => DecisionRecord::Unschedulable {
            pod_uid: unschedulable.pod_uid.clone(),
            message: unschedulable.message.clone(),
            wake_on: wake(unschedulable.wake_on),
        },
        Decision::Preempt(preemption) => DecisionRecord::Preempt {
            pod_uid: preemption.pod_uid.clone(),
            node: preemption.node.clone(),
            victims: preemption.victims.clone(),
            message: preemption.message.clone(),
        },
        Decision::Ignore(reason) => DecisionRecord::Ignore(reason.clone()),
    }
}

fn wake(wake: Wake) -> Vec<WakeRecord> {
    [
        (Wake::NODE_CHANGED, WakeRecord::NodeChanged),
        (Wake::POD_REMOVED, WakeRecord::PodRemoved),
        (Wake::POD_ADDED, WakeRecord::PodAdded),
        (Wake::OTHER_CHANGED, WakeRecord::OtherChanged),
    ]
    .into_iter()
    .filter_map(|(flag, record)| wake.contains(flag).then_some(record))
    .collect()
}

pub(super) fn action(action: &actions::Action) -> ActionRecord {
    match action {
        actions::Action::Create(create) => ActionRecord::Create {
            kind: kind(&create.kind),
            namespace: create.namespace.clone(),
            json: Blob(create.json.clone()),
        },
        actions::Action::Update(update) => ActionRecord::Update {
            reference: reference(&update.ref_),
            subresource: update.subresource.clone(),
            json: Blob(update.json.clone()),
        },
        actions::Action::Patch(patch) => ActionRecord::Patch {
            reference: reference(&patch.ref_),
            subresource: patch.subresource.clone(),
            patch_type: match patch.patch_type {
                actions::PatchType::Json => PatchTypeRecord::Json,
                actions::PatchType::Merge => PatchTypeRecord::Merge,
                actions::PatchType::Strategic => PatchTypeRecord::Strategic,
            },
            body: Blob(patch.body.clone()),
            revision: patch.revision,
        },
        actions::Action::Delete(delete) => ActionRecord::Delete {
            reference: reference(&delete.ref_),
            uid: delete.uid.clone(),
            revision: delete.revision,
            grace_period_seconds: delete.grace_period_seconds,
            propagation: delete.propagation.map(|propagation| match propagation {
                actions::Propagation::Background => PropagationRecord::Background,
                actions::Propagation::Foreground => PropagationRecord::Foreground,
                actions::Propagation::Orphan => PropagationRecord::Orphan,
            }),
        },
        actions::Action::Event(event) => ActionRecord::Event {
            regarding: reference(&event.regarding),
            regarding_uid: event.regarding_uid.clone(),
            event_type: event.type_.clone(),
            reason: event.reason.clone(),
            action: event.action.clone(),
            note: event.note.clone(),
        },
        actions::Action::Other((name, bytes)) => {
            ActionRecord::Other(name.clone(), Blob(bytes.clone()))
        }
    }
}

/// The form in which the active version's actions come.
pub(super) fn performed(action: &Action) -> Option<ActionRecord> {
    let kind = |kind: &pintle_api::meta::GroupVersionKind| KindRecord {
        group: kind.group.clone(),
        version: kind.version.clone(),
        kind: kind.kind.clone(),
    };
    let reference = |target: &Target| RefRecord {
        kind: kind(&target.kind),
        namespace: target.namespace.clone(),
        name: target.name.clone(),
    };
    Some(match action {
        Action::Create { kind: of, namespace, object } => ActionRecord::Create {
            kind: kind(of),
            namespace: namespace.clone(),
            json: Blob(object.to_vec()),
        },
        Action::Update { target, subresource, object } => ActionRecord::Update {
            reference: reference(target),
            subresource: subresource.clone(),
            json: Blob(object.to_vec()),
        },
        Action::Patch { target, subresource, patch_type, body, revision } => ActionRecord::Patch {
            reference: reference(target),
            subresource: subresource.clone(),
            patch_type: match patch_type {
                PatchType::Json => PatchTypeRecord::Json,
                PatchType::Merge => PatchTypeRecord::Merge,
                PatchType::Strategic => PatchTypeRecord::Strategic,
            },
            body: Blob(body.to_vec()),
            revision: *revision,
        },
        Action::Delete { target, uid, revision, grace_period_seconds, propagation } => {
            ActionRecord::Delete {
                reference: reference(target),
                uid: uid.clone(),
                revision: *revision,
                grace_period_seconds: *grace_period_seconds,
                propagation: propagation.map(|propagation| match propagation {
                    Propagation::Background => PropagationRecord::Background,
                    Propagation::Foreground => PropagationRecord::Foreground,
                    Propagation::Orphan => PropagationRecord::Orphan,
                }),
            }
        }
        Action::Event { regarding, regarding_uid, event_type, reason, action, note } => {
            ActionRecord::Event {
                regarding: reference(regarding),
                regarding_uid: regarding_uid.clone(),
                event_type: event_type.clone(),
                reason: reason.clone(),
                action: action.clone(),
                note: note.clone(),
            }
        }
        // No plugin returns one.
        Action::Bind { .. } => return None,
    })
}

pub(super) fn evaluation(evaluation: &Evaluation) -> Told {
    let rejection = |rejection: &extensions::Rejection| RejectionRecord {
        reason: rejection.reason.clone(),
        nodes: rejection.nodes.clone(),
    };
    Told::Evaluation {
        rejections: evaluation.rejections.iter().map(rejection).collect(),
        scores: evaluation.scores.clone(),
    }
}

pub(super) fn to_evaluation(rejections: &[RejectionRecord], scores: &[u16]) -> Evaluation {
    let rejection = |rejection: &RejectionRecord| extensions::Rejection {
        reason: rejection.reason.clone(),
        nodes: rejection.nodes.clone(),
    };
    Evaluation { rejections: rejections.iter().map(rejection).collect(), scores: scores.to_vec() }
}
