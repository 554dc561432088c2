//! What a node may do: one table, and the scopes its rows name.
//!
//! A node's agent is trusted with what it runs and with nothing else, so that
//! a stolen node certificate opens one node and not the cluster.

use pintle_api::selector::FieldSelector;
use serde_json::Value;

use super::{Attributes, Decision};

/// What the rules need to know about the cluster.
pub trait NodeFacts: Send + Sync + 'static {
    /// The node a pod is bound to; `None` when the pod does not exist, an
    /// empty string when it is not bound.
    fn pod_node(&self, namespace: &str, name: &str) -> Option<String>;
    /// Whether any pod of the namespace is bound to the node.
    fn runs_in(&self, node: &str, namespace: &str) -> bool;
    /// The namespace of the claim that a volume belongs to; `None` when it
    /// belongs to none, or there is no such volume.
    fn claim_namespace(&self, volume: &str) -> Option<String>;
}

/// Which objects a row covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Every object.
    All,
    /// The one that has the node's own name.
    OwnName,
    /// The node's lease: its own name in `kube-node-lease`.
    OwnLease,
    /// Pods bound to the node; lists must select `spec.nodeName`.
    OwnPods,
    /// Single objects in namespaces where the node has pods.
    WhereItHasPods,
    /// Single volumes that belong to claims in such namespaces.
    ClaimedWhereItHasPods,
}

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["update", "patch"];
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// verbs, API group, resource (with subresource), scope, and why.
#[rustfmt::skip]
const RULES: &[(&[&str], &str, &str, Scope)] = &[
    // Peers' addresses and pod ranges make up the routes.
    (READ,                          "",                   "nodes",           Scope::All),
    // It registers itself and reports its own state.
    (&["create", "update", "patch"], "",                  "nodes",           Scope::OwnName),
    (WRITE,                         "",                   "nodes/status",    Scope::OwnName),
    // What it is to run, and how that goes; it removes what has ended.
    (READ,                          "",                   "pods",            Scope::OwnPods),
    (WRITE,                         "",                   "pods/status",     Scope::OwnPods),
    (&["delete"],                   "",                   "pods",            Scope::OwnPods),
    // Service routing on the node.
    (READ,                          "",                   "services",        Scope::All),
    (READ,                          "discovery.k8s.io",   "endpointslices",  Scope::All),
    // Network and service-proxy plugins run on the node.
    (READ,                          "plugins.pintle.dev", "plugins",         Scope::All),
    (READ,                          "",                   "namespaces",      Scope::All),
    // What its pods mount.
    (READ,                          "",                   "secrets",         Scope::WhereItHasPods),
    (READ,                          "",                   "configmaps",      Scope::WhereItHasPods),
    (READ,                          "",                   "serviceaccounts", Scope::WhereItHasPods),
    (READ,                          "",                   "persistentvolumeclaims", Scope::WhereItHasPods),
    (&["get"],                      "",                   "persistentvolumes", Scope::ClaimedWhereItHasPods),
    // Certificates that are asked for through the API, as other node agents do.
    (&["create", "get", "list", "watch"],
                                    "certificates.k8s.io", "certificatesigningrequests", Scope::All),
    // What it tells people.
    (&["create", "update", "patch"], "",                  "events",          Scope::All),
    (&["create", "update", "patch"], "events.k8s.io",     "events",          Scope::All),
    // Its heartbeat.
    (&["get", "create", "update", "patch", "delete"],
                                    "coordination.k8s.io", "leases",         Scope::OwnLease),
];

pub(super) fn authorize(
    node: &str,
    attributes: &Attributes<'_>,
    facts: &dyn NodeFacts,
) -> Decision {
    let mut reason = "";
    for (verbs, group, resource, scope) in RULES {
        let applies = *group == attributes.group
            && verbs.contains(&attributes.verb)
            && same_resource(resource, attributes);
        if !applies {
            continue;
        }
        match within(*scope, node, attributes, facts) {
            Ok(()) => return Decision::Allow(String::new()),
            Err(why) => reason = why,
        }
    }
    Decision::NoOpinion(reason.to_string())
}

/// Whether the table allows more of such requests than the node's own pods need.
pub(super) fn is_coarse(attributes: &Attributes<'_>) -> bool {
    RULES.iter().any(|(verbs, group, resource, scope)| {
        *scope == Scope::WhereItHasPods
            && *group == attributes.group
            && verbs.contains(&attributes.verb)
            && same_resource(resource, attributes)
    })
}

/// What is only known from the body of a create.
pub(super) fn narrow(
    node: &str,
    attributes: &Attributes<'_>,
    object: &Value,
) -> Result<(), String> {
    if attributes.verb != "create" {
        return Ok(());
    }
    let own = RULES.iter().any(|(_, group, resource, scope)| {
        *group == attributes.group
            && same_resource(resource, attributes)
            && matches!(scope, Scope::OwnName | Scope::OwnLease)
    });
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    if own && name != node {
        return Err(format!(
            "node {node:?} may only create the object of its own name, not {name:?}"
        ));
    }
    Ok(())
}

fn same_resource(rule: &str, attributes: &Attributes<'_>) -> bool {
    let (resource, subresource) = rule.split_once('/').unwrap_or((rule, ""));
    resource == attributes.resource && subresource == attributes.subresource
}

fn within(
    scope: Scope,
    node: &str,
    attributes: &Attributes<'_>,
    facts: &dyn NodeFacts,
) -> Result<(), &'static str> {
    // Of a create the name comes with the body, which `narrow` looks at.
    let own_name = attributes.name == node || attributes.verb == "create";
    let allowed = match scope {
        Scope::All => true,
        Scope::OwnName => {
            return own_name
                .then_some(())
                .ok_or("a node may only change the object of its own name");
        }
        Scope::OwnLease => {
            return (own_name && attributes.namespace == LEASE_NAMESPACE)
                .then_some(())
                .ok_or("a node may only use the lease of its own name in kube-node-lease");
        }
        Scope::OwnPods => {
            let own = if matches!(attributes.verb, "list" | "watch") {
                selects(attributes.field_selector, "spec.nodeName", Some(node))
            } else {
                // A pod that is gone is answered with 404, not with a refusal.
                facts
                    .pod_node(attributes.namespace, attributes.name)
                    .is_none_or(|bound| bound == node)
            };
            return own.then_some(()).ok_or("a node may only use pods bound to it (list and watch with fieldSelector spec.nodeName)");
        }
        Scope::ClaimedWhereItHasPods => facts
            .claim_namespace(attributes.name)
            .is_some_and(|namespace| facts.runs_in(node, &namespace)),
        Scope::WhereItHasPods => {
            let single = attributes.verb == "get"
                || selects(attributes.field_selector, "metadata.name", None);
            single && !attributes.namespace.is_empty() && facts.runs_in(node, attributes.namespace)
        }
    };
    allowed
        .then_some(())
        .ok_or("a node may only read single objects in namespaces where it has pods")
}

/// The selector requires `path` to equal `value` (or to equal anything).
fn selects(selector: Option<&FieldSelector>, path: &str, value: Option<&str>) -> bool {
    selector
        .and_then(|selector| selector.required(path))
        .is_some_and(|found| value.is_none_or(|value| value == found))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::user::User;

    struct Facts;

    impl NodeFacts for Facts {
        fn pod_node(&self, _namespace: &str, name: &str) -> Option<String> {
            match name {
                "mine" => Some("n1".to_string()),
                "other" => Some("n2".to_string()),
                "pending" => Some(String::new()),
                _ => None,
            }
        }

        fn runs_in(&self, node: &str, namespace: &str) -> bool {
            node == "n1" && namespace == "here"
        }

        fn claim_namespace(&self, volume: &str) -> Option<String> {
            match volume {
                "mine" => Some("here".to_string()),
                "other" => Some("there".to_string()),
                _ => None,
            }
        }
    }

    #[test]
    fn a_node_may_do_what_the_table_says_and_nothing_else() {
        let user = User::new("system:node:n1", ["system:nodes"]);
        // verb, group, resource[/subresource], namespace, name, field selector, allowed
        let check = |verb, group, resource: &str, namespace, name, fields: &str, expect: bool| {
            let selector = (!fields.is_empty()).then(|| FieldSelector::parse(fields).unwrap());
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            let mut attributes = Attributes::path(&user, verb, "");
            (attributes.group, attributes.resource, attributes.subresource) =
                (group, resource, subresource);
            (attributes.namespace, attributes.name) = (namespace, name);
            attributes.field_selector = selector.as_ref();
            let decision = authorize("n1", &attributes, &Facts);
            assert_eq!(
                decision.is_allowed(),
                expect,
                "{verb} {resource} {namespace}/{name} {fields}"
            );
        };
        check("list", "", "nodes", "", "", "", true);
        check("create", "", "nodes", "", "", "", true);
        check("patch", "", "nodes/status", "", "n1", "", true);
        check("patch", "", "nodes/status", "", "n2", "", false);
        check("update", "", "nodes", "", "n2", "", false);
        check("delete", "", "nodes", "", "n1", "", false);
        check("list", "", "pods", "", "", "spec.nodeName=n1", true);
        check("watch", "", "pods", "", "", "spec.nodeName=n1", true);
        check("list", "", "pods", "", "", "spec.nodeName=n2", false);
        check("list", "", "pods", "", "", "spec.nodeName!=n1", false);
        check("list", "", "pods", "", "", "", false);
        check("get", "", "pods", "a", "mine", "", true);
        check("get", "", "pods", "a", "other", "", false);
        check("get", "", "pods", "a", "pending", "", false);
        check("get", "", "pods", "a", "gone", "", true);
        check("patch", "", "pods/status", "a", "mine", "", true);
        check("patch", "", "pods/status", "a", "other", "", false);
        check("patch", "", "pods", "a", "mine", "", false);
        check("delete", "", "pods", "a", "mine", "", true);
        check("delete", "", "pods", "a", "other", "", false);
        check("create", "", "pods", "a", "", "", false);
        check("create", "", "pods/binding", "a", "mine", "", false);
        check("create", "", "pods/exec", "a", "mine", "", false);
        check("get", "", "secrets", "here", "s", "", true);
        check("get", "", "secrets", "there", "s", "", false);
        check("list", "", "secrets", "here", "", "", false);
        check("watch", "", "configmaps", "here", "", "metadata.name=c", true);
        check("list", "", "secrets", "", "", "metadata.name=c", false);
        check("update", "", "secrets", "here", "s", "", false);
        check("get", "", "persistentvolumeclaims", "here", "c", "", true);
        check("get", "", "persistentvolumeclaims", "there", "c", "", false);
        check("get", "", "persistentvolumes", "", "mine", "", true);
        check("get", "", "persistentvolumes", "", "other", "", false);
        check("get", "", "persistentvolumes", "", "free", "", false);
        check("list", "", "persistentvolumes", "", "", "", false);
        check("patch", "", "persistentvolumes", "", "mine", "", false);
        check("create", "", "events", "any", "", "", true);
        check("list", "", "services", "", "", "", true);
        check("watch", "discovery.k8s.io", "endpointslices", "", "", "", true);
        check("update", "coordination.k8s.io", "leases", "kube-node-lease", "n1", "", true);
        check("update", "coordination.k8s.io", "leases", "kube-node-lease", "n2", "", false);
        check("update", "coordination.k8s.io", "leases", "default", "n1", "", false);
        check("create", "coordination.k8s.io", "leases", "kube-node-lease", "", "", true);
        check("update", "plugins.pintle.dev", "plugins", "", "scheduler", "", false);
        check("delete", "apps", "deployments", "a", "d", "", false);
    }

    #[test]
    fn a_node_creates_only_objects_of_its_own_name() {
        let user = User::new("system:node:n1", ["system:nodes"]);
        let check = |group, resource, name: &str, expect: bool| {
            let mut attributes = Attributes::path(&user, "create", "");
            (attributes.group, attributes.resource) = (group, resource);
            let object = json!({"metadata": {"name": name}});
            assert_eq!(narrow("n1", &attributes, &object).is_ok(), expect, "{resource} {name}");
        };
        check("", "nodes", "n1", true);
        check("", "nodes", "n2", false);
        check("coordination.k8s.io", "leases", "n2", false);
        check("", "events", "anything", true);
    }
}
