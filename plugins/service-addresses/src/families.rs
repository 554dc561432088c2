//! Which IP families a Service has, from what it says and what the cluster offers.

use pintle_sdk::admission::FieldError;
use serde_json::json;

use crate::Refusal;
use crate::spec::{HEADLESS, Spec, family_of};
use crate::view::Cluster;

const DUAL: [&str; 2] = ["PreferDualStack", "RequireDualStack"];

/// The families that the cluster has ranges of; the default one first.
fn configured(cluster: &dyn Cluster) -> Vec<&'static str> {
    let mut families = Vec::new();
    for range in cluster.ranges() {
        let family = range.cidr.family();
        if !families.contains(&family) {
            families.push(family);
        }
    }
    families
}

fn other(family: &str) -> &'static str {
    if family == "IPv4" { "IPv6" } else { "IPv4" }
}

/// Fills in `ipFamilyPolicy` and `ipFamilies`, and lets go of a second address that
/// is not wanted any more.
pub fn settle(spec: &mut Spec, old: Option<&Spec>, cluster: &dyn Cluster) -> Result<(), Refusal> {
    let old = old.filter(|old| old.wants_address());
    // A Service that takes what it can get stays as it is until somebody changes that.
    if old.is_some_and(|old| {
        old.policy() == DUAL[0]
            && spec.policy() == DUAL[0]
            && !old.cluster_ips.is_empty()
            && old.cluster_ips == spec.cluster_ips
            && old.ip_families == spec.ip_families
    }) {
        return Ok(());
    }
    let selectorless = spec.is_headless() && spec.selector.is_empty();
    if spec.ip_family_policy.is_none() {
        let known = old.and_then(|old| old.ip_family_policy.clone());
        let fresh = if selectorless { "RequireDualStack" } else { "SingleStack" };
        spec.ip_family_policy = Some(known.unwrap_or_else(|| fresh.to_owned()));
    }
    let wants_two = DUAL.contains(&spec.policy());
    let mut errors = Vec::new();
    let mut refuse = |spec: &Spec, detail: &str| {
        errors.push(FieldError::invalid("spec.ipFamilyPolicy", spec.policy(), detail));
    };
    if let Some(old) = old {
        if wants_two {
            let fewer = |new: &[String], old: &[String]| !new.is_empty() && new.len() < old.len();
            if fewer(&spec.cluster_ips, &old.cluster_ips) {
                refuse(spec, "must be 'SingleStack' to release the secondary cluster IP");
            }
            if fewer(&spec.ip_families, &old.ip_families) {
                refuse(spec, "must be 'SingleStack' to release the secondary IP family");
            }
        } else {
            // The policy says it clearly; the first address stays.
            if spec.cluster_ips == old.cluster_ips {
                spec.cluster_ips.truncate(1);
            }
            if spec.ip_families == old.ip_families {
                spec.ip_families.truncate(1);
            }
        }
    }
    if !wants_two {
        let must = "must be 'RequireDualStack' or 'PreferDualStack' when multiple";
        if spec.cluster_ips.len() == 2 {
            refuse(spec, &format!("{must} cluster IPs are specified"));
        }
        if spec.ip_families.len() == 2 {
            refuse(spec, &format!("{must} IP families are specified"));
        }
    }
    let configured = configured(cluster);
    for (index, address) in spec.cluster_ips.iter().enumerate().skip(spec.ip_families.len()) {
        let Some(family) = address.parse().ok().map(family_of).filter(|_| address != HEADLESS)
        else {
            break;
        };
        if configured.contains(&family) {
            spec.ip_families.push(family.to_owned());
        } else {
            let detail = format!("{family} is not configured on this cluster");
            let field = format!("spec.clusterIPs[{index}]");
            errors.push(FieldError::invalid(field, json!(spec.cluster_ips), detail));
        }
    }
    if !errors.is_empty() {
        return Err(Refusal::Invalid(errors));
    }
    let default = configured.first().copied().unwrap_or("IPv4");
    if selectorless {
        // Whoever writes its endpoints knows which families they are of.
        if spec.ip_families.is_empty() {
            spec.ip_families.push(default.to_owned());
        }
        if wants_two && spec.ip_families.len() == 1 {
            spec.ip_families.push(other(&spec.ip_families[0]).to_owned());
        }
        return Ok(());
    }
    if spec.policy() == "RequireDualStack" && configured.len() < 2 {
        let detail = "this cluster is not configured for dual-stack services";
        errors.push(FieldError::invalid("spec.ipFamilyPolicy", spec.policy(), detail));
    }
    for (index, family) in spec.ip_families.iter().enumerate() {
        if !configured.contains(&family.as_str()) {
            let field = format!("spec.ipFamilies[{index}]");
            let detail = "not configured on this cluster";
            errors.push(FieldError::invalid(field, family.as_str(), detail));
        }
    }
    if !errors.is_empty() {
        return Err(Refusal::Invalid(errors));
    }
    if spec.ip_families.is_empty() {
        spec.ip_families.push(default.to_owned());
    }
    if wants_two && spec.ip_families.len() == 1 && configured.len() == 2 {
        spec.ip_families.push(other(&spec.ip_families[0]).to_owned());
    }
    Ok(())
}
