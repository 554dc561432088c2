//! The quality of service that a pod's requests and limits amount to.

use serde_json::Value;

use super::super::json::{items, value_at};
use super::super::validation::quantity;
use crate::quantity::Quantity;

/// `Guaranteed` when every container limits cpu and memory and requests as much,
/// `BestEffort` when none says anything, `Burstable` otherwise.
pub(super) fn class(spec: &Value) -> &'static str {
    let containers = items(spec, &["containers"]).iter().chain(items(spec, &["initContainers"]));
    let mut any = false;
    let mut guaranteed = true;
    for container in containers {
        for resource in ["cpu", "memory"] {
            let amount = |of: &str| -> Option<Quantity> {
                quantity(value_at(container, &["resources", of, resource]))
                    .ok()
                    .filter(|amount| !amount.is_zero())
            };
            let (request, limit) = (amount("requests"), amount("limits"));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn classes() {
        fn check(resources: Value, expect: &str) {
            assert_eq!(class(&json!({"containers": [{"resources": resources}]})), expect);
        }
        check(json!({}), "BestEffort");
        check(json!({"requests": {"cpu": "0"}}), "BestEffort");
        check(json!({"requests": {"cpu": "1"}}), "Burstable");
        check(json!({"limits": {"cpu": "1", "memory": "1Gi"}}), "Guaranteed");
        check(
            json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}}),
            "Guaranteed",
        );
        check(
            json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Mi"}}),
            "Burstable",
        );
    }
}
