//! A server and its nodes, from their start to the last trace of them.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{
    API, LINK, Node, Process, bin_dir, compiled, condition, items, run, run_ok, workspace,
};

/// What is on every node.
pub const IMAGE: &str = "pintle.dev/test/busybox:1";

pub struct Cluster {
    dir: TempDir,
    /// In every name on this machine. A process id would not do: the same ones
    /// are used again, and at the same time in other PID namespaces.
    pub(crate) id: String,
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
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir().expect("a temp dir");
        let id = random_part(dir.path());
        let (settings, server) = (Vec::new(), None);
        let mut cluster = Self { dir, id, storage, settings, server, nodes: Vec::new() };
        std::fs::create_dir(cluster.home()).expect("the temp dir is writable");
        cluster.make_network();
        cluster.start_server();
        if nodes > 0 {
            let image = cluster.path().join("busybox.tar");
            let script = workspace().join("docs/examples/image.sh");
            run_ok(&script.to_string_lossy(), &[&image.to_string_lossy(), IMAGE]);
            (0..nodes).for_each(|number| cluster.add_node(number, &image));
        }
        cluster.wait("all nodes to be Ready", |c| {
            let list = c.get("nodes");
            let ready = items(&list).iter().filter(|n| condition(n, "Ready") == "True").count();
            ready == nodes
        });
        cluster
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.path().join("kubeconfig")
    }

    /// Of the programs that are run for this cluster.
    pub(crate) fn home(&self) -> PathBuf {
        self.path().join("home")
    }

    pub(crate) fn program(&self) -> PathBuf {
        bin_dir().join("pintle")
    }

    pub fn start_server(&mut self) {
        let data_dir = self.path().join("server");
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
        let log = self.path().join("server.log");
        let first = !data_dir.exists();
        if first {
            compiled::provide(&data_dir);
        }
        let namespace = self.server_namespace();
        let program = self.program();
        self.server = Some(Process::start(&namespace, &program, &arguments, &log, &self.home()));
        if first {
            compiled::keep(&data_dir);
        }
    }
}

const PREFIX: &str = "pintle-e2e-";

/// The folder's name was made of random letters until nobody else had it.
fn random_part(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    name.trim_start_matches(PREFIX).to_owned()
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        let pintle = self.program();
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
