//! IPAddresses: one for each address that a Service has, none without.

use std::net::IpAddr;

use pintle_sdk::prelude::*;
use serde_json::json;

const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
/// The name under which Kubernetes' own allocator signs.
const MANAGER: &str = "ipallocator.k8s.io";

/// The addresses of a Service in the one form that names have.
fn addresses_of(service: &Service) -> Vec<IpAddr> {
    service.spec.cluster_ips.iter().filter_map(|address| address.parse().ok()).collect()
}

fn is_managed(address: &IpAddress) -> bool {
    address.metadata.labels.get(MANAGED_BY).is_some_and(|by| by == MANAGER)
}

fn is_of(address: &IpAddress, service: &ObjectRef) -> bool {
    let parent = &address.spec.parent_ref;
    parent.group.is_empty()
        && parent.resource == "services"
        && parent.namespace == service.namespace
        && parent.name == service.name
}

fn create(address: IpAddr, service: &ObjectRef) -> Create {
    let family = if address.is_ipv6() { "IPv6" } else { "IPv4" };
    let object = json!({
        "metadata": {
            "name": address.to_string(),
            "labels": {FAMILY: family, MANAGED_BY: MANAGER},
        },
        "spec": {"parentRef": {
            "group": "", "resource": "services",
            "namespace": service.namespace, "name": service.name,
        }},
    });
    Create::new(IP_ADDRESS, "", &object)
}

/// Looks at one Service, which may be gone.
pub fn keep_of_service(
    lister: &dyn Lister,
    reference: &ObjectRef,
    outcome: &mut Outcome,
) -> Result<(), Error> {
    let service = lister.read::<Service>(&reference.namespace, &reference.name)?;
    let wanted = service.as_ref().map(|service| addresses_of(service)).unwrap_or_default();
    if let Some(service) = &service
        && wanted.is_empty()
        && service.spec.cluster_ips.is_empty()
        && service.spec.r#type.as_deref() != Some("ExternalName")
        && !service.metadata.is_being_deleted()
    {
        // From before addresses were given out: any write makes admission give it one.
        outcome.push(Patch::merge(service, &json!({})));
    }
    let query = Query::any_kind().field("spec.parentRef.name", &*reference.name);
    let known = lister.read_all::<IpAddress>(query)?;
    let own = known.iter().filter(|address| is_of(address, reference));
    let mut present = Vec::new();
    for address in own {
        match address.reference.name.parse() {
            Ok(parsed) if wanted.contains(&parsed) => present.push(parsed),
            _ if is_managed(address) => outcome.push(Delete::this(address)),
            _ => {}
        }
    }
    for address in wanted.into_iter().filter(|address| !present.contains(address)) {
        // Another's is looked at by itself; when it goes, this Service is found.
        if lister.read::<IpAddress>("", &address.to_string())?.is_none() {
            outcome.push(create(address, reference));
        }
    }
    Ok(())
}

/// Looks at one IPAddress, which may be gone.
pub fn keep(lister: &dyn Lister, name: &str, outcome: &mut Outcome) -> Result<(), Error> {
    let Ok(address) = name.parse::<IpAddr>() else { return Ok(()) };
    let Some(known) = lister.read::<IpAddress>("", name)? else {
        let holders = Query::any_kind().field("spec.clusterIP", name).limit(1);
        if let Some(holder) = lister.read_all::<Service>(holders)?.first() {
            outcome.push(create(address, &holder.reference));
        }
        return Ok(());
    };
    let parent = &known.spec.parent_ref;
    if !is_managed(&known) || parent.resource != "services" || !parent.group.is_empty() {
        return Ok(());
    }
    let service = lister.read::<Service>(&parent.namespace, &parent.name)?;
    if !service.is_some_and(|service| addresses_of(&service).contains(&address)) {
        outcome.push(Delete::this(&known));
    }
    Ok(())
}
