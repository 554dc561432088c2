//! Components that were built against a released version of the contract work
//! for ever. What `tests/golden` holds is loaded and uses everything its world
//! had: if one of these tests fails, the contract was broken, and it is the host
//! that has to give way.

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use pintle_api::meta::GroupVersionKind;
use pintle_plugin_host::admission::{
    AdmissionRequest, AdmissionUser, Admitted, Document, Operation, Refusal,
};
use pintle_plugin_host::authorizer::{AccessRequest, AccessUser, Verdict};
use pintle_plugin_host::cni::{NetOp, Node, Peer, Reservation, Sandbox};
use pintle_plugin_host::plugin::BudgetSpec;
use pintle_plugin_host::{CniPlugin, Compiler};
use serde_json::{Value, json};
use support::cluster::{Memory, node, pod};
use support::host::Running;
use support::{eventually, guests};

/// Released versions of the contract; one is added by each release that changes it.
const VERSIONS: [&str; 1] = ["0.1.0"];

fn folder(version: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(version)
}

fn golden(version: &str, name: &str) -> Bytes {
    let path = folder(version).join(format!("{name}.wasm"));
    Bytes::from(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

fn plugin(version: &str, name: &str, role: &str) -> Value {
    guests::plugin(name, role, &golden(version, name), json!({}), guests::every_grant())
}

/// Every role refuses its configuration in its own words.
async fn refuses_a_configuration(version: &str, name: &str, role: &str) {
    let memory = Memory::new();
    let mut plugin = plugin(version, name, role);
    plugin["spec"]["config"] = json!({ "refuse": true });
    memory.create(plugin);
    let running = Running::start(memory).await;
    let status = running.status(name, "refused", |status| status["phase"] == "Failed").await;
    assert_eq!(status["reason"], "InvalidConfig", "{status}");
    assert!(status["message"].as_str().unwrap().contains("refused as asked"), "{status}");
    running.stop().await;
}

#[test]
fn they_are_the_ones_that_were_released() {
    for version in VERSIONS {
        let sums = std::fs::read_to_string(folder(version).join("SHA256SUMS")).unwrap();
        let mut listed: Vec<&str> = Vec::new();
        for line in sums.lines() {
            let (sum, name) = line.split_once("  ").unwrap();
            let bytes = golden(version, name.strip_suffix(".wasm").unwrap());
            assert_eq!(guests::digest(&bytes), format!("sha256:{sum}"), "{version}/{name}");
            listed.push(name);
        }
        let there = std::fs::read_dir(folder(version)).unwrap();
        let there = there.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut there: Vec<String> = there.filter(|name| name.ends_with(".wasm")).collect();
        there.sort();
        assert_eq!(listed, there, "{version}");
    }
}

fn config_map(name: &str, labels: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": name, "namespace": "default", "labels": labels },
        "data": { "by": "test" },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_read_and_act() {
    for version in VERSIONS {
        let memory = Memory::new();
        memory.create(plugin(version, "controller", "Controller"));
        for name in ["old", "updated", "json", "merge", "strategic"] {
            memory.create(config_map(name, json!({})));
        }
        let running = Running::start(memory.clone()).await;
        let yes = || json!({ "golden": "yes" });
        memory.create(config_map("golden", yes()));
        for (name, by) in [
            ("made", "golden"),
            ("updated", "update"),
            ("json", "json"),
            ("merge", "merge"),
            ("strategic", "strategic"),
        ] {
            eventually(name, || {
                let value = memory.value("ConfigMap", "default", name)?;
                (value["data"]["by"] == by).then_some(())
            })
            .await;
        }
        eventually("deleted", || {
            memory.value("ConfigMap", "default", "old").is_none().then_some(())
        })
        .await;
        let note = eventually("the event", || {
            let events = memory.events.lock();
            let found = events.iter().find(|(_, reason, _)| reason == "Golden");
            found.map(|(_, _, note)| note.clone())
        })
        .await;
        assert_eq!(
            note,
            "all=golden+json+merge+old+strategic+updated one=1 bytes=0 named=old owned=0 labelled=1 \
             count=6 cut={\"data\":{\"by\":\"test\"}} clock=true seed=true revision=true"
        );

        memory.create(config_map("failing", yes()));
        memory.create(config_map("later", yes()));
        for name in ["failed-twice", "soon", "then"] {
            eventually(name, || memory.value("ConfigMap", "default", name)).await;
        }
        memory.create(config_map("trapping", yes()));
        let trapped = |status: &Value| status["strikesTotal"].as_u64() > Some(0);
        running.status("controller", "a strike", trapped).await;
        memory.delete("ConfigMap", "default", "then");
        memory.create(config_map("later", yes()));
        memory.merge("ConfigMap", "default", "later", json!({ "data": { "again": "yes" } }));
        eventually("others go on", || memory.value("ConfigMap", "default", "then")).await;
        running.stop().await;
        refuses_a_configuration(version, "controller", "Controller").await;
    }
}

fn node_of(memory: &Memory, pod: &str) -> Option<String> {
    memory.value("Pod", "default", pod)?["spec"]["nodeName"].as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn schedulers_bind_wait_preempt_and_forget() {
    for version in VERSIONS {
        let memory = Memory::new();
        memory.create(node("a-0"));
        memory.create(node("a-1"));
        memory.create(plugin(version, "scheduler", "Scheduler"));
        let running = Running::start(memory.clone()).await;
        for name in ["one", "two"] {
            memory.create(pod(name));
            eventually(name, || node_of(&memory, name)).await;
        }
        assert_ne!(node_of(&memory, "one"), node_of(&memory, "two"));

        // A binding that is refused is forgotten and tried again.
        memory.refuse_bindings.store(1, std::sync::atomic::Ordering::SeqCst);
        memory.create(pod("three"));
        eventually("bound after all", || node_of(&memory, "three")).await;

        let message = |name: &str| {
            let pod = memory.value("Pod", "default", name)?;
            Some(pod["status"]["conditions"][0]["message"].as_str()?.to_owned())
        };
        memory.create(pod("stuck"));
        let stuck = eventually("told", || message("stuck")).await;
        assert!(stuck.starts_with("stuck; "), "{stuck}");
        memory.create(pod("ignored"));
        memory.create(pod("preempting"));
        eventually("a victim", || {
            let gone = ["one", "two", "three"].iter().filter(|name| {
                memory
                    .value("Pod", "default", name)
                    .is_none_or(|pod| !pod["metadata"]["deletionTimestamp"].is_null())
            });
            (gone.count() > 0).then_some(())
        })
        .await;
        memory.create(pod("trapping"));
        running
            .status("scheduler", "a strike", |status| status["strikesTotal"].as_u64() > Some(0))
            .await;
        memory.create(pod("after"));
        eventually("others go on", || node_of(&memory, "after")).await;
        assert_eq!(node_of(&memory, "ignored"), None);
        running.stop().await;
        refuses_a_configuration(version, "scheduler", "Scheduler").await;
    }
}

/// The scheduler of the same version asks; nodes are `a-0` and `a-1`.
async fn with_extension(version: &str, extension: &str) -> (Arc<Memory>, Running) {
    let memory = Memory::new();
    for (name, disk) in [("a-0", "hdd"), ("a-1", "ssd")] {
        let mut node = node(name);
        node["metadata"]["labels"] = json!({ "disktype": disk });
        memory.create(node);
    }
    memory.create(plugin(version, "scheduler", "Scheduler"));
    memory.create(plugin(version, extension, "SchedulerExtension"));
    let running = Running::start(memory.clone()).await;
    running.status(extension, "active", |status| status["phase"] == "Active").await;
    (memory, running)
}

/// Waits until three pods in a row go to one node; without the extension's word
/// they would take turns.
async fn prefers(memory: &Memory, node: &str) {
    let mut row = 0;
    for number in 0..100 {
        let name = format!("to-{node}-{number}");
        memory.create(pod(&name));
        let bound = eventually(&name, || node_of(memory, &name)).await;
        row = if bound == node { row + 1 } else { 0 };
        if row == 3 {
            return;
        }
    }
    panic!("pods do not go to {node}");
}

#[tokio::test(flavor = "multi_thread")]
async fn extensions_filter_and_score() {
    for version in VERSIONS {
        let (memory, running) = with_extension(version, "scheduler-extension").await;
        memory.create(config_map("a-1", json!({})));
        prefers(&memory, "a-1").await;
        memory.create(pod("picky"));
        assert_eq!(eventually("filtered", || node_of(&memory, "picky")).await, "a-0");
        memory.delete("ConfigMap", "default", "a-1");
        memory.create(config_map("a-0", json!({})));
        prefers(&memory, "a-0").await;
        let a_0 = memory.value("Node", "", "a-0").unwrap();
        memory.delete("Node", "", "a-0");
        memory.create(pod("picky-too"));
        let told = eventually("told", || {
            let pod = memory.value("Pod", "default", "picky-too")?;
            Some(pod["status"]["conditions"][0]["message"].as_str()?.to_owned())
        })
        .await;
        assert_eq!(told, "0/1 nodes are available: node(s) named so");
        memory.create(a_0);
        assert_eq!(eventually("bound", || node_of(&memory, "picky-too")).await, "a-0");
        running.stop().await;
        refuses_a_configuration(version, "scheduler-extension", "SchedulerExtension").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn extensions_in_c_filter_and_score() {
    for version in VERSIONS {
        let (memory, running) = with_extension(version, "scheduler-extension-c").await;
        for (name, disk, node) in
            [("one", "ssd", "a-1"), ("two", "ssd", "a-1"), ("three", "hdd", "a-0")]
        {
            let mut pod = pod(name);
            pod["metadata"]["labels"] = json!({ "example.pintle.dev/disktype": disk });
            memory.create(pod);
            assert_eq!(eventually(name, || node_of(&memory, name)).await, node, "{name}");
        }
        let no_batch =
            json!({ "metadata": { "labels": { "example.pintle.dev/no-batch": "true" } } });
        memory.merge("Node", "", "a-1", no_batch);
        let mut batch = pod("batch");
        batch["metadata"]["labels"] =
            json!({ "batch": "true", "example.pintle.dev/disktype": "ssd" });
        memory.create(batch);
        assert_eq!(eventually("kept off", || node_of(&memory, "batch")).await, "a-0");
        running.stop().await;
    }
}

async fn review(
    running: &Running,
    operation: Operation,
    name: &str,
    subresource: &str,
) -> Result<Admitted, Refusal> {
    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } });
    let deletes = operation == Operation::Delete;
    let request = AdmissionRequest {
        operation,
        kind: &GroupVersionKind::parse("v1", "ConfigMap"),
        subresource,
        namespace: "default",
        name,
        user: AdmissionUser { name: "me", uid: "u", groups: &["a".to_owned(), "b".to_owned()] },
        object: (!deletes).then_some(Document::Parsed(&object)),
        old_object: deletes.then_some(Document::Parsed(&object)),
        dry_run: true,
    };
    running.host.admission().review(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn admission_changes_refuses_and_warns() {
    for version in VERSIONS {
        let memory = Memory::new();
        memory.create(config_map("there", json!({})));
        memory.create(plugin(version, "admission", "Admission"));
        let running = Running::start(memory.clone()).await;
        let admitted = review(&running, Operation::Create, "x", "").await.unwrap();
        let labels = &admitted.object.unwrap()["metadata"]["labels"];
        assert_eq!(*labels, json!({ "by": "me", "there": "1", "clock": "true" }));
        assert_eq!(admitted.warnings, ["write new=true old=false dry=true"]);
        let deleted = review(&running, Operation::Delete, "x", "").await.unwrap();
        assert_eq!(deleted.warnings, ["delete new=false old=true dry=true"]);
        let status = review(&running, Operation::Update, "x", "status").await.unwrap();
        assert_eq!(status.warnings, ["writestatus new=true old=false dry=true"]);

        let refused = review(&running, Operation::Create, "teapot", "").await.unwrap_err();
        assert_eq!((refused.code, refused.reason.as_str()), (418, "Teapot"));
        assert!(refused.message.contains("a+b may not"), "{refused}");
        let refused = review(&running, Operation::Create, "forbidden", "").await.unwrap_err();
        assert_eq!((refused.code, refused.reason.as_str()), (403, "Forbidden"));
        let broken = review(&running, Operation::Create, "trapping", "").await.unwrap_err();
        assert_eq!(broken.code, 500);
        assert!(broken.message.contains("about to trap"), "{broken}");
        review(&running, Operation::Create, "x", "").await.expect("the next is not harmed");
        running.stop().await;
        refuses_a_configuration(version, "admission", "Admission").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn authorizers_are_told_and_asked_everything() {
    for version in VERSIONS {
        let memory = Memory::new();
        memory.create(config_map("jane", json!({})));
        memory.create(plugin(version, "authorizer", "Authorizer"));
        let running = Running::start(memory.clone()).await;
        let chain = running.host.authorizers();
        let extra = BTreeMap::from([("k".to_owned(), vec!["v".to_owned(), "w".to_owned()])]);
        let groups = ["a".to_owned(), "b".to_owned()];
        let asked = |name, verb| AccessRequest {
            user: AccessUser { name, uid: "u", groups: &groups, extra: &extra },
            verb,
            group: "apps",
            version: "v1",
            resource: "deployments",
            subresource: "scale",
            namespace: "n",
            name: "web",
            path: "/p",
            required_fields: &[("metadata.name", "web")],
        };
        let told = |name: &str, verb: &str| {
            format!(
                "{verb},apps,v1,deployments,scale,n,web,/p,metadata.name=web,{name},u,a+b,k=v+w,clock"
            )
        };
        assert_eq!(
            chain.authorize(&asked("jane", "get")).await,
            Verdict::Allow(told("jane", "get"))
        );
        let nobody = chain.authorize(&asked("joe", "get")).await;
        assert_eq!(nobody, Verdict::NoOpinion(told("joe", "get")));
        let denied = chain.authorize(&asked("jane", "delete")).await;
        assert_eq!(denied, Verdict::Deny(told("jane", "delete")));
        memory.delete("ConfigMap", "default", "jane");
        let gone = chain.authorize(&asked("jane", "get")).await;
        assert_eq!(gone, Verdict::NoOpinion(told("jane", "get")));
        let Verdict::NoAnswer(reason) = chain.authorize(&asked("jane", "trap")).await else {
            panic!("it traps")
        };
        assert!(reason.contains("about to trap"), "{reason}");
        let rules = chain.rules(&asked("jane", "get").user, "n").await;
        assert_eq!(rules.resource_rules[0].resource_names, ["jane"]);
        assert_eq!(rules.resource_rules[0].resources, ["n"]);
        assert_eq!(rules.non_resource_rules[0].non_resource_urls, ["/golden"]);
        assert_eq!(rules.incomplete, ["golden"]);
        running.stop().await;
        refuses_a_configuration(version, "authorizer", "Authorizer").await;
    }
}

#[test]
fn networks_are_planned() {
    for version in VERSIONS {
        let directory = tempfile::tempdir().unwrap();
        let load = |config: Value| {
            CniPlugin::load(
                &directory.path().join("cache"),
                &Compiler::InProcess,
                "cni",
                &golden(version, "cni"),
                None,
                &config,
                &BudgetSpec::default(),
            )
        };
        let refused = load(json!({ "refuse": true })).err().unwrap();
        assert!(refused.to_string().contains("refused as asked"), "{refused}");
        let plugin = load(json!({})).unwrap();
        let node = |ranges: &[&str]| Node {
            name: "node-1".into(),
            internal_ip: "192.0.2.1".into(),
            pod_cidrs: ranges.iter().map(|range| (*range).to_owned()).collect(),
            interface_prefix: "pin".into(),
        };
        let sandbox = |name: &str| Sandbox {
            id: "7".into(),
            namespace: "default".into(),
            name: name.into(),
            netns: "/run/netns/s".into(),
            mtu: 1450,
        };
        let range = node(&["10.244.3.0/24"]);
        let reserved = [Reservation { sandbox: "r".into(), address: "10.244.3.2".into() }];
        let added = plugin.add(0, &range, &sandbox("web"), &reserved).unwrap();
        assert_eq!(added.reserve, ["10.244.3.3"]);
        assert_eq!(added.interfaces[0].gateway.as_deref(), Some("169.254.1.1"));
        assert_eq!(
            format!("{:?}", added.plan.iter().map(sort).collect::<Vec<_>>()),
            r#"["netns-create", "veth-add", "link-up", "link-up", "address-add", "route-replace", "neighbour-replace", "sysctl-set"]"#
        );
        let NetOp::VethAdd(veth) = &added.plan[1] else { panic!("{:?}", added.plan) };
        assert_eq!((veth.host.as_str(), veth.mtu), ("pin7", 1450));
        let refused = plugin.add(0, &node(&[]), &sandbox("web"), &[]).unwrap_err();
        assert!(refused.to_string().contains("node-1 at 192.0.2.1 has no range"), "{refused}");
        let plan = plugin.del(0, &range, &sandbox("web")).unwrap();
        assert_eq!(plan.iter().map(sort).collect::<Vec<_>>(), ["link-delete", "netns-delete"]);
        plugin.add(0, &range, &sandbox("trapping"), &[]).unwrap_err();
        let there = ["10.244.3.3".to_owned()];
        assert!(plugin.check(0, &range, &sandbox("web"), &there).unwrap().is_empty());
        plugin.check(0, &range, &sandbox("web"), &[]).unwrap_err();
        let peer = |name: &str, ready| Peer {
            name: name.into(),
            internal_ip: "192.0.2.9".into(),
            pod_cidrs: vec!["10.244.9.0/24".into()],
            ready,
        };
        let now = [peer("new", true), peer("down", false)];
        let plan = plugin.nodes_changed(0, &range, &[peer("gone", true)], &now).unwrap();
        let NetOp::RouteReplace(down) = &plan[2] else { panic!("{plan:?}") };
        assert!(matches!(plan[0], NetOp::RouteDelete(_)) && down.blackhole && down.via.is_none());
    }
}

fn sort(op: &NetOp) -> &'static str {
    match op {
        NetOp::NetnsCreate(_) => "netns-create",
        NetOp::NetnsDelete(_) => "netns-delete",
        NetOp::VethAdd(_) => "veth-add",
        NetOp::LinkUp(_) => "link-up",
        NetOp::LinkDelete(_) => "link-delete",
        NetOp::AddressAdd(_) => "address-add",
        NetOp::RouteReplace(_) => "route-replace",
        NetOp::RouteDelete(_) => "route-delete",
        NetOp::NeighbourReplace(_) => "neighbour-replace",
        NetOp::SysctlSet(_) => "sysctl-set",
        NetOp::Other(_) => "other",
    }
}
