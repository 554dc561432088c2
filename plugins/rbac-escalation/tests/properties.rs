//! Nobody gains anything: whatever a role that may be written allows, its writer
//! may do already.

use pintle_plugin_rbac_escalation::Plugin;
use pintle_sdk::authorizer::{Attributes, User};
use pintle_sdk::prelude::PolicyRule;
use pintle_sdk::rbac;
use pintle_sdk_testing::Reviewing;
use proptest::prelude::*;
use serde_json::{Value, json};

const API: &str = "rbac.authorization.k8s.io/v1";
const GROUP: &str = "rbac.authorization.k8s.io";

fn some(from: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    prop::sample::subsequence(from, 0..=from.len().min(3))
        .prop_map(|picked| picked.into_iter().map(str::to_owned).collect())
}

fn rules() -> impl Strategy<Value = Vec<PolicyRule>> {
    let resources = &["*", "pods", "pods/log", "*/log", "nodes"];
    let verbs = &["*", "get", "list"];
    let resource = (some(verbs), some(&["", "apps", "*"]), some(resources), some(&["a", "b"]))
        .prop_map(|(verbs, api_groups, resources, resource_names)| PolicyRule {
            verbs,
            api_groups,
            resources,
            resource_names,
            ..PolicyRule::default()
        });
    let path =
        (some(&["*", "get"]), some(&["*", "/a", "/a/*"])).prop_map(|(verbs, non_resource_urls)| {
            PolicyRule { verbs, non_resource_urls, ..PolicyRule::default() }
        });
    prop::collection::vec(prop_oneof![4 => resource, 1 => path], 0..4)
}

fn requests() -> Vec<Attributes> {
    let user = || User::new("jane", &[]);
    let mut requests = Vec::new();
    for verb in ["get", "list", "delete"] {
        for path in ["/a", "/a/b", "/c"] {
            requests.push(Attributes::path(user(), verb, path));
        }
        for group in ["", "apps", "batch"] {
            for resource in ["pods", "pods/log", "nodes", "nodes/log", "secrets"] {
                for name in ["", "a", "b", "c"] {
                    requests.push(Attributes::resource(user(), verb, group, resource).named(name));
                }
            }
        }
    }
    requests
}

fn allowed(rules: &[PolicyRule], asked: &Attributes) -> bool {
    rules.iter().any(|rule| rbac::allows(rule, asked))
}

fn role(name: &str, rules: &[PolicyRule]) -> Value {
    let rules: Vec<Value> = rules
        .iter()
        .map(|rule| {
            json!({"verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources,
                "resourceNames": rule.resource_names, "nonResourceURLs": rule.non_resource_urls})
        })
        .collect();
    json!({"apiVersion": API, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules})
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_role_that_may_be_written_gives_nothing_new(owned in rules(), wanted in rules()) {
        let mut cluster = Reviewing::with::<Plugin>(json!({}));
        let binding = json!({"apiVersion": API, "kind": "ClusterRoleBinding",
            "metadata": {"name": "jane"},
            "subjects": [{"kind": "User", "apiGroup": GROUP, "name": "jane"}],
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "owned"}});
        for object in [role("owned", &owned), binding] {
            std::ops::DerefMut::deref_mut(&mut cluster).create(object);
        }
        cluster.user("jane", &["system:authenticated"]);
        let may_escalate = {
            let asked = Attributes::resource(User::new("jane", &[]), "escalate", GROUP, "clusterroles");
            allowed(&owned, &asked.named("wanted"))
        };
        let written = cluster.create(role("wanted", &wanted)).is_ok();
        let gains: Vec<Attributes> = requests()
            .into_iter()
            .filter(|asked| allowed(&wanted, asked) && !allowed(&owned, asked))
            .collect();
        prop_assert!(!written || may_escalate || gains.is_empty(), "{gains:?}");
        // What somebody has may be given away as it is.
        prop_assert!(cluster.create(role("same", &owned)).is_ok());
    }
}
