//! A node for tests: a real API server in this process, a real agent with runc
//! and the shim, in network and mount namespaces of its own.
#![allow(dead_code)]

pub mod image;
mod line;
pub mod network;
mod processes;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use pintle_agent::client::Api;
use pintle_agent::{Agent, AgentConfig, Clock, StreamHandler};
use pintle_api::kinds::Registry;
use pintle_apiserver::{
    AdmitAll, ApiServer, BusFacts, NoNodes, Parts, StaticAuthorizer, SystemClock, User, VersionInfo,
};
use pintle_containers::ContentStore;
use pintle_storage::EngineKind;
use pintle_watch::Bus;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use line::InProcess;
use processes::end_all;
#[allow(unused_imports)] // each test binary uses a part
pub use processes::{pids, processes};

pub const IMAGE: &str = "busybox:test";
pub const NODE: &str = "n1";
pub const PODS: &str = "/api/v1/namespaces/default/pods";

/// Whatever has to come has come by then, on a busy machine too.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Runs the test inside namespaces of its own; skips it where that is not possible.
pub fn isolated(test: impl FnOnce() + Send + 'static) {
    if !nix::unistd::geteuid().is_root() || !shim().exists() {
        eprintln!("skipped: needs root and a built pintle-shim (cargo build -p pintle-shim)");
        return;
    }
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        let status =
            std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
        assert!(status.success());
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn shim() -> PathBuf {
    let mut dir = std::env::current_exe().unwrap();
    dir.pop();
    dir.pop();
    dir.join("pintle-shim")
}

pub struct TestClock;

impl Clock for TestClock {
    fn now_unix_ms(&self) -> i64 {
        pintle_apiserver::Clock::now_unix_ms(&SystemClock)
    }
}

/// A server and one node. The server has a runtime of its own, so that it goes
/// on when the agent is killed.
pub struct Cluster {
    pub dir: tempfile::TempDir,
    server: Arc<ApiServer>,
    runtime: Runtime,
    agent: Option<RunningAgent>,
    cut: watch::Sender<bool>,
    pub admin: Api,
}

struct RunningAgent {
    runtime: Runtime,
    stop: CancellationToken,
    task: JoinHandle<()>,
    handler: StreamHandler,
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

impl Cluster {
    pub fn start() -> Cluster {
        // Short, because sockets lie below it.
        let dir = tempfile::Builder::new().prefix("pa").tempdir().unwrap();
        let runtime = runtime();
        let db = dir.path().join("db");
        let server = runtime.block_on(async {
            let store = pintle_storage::open(EngineKind::Redb, &db, Default::default()).unwrap();
            let registry = Registry::builtin();
            let bus = Bus::new(registry, pintle_watch::Options::default());
            bus.load(store.clone()).await.unwrap();
            let server = ApiServer::new(Parts {
                store,
                bus: bus.clone(),
                registry,
                admission: Arc::new(AdmitAll),
                authorizer: Arc::new(StaticAuthorizer::new(Arc::new(BusFacts::new(bus, registry)))),
                nodes: Arc::new(NoNodes),
                connector: Arc::new(pintle_apiserver::NoConnections),
                clock: Arc::new(SystemClock),
                info: VersionInfo::of("0.1.0", "unknown", "2026-01-01T00:00:00Z"),
                address: "127.0.0.1:1".into(),
            });
            server.bootstrap().await.unwrap();
            server
        });
        let admin = Api::new(Arc::new(InProcess {
            server: server.clone(),
            user: Arc::new(User::new("admin", ["system:masters"])),
            cut: watch::channel(false).1,
        }));
        let archive = dir.path().join("busybox.tar");
        std::fs::write(&archive, image::busybox_archive()).unwrap();
        let store = ContentStore::open(dir.path().join("node/images")).unwrap();
        store.import(&archive, Some(IMAGE)).unwrap();
        let cut = watch::Sender::new(false);
        let mut cluster = Cluster { dir, server, runtime, agent: None, cut, admin };
        cluster.start_agent();
        cluster.wait("the node to register", |c| c.get("/api/v1/nodes/n1").is_some());
        cluster.patch(
            "/api/v1/nodes/n1",
            json!({"spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]}}),
        );
        cluster
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("node")
    }

    pub fn start_agent(&mut self) {
        let mut config = AgentConfig::new(NODE, self.data_dir(), "127.0.0.1", Arc::new(TestClock));
        config.shim_binary = shim();
        config.network_plugin = Some(Arc::new(network::Routed));
        let client = Arc::new(InProcess {
            server: self.server.clone(),
            user: Arc::new(User::new("system:node:n1", ["system:nodes"])),
            cut: self.cut.subscribe(),
        });
        let runtime = runtime();
        let agent = Agent::open(config).unwrap();
        let handler = agent.stream_handler();
        let stop = CancellationToken::new();
        let run = agent.run(client, stop.clone());
        let task = runtime.spawn(async move { run.await.unwrap() });
        self.agent = Some(RunningAgent { runtime, stop, task, handler });
    }

    /// Orderly.
    pub fn stop_agent(&mut self) {
        let agent = self.agent.take().unwrap();
        agent.stop.cancel();
        agent.runtime.block_on(agent.task).unwrap();
        agent.runtime.shutdown_timeout(Duration::from_secs(10));
    }

    /// In the middle of whatever it does.
    pub fn kill_agent(&mut self) {
        let agent = self.agent.take().unwrap();
        agent.runtime.shutdown_timeout(Duration::from_secs(10));
    }

    /// Between node and server.
    pub fn cut_line(&self, cut: bool) {
        self.cut.send_replace(cut);
    }

    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub fn get(&self, path: &str) -> Option<Value> {
        match self.block_on(self.admin.get(path)) {
            Ok(object) => Some(object),
            Err(error) if error.is_not_found() => None,
            Err(error) => panic!("{path}: {error}"),
        }
    }

    pub fn pod(&self, name: &str) -> Value {
        self.get(&format!("{PODS}/{name}")).unwrap_or_default()
    }

    pub fn create(&self, path: &str, object: Value) -> Value {
        self.block_on(self.admin.create(path, &object))
            .unwrap_or_else(|error| panic!("{object}: {error}"))
    }

    pub fn patch(&self, path: &str, patch: Value) {
        self.block_on(self.admin.patch(path, "application/merge-patch+json", &patch)).unwrap();
    }

    pub fn delete(&self, path: &str, grace: i64) {
        self.block_on(self.admin.delete(path, &json!({"gracePeriodSeconds": grace}))).unwrap();
    }

    /// A pod bound to the node, of one container that runs `script`.
    pub fn run(&self, name: &str, script: &str, more: Value) -> Value {
        let mut spec = json!({
            "nodeName": NODE,
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": IMAGE, "command": ["sh", "-c", script]}],
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        self.create(PODS, json!({"metadata": {"name": name}, "spec": spec}))
    }

    pub fn phase(&self, name: &str) -> String {
        self.pod(name)["status"]["phase"].as_str().unwrap_or_default().to_owned()
    }

    /// Looks again and again: a test has no better way to wait for anything at all.
    /// What it looks for must stay once it is there.
    #[track_caller]
    pub fn wait(&self, what: &str, holds: impl Fn(&Cluster) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(self) {
            if Instant::now() > end {
                let pods = self.get(PODS).unwrap_or_default();
                let events = self.get("/api/v1/namespaces/default/events").unwrap_or_default();
                let told: Vec<String> = events["items"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|e| {
                        format!("{} {}: {}", e["involvedObject"]["name"], e["reason"], e["message"])
                    })
                    .collect();
                let status: Vec<&Value> =
                    pods["items"].as_array().into_iter().flatten().map(|p| &p["status"]).collect();
                panic!("waited in vain for {what}\n{status:#?}\n{told:#?}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[track_caller]
    pub fn wait_phase(&self, name: &str, phase: &str) {
        self.wait(&format!("{name} to be {phase}"), |c| c.phase(name) == phase);
    }

    /// Warnings, for a test that wants to say why it took so long.
    pub fn warnings(&self) -> Vec<String> {
        let events = self.get("/api/v1/namespaces/default/events").unwrap_or_default();
        let warning = |event: &Value| {
            (event["type"] == "Warning")
                .then(|| format!("{}: {}", event["reason"], event["message"]))
        };
        events["items"].as_array().into_iter().flatten().filter_map(warning).collect()
    }

    pub fn reasons(&self) -> Vec<String> {
        let events = self.get("/api/v1/namespaces/default/events").unwrap_or_default();
        let reason = |event: &Value| event["reason"].as_str().unwrap_or_default().to_owned();
        events["items"].as_array().into_iter().flatten().map(reason).collect()
    }

    /// A container runs before its program has said anything.
    #[track_caller]
    pub fn wait_log(&self, name: &str, text: &str) {
        self.wait(&format!("{text:?} in the log of {name}"), |c| {
            Cluster::said(&c.stream("logs", name, json!({}), &[]), 1) == text
        });
    }

    /// Sends frames on a stream of the node and returns what comes back.
    pub fn stream(
        &self,
        kind: &str,
        pod: &str,
        body: Value,
        input: &[(u8, &[u8])],
    ) -> Vec<(u8, Vec<u8>)> {
        let object = self.pod(pod);
        let mut request = json!({
            "namespace": "default", "pod": pod, "uid": object["metadata"]["uid"], "container": "c",
        });
        for (key, value) in body.as_object().into_iter().flatten() {
            request[key] = value.clone();
        }
        let header = format!("{kind}\n{request}");
        let agent = self.agent.as_ref().unwrap();
        let handler = agent.handler.clone();
        let input: Vec<u8> = input
            .iter()
            .flat_map(|(channel, payload)| {
                let mut frame = vec![*channel];
                frame.extend((payload.len() as u32).to_be_bytes());
                frame.extend(*payload);
                frame
            })
            .collect();
        agent.runtime.block_on(async {
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            let (reader, writer) = tokio::io::split(theirs);
            tokio::spawn(
                async move { handler.serve_stream(header.as_bytes(), reader, writer).await },
            );
            let (mut reader, mut writer) = tokio::io::split(ours);
            tokio::io::AsyncWriteExt::write_all(&mut writer, &input).await.unwrap();
            let mut answer = Vec::new();
            tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut answer).await.unwrap();
            let mut frames = Vec::new();
            let mut rest = answer.as_slice();
            while let [channel, a, b, c, d, more @ ..] = rest {
                let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
                frames.push((*channel, more[..length].to_vec()));
                rest = &more[length..];
            }
            frames
        })
    }

    /// All output on a channel.
    pub fn said(frames: &[(u8, Vec<u8>)], channel: u8) -> String {
        let bytes: Vec<u8> =
            frames.iter().filter(|f| f.0 == channel).flat_map(|f| f.1.clone()).collect();
        String::from_utf8(bytes).unwrap()
    }

    pub fn shims(&self) -> usize {
        let needle = self.data_dir().to_string_lossy().into_owned();
        processes()
            .into_iter()
            .filter(|line| line.contains("pintle-shim") && line.contains(&needle))
            .count()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Whatever the test left behind ends here.
        if let Some(agent) = self.agent.take() {
            agent.runtime.shutdown_timeout(Duration::from_secs(10));
        }
        let runtime = runtime();
        runtime.block_on(end_all(&self.data_dir()));
        for pin in std::fs::read_dir(self.data_dir().join("netns")).into_iter().flatten().flatten()
        {
            let _ = nix::mount::umount2(&pin.path(), nix::mount::MntFlags::MNT_DETACH);
        }
    }
}
