//! Admission plugins through the chain: what they change, refuse and break.

mod support;

use std::sync::Arc;
use std::time::Instant;

use pintle_api::meta::GroupVersionKind;
use pintle_plugin_host::admission::{
    AdmissionRequest, AdmissionUser, Admitted, Document, Operation, Refusal,
};
use pintle_plugin_host::plugin::{ReviewRule, Role};
use pintle_plugin_host::{Compiler, Embedded, Host, HostConfig};
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

fn labelling(config: Value) -> Value {
    guests::plugin("labelling", "Admission", &guests::admission(), config, json!([]))
}

impl Running {
    async fn start(config: Value) -> Self {
        let memory = Memory::new();
        memory.create(labelling(config));
        Self::of(memory, Vec::new()).await
    }

    /// A server that starts with what another one left, but for its cache.
    async fn of(memory: Arc<Memory>, embedded: Vec<Embedded>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = HostConfig {
            cache_directory: directory.path().join("cache"),
            compiler: Compiler::InProcess,
            embedded,
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
        assert!(started.elapsed() < support::PATIENCE);
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

/// The rules of the guest, as a status says them.
fn reviews() -> Value {
    json!([{ "apiGroup": "", "kind": "ConfigMap", "operations": ["Create", "Update"] }])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_says_what_is_reviewed_also_while_nobody_does() {
    let running = Running::start(json!({})).await;
    let status = running.phase("Active").await;
    assert_eq!(status["reviews"], reviews(), "{status}");
    let suspend = |yes: bool| {
        running.memory.merge("Plugin", "", "labelling", json!({"spec": {"suspended": yes}}))
    };
    suspend(true);
    let status = running.phase("Suspended").await;
    assert_eq!(status["message"], "spec.suspended is true; requests pass without it");
    assert_eq!(status["reviews"], reviews(), "{status}");
    running.review(&config_map("forbidden", json!({}))).await.expect("somebody wanted it so");
    suspend(false);
    running.phase("Active").await;
    running.review(&config_map("forbidden", json!({}))).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_a_lost_plugin_reviewed_are_refused_unless_its_policy_says_otherwise() {
    /// Starts with a plugin that had decided before, now with this spec and nothing
    /// in the cache.
    async fn check(spec: Value, status: Value, expect: Result<&str, &str>) {
        let memory = Memory::new();
        memory.create(labelling(json!({})));
        memory.merge("Plugin", "", "labelling", json!({ "spec": spec, "status": status }));
        let running = Running::of(memory, Vec::new()).await;
        let failed = running.phase("Failed").await;
        let result = running.review(&config_map("x", json!({}))).await;
        match expect {
            Ok(warning) => {
                let warnings = result.expect("admitted").warnings.join("; ");
                assert!(warnings.contains(warning) && warnings.is_empty() == warning.is_empty());
            }
            Err(message) => {
                let refusal = result.expect_err("refused");
                assert_eq!((refusal.code, refusal.reason.as_str()), (500, "InternalError"));
                assert!(refusal.message.contains(message), "{refusal}");
                let told = failed["message"].as_str().unwrap().to_owned();
                assert!(told.contains("requests that it reviews are refused"), "{failed}");
                assert_eq!(failed["reviews"], reviews(), "{failed}");
            }
        }
        let other = json!({ "kind": "Secret", "metadata": { "name": "x" } });
        assert_eq!(running.review(&other).await.unwrap(), Admitted::default());
        let plugin = json!({ "kind": "Plugin", "metadata": { "name": "labelling" } });
        running.review(&plugin).await.expect("it can be repaired");
        running.memory.merge("Plugin", "", "labelling", labelling(json!({})));
        running.memory.merge(
            "Plugin",
            "",
            "labelling",
            json!({"spec": {"source": {"file": null}}}),
        );
        running.phase("Active").await;
        running.review(&config_map("x", json!({}))).await.expect("it is there");
    }
    let gone = json!({ "source": { "inline": null, "file": { "path": "/absent.wasm" } } });
    let was = json!({ "reviews": reviews() });
    let lost = "failed calling admission plugin \"labelling\": no version of it could be loaded: \
                cannot read /absent.wasm";
    check(gone.clone(), was.clone(), Err(lost)).await;
    let other = json!({ "digest": format!("sha256:{}", "0".repeat(64)) });
    check(other, was.clone(), Err("but the Plugin object names sha256:000")).await;
    let mut ignored = gone.clone();
    ignored["failurePolicy"] = json!("Ignore");
    check(ignored, was, Ok("\"labelling\" gave no answer: no version of it")).await;
    check(gone, json!({}), Ok("")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_embedded_plugin_reviews_is_known_before_it_could_ever_be_loaded() {
    let embedded = |wasm: &bytes::Bytes| Embedded {
        name: "labelling".into(),
        role: Role::Admission,
        wasm: wasm.clone(),
        config: Value::Null,
        reviews: serde_json::from_value::<Vec<ReviewRule>>(reviews()).unwrap(),
    };
    let created = || {
        let memory = Memory::new();
        memory.create(guests::embedded("labelling", "Admission"));
        memory
    };
    let damaged = bytes::Bytes::from_static(b"\0asm\x0d\0\x01\0damaged");
    let running = Running::of(created(), vec![embedded(&damaged)]).await;
    running.phase("Failed").await;
    let refusal = running.review(&config_map("x", json!({}))).await.unwrap_err();
    assert!(refusal.message.contains("no version of it could be loaded"), "{refusal}");
    let running = Running::of(created(), vec![embedded(&guests::admission())]).await;
    running.phase("Active").await;
    running.review(&config_map("x", json!({}))).await.expect("another server can");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_this_server_cannot_read_stands_in_the_way_of_what_it_reviewed() {
    let memory = Memory::new();
    memory.create(labelling(json!({})));
    let unread = json!({ "spec": { "priority": "high" }, "status": { "reviews": reviews() } });
    memory.merge("Plugin", "", "labelling", unread);
    let running = Running::of(memory, Vec::new()).await;
    let status = running.phase("Failed").await;
    assert_eq!(status["reason"], "InvalidSpec", "{status}");
    let refusal = running.review(&config_map("x", json!({}))).await.unwrap_err();
    assert!(refusal.message.contains("the Plugin object cannot be read"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_an_answer_is_passed_over_where_the_policy_says_so() {
    let memory = Memory::new();
    let mut plugin = labelling(json!({}));
    plugin["spec"]["failurePolicy"] = json!("Ignore");
    memory.create(plugin);
    let running = Running::of(memory, Vec::new()).await;
    let admitted = running.review(&config_map("x", json!({ "do": "trap" }))).await.unwrap();
    let warnings = admitted.warnings.join("; ");
    assert!(warnings.contains("\"labelling\" gave no answer: it trapped"), "{warnings}");
    assert_eq!(admitted.object, None);
    running.review(&config_map("forbidden", json!({}))).await.expect_err("it did answer");
}
