//! Whether a node should have the set's pod, and whether it may keep one.

use pintle_sdk::placement::Placement;
use pintle_sdk::prelude::*;
use serde_json::Value;

/// What a daemon's pod tolerates besides what its template says: it belongs on
/// the node whatever state the node is in.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
const NETWORK_UNAVAILABLE: &str = "node.kubernetes.io/network-unavailable";

/// The tolerations that every pod of a set gets.
pub fn tolerations(host_network: bool) -> Vec<Toleration> {
    let of = |key: &str, effect: &str| Toleration {
        key: key.to_owned(),
        operator: "Exists".to_owned(),
        effect: effect.to_owned(),
        ..Toleration::default()
    };
    let mut all: Vec<Toleration> = TOLERATED.iter().map(|(key, effect)| of(key, effect)).collect();
    if host_network {
        all.push(of(NETWORK_UNAVAILABLE, "NoSchedule"));
    }
    all
}

/// A node in the eyes of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// A pod is to be made if there is none.
    pub wanted: bool,
    /// A pod that is there may stay.
    pub may_stay: bool,
}

/// Judges nodes for one template.
pub struct Judge(Placement);

impl Judge {
    pub fn new(template: &Value) -> Self {
        let mut placement = Placement::of(&template["spec"]);
        let host_network = template["spec"]["hostNetwork"] == true;
        placement.tolerations.extend(tolerations(host_network));
        Judge(placement)
    }

    pub fn fit(&self, node: &Node) -> Fit {
        if !self.0.admits(node) {
            return Fit { wanted: false, may_stay: false };
        }
        let evicted = self.0.untolerated(node, &["NoExecute"]).is_some();
        let barred = self.0.untolerated(node, &["NoSchedule"]).is_some();
        Fit { wanted: !evicted && !barred, may_stay: !evicted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn taints_and_selectors_decide() {
        fn check(template: Value, node: Value, wanted: bool, may_stay: bool) {
            let node: Node = serde_json::from_value(node).unwrap();
            assert_eq!(Judge::new(&template).fit(&node), Fit { wanted, may_stay }, "{template}");
        }
        let plain = json!({"metadata": {"name": "n", "labels": {"disk": "ssd"}}});
        let tainted = |key: &str, effect: &str| json!({"metadata": {"name": "n"}, "spec": {"taints": [{"key": key, "effect": effect}]}});
        check(json!({"spec": {}}), plain.clone(), true, true);
        check(json!({"spec": {"nodeSelector": {"disk": "hdd"}}}), plain, false, false);
        check(json!({"spec": {}}), tainted("gpu", "NoSchedule"), false, true);
        check(json!({"spec": {}}), tainted("gpu", "NoExecute"), false, false);
        check(
            json!({"spec": {}}),
            tainted("node.kubernetes.io/not-ready", "NoExecute"),
            true,
            true,
        );
        check(
            json!({"spec": {}}),
            tainted("node.kubernetes.io/unschedulable", "NoSchedule"),
            true,
            true,
        );
        check(json!({"spec": {}}), tainted(NETWORK_UNAVAILABLE, "NoSchedule"), false, true);
        check(
            json!({"spec": {"hostNetwork": true}}),
            tainted(NETWORK_UNAVAILABLE, "NoSchedule"),
            true,
            true,
        );
        let tolerant = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
        check(tolerant, tainted("gpu", "NoExecute"), true, true);
    }
}
