//! One address of each of a Service's families.

use std::net::IpAddr;

use pintle_sdk::admission::FieldError;
use pintle_sdk::api::cidr::Cidr;
use pintle_sdk::names::Random;
use serde_json::json;

use crate::Refusal;
use crate::bands::{ADDRESSES, PROBES, bands};
use crate::spec::Spec;
use crate::view::{Cluster, Range};

/// Completes `clusterIPs`, one for each entry of `ipFamilies`. Asked-for ones are
/// checked, those that the Service had before are not.
pub fn assign(
    spec: &mut Spec,
    old: Option<&Spec>,
    cluster: &dyn Cluster,
    random: &mut Random,
) -> Result<(), Refusal> {
    if spec.is_headless() {
        return Ok(());
    }
    let held = match old {
        Some(old) if old.wants_address() => old.cluster_ips.as_slice(),
        _ => &[],
    };
    // Validation says that the first one may not change.
    if held.first().is_some_and(|first| spec.cluster_ips.first() != Some(first)) {
        return Ok(());
    }
    for (index, family) in spec.ip_families.iter().enumerate() {
        match spec.cluster_ips.get(index) {
            Some(address) if held.contains(address) => {}
            Some(address) => check(address, spec, cluster)?,
            None => {
                let found = pick(family, cluster, random);
                let full = "failed to allocate a serviceIP: range is full";
                let address = found.ok_or_else(|| Refusal::Internal(full.to_owned()))?;
                spec.cluster_ips.push(address.to_string());
            }
        }
    }
    if let Some(first) = spec.cluster_ips.first() {
        spec.cluster_ip.clone_from(first);
    }
    Ok(())
}

/// Whether an address that was asked for can be had.
fn check(text: &str, spec: &Spec, cluster: &dyn Cluster) -> Result<(), Refusal> {
    let refuse = |why: &str| {
        let detail = format!("failed to allocate IP {text}: {why}");
        Err(Refusal::field(FieldError::invalid("spec.clusterIPs", json!(spec.cluster_ips), detail)))
    };
    let Ok(address) = text.parse::<IpAddr>() else { return Ok(()) };
    let offered = |range: &&Range| range.is_ready && offers(&range.cidr, address);
    if !cluster.ranges().iter().any(|range| offered(&range)) {
        return refuse("the provided network does not match the current range");
    }
    if cluster.is_taken(address) {
        return refuse("provided IP is already allocated");
    }
    Ok(())
}

/// The offsets that can be given out: neither the network's own address nor, for IPv4,
/// the one for broadcasts. First and count.
fn usable(range: &Cidr) -> (u128, u128) {
    let not = if range.is_ipv6() { 1 } else { 2 };
    (1, range.size().saturating_sub(not))
}

fn offers(range: &Cidr, address: IpAddr) -> bool {
    let broadcast = (!range.is_ipv6()).then(|| range.address(range.size() - 1));
    range.contains(address) && address != range.network() && Some(address) != broadcast
}

/// A free address of the family.
pub fn pick(family: &str, cluster: &dyn Cluster, random: &mut Random) -> Option<IpAddr> {
    let fits = |range: &&Range| range.is_ready && range.cidr.family() == family;
    let mut known = None;
    for range in cluster.ranges().iter().filter(fits) {
        let (first, count) = usable(&range.cidr);
        // It is the API server's even while that has not asked for it yet.
        let reserved =
            (range.is_default && !cluster.is_api_server()).then(|| range.cidr.address(first));
        for band in bands(first, count, ADDRESSES.offset(range.cidr.size())) {
            for (tried, offset) in band.shuffled(random).enumerate() {
                let address = range.cidr.address(offset);
                if Some(address) == reserved {
                    continue;
                }
                if tried >= PROBES {
                    let known = known.get_or_insert_with(|| cluster.taken_addresses());
                    if known.contains(&address) {
                        continue;
                    }
                }
                if !cluster.is_taken(address) {
                    return Some(address);
                }
            }
        }
    }
    None
}
