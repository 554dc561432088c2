//! The examples in other languages: each is built with the packages of its own
//! registry, swapped in for the one in Rust while pods are scheduled, decides
//! the same, and its trap costs nothing but itself.
//!
//! A language whose tools cannot be installed here is skipped with one line
//! that names what is missing.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::cluster::{Memory, node, pod};
use support::host::Running;
use support::{eventually, guests};

const DISK: &str = "example.pintle.dev/disktype";

/// What a build script ends with when a tool is missing and cannot be fetched.
const TOOL_MISSING: i32 = 3;

/// Compiling 18 MB takes a while beside other tests.
const LOADING: Duration = Duration::from_secs(240);

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk/examples")
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/examples")
}

static RUST: LazyLock<PathBuf> = LazyLock::new(|| {
    let target = target().join("rust");
    let built =
        pintle_plugin_build::build(&examples().join("rust-scorer"), &["rust-scorer"], &target);
    built.expect("the example in Rust builds").remove(0).path
});

/// The component in `language`, or nothing if its tools cannot be had.
fn build(language: &str, directory: &Path) -> Option<PathBuf> {
    let output = directory.join(format!("{language}.wasm"));
    let run = Command::new(examples().join(language).join("build.sh"))
        .arg(&output)
        .env("PINTLE_EXAMPLES_CACHE", target())
        // The host's compiler is none for WebAssembly.
        .env_remove("CC")
        .output()
        .expect("the build script starts");
    let said = String::from_utf8_lossy(&run.stderr);
    if run.status.code() == Some(TOOL_MISSING) {
        let reason = said.lines().last().unwrap_or_default();
        eprintln!("SKIPPED: the example in {language}: {reason}");
        return None;
    }
    assert!(run.status.success(), "building the example in {language} failed: {said}");
    Some(output)
}

fn extension(component: &Path) -> Value {
    let bytes = std::fs::read(component).unwrap();
    json!({
        "apiVersion": "plugins.pintle.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": { "name": "disks" },
        "spec": {
            "role": "SchedulerExtension",
            "source": { "file": { "path": component } },
            "digest": guests::digest(&bytes),
            "grants": [{ "apiGroups": [""], "kinds": ["Node"], "verbs": ["watch"] }],
        },
    })
}

fn labelled(mut object: Value, labels: Value) -> Value {
    object["metadata"]["labels"] = labels;
    object
}

struct Scene {
    running: Running,
    memory: Arc<Memory>,
}

impl Scene {
    /// The emptiest node is never the right one, so that only the extension's
    /// word explains where a pod went.
    async fn start() -> Self {
        let memory = Memory::new();
        memory.create(labelled(node("fast"), json!({ "disktype": "ssd" })));
        let busy = json!({ "disktype": "ssd", "example.pintle.dev/no-batch": "true" });
        let mut interactive = labelled(node("interactive"), busy);
        interactive["metadata"]["annotations"] = json!({ "about": "für Menschen — 人のため 🖥" });
        memory.create(interactive);
        memory.create(labelled(node("large"), json!({ "disktype": "hdd" })));
        memory.create(node("plain"));
        let config = json!({ "extensions": true });
        memory.create(guests::plugin(
            "scheduler",
            "Scheduler",
            &guests::scheduler(),
            config,
            guests::scheduler_grants(),
        ));
        memory.create(extension(&RUST));
        let running = Running::start(memory.clone()).await;
        let scene = Self { running, memory };
        scene.is("Active", &RUST).await;
        scene
    }

    async fn is(&self, phase: &str, component: &Path) -> Value {
        let digest = guests::digest(&std::fs::read(component).unwrap());
        let deadline = Instant::now() + LOADING;
        // Polls, because it observes from outside, and longer than other tests need to.
        loop {
            let status = self.status();
            if status["phase"] == phase && status["activeDigest"] == digest {
                return status;
            }
            assert!(Instant::now() < deadline, "not {phase}: {status}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn status(&self) -> Value {
        self.memory.value("Plugin", "", "disks").unwrap()["status"].clone()
    }

    async fn bound(&self, name: &str) -> String {
        eventually(name, || {
            let pod = self.memory.value("Pod", "default", name)?;
            pod["spec"]["nodeName"].as_str().map(str::to_owned)
        })
        .await
    }

    /// Where a pod with these labels goes.
    async fn place(&self, name: &str, labels: Value) -> String {
        self.memory.create(labelled(pod(name), labels));
        self.bound(name).await
    }

    /// The rules, all of them, as pods see them.
    async fn decides(&self, round: &str) {
        for number in 0..3 {
            let name = format!("{round}-large-{number}");
            assert_eq!(self.place(&name, json!({ DISK: "hdd" })).await, "large", "{name}");
            let name = format!("{round}-batch-{number}");
            let labels = json!({ DISK: "ssd", "batch": "true" });
            assert_eq!(self.place(&name, labels).await, "fast", "{name}");
        }
        // The two nodes with that disk take turns.
        let first = self.place(&format!("{round}-first"), json!({ DISK: "ssd" })).await;
        assert!(["fast", "interactive"].contains(&first.as_str()), "{first}");
        self.place(&format!("{round}-any"), json!({})).await;
    }

    /// Nodes that go and come back, and the reason when none is left.
    async fn follows_nodes(&self, round: &str) {
        let gone = ["fast", "large", "plain"].map(|name| {
            let value = self.memory.value("Node", "", name).unwrap();
            self.memory.delete("Node", "", name);
            value
        });
        let name = format!("{round}-waits");
        self.memory.create(labelled(pod(&name), json!({ "batch": "true", DISK: "ssd" })));
        let message = eventually("told", || {
            let pod = self.memory.value("Pod", "default", &name)?;
            Some(pod["status"]["conditions"][0]["message"].as_str()?.to_owned())
        })
        .await;
        assert_eq!(message, "0/1 nodes are available: 1 node(s) take no batch pods.");
        for node in gone {
            self.memory.create(node);
        }
        assert_ne!(self.bound(&name).await, "interactive");
    }
}

async fn swapped_in(language: &str, last_words: &str) {
    let directory = tempfile::tempdir().unwrap();
    let Some(component) = build(language, directory.path()) else { return };
    let scene = Scene::start().await;
    scene.decides("rust").await;
    scene.memory.merge("Plugin", "", "disks", json!({ "spec": extension(&component)["spec"] }));
    let status = scene.is("Active", &component).await;
    assert_eq!(status["version"], "0.1.0");
    scene.decides(language).await;
    scene.follows_nodes(language).await;
    scene.decides("again").await;
    let before = scene.status();
    assert!(before["strikesTotal"].as_u64().is_none_or(|strikes| strikes == 0), "{before}");
    assert!(before["calls"].as_u64() > Some(0), "{before}");

    // No API server lets such a label through; the host does not look at it.
    scene.place("poisonous", json!({ "batch": 5 })).await;
    let status = scene.is("RolledBack", &RUST).await;
    assert_eq!(status["reason"], "Trapped", "{status}");
    let message = status["message"].as_str().unwrap();
    assert!(message.contains(last_words), "{message}");
    scene.decides("after").await;
    assert_eq!(scene.memory.double_bindings.load(std::sync::atomic::Ordering::SeqCst), 0);
    scene.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c() {
    swapped_in("c", "a label is not a string").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn go() {
    swapped_in("go", "cannot unmarshal number").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript() {
    swapped_in("javascript", "label batch is not a string").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python() {
    swapped_in("python", "label batch is not a string").await;
}

/// Nodes of the size that real ones have, many of them, in the language that
/// takes longest to read them, with the budgets that every extension has.
#[tokio::test(flavor = "multi_thread")]
async fn no_budget_has_to_be_set_for_many_large_nodes() {
    let directory = tempfile::tempdir().unwrap();
    let Some(component) = build("javascript", directory.path()) else { return };
    let scene = Scene::start().await;
    for number in 0..200 {
        let mut node = node(&format!("node-{number}"));
        node["metadata"]["annotations"] = json!({ "images": "x".repeat(10_000) });
        scene.memory.create(node);
    }
    scene.memory.merge("Plugin", "", "disks", json!({ "spec": extension(&component)["spec"] }));
    scene.is("Active", &component).await;
    scene.decides("many").await;
    let status = scene.status();
    assert_eq!(status["phase"], "Active", "{status}");
    assert!(status["strikesTotal"].as_u64().is_none_or(|strikes| strikes == 0), "{status}");
    scene.running.stop().await;
}
