//! A cluster for a test: the real server and nodes, each node in a network
//! namespace of its own, everything under names that no other test uses.
//!
//! Even the server and the bridge live in a namespace, so that any number of
//! clusters can run at once with the same addresses. [`Cluster`] removes all of
//! it when dropped, also after a failed assertion.

mod census;
mod command;
pub mod compiled;
mod process;
pub mod registry;
pub mod workload;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub use census::{Containers, Observer, kill_9};
pub use command::{Output, run, run_ok};
pub use process::Process;
pub use writer::{Acknowledged, Writer};

/// The server's address on the bridge; nodes count up from .11.
const SERVER: &str = "10.99.0.1";
pub const API: &str = "10.99.0.1:6443";
/// The server's address for nodes.
pub const LINK: &str = "10.99.0.1:6444";

pub const IMAGE: &str = "pintle.dev/test/busybox:1";

/// Why the machine cannot run these tests; `None` when it can.
pub fn cannot_run() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("root is needed for namespaces and containers".into());
    }
    for program in ["ip", "nsenter", "runc", "busybox", "tar"] {
        if command::find(program).is_none() {
            return Some(format!("{program} is not installed; run `make deps`"));
        }
    }
    None
}

/// Returns from the test with a line that says why, on machines that cannot run it.
#[macro_export]
macro_rules! require_machine {
    () => {
        if let Some(why) = $crate::cannot_run() {
            eprintln!("skipped: {why}");
            return;
        }
    };
}

/// Folder of the binaries under test.
pub fn bin_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("PINTLE_BIN_DIR") {
        return dir.into();
    }
    // target/debug/deps/<this test> -> target/debug
    let own = std::env::current_exe().expect("a test has a path");
    let dir = own.ancestors().nth(2).expect("target/debug").to_owned();
    assert!(
        dir.join("pintle").is_file() && dir.join("pintle-shim").is_file(),
        "{} has no pintle and pintle-shim: run `cargo build` first (`make test` does)",
        dir.display()
    );
    dir
}

pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Names that differ between tests of one process and between processes.
fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{:x}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

pub struct Node {
    pub name: String,
    pub data_dir: PathBuf,
    namespace: String,
    pub agent: Option<Process>,
}

pub struct Cluster {
    dir: TempDir,
    id: String,
    bin: PathBuf,
    storage: &'static str,
    /// What the server is told besides, from its next start on.
    pub settings: Vec<String>,
    pub server: Option<Process>,
    pub nodes: Vec<Node>,
}

impl Cluster {
    /// A server and nodes that are Ready, with [`IMAGE`] on each.
    pub fn start(nodes: usize) -> Self {
        Self::start_with(nodes, "sled")
    }

    pub fn start_with(nodes: usize, storage: &'static str) -> Self {
        let dir = tempfile::Builder::new().prefix("pintle-e2e-").tempdir().expect("a temp dir");
        let mut cluster = Self {
            dir,
            id: unique(),
            bin: bin_dir(),
            storage,
            settings: Vec::new(),
            server: None,
            nodes: Vec::new(),
        };
        cluster.make_network();
        cluster.start_server();
        let image = cluster.dir.path().join("busybox.tar");
        let script = workspace().join("docs/examples/image.sh");
        run_ok(&script.to_string_lossy(), &[&image.to_string_lossy(), IMAGE]);
        for number in 0..nodes {
            cluster.add_node(number, &image);
        }
        cluster.wait("all nodes to be Ready", 30, |c| {
            let list = c.get("nodes");
            let ready = items(&list).iter().filter(|n| condition(n, "Ready") == "True").count();
            ready == nodes
        });
        cluster
    }

    fn server_namespace(&self) -> String {
        format!("pte-{}-s", self.id)
    }

    fn make_network(&self) {
        let ns = self.server_namespace();
        run_ok("ip", &["netns", "add", &ns]);
        run_ok("ip", &["-n", &ns, "link", "set", "lo", "up"]);
        run_ok("ip", &["-n", &ns, "link", "add", "br0", "type", "bridge"]);
        run_ok("ip", &["-n", &ns, "addr", "add", &format!("{SERVER}/24"), "dev", "br0"]);
        run_ok("ip", &["-n", &ns, "link", "set", "br0", "up"]);
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn start_server(&mut self) {
        let data_dir = self.dir.path().join("server");
        let kubeconfig = self.kubeconfig().to_string_lossy().into_owned();
        let data = data_dir.to_string_lossy().into_owned();
        let mut arguments = vec![
            "server",
            "--data-dir",
            &data,
            "--listen",
            API,
            "--node-listen",
            LINK,
            "--kubeconfig",
            &kubeconfig,
            "--storage",
            self.storage,
        ];
        arguments.extend(self.settings.iter().map(String::as_str));
        let log = self.dir.path().join("server.log");
        let first = !data_dir.exists();
        if first {
            compiled::provide(&data_dir);
        }
        let ns = self.server_namespace();
        self.server = Some(Process::start(&ns, &self.bin.join("pintle"), &arguments, &log));
        if first {
            compiled::keep(&data_dir);
        }
    }

    fn add_node(&mut self, number: usize, image: &Path) {
        let name = format!("node-{number}");
        let namespace = format!("pte-{}-{number}", self.id);
        let data_dir = self.dir.path().join(&name);
        let server = self.server_namespace();
        run_ok("ip", &["netns", "add", &namespace]);
        let link = format!("n{number}");
        run_ok(
            "ip",
            &[
                "-n", &server, "link", "add", &link, "type", "veth", "peer", "name", "eth0",
                "netns", &namespace,
            ],
        );
        run_ok("ip", &["-n", &server, "link", "set", &link, "master", "br0", "up"]);
        let address = format!("10.99.0.{}/24", 11 + number);
        run_ok("ip", &["-n", &namespace, "addr", "add", &address, "dev", "eth0"]);
        run_ok("ip", &["-n", &namespace, "link", "set", "lo", "up"]);
        run_ok("ip", &["-n", &namespace, "link", "set", "eth0", "up"]);
        run_ok("ip", &["-n", &namespace, "route", "add", "default", "via", SERVER]);
        compiled::provide(&data_dir);
        let pintle = self.bin.join("pintle");
        let data = data_dir.to_string_lossy().into_owned();
        run_ok(
            &pintle.to_string_lossy(),
            &["image", "--data-dir", &data, "import", &image.to_string_lossy()],
        );
        self.nodes.push(Node { name, data_dir, namespace, agent: None });
        let token = self.pintle(&["token", "create"]);
        self.start_agent(number, Some(token.trim()));
    }

    /// Does `work` on a thread that is in the node's network namespace.
    pub fn in_network_of<T: Send>(&self, number: usize, work: impl FnOnce() -> T + Send) -> T {
        Self::in_network(&self.nodes[number].namespace, work)
    }

    /// Does `work` on a thread that is in the server's network namespace.
    pub fn beside_the_server<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        Self::in_network(&self.server_namespace(), work)
    }

    fn in_network<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{namespace}");
        let namespace = std::fs::File::open(path).expect("the namespace is there");
        let inside = move || {
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).expect("as root");
            work()
        };
        std::thread::scope(|scope| scope.spawn(inside).join().expect("the work is done"))
    }

    /// Cuts a node off from the server, or joins it again.
    pub fn set_link(&self, number: usize, up: bool) {
        let state = if up { "up" } else { "down" };
        run_ok(
            "ip",
            &["-n", &self.server_namespace(), "link", "set", &format!("n{number}"), state],
        );
    }

    /// The routes of a node, one per line.
    pub fn routes(&self, number: usize) -> String {
        run_ok("ip", &["-n", &self.nodes[number].namespace, "route"])
    }

    /// What a power cut leaves of a node: its disk. The image of a later start
    /// finds neither processes nor mounts, namespaces, links or cgroups.
    pub fn cut_power(&mut self, number: usize) {
        if let Some(agent) = self.nodes[number].agent.take() {
            agent.kill_9();
        }
        let dir = self.nodes[number].data_dir.clone();
        let of_node = |uid: &String| dir.join("node/pods").join(uid).is_dir();
        self.shims_of(&dir).into_iter().for_each(kill_9);
        let containers = self.containers();
        containers.iter().filter(|(uid, _)| of_node(uid)).for_each(|(_, pids)| {
            pids.iter().copied().for_each(kill_9);
        });
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let below = |path: &&str| Path::new(path).starts_with(&dir);
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        points.filter(below).for_each(|point| {
            run("umount", &["-l", point]);
        });
        let namespace = self.nodes[number].namespace.clone();
        let links = run_ok("ip", &["-n", &namespace, "-o", "link"]);
        for line in links.lines() {
            let link = line.split([':', '@']).nth(1).unwrap_or_default().trim();
            if !matches!(link, "lo" | "eth0") {
                run("ip", &["-n", &namespace, "link", "del", link]);
            }
        }
    }

    /// Without a token for a node that has joined before.
    pub fn start_agent(&mut self, number: usize, token: Option<&str>) {
        let log = self.dir.path().join(format!("node-{number}.log"));
        let pintle = self.bin.join("pintle");
        let node = &mut self.nodes[number];
        let data_dir = node.data_dir.to_string_lossy().into_owned();
        let mut arguments =
            vec!["agent", "--data-dir", &data_dir, "--node-name", &node.name, "--server", LINK];
        if let Some(token) = token {
            arguments.extend(["--join", token]);
        }
        node.agent = Some(Process::start(&node.namespace, &pintle, &arguments, &log));
    }

    /// What another machine with the name of that node gets when it joins.
    pub fn join_under_the_name_of(&self, number: usize, token: &str) -> Output {
        let node = &self.nodes[number];
        let namespace = format!("--net=/run/netns/{}", node.namespace);
        let pintle = self.bin.join("pintle");
        let data_dir = self.dir.path().join("elsewhere");
        run(
            "nsenter",
            &[
                &namespace,
                &pintle.to_string_lossy(),
                "agent",
                "--data-dir",
                &data_dir.to_string_lossy(),
                "--node-name",
                &node.name,
                "--server",
                LINK,
                "--join",
                token,
            ],
        )
    }

    /// `pintle ARGS` as the administrator; its output.
    pub fn pintle(&self, arguments: &[&str]) -> String {
        let output = self.try_pintle(arguments);
        assert!(output.success, "pintle {arguments:?}: {}{}", output.stderr, self.logs());
        output.stdout
    }

    pub fn try_pintle(&self, arguments: &[&str]) -> Output {
        self.client().pintle(arguments)
    }

    /// For a thread of its own.
    pub fn client(&self) -> Client {
        Client {
            pintle: self.bin.join("pintle"),
            namespace: self.server_namespace(),
            kubeconfig: self.kubeconfig(),
        }
    }

    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.try_kubectl(arguments);
        assert!(
            output.success,
            "kubectl {arguments:?}: {}{}{}",
            output.stdout,
            output.stderr,
            self.logs()
        );
        output.stdout
    }

    pub fn try_kubectl(&self, arguments: &[&str]) -> Output {
        self.inside("kubectl", arguments)
    }

    /// A shell script beside the server, with KUBECONFIG set; its output.
    pub fn shell(&self, script: &str) -> String {
        let output = self.inside("sh", &["-c", script]);
        assert!(output.success, "{script}: {}{}", output.stderr, self.logs());
        output.stdout
    }

    fn inside(&self, program: &str, arguments: &[&str]) -> Output {
        self.client().run(program, arguments)
    }

    /// `kubectl apply -f -`, with the thin client.
    pub fn apply(&self, yaml: &str) {
        let file = self.dir.path().join(format!("{}.yaml", unique()));
        std::fs::write(&file, yaml).expect("the temp dir is writable");
        self.pintle(&["apply", "-f", &file.to_string_lossy()]);
    }

    /// `pintle get KIND -o json`, parsed.
    pub fn get(&self, kind: &str) -> Value {
        let mut arguments = vec!["get"];
        arguments.extend(kind.split(' '));
        arguments.extend(["-o", "json"]);
        let output = self.try_pintle(&arguments);
        serde_json::from_str(&output.stdout).unwrap_or(Value::Null)
    }

    /// Looks again until `check` holds; the deadline is generous because the
    /// machine may be busy with other tests.
    pub fn wait(&self, what: &str, seconds: u64, check: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        while !check(self) {
            if Instant::now() > deadline {
                let pods = self.try_pintle(&["get", "pods", "-A", "-o", "wide"]).stdout;
                let events = self.try_pintle(&["get", "events", "-A"]).stdout;
                panic!("waited {seconds} s for {what}\n{pods}\n{events}{}", self.logs());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub fn wait_ready_pods(&self, selector: &str, count: usize) {
        self.wait(&format!("{count} ready pods of {selector}"), 60, |c| {
            c.ready_pods(selector).len() == count
        });
    }

    /// Pods that are ready and not on their way out.
    pub fn ready_pods(&self, selector: &str) -> Vec<Value> {
        let list = self.get(&format!("pods -l {selector}"));
        items(&list)
            .iter()
            .filter(|p| {
                condition(p, "Ready") == "True" && p["metadata"]["deletionTimestamp"].is_null()
            })
            .cloned()
            .collect()
    }

    /// The end of every log, for a failed assertion.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(self.dir.path()).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|e| e == "log") {
                let log = std::fs::read_to_string(&path).unwrap_or_default();
                let lines: Vec<&str> = log.lines().rev().take(30).collect();
                let name = entry.file_name();
                text.push_str(&format!("\n--- {}\n", name.to_string_lossy()));
                lines.iter().rev().for_each(|line| text.push_str(&format!("{line}\n")));
            }
        }
        text
    }
}

/// Runs programs beside the server, with its kubeconfig.
#[derive(Clone)]
pub struct Client {
    pintle: PathBuf,
    namespace: String,
    kubeconfig: PathBuf,
}

impl Client {
    pub fn pintle(&self, arguments: &[&str]) -> Output {
        self.run(&self.pintle.to_string_lossy(), arguments)
    }

    /// `pintle ARGS` that goes on while the test does something else.
    pub fn spawn(&self, arguments: &[&str]) -> std::process::Child {
        self.spawn_program(&self.pintle, arguments)
    }

    /// Any program beside the server, with its kubeconfig.
    pub fn spawn_program(
        &self,
        program: impl AsRef<std::ffi::OsStr>,
        arguments: &[&str],
    ) -> std::process::Child {
        std::process::Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", self.namespace))
            .arg(program)
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("PINTLE_KUBECONFIG", &self.kubeconfig)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("nsenter starts")
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let ns = format!("--net=/run/netns/{}", self.namespace);
        let kubeconfig = self.kubeconfig.to_string_lossy();
        let environment =
            [("KUBECONFIG", kubeconfig.as_ref()), ("PINTLE_KUBECONFIG", kubeconfig.as_ref())];
        let mut all = vec![ns.as_str(), program];
        all.extend_from_slice(arguments);
        command::run_with("nsenter", &all, &environment, None)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        let pintle = self.bin.join("pintle");
        for node in &mut self.nodes {
            // The process ends when its value is dropped.
            node.agent = None;
            let data_dir = node.data_dir.to_string_lossy().into_owned();
            let ns = format!("--net=/run/netns/{}", node.namespace);
            let pintle = pintle.to_string_lossy();
            run("nsenter", &[&ns, &pintle, "reset", "--data-dir", &data_dir]);
            run("ip", &["netns", "del", &node.namespace]);
        }
        self.server = None;
        run("ip", &["netns", "del", &self.server_namespace()]);
    }
}

pub fn items(list: &Value) -> &[Value] {
    list["items"].as_array().map_or(&[], Vec::as_slice)
}

/// `status` of a condition, empty when there is none.
pub fn condition<'a>(object: &'a Value, kind: &str) -> &'a str {
    object["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == kind)
        .and_then(|condition| condition["status"].as_str())
        .unwrap_or("")
}

pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or("")
}
