//! The plugin and an evaluator that is slow and obvious agree on random roles,
//! bindings and requests, whatever order the objects came, changed and went in.

use pintle_plugin_authorizer_rbac::Plugin;
use pintle_sdk::authorizer::{Attributes, User};
use pintle_sdk_testing::Authorizing;
use proptest::prelude::*;
use serde_json::{Value, json};

const API: &str = "rbac.authorization.k8s.io/v1";

fn pick(from: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(from).prop_map(str::to_owned)
}

fn some(from: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    prop::sample::subsequence(from, 0..=from.len().min(3))
        .prop_map(|picked| picked.into_iter().map(str::to_owned).collect())
}

fn rule() -> impl Strategy<Value = Value> {
    let resources = &["*", "pods", "pods/log", "*/log", "nodes"];
    let resource = (some(&["*", "get", "list"]), some(&["", "apps", "*"]), some(resources), some(&["a", "b"]))
        .prop_map(|(verbs, groups, resources, names)| {
            json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names})
        });
    let path = (some(&["*", "get"]), some(&["*", "/a", "/a/*"]))
        .prop_map(|(verbs, urls)| json!({"verbs": verbs, "nonResourceURLs": urls}));
    prop_oneof![4 => resource, 1 => path]
}

fn role() -> impl Strategy<Value = Value> {
    let rules = prop::collection::vec(rule(), 0..3);
    (pick(&["", "n", "m"]), pick(&["r", "s"]), rules).prop_map(|(namespace, name, rules)| {
        let mut role = json!({"apiVersion": API, "kind": "ClusterRole",
            "metadata": {"name": name}, "rules": rules});
        if !namespace.is_empty() {
            role["kind"] = "Role".into();
            role["metadata"]["namespace"] = namespace.into();
        }
        role
    })
}

fn subject() -> impl Strategy<Value = Value> {
    prop_oneof![
        pick(&["jane", "joe", "system:serviceaccount:n:robot"])
            .prop_map(|name| json!({"kind": "User", "name": name})),
        pick(&["dev", "ops"]).prop_map(|name| json!({"kind": "Group", "name": name})),
        pick(&["", "n", "m"]).prop_map(
            |namespace| json!({"kind": "ServiceAccount", "name": "robot", "namespace": namespace})
        ),
    ]
}

fn binding() -> impl Strategy<Value = Value> {
    let subjects = prop::collection::vec(subject(), 0..3);
    (
        pick(&["", "n", "m"]),
        pick(&["b", "c"]),
        pick(&["Role", "ClusterRole"]),
        pick(&["r", "s"]),
        subjects,
    )
        .prop_map(|(namespace, name, kind, role, subjects)| {
            let mut binding = json!({"apiVersion": API, "kind": "ClusterRoleBinding",
                "metadata": {"name": name}, "subjects": subjects,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}});
            if !namespace.is_empty() {
                binding["kind"] = "RoleBinding".into();
                binding["metadata"]["namespace"] = namespace.into();
            }
            binding
        })
}

fn request() -> impl Strategy<Value = Attributes> {
    let user = (pick(&["jane", "joe", "system:serviceaccount:n:robot"]), some(&["dev", "ops"]))
        .prop_map(|(name, groups)| User { name, groups, ..User::default() });
    let what = (
        pick(&["get", "list", "delete"]),
        pick(&["", "apps"]),
        pick(&["pods", "pods/log", "nodes", ""]),
    );
    (user, what, pick(&["", "n", "m"]), pick(&["", "a", "c"]), pick(&["/a", "/a/b", "/c"]))
        .prop_map(|(user, (verb, group, resource), namespace, name, path)| {
            match resource.as_str() {
                "" => Attributes::path(user, &verb, &path),
                resource => Attributes::resource(user, &verb, &group, resource)
                    .within(&namespace)
                    .named(&name),
            }
        })
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Word by word what the documentation of Kubernetes says.
fn obvious(objects: &[Value], asked: &Attributes) -> bool {
    objects.iter().any(|binding| {
        let within = binding["metadata"]["namespace"].as_str().unwrap_or("");
        let is_binding = binding["kind"].as_str().is_some_and(|kind| kind.ends_with("Binding"));
        if !is_binding || (!within.is_empty() && within != asked.namespace) {
            return false;
        }
        let is_subject = binding["subjects"].as_array().unwrap().iter().any(|subject| {
            let name = subject["name"].as_str().unwrap();
            match subject["kind"].as_str().unwrap() {
                "User" => name == asked.user.name,
                "Group" => asked.user.groups.iter().any(|group| group == name),
                _ => {
                    let namespace = match subject["namespace"].as_str().unwrap() {
                        "" => within,
                        namespace => namespace,
                    };
                    asked.user.name == format!("system:serviceaccount:{namespace}:{name}")
                }
            }
        });
        let role = objects.iter().find(|role| {
            let namespace = role["metadata"]["namespace"].as_str().unwrap_or("");
            role["kind"] == binding["roleRef"]["kind"]
                && role["metadata"]["name"] == binding["roleRef"]["name"]
                && (role["kind"] == "ClusterRole" || (namespace == within && !within.is_empty()))
        });
        is_subject
            && role.is_some_and(|role| {
                role["rules"].as_array().unwrap().iter().any(|rule| matches(rule, asked))
            })
    })
}

fn matches(rule: &Value, asked: &Attributes) -> bool {
    let has =
        |list: &Value, wanted: &str| texts(list).iter().any(|text| *text == "*" || *text == wanted);
    if !has(&rule["verbs"], &asked.verb) {
        return false;
    }
    if asked.resource.is_empty() {
        return texts(&rule["nonResourceURLs"]).iter().any(|url| match url.strip_suffix('*') {
            Some(start) => asked.path.starts_with(start),
            None => *url == asked.path,
        });
    }
    let names = texts(&rule["resourceNames"]);
    let any_of_subresource = format!("*/{}", asked.subresource);
    has(&rule["apiGroups"], &asked.group)
        && texts(&rule["resources"]).iter().any(|resource| {
            *resource == "*"
                || *resource == asked.full_resource()
                || (!asked.subresource.is_empty() && *resource == any_of_subresource)
        })
        && (names.is_empty() || names.contains(&asked.name.as_str()))
}

fn same(a: &Value, b: &Value) -> bool {
    let place = |object: &Value| {
        (
            object["kind"].clone(),
            object["metadata"]["namespace"].clone(),
            object["metadata"]["name"].clone(),
        )
    };
    place(a) == place(b)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_plugin_agrees_with_the_obvious_evaluator(
        changes in prop::collection::vec((prop_oneof![role(), binding()], prop::bool::weighted(0.15)), 0..14),
        requests in prop::collection::vec(request(), 1..12),
    ) {
        let mut cluster = Authorizing::with::<Plugin>(json!({}));
        let mut present: Vec<Value> = Vec::new();
        for (object, goes) in changes {
            let before = present.iter().position(|other| same(other, &object));
            if let Some(before) = before {
                present.remove(before);
            }
            let reference = cluster.insert(object.clone());
            if goes {
                cluster.remove(&reference);
            } else {
                present.push(object);
            }
        }
        for asked in requests {
            let decision = cluster.ask(&asked);
            prop_assert_eq!(decision.is_allowed(), obvious(&present, &asked), "{:?} {:?}", asked, decision);
        }
    }
}
