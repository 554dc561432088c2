//! One call of an instance of any role, in the terms of the trace. The recorder
//! and the replay both go through here, so that they do the same.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use pintle_api::meta::GroupVersionKind;

use super::model::{Answer, FaultRecord, Input, ObjectRecord};
use super::wire;
use crate::bindings::admission::AdmissionPlugin;
use crate::bindings::controller::ControllerPlugin;
use crate::bindings::scheduler::SchedulerPlugin;
use crate::cluster::{Object, ObjectHandle, Owner};
use crate::fields;
use crate::grants::Grants;
use crate::plan;
use crate::program::World;
use crate::program::controller_interface::Request;
use crate::sandbox::{Fault, Sandbox, Usage};

/// A world whose calls can be recorded.
pub(crate) trait Subject: World {
    /// Calls hang together: an instance that was lost cannot be replaced
    /// between two of them.
    const STATEFUL: bool;

    /// None if the role has no such call.
    fn ask(sandbox: &mut Sandbox<Self>, grants: &Grants, input: &Input) -> Option<(Answer, Usage)>;
}

impl Subject for ControllerPlugin {
    const STATEFUL: bool = false;

    fn ask(sandbox: &mut Sandbox<Self>, grants: &Grants, input: &Input) -> Option<(Answer, Usage)> {
        let Input::Reconcile { context, reference, uid, attempt } = input else { return None };
        let context = wire::to_context(context);
        let request =
            Request { ref_: wire::object_ref(reference), uid: uid.clone(), attempt: *attempt };
        sandbox.set_context(&context);
        let (result, usage) = sandbox.call(|world, store| {
            world.pintle_plugin_controller().call_reconcile(store, context, &request)
        });
        let answer = result.and_then(|outcome| match outcome {
            Ok(outcome) => {
                let actions = outcome.actions.iter().map(wire::action).collect();
                plan::check(outcome.actions, grants)?;
                Ok(Answer::Outcome { actions, requeue_after_ms: outcome.requeue_after_ms })
            }
            Err(message) => Ok(Answer::Error(message)),
        });
        Some((answer.unwrap_or_else(|fault| faulted(&fault)), usage))
    }
}

impl Subject for SchedulerPlugin {
    const STATEFUL: bool = true;

    fn ask(sandbox: &mut Sandbox<Self>, grants: &Grants, input: &Input) -> Option<(Answer, Usage)> {
        let (answer, usage) = match input {
            Input::Sync(deltas) => {
                let deltas = wire::to_deltas(deltas);
                let (result, usage) = sandbox
                    .call(|world, store| world.pintle_plugin_scheduler().call_sync(store, &deltas));
                (result.map(|()| Answer::Done), usage)
            }
            Input::Forget(uids) => {
                let (result, usage) = sandbox
                    .call(|world, store| world.pintle_plugin_scheduler().call_forget(store, uids));
                (result.map(|()| Answer::Done), usage)
            }
            Input::Schedule { context, pods } => {
                let context = wire::to_context(context);
                let objects: Vec<_> = pods.iter().map(wire::to_object).collect();
                sandbox.set_context(&context);
                let (result, usage) = sandbox.call(|world, store| {
                    world.pintle_plugin_scheduler().call_schedule(store, context, &objects)
                });
                let answer = result.and_then(|decisions| {
                    let pods: Vec<ObjectHandle> = pods.iter().map(handle).collect();
                    crate::scheduler::check_decisions(&decisions, &pods, grants)?;
                    Ok(Answer::Decisions(decisions.iter().map(wire::decision).collect()))
                });
                (answer, usage)
            }
            _ => return None,
        };
        Some((answer.unwrap_or_else(|fault| faulted(&fault)), usage))
    }
}

impl Subject for AdmissionPlugin {
    const STATEFUL: bool = false;

    fn ask(
        sandbox: &mut Sandbox<Self>,
        _grants: &Grants,
        input: &Input,
    ) -> Option<(Answer, Usage)> {
        let Input::Review { context, request } = input else { return None };
        let context = wire::to_context(context);
        let request = wire::to_request(request);
        sandbox.set_context(&context);
        let (result, usage) = sandbox.call(|world, store| {
            world.pintle_plugin_admission().call_review(store, context, &request)
        });
        let answer = result.and_then(|response| crate::admission::sound(response, &request)).map(
            |response| {
                let (verdict, warnings) = wire::review(response);
                Answer::Review { verdict, warnings }
            },
        );
        Some((answer.unwrap_or_else(|fault| faulted(&fault)), usage))
    }
}

pub(super) fn faulted(fault: &Fault) -> Answer {
    Answer::Fault(fault_record(fault))
}

pub(super) fn fault_record(fault: &Fault) -> FaultRecord {
    FaultRecord { reason: fault.reason().to_owned(), message: fault.to_string() }
}

/// A recorded object where the host wants one of the cluster.
struct Recorded {
    kind: Arc<GroupVersionKind>,
    record: ObjectRecord,
    json: Bytes,
}

fn handle(record: &ObjectRecord) -> ObjectHandle {
    let kind = &record.reference.kind;
    Arc::new(Recorded {
        kind: Arc::new(GroupVersionKind::new(&kind.group, &kind.version, &kind.kind)),
        record: ObjectRecord { json: Default::default(), ..record.clone() },
        json: Bytes::copy_from_slice(&record.json.0),
    })
}

impl Object for Recorded {
    fn kind(&self) -> &Arc<GroupVersionKind> {
        &self.kind
    }

    fn namespace(&self) -> &str {
        &self.record.reference.namespace
    }

    fn name(&self) -> &str {
        &self.record.reference.name
    }

    fn uid(&self) -> &str {
        &self.record.uid
    }

    fn revision(&self) -> u64 {
        self.record.revision
    }

    fn json(&self) -> &Bytes {
        &self.json
    }

    /// The checks of answers, for which this stands in, look at no label.
    fn label(&self, _key: &str) -> Option<&str> {
        None
    }

    fn controller(&self) -> Option<Owner<'_>> {
        None
    }

    fn field(&self, path: &str) -> Option<Cow<'_, str>> {
        fields::text(&self.json, path)
    }
}
