//! Schedulers.

use super::convert::{kind_out, manifest, object};
use super::{NOT_DESCRIBED, Slot};
pub use crate::bindings::controller::pintle::plugin::types::{
    Context as WitContext, Delta as WitDelta, Object as WitObject,
};
use crate::bindings::scheduler::exports::pintle::plugin::scheduler as wit;
use crate::bindings::scheduler::pintle::plugin::extensions;
use crate::extension::{Evaluation, Extensions, Rejection};
use crate::scheduler::{Decision, Delta, Scheduler, Wake};

pub fn describe<T: Scheduler>(slot: &Slot<T>, config: &[u8]) -> Result<wit::Description, String> {
    let plugin = T::new(super::config(config)?)?;
    let description = plugin.describe();
    slot.set(plugin);
    Ok(wit::Description {
        manifest: manifest(description.manifest),
        scheduler_names: description.scheduler_names,
        watches: description.watches.into_iter().map(kind_out).collect(),
    })
}

pub fn sync<T: Scheduler>(slot: &Slot<T>, deltas: Vec<WitDelta>) {
    let deltas = deltas
        .into_iter()
        .map(|delta| match delta {
            WitDelta::Upsert(upsert) => Delta::Upsert(object(upsert)),
            WitDelta::Remove(remove) => Delta::Remove(object(remove)),
        })
        .collect();
    if slot.with(|plugin| plugin.sync(deltas)).is_none() {
        crate::log::error!("{NOT_DESCRIBED}");
    }
}

pub fn schedule<T: Scheduler>(
    slot: &Slot<T>,
    context: WitContext,
    pods: Vec<WitObject>,
) -> Vec<wit::Decision> {
    let context = super::convert::context(context);
    let ignored = pods.len();
    let pods = pods.into_iter().map(object).collect();
    let decisions = slot
        .with(|plugin| plugin.schedule(&context, &HostExtensions, pods))
        .unwrap_or_else(|| vec![Decision::Ignore(NOT_DESCRIBED.to_owned()); ignored]);
    decisions.into_iter().map(decision).collect()
}

pub fn forget<T: Scheduler>(slot: &Slot<T>, pod_uids: Vec<String>) {
    if slot.with(|plugin| plugin.forget(pod_uids)).is_none() {
        crate::log::error!("{NOT_DESCRIBED}");
    }
}

/// Asks the host.
struct HostExtensions;

impl Extensions for HostExtensions {
    fn numbering(&self) -> u64 {
        extensions::numbering()
    }

    fn nodes(&self) -> Vec<String> {
        extensions::nodes()
    }

    fn evaluate(&self, pod_uid: &str) -> u64 {
        extensions::evaluate(pod_uid)
    }

    fn read(&self, version: u64) -> Evaluation {
        let evaluation = extensions::read(version);
        let rejection =
            |found: extensions::Rejection| Rejection { reason: found.reason, nodes: found.nodes };
        Evaluation {
            rejections: evaluation.rejections.into_iter().map(rejection).collect(),
            scores: evaluation.scores,
        }
    }
}

fn decision(decision: Decision) -> wit::Decision {
    match decision {
        Decision::Bind { pod_uid, node } => wit::Decision::Bind(wit::Binding { pod_uid, node }),
        Decision::Unschedulable { pod_uid, message, wake_on } => {
            wit::Decision::Unschedulable(wit::Unschedulable {
                pod_uid,
                message,
                wake_on: wake(wake_on),
            })
        }
        Decision::Preempt { pod_uid, node, victims, message } => {
            wit::Decision::Preempt(wit::Preemption { pod_uid, node, victims, message })
        }
        Decision::Ignore(reason) => wit::Decision::Ignore(reason),
    }
}

fn wake(wake: Wake) -> wit::Wake {
    let mut flags = wit::Wake::empty();
    if wake.node_changed {
        flags = flags | wit::Wake::NODE_CHANGED;
    }
    if wake.pod_removed {
        flags = flags | wit::Wake::POD_REMOVED;
    }
    if wake.pod_added {
        flags = flags | wit::Wake::POD_ADDED;
    }
    if wake.other_changed {
        flags = flags | wit::Wake::OTHER_CHANGED;
    }
    flags
}
