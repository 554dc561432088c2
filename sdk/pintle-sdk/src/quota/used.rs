//! What all objects of a namespace use of a quota.

use pintle_api::quantity::Quantity;

use super::{CLASS_SUFFIX, PLAIN, QuotaSpec, TRACKED, add, custom};
use crate::error::Error;
use crate::ledger::Ledger;
use crate::lister::{Lister, Query};
use crate::types::ResourceList;

/// What a namespace's objects use of a quota, as the lister shows them: every
/// resource of `hard`, 0 where there is nothing. The ledger knows what was there
/// before.
pub fn used(
    ledger: &Ledger,
    lister: &dyn Lister,
    namespace: &str,
    quota: &QuotaSpec,
    now_unix_ms: i64,
) -> Result<ResourceList, Error> {
    let mut used: ResourceList =
        quota.hard.keys().map(|name| (name.clone(), Quantity::ZERO)).collect();
    let is_scoped = !quota.scopes.is_empty()
        || quota.scope_selector.as_ref().is_some_and(|all| !all.match_expressions.is_empty());
    for (kind, name) in TRACKED {
        let count = format!("count/{name}");
        let query = Query::of(kind.clone()).namespace(namespace);
        let only_counted = !matches!(*name, "pods" | "services" | "persistentvolumeclaims");
        if only_counted {
            let is_named = |hard: &&String| **hard == count || hard.as_str() == *name;
            // The plain name of other kinds means nothing.
            let names: Vec<&String> = quota
                .hard
                .keys()
                .filter(is_named)
                .filter(|hard| **hard == count || PLAIN.contains(name))
                .collect();
            if !names.is_empty() && !is_scoped {
                let amount = Quantity::from_value(i64::from(lister.count(&query)));
                used.extend(names.into_iter().map(|hard| (hard.clone(), amount)));
            }
            continue;
        }
        let Some(fields) = fields(name, quota, is_scoped) else { continue };
        add(&mut used, &ledger.sum(lister, &query.fields(fields), quota, now_unix_ms)?);
    }
    if !is_scoped {
        for custom in custom::customs(lister, &quota.hard) {
            let count = lister.count(&Query::of(custom.kind).namespace(namespace));
            let amount = Quantity::from_value(i64::from(count));
            used.insert(format!("count/{}", custom.name), amount);
        }
    }
    Ok(used)
}

/// What has to be read of a kind's objects; none if the quota does not count them.
fn fields(name: &str, quota: &QuotaSpec, is_scoped: bool) -> Option<&'static [&'static str]> {
    const ALIVE: &[&str] =
        &["metadata.deletionTimestamp", "metadata.deletionGracePeriodSeconds", "status.phase"];
    const RESOURCES: &[&str] = &[
        "metadata.deletionTimestamp",
        "metadata.deletionGracePeriodSeconds",
        "status.phase",
        "spec.containers",
        "spec.initContainers",
        "spec.overhead",
        "spec.activeDeadlineSeconds",
        "spec.priorityClassName",
        "spec.affinity",
    ];
    let mut hard = quota.hard.keys().map(String::as_str);
    match name {
        "pods" => {
            let is_number = |hard: &str| matches!(hard, "pods" | "count/pods");
            let is_amount = |hard: &str| {
                matches!(hard, "cpu" | "memory" | "ephemeral-storage")
                    || hard.starts_with("hugepages-")
                    || hard.starts_with("limits.")
                    || (hard.starts_with("requests.") && hard != "requests.storage")
            };
            let amounts = hard.clone().any(is_amount);
            let numbers = hard.any(is_number);
            (amounts || numbers).then_some(if amounts || is_scoped { RESOURCES } else { ALIVE })
        }
        "services" => hard
            .any(|hard| hard == "count/services" || hard.starts_with("services"))
            .then_some(&["spec.type", "spec.ports", "spec.allocateLoadBalancerNodePorts"]),
        _ => hard
            .any(|hard| {
                matches!(
                    hard,
                    "persistentvolumeclaims" | "count/persistentvolumeclaims" | "requests.storage"
                ) || hard.contains(CLASS_SUFFIX)
            })
            .then_some(&[
                "metadata.annotations",
                "spec.resources",
                "spec.storageClassName",
                "spec.volumeAttributesClassName",
            ]),
    }
}
