//! What containers get that they leave open.

use pintle_sdk::prelude::Container;
use pintle_sdk::serde_json::{Value, json};

use crate::{Amounts, LimitRange, PodFields};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// The operations that fill in requests and limits, and note which.
pub fn fill(ranges: &[LimitRange], pod: &PodFields) -> Vec<Value> {
    let limits = || ranges.iter().flat_map(|range| &range.spec.limits);
    let (mut requests, mut maxima) = (Amounts::new(), Amounts::new());
    // Of several, the first that says something about a resource counts.
    for limit in limits().filter(|limit| limit.r#type == "Container") {
        for (name, amount) in &limit.default_request {
            requests.entry(name.clone()).or_insert(*amount);
        }
        for (name, amount) in &limit.default {
            maxima.entry(name.clone()).or_insert(*amount);
        }
    }
    let (mut operations, mut notes) = (Vec::new(), Vec::new());
    for (field, what, containers) in [
        ("containers", "container", &pod.spec.containers),
        ("initContainers", "init container", &pod.spec.init_containers),
    ] {
        for (index, container) in containers.iter().enumerate() {
            let (requested, limited) = complete(container, &requests, &maxima);
            if requested.is_empty() && limited.is_empty() {
                continue;
            }
            for (names, list) in [(&requested, "request"), (&limited, "limit")] {
                if !names.is_empty() {
                    let names: Vec<&str> = names.keys().map(String::as_str).collect();
                    let name = &container.name;
                    notes.push(format!("{} {list} for {what} {name}", names.join(", ")));
                }
            }
            let path = format!("/spec/{field}/{index}/resources");
            if !pod.has_resources(field, index) {
                operations.push(json!({"op": "add", "path": path, "value": {}}));
            }
            operations.extend(merge(container, &path, requested, limited));
        }
    }
    if operations.is_empty() {
        return operations;
    }
    let note = json!(format!("LimitRanger plugin set: {}", notes.join("; ")));
    operations.push(match pod.metadata.annotations {
        Some(_) => {
            let key = ANNOTATION.replace('/', "~1");
            json!({"op": "add", "path": format!("/metadata/annotations/{key}"), "value": note})
        }
        None => json!({"op": "add", "path": "/metadata/annotations", "value": {ANNOTATION: note}}),
    });
    operations
}

/// What the container lacks of requests, and of limits.
fn complete(container: &Container, requests: &Amounts, limits: &Amounts) -> (Amounts, Amounts) {
    let lacks = |own: &Amounts, wanted: &Amounts| {
        let open = wanted.iter().filter(|(name, _)| !own.contains_key(*name));
        open.map(|(name, amount)| (name.clone(), *amount)).collect()
    };
    let own = &container.resources;
    (lacks(&own.requests, requests), lacks(&own.limits, limits))
}

/// Either list may be absent, so each that grows is written whole. `resources`
/// itself may be absent too, unless something in it was read.
fn merge(container: &Container, path: &str, requests: Amounts, limits: Amounts) -> Vec<Value> {
    let own = &container.resources;
    [("requests", &own.requests, requests), ("limits", &own.limits, limits)]
        .into_iter()
        .filter(|(_, _, more)| !more.is_empty())
        .map(|(list, own, more)| {
            let mut all = own.clone();
            all.extend(more);
            json!({"op": "add", "path": format!("{path}/{list}"), "value": all})
        })
        .collect()
}
