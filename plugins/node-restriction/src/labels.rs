//! Which labels a node may give itself.

use std::collections::BTreeMap;

const RESTRICTED: &str = "node-restriction.kubernetes.io";

/// What a node's agent reports of its machine.
const KNOWN: [&str; 11] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
const KNOWN_NAMESPACES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

/// The labels that differ and are not a node's to change, in order.
pub fn forbidden<'a>(
    new: &'a BTreeMap<String, String>,
    old: &'a BTreeMap<String, String>,
) -> Vec<&'a str> {
    let changed = new.iter().filter(|(key, value)| old.get(*key) != Some(value));
    let removed = old.iter().filter(|(key, _)| !new.contains_key(*key));
    let mut keys: Vec<&str> = changed
        .chain(removed)
        .map(|(key, _)| &**key)
        .filter(|key| is_restricted(key) || (is_of_kubernetes(key) && !is_known(key)))
        .collect();
    keys.sort_unstable();
    keys
}

fn namespace(key: &str) -> &str {
    key.split_once('/').map_or("", |(namespace, _)| namespace)
}

fn is_below(namespace: &str, domain: &str) -> bool {
    namespace.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn is_restricted(key: &str) -> bool {
    is_below(namespace(key), RESTRICTED)
}

fn is_of_kubernetes(key: &str) -> bool {
    ["kubernetes.io", "k8s.io"].iter().any(|domain| is_below(namespace(key), domain))
}

fn is_known(key: &str) -> bool {
    KNOWN.contains(&key) || KNOWN_NAMESPACES.iter().any(|domain| is_below(namespace(key), domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_labels_about_the_machine_are_the_nodes_own() {
        fn check(key: &str, expect: bool) {
            let new = BTreeMap::from([(key.to_owned(), "x".to_owned())]);
            assert_eq!(!forbidden(&new, &BTreeMap::new()).is_empty(), expect, "{key}");
            assert_eq!(!forbidden(&BTreeMap::new(), &new).is_empty(), expect, "{key} removed");
            assert!(forbidden(&new, &new).is_empty(), "{key} unchanged");
        }
        check("kubernetes.io/hostname", false);
        check("node.kubernetes.io/anything", false);
        check("sub.node.kubernetes.io/anything", false);
        check("disk", false);
        check("example.com/disk", false);
        check("mykubernetes.io/disk", false);
        check("node-role.kubernetes.io/control-plane", true);
        check("node-restriction.kubernetes.io/tier", true);
        check("acme.node-restriction.kubernetes.io/tier", true);
        check("k8s.io/x", true);
    }
}
