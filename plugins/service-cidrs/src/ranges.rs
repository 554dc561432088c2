//! ServiceCIDRs: ready while they are there, held back from deletion while an
//! address of theirs is in use and in no other range.

use std::net::IpAddr;

use pintle_sdk::api::cidr::Cidr;
use pintle_sdk::prelude::*;
use serde_json::json;

use crate::KUBERNETES;

pub const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// A request that chose an address before the deletion is stored by then.
const GRACE_MS: i64 = 2_000;

const READY: &str = "Kubernetes Service CIDR is ready";
const IN_USE: &str = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";

fn ranges_of(range: &ServiceCidr) -> Vec<Cidr> {
    range.spec.cidrs.iter().filter_map(|cidr| cidr.parse().ok()).collect()
}

/// Looks at one ServiceCIDR.
pub fn keep(
    context: &Context,
    lister: &dyn Lister,
    name: &str,
    outcome: &mut Outcome,
) -> Result<(), Error> {
    let Some(range) = lister.read::<ServiceCidr>("", name)? else { return Ok(()) };
    let mut finalizers = range.metadata.finalizers.clone();
    let is_held = finalizers.iter().any(|finalizer| finalizer == FINALIZER);
    if !range.metadata.is_being_deleted() {
        if !is_held {
            finalizers.push(FINALIZER.to_owned());
            let body = json!({"metadata": {"finalizers": finalizers}});
            outcome.push(Patch::merge(&range, &body).at(range.revision));
        }
        say(context, &range, Condition::new("Ready", "True", "", READY), outcome);
        return Ok(());
    }
    if !is_held {
        return Ok(());
    }
    if is_needed(lister, &range)? {
        say(context, &range, Condition::new("Ready", "False", "Terminating", IN_USE), outcome);
        return Ok(());
    }
    let since = context.since(range.metadata.deletion_timestamp.as_deref()).unwrap_or(GRACE_MS);
    if since < GRACE_MS {
        // The timestamp has whole seconds.
        outcome.requeue_after((GRACE_MS - since).clamp(1, GRACE_MS) as u64);
        return Ok(());
    }
    finalizers.retain(|finalizer| finalizer != FINALIZER);
    let body = json!({"metadata": {"finalizers": finalizers}});
    outcome.push(Patch::merge(&range, &body).at(range.revision));
    Ok(())
}

fn say(context: &Context, range: &Typed<ServiceCidr>, mut next: Condition, outcome: &mut Outcome) {
    // Conditions of ServiceCIDRs have a reason, if only an empty one.
    next.reason.get_or_insert_default();
    let mut conditions = range.status.conditions.clone();
    if conditions::set(&mut conditions, next, &context.now()) {
        outcome.push(Patch::status_of(range, &json!({"conditions": conditions})));
    }
}

/// Whether an address would be in no range without this one.
fn is_needed(lister: &dyn Lister, range: &Typed<ServiceCidr>) -> Result<bool, Error> {
    let others: Vec<Cidr> = lister
        .read_all::<ServiceCidr>(Query::any_kind())?
        .iter()
        .filter(|other| other.uid != range.uid && !other.metadata.is_being_deleted())
        .flat_map(|other| ranges_of(other))
        .collect();
    let lonely: Vec<Cidr> = ranges_of(range)
        .into_iter()
        .filter(|own| !others.iter().any(|other| other.covers(own)))
        .collect();
    if lonely.is_empty() {
        return Ok(false);
    }
    let is_orphan = |address: IpAddr| {
        lonely.iter().any(|own| own.contains(address))
            && !others.iter().any(|other| other.contains(address))
    };
    let known = lister.list(&Query::of(IP_ADDRESS).metadata_only());
    if known.iter().filter_map(|known| known.reference.name.parse().ok()).any(is_orphan) {
        return Ok(true);
    }
    // A Service may be newer than its IPAddress.
    let services = lister.list_fields(&Query::of(SERVICE), &["spec.clusterIPs"]);
    for service in services {
        let service: Service = service.parse()?;
        let mut held = service.spec.cluster_ips.iter().filter_map(|held| held.parse().ok());
        if held.any(is_orphan) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The cluster's own ranges come back when somebody has deleted them.
pub fn keep_default(
    lister: &dyn Lister,
    wanted: &[Cidr],
    outcome: &mut Outcome,
) -> Result<(), Error> {
    if wanted.is_empty() || lister.read::<ServiceCidr>("", KUBERNETES)?.is_some() {
        return Ok(());
    }
    let cidrs: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    let object = json!({"metadata": {"name": KUBERNETES}, "spec": {"cidrs": cidrs}});
    outcome.push(Create::new(SERVICE_CIDR, "", &object));
    Ok(())
}
