//! Authorizers through the chain: order, what is remembered, what follows from
//! faults, and that nothing is allowed by a plugin that fails.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use pintle_plugin_host::authorizer::{AccessRequest, AccessUser, Verdict};
use serde_json::{Value, json};
use support::cluster::Memory;
use support::guests;
use support::host::Running;

fn watching() -> Value {
    json!([{"apiGroups": [""], "kinds": ["ConfigMap"], "verbs": ["watch"]}])
}

fn authorizer(name: &str, component: &Bytes, config: Value, spec: Value) -> Value {
    let mut plugin = guests::plugin(name, "Authorizer", component, config, watching());
    for (key, value) in spec.as_object().unwrap() {
        plugin["spec"][key] = value.clone();
    }
    plugin
}

fn map(user: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": user, "namespace": "default"}, "data": data})
}

async fn ask(running: &Running, user: &str, verb: &str) -> Verdict {
    let extra = BTreeMap::new();
    let request = AccessRequest {
        user: AccessUser { name: user, uid: "", groups: &[], extra: &extra },
        verb,
        group: "",
        version: "v1",
        resource: "pods",
        subresource: "",
        namespace: "default",
        name: "p",
        path: "",
        required_fields: &[],
    };
    running.host.authorizers().authorize(&request).await
}

async fn start(plugins: Vec<Value>) -> Running {
    let memory: Arc<Memory> = Memory::new();
    for plugin in plugins {
        memory.create(plugin);
    }
    Running::start(memory).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_decides_and_answers_are_remembered_until_then() {
    let running = start(vec![authorizer("a", &guests::authorizer(), json!({}), json!({}))]).await;
    assert_eq!(ask(&running, "jane", "get").await, Verdict::NoOpinion(String::new()));
    for _ in 0..10 {
        running.memory.create(map("jane", json!({"get": "allow"})));
        let first = ask(&running, "jane", "get").await;
        assert!(matches!(first, Verdict::Allow(_)), "{first:?}");
        // The reason counts the calls.
        assert_eq!(ask(&running, "jane", "get").await, first);
        running.memory.merge("ConfigMap", "default", "jane", json!({"data": {"get": "deny"}}));
        assert_eq!(ask(&running, "jane", "get").await, Verdict::Deny("its map says so".into()));
        running.memory.delete("ConfigMap", "default", "jane");
        assert_eq!(ask(&running, "jane", "get").await, Verdict::NoOpinion(String::new()));
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_opinion_counts() {
    let component = guests::authorizer();
    let late = json!({"priority": 10, "failurePolicy": "Fail"});
    let running = start(vec![
        authorizer("z-first", &component, json!({}), json!({"priority": 1})),
        authorizer("a-second", &component, json!({"behaves": true}), late),
    ])
    .await;
    running.memory.create(map("jane", json!({"get": "allow", "trap": "allow"})));
    assert!(matches!(ask(&running, "jane", "get").await, Verdict::Allow(_)));
    // The first gives no answer, which is no opinion; the second is asked.
    assert!(matches!(ask(&running, "jane", "trap").await, Verdict::Allow(_)));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_which_all_fail_allows_nothing() {
    let component = guests::authorizer();
    let running = start(vec![
        authorizer("a", &component, json!({}), json!({})),
        authorizer("b", &component, json!({"version": "2"}), json!({"failurePolicy": "Fail"})),
    ])
    .await;
    let allowed = json!({"trap": "allow", "loop": "allow", "chatter": "allow", "get": "allow"});
    running.memory.create(map("jane", allowed));
    let denied = async |verb: &str| {
        let Verdict::Deny(reason) = ask(&running, "jane", verb).await else { panic!("{verb}") };
        assert!(reason.contains(r#"authorizer plugin "b" gave no answer"#), "{reason}");
    };
    for verb in ["trap", "loop", "chatter"] {
        denied(verb).await;
        // Good answers in between: they are not stopped.
        assert!(matches!(ask(&running, "jane", "get").await, Verdict::Allow(_)));
        running.memory.create(map(verb, json!({})));
    }
    // Three different questions in a row, and nothing is answered any more.
    for verb in ["trap", "loop", "chatter", "get"] {
        denied(verb).await;
    }
    for name in ["a", "b"] {
        running.status(name, "the end", |status| status["phase"] == "Failed").await;
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_faults_again_and_again_is_parked_until_something_changes() {
    let running = start(vec![authorizer("a", &guests::authorizer(), json!({}), json!({}))]).await;
    running.memory.create(map("jane", json!({"get": "allow"})));
    for _ in 0..4 {
        assert!(matches!(ask(&running, "jane", "trap").await, Verdict::NoAnswer(_)));
        assert!(matches!(ask(&running, "jane", "get").await, Verdict::Allow(_)));
    }
    let status = running.status("a", "a parked question", |status| status["parked"][0].is_object());
    let status = status.await;
    assert_eq!(status["parked"][0]["object"], "SubjectAccessReview default/jane trap pods p");
    let Verdict::NoAnswer(reason) = ask(&running, "jane", "trap").await else {
        panic!("an answer")
    };
    assert!(reason.contains("is not asked again until"), "{reason}");
    running.memory.create(map("joe", json!({})));
    let Verdict::NoAnswer(reason) = ask(&running, "jane", "trap").await else {
        panic!("an answer")
    };
    assert!(reason.contains("gave no answer: it trapped"), "{reason}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_that_faults_is_rolled_back_and_the_same_question_answered() {
    let component = guests::authorizer();
    let running =
        start(vec![authorizer("a", &component, json!({"behaves": true}), json!({}))]).await;
    running.memory.create(map("jane", json!({"trap": "allow"})));
    let worse = guests::variant(&component, 1);
    let spec = authorizer("a", &worse, json!({"behaves": false}), json!({}))["spec"].clone();
    let generation = running.change("a", spec);
    running.phase("a", &generation, "Active").await;
    assert!(matches!(ask(&running, "jane", "trap").await, Verdict::Allow(_)));
    running.phase("a", &generation, "RolledBack").await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authorizer_that_is_not_granted_what_it_watches_is_not_loaded() {
    let plugin = guests::plugin("a", "Authorizer", &guests::authorizer(), json!({}), json!([]));
    let running = start(vec![plugin]).await;
    let status = running.status("a", "the refusal", |status| status["reason"] == "NeedsNotGranted");
    status.await;
    let Verdict::NoAnswer(reason) = ask(&running, "jane", "get").await else { panic!("an answer") };
    assert!(reason.contains("the plugin needs what spec.grants does not give it"), "{reason}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_changes_is_told_before_anybody_asks() {
    let running = start(vec![authorizer("a", &guests::authorizer(), json!({}), json!({}))]).await;
    for index in 0..3000 {
        running.memory.create(map(&format!("user-{index}"), json!({"get": "allow"})));
    }
    let told = |status: &Value| status["calls"].as_u64().is_some_and(|calls| calls >= 5);
    running.status("a", "changes told", told).await;
    for user in ["user-0", "user-2999"] {
        assert!(matches!(ask(&running, user, "get").await, Verdict::Allow(_)), "{user}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_were_lost_are_made_up_for() {
    let running = start(vec![authorizer("a", &guests::authorizer(), json!({}), json!({}))]).await;
    running.memory.create(map("jane", json!({"get": "allow"})));
    assert!(matches!(ask(&running, "jane", "get").await, Verdict::Allow(_)));
    for round in 0..3 {
        running.memory.break_streams();
        running.memory.create(map("joe", json!({"get": "allow"})));
        running.memory.delete("ConfigMap", "default", "jane");
        assert!(matches!(ask(&running, "joe", "get").await, Verdict::Allow(_)), "{round}");
        assert_eq!(ask(&running, "jane", "get").await, Verdict::NoOpinion(String::new()));
        running.memory.create(map("jane", json!({"get": "allow"})));
        running.memory.delete("ConfigMap", "default", "joe");
    }
    running.stop().await;
}
