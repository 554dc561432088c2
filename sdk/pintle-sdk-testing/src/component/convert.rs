//! Between the SDK's types and those of the host.

use pintle_plugin_host::trace::model::*;
use pintle_plugin_host::trace::offline::described;
use pintle_sdk::action::{Create, Delete, Event, Patch, PatchType, Propagation, Update};
use pintle_sdk::admission::{self, Operations, Phase, Rule, Verdict};
use pintle_sdk::controller::{self, Change, Enqueue, Watch};
use pintle_sdk::lister::Query;
use pintle_sdk::manifest::{Grant, Manifest};
use pintle_sdk::scheduler::{self, Decision, Delta, Wake};
use pintle_sdk::scheduler_extension::{self, Abilities, NumberedNode};
use pintle_sdk::{Action, Context, KindRef, Object, ObjectRef};

pub fn context_out(context: &Context) -> ContextRecord {
    ContextRecord {
        now_unix_ms: context.now_unix_ms,
        seed: context.seed,
        revision: context.revision,
    }
}

fn kind_out(kind: &KindRef) -> KindRecord {
    KindRecord {
        group: kind.group.to_string(),
        version: kind.version.to_string(),
        kind: kind.kind.to_string(),
    }
}

fn kind_in(kind: &KindRecord) -> KindRef {
    KindRef {
        group: kind.group.clone().into(),
        version: kind.version.clone().into(),
        kind: kind.kind.clone().into(),
    }
}

pub fn reference_out(reference: &ObjectRef) -> RefRecord {
    RefRecord {
        kind: kind_out(&reference.kind),
        namespace: reference.namespace.clone(),
        name: reference.name.clone(),
    }
}

pub fn reference_in(reference: &RefRecord) -> ObjectRef {
    kind_in(&reference.kind).named(reference.namespace.clone(), reference.name.clone())
}

pub fn object_out(object: Object) -> ObjectRecord {
    ObjectRecord {
        reference: reference_out(&object.reference),
        uid: object.uid,
        revision: object.revision,
        json: Blob(object.json),
    }
}

pub fn delta_out(delta: Delta) -> DeltaRecord {
    match delta {
        Delta::Upsert(object) => DeltaRecord::Upsert(object_out(object)),
        Delta::Remove(object) => DeltaRecord::Remove(object_out(object)),
    }
}

pub fn query_in(query: &QueryRecord) -> Query {
    Query {
        kind: query.kind.as_ref().map(kind_in),
        namespace: query.namespace.clone(),
        owner_uid: query.owner_uid.clone(),
        label_selector: query.label_selector.clone(),
        field: query.field.clone(),
        metadata_only: query.metadata_only,
        limit: query.limit,
        ..Query::default()
    }
}

pub fn action_in(action: ActionRecord) -> Action {
    match action {
        ActionRecord::Create { kind, namespace, json } => {
            Create { kind: kind_in(&kind), namespace, json: json.0 }.into()
        }
        ActionRecord::Update { reference, subresource, json } => {
            Update { reference: reference_in(&reference), subresource, json: json.0 }.into()
        }
        ActionRecord::Patch { reference, subresource, patch_type, body, revision } => Patch {
            reference: reference_in(&reference),
            subresource,
            patch_type: match patch_type {
                PatchTypeRecord::Json => PatchType::Json,
                PatchTypeRecord::Merge => PatchType::Merge,
                PatchTypeRecord::Strategic => PatchType::Strategic,
            },
            body: body.0,
            revision,
        }
        .into(),
        ActionRecord::Delete { reference, uid, revision, grace_period_seconds, propagation } => {
            Delete {
                reference: reference_in(&reference),
                uid,
                revision,
                grace_period_seconds,
                propagation: propagation.map(|propagation| match propagation {
                    PropagationRecord::Background => Propagation::Background,
                    PropagationRecord::Foreground => Propagation::Foreground,
                    PropagationRecord::Orphan => Propagation::Orphan,
                }),
            }
            .into()
        }
        ActionRecord::Event { regarding, regarding_uid, event_type, reason, action, note } => {
            Event {
                regarding: reference_in(&regarding),
                regarding_uid,
                event_type,
                reason,
                action,
                note,
            }
            .into()
        }
        ActionRecord::Other(name, _) => panic!("{name} is no action of this contract"),
    }
}

pub fn decision_in(decision: DecisionRecord) -> Decision {
    match decision {
        DecisionRecord::Bind { pod_uid, node } => Decision::Bind { pod_uid, node },
        DecisionRecord::Unschedulable { pod_uid, message, wake_on } => {
            let has = |flag| wake_on.contains(&flag);
            let wake_on = Wake {
                node_changed: has(WakeRecord::NodeChanged),
                pod_removed: has(WakeRecord::PodRemoved),
                pod_added: has(WakeRecord::PodAdded),
                other_changed: has(WakeRecord::OtherChanged),
            };
            Decision::Unschedulable { pod_uid, message, wake_on }
        }
        DecisionRecord::Preempt { pod_uid, node, victims, message } => {
            Decision::Preempt { pod_uid, node, victims, message }
        }
        DecisionRecord::Ignore(reason) => Decision::Ignore(reason),
    }
}

pub fn request_out(request: &admission::Request) -> RequestRecord {
    RequestRecord {
        reference: reference_out(&request.reference),
        subresource: request.subresource.clone(),
        operation: match request.operation {
            operation if operation.create => OperationRecord::Create,
            operation if operation.update => OperationRecord::Update,
            operation if operation.delete => OperationRecord::Delete,
            _ => OperationRecord::Connect,
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

pub fn verdict_in(verdict: VerdictRecord) -> Verdict {
    match verdict {
        VerdictRecord::Allow => Verdict::Allow,
        VerdictRecord::Patch(operations) => Verdict::Patch(operations.0),
        VerdictRecord::Deny { code, reason, message } => Verdict::Deny { code, reason, message },
    }
}

fn described_kind(kind: &described::KindRef) -> KindRef {
    KindRef {
        group: kind.group.clone().into(),
        version: kind.version.clone().into(),
        kind: kind.kind.clone().into(),
    }
}

fn manifest(manifest: &described::Manifest) -> Manifest {
    let grant = |grant: &described::Grant| Grant {
        kind: described_kind(&grant.kind),
        verbs: grant.verbs.clone(),
        reason: grant.reason.clone(),
    };
    Manifest {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        needs: manifest.needs.iter().map(grant).collect(),
    }
}

pub fn controller_description(
    description: &described::controller::Description,
) -> controller::Description {
    controller::Description {
        manifest: manifest(&description.manifest),
        watches: description.watches.iter().map(watch).collect(),
    }
}

fn watch(watch: &described::controller::Watch) -> Watch {
    use described::controller::{Change as Changes, Enqueue as Keys};
    Watch {
        kind: watch.kind.as_ref().map(described_kind),
        changes: Change {
            added: watch.changes.contains(Changes::ADDED),
            modified: watch.changes.contains(Changes::MODIFIED),
            deleted: watch.changes.contains(Changes::DELETED),
        },
        having: watch.having.clone(),
        when_changed: watch.when_changed.clone(),
        enqueue: match &watch.enqueue {
            Keys::Itself => Enqueue::Itself,
            Keys::ControllerOwner(kind) => Enqueue::ControllerOwner(described_kind(kind)),
            Keys::SameName(kind) => Enqueue::SameName(described_kind(kind)),
            Keys::NamedBy((kind, field)) => Enqueue::NamedBy(described_kind(kind), field.clone()),
            Keys::SelectedBy((kind, field)) => {
                Enqueue::SelectedBy(described_kind(kind), field.clone())
            }
            Keys::AllOf(kind) => Enqueue::AllOf(described_kind(kind)),
        },
    }
}

pub fn scheduler_description(
    description: &described::scheduler::Description,
) -> scheduler::Description {
    scheduler::Description {
        manifest: manifest(&description.manifest),
        scheduler_names: description.scheduler_names.clone(),
        watches: description.watches.iter().map(described_kind).collect(),
    }
}

pub fn admission_description(
    description: &described::admission::Description,
) -> admission::Description {
    use described::admission::Operation;
    let rule = |rule: &described::admission::Rule| Rule {
        kind: rule.kind.as_ref().map(described_kind),
        subresource: rule.subresource.clone(),
        operations: Operations {
            create: rule.operations.contains(Operation::CREATE),
            update: rule.operations.contains(Operation::UPDATE),
            delete: rule.operations.contains(Operation::DELETE),
            connect: rule.operations.contains(Operation::CONNECT),
        },
    };
    admission::Description {
        manifest: manifest(&description.manifest),
        mutating: description.mutating.iter().map(rule).collect(),
        validating: description.validating.iter().map(rule).collect(),
    }
}

pub fn node_out(node: NumberedNode) -> NumberedNodeRecord {
    NumberedNodeRecord { number: node.number, node: node.node.map(object_out) }
}

pub fn extension_description(
    description: &described::scheduler_extension::Description,
) -> scheduler_extension::Description {
    use described::scheduler_extension::Ability;
    scheduler_extension::Description {
        manifest: manifest(&description.manifest),
        scheduler_names: description.scheduler_names.clone(),
        watches: description.watches.iter().map(described_kind).collect(),
        abilities: Abilities {
            filter: description.abilities.contains(Ability::FILTER),
            score: description.abilities.contains(Ability::SCORE),
        },
        pod_fields: description.pod_fields.clone(),
    }
}
