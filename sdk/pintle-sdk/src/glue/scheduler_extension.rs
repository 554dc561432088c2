//! Scheduler extensions.

use super::convert::{kind_out, manifest, object};
use super::{NOT_DESCRIBED, Slot};
pub use crate::bindings::controller::pintle::plugin::types::{
    Context as WitContext, Delta as WitDelta, Object as WitObject,
};
use crate::bindings::scheduler_extension::exports::pintle::plugin::scheduler_extension as wit;
use crate::scheduler::Delta;
use crate::scheduler_extension::{NumberedNode, SchedulerExtension};

pub fn describe<T: SchedulerExtension>(
    slot: &Slot<T>,
    config: &[u8],
) -> Result<wit::Description, String> {
    let plugin = T::new(super::config(config)?)?;
    let description = plugin.describe();
    slot.set(plugin);
    let mut abilities = wit::Ability::empty();
    if description.abilities.filter {
        abilities = abilities | wit::Ability::FILTER;
    }
    if description.abilities.score {
        abilities = abilities | wit::Ability::SCORE;
    }
    Ok(wit::Description {
        manifest: manifest(description.manifest),
        scheduler_names: description.scheduler_names,
        watches: description.watches.into_iter().map(kind_out).collect(),
        abilities,
        pod_fields: description.pod_fields,
    })
}

pub fn sync_nodes<T: SchedulerExtension>(slot: &Slot<T>, nodes: Vec<wit::NumberedNode>) {
    let nodes = nodes
        .into_iter()
        .map(|node| NumberedNode { number: node.number, node: node.node.map(object) })
        .collect();
    if slot.with(|plugin| plugin.sync_nodes(nodes)).is_none() {
        crate::log::error!("{NOT_DESCRIBED}");
    }
}

pub fn sync<T: SchedulerExtension>(slot: &Slot<T>, deltas: Vec<WitDelta>) {
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

pub fn filter<T: SchedulerExtension>(
    slot: &Slot<T>,
    context: WitContext,
    pod: WitObject,
) -> Vec<wit::Rejection> {
    let (context, pod) = (super::convert::context(context), object(pod));
    let rejections = slot.with(|plugin| plugin.filter(&context, &pod)).unwrap_or_default();
    let rejection = |found: crate::extension::Rejection| wit::Rejection {
        reason: found.reason,
        nodes: found.nodes,
    };
    rejections.into_iter().map(rejection).collect()
}

pub fn score<T: SchedulerExtension>(
    slot: &Slot<T>,
    context: WitContext,
    pod: WitObject,
) -> Vec<u8> {
    let (context, pod) = (super::convert::context(context), object(pod));
    slot.with(|plugin| plugin.score(&context, &pod)).unwrap_or_default()
}
