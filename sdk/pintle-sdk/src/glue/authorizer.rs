//! Authorizers.

use super::convert::{context, kind_out, manifest, object};
use super::{NOT_DESCRIBED, Slot};
use crate::authorizer::{Attributes, Authorizer, Decision, User};
use crate::bindings::authorizer::exports::pintle::plugin::authorizer as wit;
pub use crate::bindings::controller::pintle::plugin::types::{
    Context as WitContext, Delta as WitDelta,
};
use crate::scheduler::Delta;

pub fn describe<T: Authorizer>(slot: &Slot<T>, config: &[u8]) -> Result<wit::Description, String> {
    let plugin = T::new(super::config(config)?)?;
    let description = plugin.describe();
    slot.set(plugin);
    Ok(wit::Description {
        manifest: manifest(description.manifest),
        watches: description.watches.into_iter().map(kind_out).collect(),
    })
}

pub fn sync<T: Authorizer>(slot: &Slot<T>, deltas: Vec<WitDelta>) {
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

pub fn authorize<T: Authorizer>(
    slot: &Slot<T>,
    at: WitContext,
    attributes: wit::Attributes,
) -> wit::Decision {
    let attributes = Attributes {
        user: user(attributes.user),
        verb: attributes.verb,
        group: attributes.group,
        version: attributes.version,
        resource: attributes.resource,
        subresource: attributes.subresource,
        namespace: attributes.namespace,
        name: attributes.name,
        path: attributes.path,
        required_fields: attributes.required_fields.into_iter().collect(),
    };
    match slot.with(|plugin| plugin.authorize(&context(at), &attributes)) {
        Some(Decision::Allow(reason)) => wit::Decision::Allow(reason),
        Some(Decision::Deny(reason)) => wit::Decision::Deny(reason),
        Some(Decision::NoOpinion(reason)) => wit::Decision::NoOpinion(reason),
        None => wit::Decision::Deny(NOT_DESCRIBED.to_owned()),
    }
}

pub fn rules<T: Authorizer>(
    slot: &Slot<T>,
    at: WitContext,
    asked: wit::User,
    namespace: &str,
) -> wit::RuleSet {
    let asked = user(asked);
    let rules =
        slot.with(|plugin| plugin.rules(&context(at), &asked, namespace)).unwrap_or_default();
    wit::RuleSet {
        resource_rules: rules
            .resource_rules
            .into_iter()
            .map(|rule| wit::ResourceRule {
                verbs: rule.verbs,
                api_groups: rule.api_groups,
                resources: rule.resources,
                resource_names: rule.resource_names,
            })
            .collect(),
        non_resource_rules: rules
            .non_resource_rules
            .into_iter()
            .map(|rule| wit::NonResourceRule {
                verbs: rule.verbs,
                non_resource_urls: rule.non_resource_urls,
            })
            .collect(),
        incomplete: rules.incomplete,
    }
}

fn user(user: wit::User) -> User {
    User {
        name: user.name,
        uid: user.uid,
        groups: user.groups,
        extra: user.extra.into_iter().collect(),
    }
}
