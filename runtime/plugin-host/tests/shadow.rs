//! Candidates beside what decides: compared, never applied, and then promoted,
//! kept waiting or refused, whatever happens meanwhile.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use support::cluster::{Memory, config_map, node, pod};
use support::host::Running;
use support::{eventually, guests};

fn with_nodes(count: usize) -> Arc<Memory> {
    let memory = Memory::new();
    for index in 0..count {
        memory.create(node(&format!("node-{index}")));
    }
    memory
}

fn scheduler(component: &[u8], config: Value, shadow: Value) -> Value {
    let mut plugin =
        guests::plugin("scheduler", "Scheduler", component, config, guests::scheduler_grants());
    plugin["spec"]["rollout"]["shadow"] = shadow;
    plugin
}

/// A scheduler that decides, and a candidate of it.
fn versions() -> (Bytes, Bytes) {
    let active = guests::scheduler();
    let candidate = guests::variant(&active, 1);
    (active, candidate)
}

async fn started(memory: &Arc<Memory>) -> Running {
    memory.create(scheduler(&guests::scheduler(), json!({ "version": "old" }), Value::Null));
    let running = Running::start(memory.clone()).await;
    running.status("scheduler", "active", |status| status["phase"] == "Active").await;
    running
}

fn propose(running: &Running, component: &[u8], config: Value, shadow: Value) -> Value {
    running.change("scheduler", scheduler(component, config, shadow)["spec"].clone())
}

/// Pods come and go, bindings are refused, nodes come and change.
async fn churn(memory: &Memory, prefix: &str, count: usize) {
    memory.refuse_bindings.store(count / 20, Ordering::SeqCst);
    for index in 0..count {
        memory.create(pod(&format!("{prefix}-{index}")));
        match index % 50 {
            7 => memory.delete("Pod", "default", &format!("{prefix}-{}", index - 7)),
            13 => {
                memory.create(node(&format!("{prefix}-node-{index}")));
            }
            29 => {
                let heavier = json!({ "spec": { "capacity": 100 + index } });
                memory.merge("Node", "", "node-0", heavier);
            }
            _ => {}
        }
        if index % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_program_never_diverges_under_load_and_takes_over_by_itself() {
    let memory = with_nodes(20);
    *memory.latency.lock() = Duration::from_millis(2);
    let running = started(&memory).await;
    let (_, candidate) = versions();
    churn(&memory, "before", 300).await;
    let generation =
        propose(&running, &candidate, json!({ "version": "new" }), json!({ "decisions": 500 }));
    let shadowing = running.phase("scheduler", &generation, "Shadowing").await;
    assert_eq!(shadowing["version"], "old", "the one before decides");
    assert_eq!(shadowing["activeDigest"], guests::digest(&guests::scheduler()));
    let (mut round, end) = (0, Instant::now() + support::PATIENCE);
    let status = loop {
        churn(&memory, &format!("round-{round}"), 500).await;
        round += 1;
        let status = memory.value("Plugin", "", "scheduler").unwrap()["status"].clone();
        let shown = running.host.divergences("scheduler");
        assert_ne!(status["phase"], "RolledBack", "{status} {shown:?}");
        if status["phase"] == "Active" {
            break status;
        }
        assert!(Instant::now() < end, "{status}");
    };
    assert_eq!(status["activeDigest"], guests::digest(&candidate));
    assert_eq!(status["shadow"]["divergences"], 0, "{status}");
    assert_eq!(status["shadow"]["agreements"], 500, "{status}");
    assert_eq!(memory.double_bindings.load(Ordering::SeqCst), 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_decides_otherwise_never_takes_over_and_people_can_see_where() {
    let memory = with_nodes(4);
    let running = started(&memory).await;
    let (active, candidate) = versions();
    let shadow = json!({ "decisions": 200, "maxDivergencePercent": 5 });
    let config = json!({ "version": "new", "differs": 5 });
    let generation = propose(&running, &candidate, config, shadow);
    running.phase("scheduler", &generation, "Shadowing").await;
    let mut created = 0;
    let status = loop {
        for _ in 0..20 {
            memory.create(pod(&format!("pod-{created}")));
            created += 1;
        }
        running.all_bound(created).await;
        let status = memory.value("Plugin", "", "scheduler").unwrap()["status"].clone();
        if status["phase"] != "Shadowing" {
            break status;
        }
        assert!(created < 5000, "{status}");
    };
    assert_eq!((&status["phase"], &status["reason"]), (&json!("RolledBack"), &json!("Diverged")));
    assert_eq!(status["activeDigest"], guests::digest(&active));
    assert_eq!(status["rolledBackFrom"], guests::digest(&candidate));
    assert_eq!(status["activeConfig"], json!({ "version": "old" }));
    assert_eq!(status["rollbacks"], 1);
    // One more than 5 % of 200, and no more than that.
    assert_eq!(status["shadow"]["divergences"], 11, "{status}");
    let shown = running.host.divergences("scheduler").unwrap();
    let item = &shown["items"][0];
    assert_eq!(item["input"]["kind"], "Pod", "{shown}");
    assert_ne!(item["active"]["bind"], item["candidate"]["bind"], "{shown}");
    assert_eq!(shown["candidate"], guests::digest(&candidate));
    eventually("an Event tells", || {
        memory
            .events
            .lock()
            .iter()
            .any(|(name, reason, _)| name == "scheduler" && reason == "RolledBack")
            .then_some(())
    })
    .await;
    // It is not tried again, neither by a restart ...
    let running = running.restart().await;
    let status = running.phase("scheduler", &generation, "RolledBack").await;
    assert_eq!(status["version"], "old");
    // ... nor is anything else needed to go on with what decides.
    let generation =
        propose(&running, &active, json!({ "version": "old", "differs": null }), Value::Null);
    let status = running.phase("scheduler", &generation, "Active").await;
    assert_eq!(status["swaps"], 0, "{status}");
    assert_eq!(status["rolledBackFrom"], Value::Null);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_shall_stop_waits_for_a_person() {
    let memory = with_nodes(4);
    let running = started(&memory).await;
    let (active, candidate) = versions();
    let shadow = json!({ "decisions": 20, "then": "Stop" });
    let generation = propose(&running, &candidate, json!({ "version": "new" }), shadow.clone());
    running.phase("scheduler", &generation, "Shadowing").await;
    let mut created = 0;
    let mut shadowed = async |running: &Running, generation: &Value| loop {
        memory.create(pod(&format!("pod-{created}")));
        created += 1;
        running.all_bound(created).await;
        let status = memory.value("Plugin", "", "scheduler").unwrap()["status"].clone();
        if status["phase"] == "Shadowed" && status["observedGeneration"] == *generation {
            break status;
        }
        assert!(created < 5000, "{status}");
    };
    let status = shadowed(&running, &generation).await;
    assert_eq!(status["reason"], "ShadowFinished");
    assert_eq!(status["activeDigest"], guests::digest(&active));
    // A restart begins the comparison anew.
    let running = running.restart().await;
    let status = running
        .status("scheduler", "compared again", |status| {
            status["phase"] == "Shadowing" && status["version"] == "old"
        })
        .await;
    assert_eq!(status["activeDigest"], guests::digest(&active));
    let status = shadowed(&running, &generation).await;
    assert_eq!(status["shadow"]["divergences"], 0);
    // What `pintle plugin promote` does.
    let generation = running.change("scheduler", json!({ "rollout": { "shadow": null } }));
    let status = running.phase("scheduler", &generation, "Active").await;
    assert_eq!(status["activeDigest"], guests::digest(&candidate));
    assert_eq!(status["previousDigest"], guests::digest(&active));
    // The same version with a comparison asked for: nothing to compare.
    let generation = running.change("scheduler", json!({ "rollout": { "shadow": shadow } }));
    let status = running.phase("scheduler", &generation, "Active").await;
    assert_eq!(status["shadow"], Value::Null);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_the_plugin_meanwhile_ends_the_comparison() {
    let memory = with_nodes(4);
    let running = started(&memory).await;
    let (active, candidate) = versions();
    let other = guests::variant(&active, 2);
    let shadow = json!({ "decisions": 100_000 });
    let new = json!({ "version": "new" });
    let generation = propose(&running, &candidate, new.clone(), shadow.clone());
    running.phase("scheduler", &generation, "Shadowing").await;
    // Replaced by another candidate.
    let generation = propose(&running, &other, new.clone(), shadow.clone());
    let status = running.phase("scheduler", &generation, "Shadowing").await;
    assert_eq!(status["shadow"]["digest"], guests::digest(&other));
    // By one that cannot be loaded.
    let generation = propose(&running, b"\0asm\x0d\0\x01\0cut", new.clone(), shadow.clone());
    let status = running.phase("scheduler", &generation, "Rejected").await;
    assert_eq!(status["activeDigest"], guests::digest(&active));
    assert_eq!(status["shadow"], Value::Null);
    // The event stream breaks off.
    let generation = propose(&running, &candidate, new.clone(), shadow.clone());
    running.phase("scheduler", &generation, "Shadowing").await;
    memory.break_streams();
    let (mut round, end) = (0, Instant::now() + support::PATIENCE);
    let status = loop {
        // What is decided while the candidate is shown the present again is skipped.
        churn(&memory, &format!("meanwhile-{round}"), 50).await;
        round += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let status = memory.value("Plugin", "", "scheduler").unwrap()["status"].clone();
        assert_eq!(status["shadow"]["divergences"], 0, "{status}");
        if status["shadow"]["agreements"].as_u64() > Some(20) {
            break status;
        }
        assert!(Instant::now() < end, "{status}");
    };
    // Edited back: it never stopped deciding.
    let swaps = status["swaps"].clone();
    let generation = propose(&running, &active, json!({ "version": "old" }), shadow.clone());
    let status = running.phase("scheduler", &generation, "Active").await;
    assert_eq!((&status["swaps"], &status["shadow"]), (&swaps, &Value::Null));
    // Deleted and made anew.
    let generation = propose(&running, &candidate, new.clone(), shadow.clone());
    running.phase("scheduler", &generation, "Shadowing").await;
    memory.delete("Plugin", "", "scheduler");
    eventually("unloaded", || running.host.divergences("scheduler").is_none().then_some(())).await;
    memory.create(scheduler(&candidate, new, shadow));
    let status = running.status("scheduler", "active", |status| status["phase"] == "Active").await;
    assert_eq!(status["activeDigest"], guests::digest(&candidate), "nothing to compare with");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_faults_never_decides_anything() {
    for (config, reason) in [
        (json!({ "schedule": "trap" }), "Trapped"),
        (json!({ "schedule": "loop" }), "DeadlineExceeded"),
        (json!({ "schedule": "preempt" }), "UngrantedAction"),
        (json!({ "trapAt": 30 }), "Trapped"),
    ] {
        let memory = with_nodes(4);
        let running = started(&memory).await;
        let (active, candidate) = versions();
        let generation =
            propose(&running, &candidate, config.clone(), json!({ "decisions": 1000 }));
        running.phase("scheduler", &generation, "Shadowing").await;
        let mut created = 0;
        let status = loop {
            memory.create(pod(&format!("pod-{created}")));
            created += 1;
            running.all_bound(created).await;
            let status = memory.value("Plugin", "", "scheduler").unwrap()["status"].clone();
            if status["phase"] != "Shadowing" {
                break status;
            }
            assert!(created < 5000, "{config}: {status}");
        };
        assert_eq!(status["phase"], "RolledBack", "{config}: {status}");
        assert_eq!(status["reason"], reason, "{config}: {status}");
        assert!(status["message"].as_str().unwrap().contains("as a shadow"), "{status}");
        assert_eq!(status["activeDigest"], guests::digest(&active));
        assert_eq!(status["strikesTotal"], 0, "they are not the active version's");
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_are_compared_key_by_key() {
    let memory = Memory::new();
    let (good, next) = (guests::controller(), guests::variant(&guests::controller(), 1));
    let copier = |component: &[u8], version: &str, shadow: Value| {
        let config = json!({ "version": version });
        let mut plugin =
            guests::plugin("copier", "Controller", component, config, guests::copier_grants());
        plugin["spec"]["rollout"]["shadow"] = shadow;
        plugin
    };
    memory.create(copier(&good, "1", Value::Null));
    let running = Running::start(memory.clone()).await;
    // The same decisions: they read what the active version read, at its revision.
    let shadow = json!({ "decisions": 100 });
    let generation = running.change("copier", copier(&next, "1", shadow.clone())["spec"].clone());
    running.phase("copier", &generation, "Shadowing").await;
    for index in 0..150 {
        memory.create(config_map(&format!("map-{index}"), json!({})));
    }
    let status = running.phase("copier", &generation, "Active").await;
    assert_eq!(status["shadow"]["divergences"], 0, "{:?}", running.host.divergences("copier"));
    // Other ones: what it writes bears its version. After a swap every key is
    // looked at again, and the keys of before have nothing left to be done.
    let shadow = json!({ "decisions": 1000 });
    let generation = running.change("copier", copier(&good, "2", shadow)["spec"].clone());
    running
        .status("copier", "compared", |status| {
            status["observedGeneration"] == generation && status["phase"] != "Loading"
        })
        .await;
    memory.create(config_map("another", json!({})));
    let status = running.phase("copier", &generation, "RolledBack").await;
    assert_eq!(status["reason"], "Diverged", "{status}");
    let shown = running.host.divergences("copier").unwrap();
    assert_eq!(shown["items"][0]["active"]["actions"][0]["create"]["data"]["by"], "1", "{shown}");
    assert_eq!(shown["items"][0]["candidate"]["actions"][0]["create"]["data"]["by"], "2");
    let copy = eventually("copied", || memory.value("ConfigMap", "default", "another-copy")).await;
    assert_eq!(copy["data"]["by"], "1");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn admission_is_compared_request_by_request() {
    use pintle_api::meta::GroupVersionKind;
    use pintle_plugin_host::admission::{AdmissionRequest, AdmissionUser, Document, Operation};

    let memory = Memory::new();
    let (good, next) = (guests::admission(), guests::variant(&guests::admission(), 1));
    let labelling = |component: &[u8], version: &str, shadow: Value| {
        let config = json!({ "version": version });
        let mut plugin = guests::plugin("labelling", "Admission", component, config, json!([]));
        plugin["spec"]["rollout"]["shadow"] = shadow;
        plugin
    };
    memory.create(labelling(&good, "1", Value::Null));
    let running = Running::start(memory.clone()).await;
    let review = async |name: String| {
        let object = config_map(&name, json!({}));
        let kind = GroupVersionKind::parse("v1", "ConfigMap");
        let request = AdmissionRequest {
            operation: Operation::Create,
            kind: &kind,
            subresource: "",
            namespace: "default",
            name: &name,
            user: AdmissionUser { name: "me", uid: "", groups: &[] },
            object: Some(Document::Parsed(&object)),
            old_object: None,
            dry_run: false,
        };
        running.host.admission().review(request).await.unwrap().object.unwrap()
    };
    let shadow = json!({ "decisions": 20 });
    let generation =
        running.change("labelling", labelling(&next, "1", shadow.clone())["spec"].clone());
    running.phase("labelling", &generation, "Shadowing").await;
    for index in 0..20 {
        review(format!("map-{index}")).await;
    }
    let status = running.phase("labelling", &generation, "Active").await;
    assert_eq!(status["shadow"]["divergences"], 0);
    let generation = running.change("labelling", labelling(&good, "2", shadow)["spec"].clone());
    running.phase("labelling", &generation, "Shadowing").await;
    assert_eq!(review("x".into()).await["metadata"]["labels"]["admitted-by"], "1");
    let status = running.phase("labelling", &generation, "RolledBack").await;
    assert_eq!(status["reason"], "Diverged", "{status}");
    running.stop().await;
}
