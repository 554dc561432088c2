//! Admission plugins through the chain: what they change, refuse and break.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use pintle_api::meta::GroupVersionKind;
use pintle_plugin_host::admission::{
    AdmissionRequest, AdmissionUser, Admitted, Document, Operation, Refusal,
};
use pintle_plugin_host::{Compiler, Host, HostConfig};
use serde_json::{Value, json};
use support::cluster::{Memory, config_map};
use support::{eventually_showing, guests};
use tokio_util::sync::CancellationToken;

struct Running {
    memory: Arc<Memory>,
    host: Arc<Host>,
    shutdown: CancellationToken,
    _directory: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Running {
    async fn start(config: Value) -> Self {
        let memory = Memory::new();
        memory.create(guests::plugin(
            "labelling",
            "Admission",
            &guests::admission(),
            config,
            json!([]),
        ));
        let directory = tempfile::tempdir().unwrap();
        let config = HostConfig {
            cache_directory: directory.path().join("cache"),
            compiler: Compiler::InProcess,
            embedded: Vec::new(),
            sources: Default::default(),
        };
        let host = Host::new(config, memory.clone()).unwrap();
        let shutdown = CancellationToken::new();
        tokio::spawn({
            let (host, shutdown) = (host.clone(), shutdown.clone());
            async move { host.run(shutdown).await }
        });
        host.ready().await;
        Self { memory, host, shutdown, _directory: directory }
    }

    async fn review(&self, object: &Value) -> Result<Admitted, Refusal> {
        let kind = GroupVersionKind::parse("v1", object["kind"].as_str().unwrap());
        let request = AdmissionRequest {
            operation: Operation::Create,
            kind: &kind,
            subresource: "",
            namespace: "default",
            name: object["metadata"]["name"].as_str().unwrap(),
            user: AdmissionUser { name: "me", uid: "", groups: &[] },
            object: Some(Document::Parsed(object)),
            old_object: None,
            dry_run: false,
        };
        self.host.admission().review(request).await
    }

    async fn phase(&self, phase: &str) -> Value {
        eventually_showing(phase, || {
            let status = self.memory.value("Plugin", "", "labelling").unwrap()["status"].clone();
            if status["phase"] == phase { Ok(status) } else { Err(status.to_string()) }
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_change_then_validate_then_admit() {
    let running = Running::start(json!({ "version": "3" })).await;
    let admitted = running.review(&config_map("x", json!({}))).await.unwrap();
    assert_eq!(admitted.object.unwrap()["metadata"]["labels"], json!({ "admitted-by": "3" }));
    assert_eq!(admitted.warnings, ["seen twice"]);
    let refusal = running.review(&config_map("forbidden", json!({}))).await.unwrap_err();
    assert_eq!((refusal.code, refusal.reason.as_str()), (403, "Forbidden"));
    assert!(
        refusal.message.contains("\"labelling\" denied the request: the name is forbidden"),
        "{refusal}"
    );
    let other = json!({ "kind": "Secret", "metadata": { "name": "x" } });
    assert_eq!(running.review(&other).await.unwrap(), Admitted::default());
    assert!(!running.host.admission().wants(
        &GroupVersionKind::parse("v1", "Secret"),
        "",
        Operation::Create
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_plugin_admits_nothing_and_says_why() {
    async fn check(what: &str, message: &str) {
        let running = Running::start(json!({})).await;
        let started = Instant::now();
        let refusal = running.review(&config_map("x", json!({ "do": what }))).await.unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(5));
        assert_eq!((refusal.code, refusal.reason.as_str()), (500, "InternalError"));
        assert!(
            refusal.message.contains("failed calling admission plugin \"labelling\""),
            "{refusal}"
        );
        assert!(refusal.message.contains(message), "{refusal}");
        running.review(&config_map("x", json!({}))).await.expect("the next request is not harmed");
    }
    check("trap", "it trapped").await;
    check("loop", "it ran past its deadline of 15 ms").await;
    check("nonsense", "no JSON patch").await;
    check("misplaced", "its patch does not apply").await;
    check("late-patch", "validating phase").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strikes_stop_it_and_it_still_admits_nothing() {
    let running = Running::start(json!({})).await;
    for name in ["x", "y", "z"] {
        running.review(&config_map(name, json!({ "do": "trap" }))).await.unwrap_err();
    }
    running.phase("Failed").await;
    let refusal = running.review(&config_map("x", json!({}))).await.unwrap_err();
    assert!(refusal.message.contains("it was stopped after repeated faults"), "{refusal}");
    running.memory.merge(
        "Plugin",
        "",
        "labelling",
        json!({ "spec": { "config": { "behaves": true } } }),
    );
    running.phase("Active").await;
    running.review(&config_map("x", json!({ "do": "trap" }))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_poisonous_object_is_parked_until_it_changes() {
    let running = Running::start(json!({})).await;
    for _ in 0..3 {
        let refusal = running.review(&config_map("x", json!({ "do": "trap" }))).await.unwrap_err();
        assert!(refusal.message.contains("it trapped"), "{refusal}");
    }
    let status = eventually_showing("parked", || {
        let status = running.memory.value("Plugin", "", "labelling").unwrap()["status"].clone();
        if status["parked"].is_array() { Ok(status) } else { Err(status.to_string()) }
    })
    .await;
    assert_eq!(status["parked"][0]["object"], "ConfigMap default/x");
    assert_eq!(status["phase"], "Active", "{status}");
    let refusal = running.review(&config_map("x", json!({ "do": "trap" }))).await.unwrap_err();
    assert!(refusal.message.contains("is not asked again until the object changes"), "{refusal}");
    running.review(&config_map("y", json!({}))).await.expect("others are not harmed");
    running.review(&config_map("x", json!({}))).await.expect("it has changed");
    eventually_showing("named no longer", || {
        let status = running.memory.value("Plugin", "", "labelling").unwrap()["status"].clone();
        if status["parked"].is_null() { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_before_answers_the_request_that_broke_the_new_one() {
    let running = Running::start(json!({ "behaves": true, "version": "good" })).await;
    running.phase("Active").await;
    let bad = guests::variant(&guests::admission(), 1);
    let next = guests::plugin(
        "labelling",
        "Admission",
        &bad,
        json!({ "behaves": null, "version": "bad" }),
        json!([]),
    );
    running.memory.merge("Plugin", "", "labelling", json!({ "spec": next["spec"] }));
    eventually_showing("swapped", || {
        let status = running.memory.value("Plugin", "", "labelling").unwrap()["status"].clone();
        if status["version"] == "bad" { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    let by =
        |admitted: Admitted| admitted.object.unwrap()["metadata"]["labels"]["admitted-by"].clone();
    assert_eq!(by(running.review(&config_map("x", json!({}))).await.unwrap()), "bad");
    assert_eq!(
        by(running.review(&config_map("x", json!({ "do": "trap" }))).await.unwrap()),
        "good"
    );
    running.phase("RolledBack").await;
}
