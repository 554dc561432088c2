//! Who may do what, and where.

use pintle_sdk::authorizer::{Attributes, Decision, User};
use pintle_sdk_testing::objects::namespace;
use pintle_sdk_testing::{Authorizing, World, properties, subject};
use serde_json::json;
use {{crate}}::Plugin;

fn world() -> World {
    let mut world = World::new();
    world.create(namespace("shop").label("frozen", "true"));
    world.create(namespace("default"));
    world
}

fn jane() -> User {
    User::new("jane", &["dev"])
}

fn pods(user: User, verb: &str, namespace: &str) -> Attributes {
    Attributes::resource(user, verb, "", "pods").within(namespace)
}

#[test]
fn nothing_is_changed_where_it_is_frozen() {
    let check = |asked: Attributes, denied: bool| {
        let mut cluster =
            Authorizing::of(&subject::authorizer::<Plugin>(), json!({"exceptGroups": ["ops"]}), world());
        let said = cluster.ask(&asked);
        let expect = match denied {
            true => Decision::deny("the namespace shop is frozen"),
            false => Decision::no_opinion(""),
        };
        assert_eq!(said, expect, "{asked:?}");
    };
    check(pods(jane(), "create", "shop"), true);
    check(pods(jane(), "deletecollection", "shop"), true);
    check(pods(jane(), "list", "shop"), false);
    check(pods(jane(), "create", "default"), false);
    check(pods(User::new("joe", &["ops"]), "create", "shop"), false);
    check(pods(User::new("system:node:n1", &["system:nodes"]), "patch", "shop"), false);
    check(Attributes::resource(jane(), "patch", "", "namespaces").within("shop").named("shop"), false);
    check(Attributes::path(jane(), "get", "/metrics"), false);
}

#[test]
fn it_thaws() {
    let mut cluster = Authorizing::of(&subject::authorizer::<Plugin>(), json!({}), world());
    let asked = pods(jane(), "create", "shop");
    assert!(matches!(cluster.ask(&asked), Decision::Deny(_)));
    cluster.insert(namespace("shop"));
    assert_eq!(cluster.ask(&asked), Decision::no_opinion(""));
}

#[test]
fn a_label_without_name_is_refused() {
    let refused = subject::authorizer::<Plugin>().try_start(&json!({"label": ""})).err();
    assert_eq!(refused.as_deref(), Some("spec.config.label: must not be empty"));
}

#[test]
fn answers_depend_on_the_present_alone() {
    let asked = ["create", "get"].map(|verb| pods(jane(), verb, "shop"));
    properties::authorizes_soundly(&subject::authorizer::<Plugin>(), &json!({}), &world(), asked);
}
