//! What breaks a bound, in Kubernetes' words.

use pintle_sdk::prelude::{Container, Quantity};
use pintle_sdk::quota::{Amount, total_of};

use crate::{Amounts, Limit, LimitRangeSpec, PodFields};

/// Every bound that the pod breaks.
pub fn check(range: &LimitRangeSpec, pod: &PodFields) -> Vec<String> {
    let mut broken = Vec::new();
    for limit in &range.limits {
        match limit.r#type.as_str() {
            "Container" => {
                for container in pod.spec.containers.iter().chain(&pod.spec.init_containers) {
                    let Container { resources, .. } = container;
                    against(limit, &resources.requests, &resources.limits, &mut broken);
                }
            }
            "Pod" => {
                let total =
                    |amount| total_of(&pod.spec.containers, &pod.spec.init_containers, amount);
                against(limit, &total(Amount::Requests), &total(Amount::Limits), &mut broken);
            }
            _ => {}
        }
    }
    unique(broken)
}

/// Every bound that a claim's request breaks.
pub fn check_claim(range: &LimitRangeSpec, requests: &Amounts) -> Vec<String> {
    let mut broken = Vec::new();
    for limit in range.limits.iter().filter(|limit| limit.r#type == "PersistentVolumeClaim") {
        for (name, bound) in &limit.min {
            broken.extend(minimum(name, &limit.r#type, bound, requests.get(name), None));
        }
        for (name, bound) in &limit.max {
            let said = format!("maximum {name} usage per {} is {bound}", limit.r#type);
            match requests.get(name) {
                None => broken.push(format!("{said}.  No request is specified")),
                Some(request) if request > bound => {
                    broken.push(format!("{said}, but request is {request}"));
                }
                Some(_) => {}
            }
        }
    }
    unique(broken)
}

fn against(limit: &Limit, requests: &Amounts, limits: &Amounts, broken: &mut Vec<String>) {
    let kind = &limit.r#type;
    for (name, bound) in &limit.min {
        broken.extend(minimum(name, kind, bound, requests.get(name), limits.get(name)));
    }
    for (name, bound) in &limit.max {
        broken.extend(maximum(name, kind, bound, requests.get(name), limits.get(name)));
    }
    for (name, bound) in &limit.max_limit_request_ratio {
        broken.extend(ratio(name, kind, bound, requests.get(name), limits.get(name)));
    }
}

fn minimum(
    name: &str,
    kind: &str,
    bound: &Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let said = format!("minimum {name} usage per {kind} is {bound}");
    match (request, limit) {
        (None, _) => Some(format!("{said}.  No request is specified")),
        (Some(request), _) if request < bound => Some(format!("{said}, but request is {request}")),
        (_, Some(limit)) if limit < bound => Some(format!("{said}, but limit is {limit}")),
        _ => None,
    }
}

fn maximum(
    name: &str,
    kind: &str,
    bound: &Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let said = format!("maximum {name} usage per {kind} is {bound}");
    match (request, limit) {
        (_, None) => Some(format!("{said}.  No limit is specified")),
        (_, Some(limit)) if limit > bound => Some(format!("{said}, but limit is {limit}")),
        (Some(request), _) if request > bound => Some(format!("{said}, but request is {request}")),
        _ => None,
    }
}

fn ratio(
    name: &str,
    kind: &str,
    bound: &Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let said = format!("{name} max limit to request ratio per {kind} is {bound}");
    let positive = |amount: Option<&Quantity>| amount.filter(|amount| !amount.is_zero()).copied();
    let Some(request) = positive(request) else {
        return Some(format!("{said}, but no request is specified or request is 0"));
    };
    let Some(limit) = positive(limit) else {
        return Some(format!("{said}, but no limit is specified or limit is 0"));
    };
    // limit / request > bound, in whole numbers: limit * 10^9 > bound * request.
    const NANO: i128 = 1_000_000_000;
    let exceeded = match (limit.nano().checked_mul(NANO), bound.nano().checked_mul(request.nano()))
    {
        (Some(limit), Some(allowed)) => limit > allowed,
        _ => quotient(&limit, &request) > quotient(bound, &Quantity::from_value(1)),
    };
    exceeded.then(|| format!("{said}, but provided ratio is {:.6}", quotient(&limit, &request)))
}

fn quotient(amount: &Quantity, by: &Quantity) -> f64 {
    amount.nano() as f64 / by.nano() as f64
}

/// As they come, each once.
fn unique(broken: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    broken.into_iter().filter(|message| seen.insert(message.clone())).collect()
}
