//! Subsets as slices: one for each subset and address family.

use std::net::IpAddr;

use pintle_sdk::prelude::*;
use serde::Deserialize;

use crate::ENDPOINTS;

pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Endpoints {
    pub metadata: ObjectMeta,
    #[serde(deserialize_with = "pintle_sdk::types::null_default")]
    pub subsets: Vec<Subset>,
}
pintle_sdk::resource!(Endpoints, ENDPOINTS);

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subset {
    #[serde(deserialize_with = "pintle_sdk::types::null_default")]
    addresses: Vec<Address>,
    #[serde(deserialize_with = "pintle_sdk::types::null_default")]
    not_ready_addresses: Vec<Address>,
    #[serde(deserialize_with = "pintle_sdk::types::null_default")]
    ports: Vec<EndpointPort>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Address {
    ip: String,
    hostname: Option<String>,
    node_name: Option<String>,
    target_ref: Option<TargetRef>,
}

pub fn of_endpoints(endpoints: &Endpoints, most: usize) -> Vec<EndpointSlice> {
    let mut slices: Vec<EndpointSlice> = Vec::new();
    for subset in &endpoints.subsets {
        let mut ports = subset.ports.clone();
        ports.sort_unstable();
        let ready = subset.addresses.iter().map(|address| (address, true));
        let unready = subset.not_ready_addresses.iter().map(|address| (address, false));
        for (address, is_ready) in ready.chain(unready).take(most) {
            let family = match address.ip.parse::<IpAddr>() {
                Ok(ip) if ip.is_ipv6() => "IPv6",
                Ok(_) => "IPv4",
                Err(_) => continue,
            };
            let slice = slices
                .iter()
                .position(|slice| slice.address_type == family && slice.ports == ports)
                .unwrap_or_else(|| {
                    slices.push(EndpointSlice {
                        address_type: family.to_owned(),
                        ports: ports.clone(),
                        ..EndpointSlice::default()
                    });
                    slices.len() - 1
                });
            slices[slice].endpoints.push(endpoint(address, is_ready));
        }
    }
    for slice in &mut slices {
        slice.endpoints.sort_unstable();
        slice.endpoints.dedup();
    }
    slices
}

fn endpoint(address: &Address, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: EndpointConditions { ready: Some(ready), ..EndpointConditions::default() },
        hostname: address.hostname.clone().filter(|name| !name.is_empty()),
        node_name: address.node_name.clone().filter(|name| !name.is_empty()),
        target_ref: address.target_ref.clone(),
        zone: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn families_and_subsets_are_told_apart() {
        let endpoints: Endpoints = serde_json::from_value(json!({"subsets": [
            {"addresses": [{"ip": "10.0.0.2"}, {"ip": "10.0.0.1"}, {"ip": "fd00::1"}, {"ip": "no address"}],
             "notReadyAddresses": [{"ip": "10.0.0.3"}], "ports": [{"port": 80}]},
            {"addresses": [{"ip": "10.0.0.4"}], "ports": [{"port": 81}]}]}))
        .unwrap();
        let slices = of_endpoints(&endpoints, 1000);
        let shown: Vec<(&str, usize)> = slices
            .iter()
            .map(|slice| (slice.address_type.as_str(), slice.endpoints.len()))
            .collect();
        assert_eq!(shown, [("IPv4", 3), ("IPv6", 1), ("IPv4", 1)]);
        assert_eq!(of_endpoints(&endpoints, 1).len(), 2);
    }
}
