//! Policy lines and the requests they allow.

use pintle_plugin_authorizer_abac::{Plugin, policy};
use pintle_sdk::authorizer::{Attributes, User};
use pintle_sdk_testing::Authorizing;
use serde_json::json;

fn line(spec: &str) -> String {
    format!(
        r#"{{"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy", "spec": {{{spec}}}}}"#
    )
}

#[test]
fn a_line_allows_what_it_matches() {
    let check = |spec: &str, asked: Attributes, expect: bool| {
        let config = json!({"policy": format!("# people\n\n{}\n", line(spec))});
        let mut cluster = Authorizing::with::<Plugin>(config);
        assert_eq!(cluster.ask(&asked).is_allowed(), expect, "{spec} {asked:?}");
    };
    let jane = || User::new("jane", &["dev"]);
    let pods = |verb: &str| Attributes::resource(jane(), verb, "", "pods").within("a");
    let everything = r#""namespace": "*", "resource": "*", "apiGroup": "*""#;
    check(&format!(r#""user": "jane", {everything}"#), pods("delete"), true);
    check(&format!(r#""user": "*", {everything}"#), pods("delete"), true);
    check(&format!(r#""user": "joe", {everything}"#), pods("delete"), false);
    check(&format!(r#""group": "dev", {everything}"#), pods("get"), true);
    check(&format!(r#""user": "jane", "group": "ops", {everything}"#), pods("get"), false);
    check(&format!(r#""user": "jane", "readonly": true, {everything}"#), pods("get"), true);
    check(&format!(r#""user": "jane", "readonly": true, {everything}"#), pods("delete"), false);
    check(r#""user": "jane", "namespace": "a", "resource": "pods""#, pods("get"), true);
    check(r#""user": "jane", "namespace": "b", "resource": "pods""#, pods("get"), false);
    check(r#""user": "jane", "namespace": "a", "resource": "secrets""#, pods("get"), false);
    check(
        r#""user": "jane", "namespace": "a", "resource": "pods", "apiGroup": "apps""#,
        pods("get"),
        false,
    );
    let path = |path: &str| Attributes::path(jane(), "get", path);
    check(r#""user": "jane", "nonResourcePath": "/metrics""#, path("/metrics"), true);
    check(r#""user": "jane", "nonResourcePath": "/logs/*""#, path("/logs/a"), true);
    check(r#""user": "jane", "nonResourcePath": "/logs/*""#, path("/metrics"), false);
    check(&format!(r#""user": "jane", {everything}"#), path("/metrics"), false);
    check(r#""user": "jane", "nonResourcePath": "*""#, pods("get"), false);
}

#[test]
fn a_line_that_cannot_be_read_is_named() {
    let check = |text: &str, expect: &str| {
        let error = policy::read(text).unwrap_err();
        assert!(error.contains(expect), "{error}");
    };
    check("# a\n{", "line 2: ");
    check(&line(r#""usr": "jane""#), "unknown field `usr`");
    check(&line(r#""resource": "pods""#), "line 1: spec.user or spec.group must be given");
    check(
        r#"{"apiVersion": "v1", "kind": "Policy", "spec": {"user": "a"}}"#,
        "must be a Policy of",
    );
}

#[test]
fn rules_are_listed() {
    let text = format!(
        "{}\n{}",
        line(r#""user": "jane", "namespace": "a", "resource": "pods", "readonly": true"#),
        line(r#""group": "dev", "nonResourcePath": "/metrics""#)
    );
    let mut cluster = Authorizing::with::<Plugin>(json!({ "policy": text }));
    let rules = cluster.rules(&User::new("jane", &["dev"]), "a");
    assert_eq!(rules.resource_rules[0].verbs, ["get", "list", "watch"]);
    assert_eq!(rules.non_resource_rules[0].non_resource_urls, ["/metrics"]);
    assert!(cluster.rules(&User::new("jane", &[]), "b").resource_rules.is_empty());
}
