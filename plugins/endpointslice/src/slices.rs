//! Putting endpoints into slices so that as few slices as possible change.

use std::collections::BTreeMap;

use pintle_sdk::owners;
use pintle_sdk::prelude::*;
use serde_json::json;

use crate::endpoints::{Group, Wanted, families};

pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";

/// A slice that is there, with what shall be in it.
struct Slice {
    known: Typed<EndpointSlice>,
    endpoints: Vec<Endpoint>,
    changed: bool,
}

pub fn plan(
    service: &Typed<Service>,
    mut wanted: Wanted,
    known: Vec<Typed<EndpointSlice>>,
    most: usize,
    outcome: &mut Outcome,
) {
    let labels = labels(service);
    if wanted.is_empty() {
        // One empty slice says that there is nothing, instead of nothing being said.
        for family in families(&service.spec) {
            wanted.insert(Group { address_type: family, ports: Vec::new() }, Vec::new());
        }
    }
    let mut of_group: BTreeMap<Group, Vec<Typed<EndpointSlice>>> = BTreeMap::new();
    let mut left_over = Vec::new();
    for slice in known {
        let mut ports = slice.ports.clone();
        ports.sort_unstable();
        let group = Group { address_type: slice.address_type.clone(), ports };
        match wanted.contains_key(&group) {
            true => of_group.entry(group).or_default().push(slice),
            false => left_over.push(slice),
        }
    }
    for (group, endpoints) in wanted {
        let slices = of_group.remove(&group).unwrap_or_default();
        fill(service, &group, endpoints, slices, &labels, most, outcome);
    }
    for slice in left_over {
        outcome.push(Delete::new(&slice).uid(&slice.uid));
    }
}

fn fill(
    service: &Typed<Service>,
    group: &Group,
    endpoints: Vec<Endpoint>,
    known: Vec<Typed<EndpointSlice>>,
    labels: &BTreeMap<String, String>,
    most: usize,
    outcome: &mut Outcome,
) {
    let mut missing: BTreeMap<String, Endpoint> =
        endpoints.into_iter().map(|endpoint| (key(&endpoint), endpoint)).collect();
    let mut slices: Vec<Slice> =
        known.into_iter().map(|slice| keep(slice, &mut missing, labels)).collect();
    let mut missing: Vec<Endpoint> = missing.into_values().collect();
    // Slices that change anyway take the new endpoints first; then the fullest
    // one that has room for all of them.
    for slice in slices.iter_mut().filter(|slice| slice.changed) {
        let room = most.saturating_sub(slice.endpoints.len()).min(missing.len());
        slice.endpoints.extend(missing.drain(..room));
    }
    if !missing.is_empty() {
        let rest = missing.len() % most;
        let with_room = slices
            .iter_mut()
            .filter(|slice| !slice.changed && slice.endpoints.len() + rest <= most);
        if let Some(slice) =
            with_room.max_by_key(|slice| slice.endpoints.len()).filter(|_| rest > 0)
        {
            slice.endpoints.extend(missing.drain(..rest));
            slice.changed = true;
        }
    }
    let full_elsewhere =
        slices.iter().any(|slice| !slice.endpoints.is_empty()) || !missing.is_empty();
    let mut placeholder_kept = full_elsewhere;
    for slice in slices {
        if slice.endpoints.is_empty() && placeholder_kept {
            outcome.push(Delete::new(&slice.known).uid(&slice.known.uid));
            continue;
        }
        placeholder_kept |= slice.endpoints.is_empty();
        if slice.changed {
            let body = json!({"metadata": {"labels": label_patch(&slice.known, labels)}, "endpoints": slice.endpoints});
            outcome.push(Patch::merge(&slice.known, &body).at(slice.known.revision));
        }
    }
    for chunk in missing.chunks(most) {
        outcome.push(create(service, group, chunk.to_vec(), labels));
    }
    if !placeholder_kept {
        outcome.push(create(service, group, Vec::new(), labels));
    }
}

/// What of a slice stays; the endpoints that stay are no longer missing.
fn keep(
    known: Typed<EndpointSlice>,
    missing: &mut BTreeMap<String, Endpoint>,
    labels: &BTreeMap<String, String>,
) -> Slice {
    let mut changed = known.metadata.labels != *labels;
    let mut endpoints = Vec::with_capacity(known.endpoints.len());
    for endpoint in &known.endpoints {
        match missing.remove(&key(endpoint)) {
            Some(wanted) => {
                changed |= wanted != *endpoint;
                endpoints.push(wanted);
            }
            None => changed = true,
        }
    }
    Slice { known, endpoints, changed }
}

/// One endpoint, whatever its state.
fn key(endpoint: &Endpoint) -> String {
    let mut key = endpoint.addresses.join(",");
    if let Some(target) = &endpoint.target_ref {
        key.push('/');
        key.push_str(&target.uid);
    }
    key
}

fn create(
    service: &Typed<Service>,
    group: &Group,
    endpoints: Vec<Endpoint>,
    labels: &BTreeMap<String, String>,
) -> Create {
    let namespace = &service.reference.namespace;
    let slice = json!({
        "apiVersion": ENDPOINT_SLICE.api_version(),
        "kind": ENDPOINT_SLICE.kind,
        "metadata": {
            "generateName": format!("{}-", service.reference.name),
            "namespace": namespace,
            "labels": labels,
            "ownerReferences": [owners::controller_reference(service)],
        },
        "addressType": group.address_type,
        "endpoints": endpoints,
        "ports": group.ports,
    });
    Create::new(ENDPOINT_SLICE, namespace, &slice)
}

/// The Service's own labels and the ones by which its slices are found.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone();
    labels.remove(HEADLESS);
    labels.insert(SERVICE_NAME.to_owned(), service.metadata.name.clone());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    if service.spec.cluster_ip == "None" {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels
}

/// The wanted labels, and `null` for those that have to go.
fn label_patch<'a>(
    known: &'a EndpointSlice,
    labels: &'a BTreeMap<String, String>,
) -> BTreeMap<&'a str, Option<&'a str>> {
    let gone = known
        .metadata
        .labels
        .keys()
        .filter(|key| !labels.contains_key(*key))
        .map(|key| (key.as_str(), None));
    gone.chain(labels.iter().map(|(key, value)| (key.as_str(), Some(value.as_str())))).collect()
}
