//! What a cluster has on this machine, asked of the kernel and not of the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Cluster, run};

/// Marks the processes of a test's containers in their environment. A process
/// that a container starts itself has it too, so workloads here start none.
const MARKER: &str = "PINTLE_E2E_CLUSTER";

impl Cluster {
    /// `{name: ..., value: ...}` for the environment of containers that are to
    /// be counted.
    pub fn marker(&self) -> String {
        format!("{{name: {MARKER}, value: \"{}\"}}", self.id)
    }

    /// The processes with the marker, by uid of the pod whose cgroup they are in.
    pub fn containers(&self) -> Containers {
        marked(&self.id)
    }

    /// The shims of all nodes.
    pub fn shims(&self) -> Vec<i32> {
        self.shims_of(self.path())
    }

    /// Those with a state directory below `dir`.
    pub fn shims_of(&self, dir: &Path) -> Vec<i32> {
        programs("pintle-shim", "--state-dir", dir)
    }

    /// The OCI runtimes that are at work right now.
    pub fn runtimes(&self) -> Vec<i32> {
        programs("runc", "--root", self.path())
    }

    /// Everything that pods have left behind although none is wanted any more.
    pub fn leftovers(&self, uids: &BTreeSet<String>) -> Vec<String> {
        let mut left: Vec<String> = self.shims().iter().map(|pid| format!("shim {pid}")).collect();
        left.extend(self.containers().keys().map(|uid| format!("container of {uid}")));
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let below = self.path().to_string_lossy().into_owned();
        left.extend(mounts.lines().filter(|line| line.contains(&below)).map(str::to_owned));
        for group in cgroups() {
            if uids.iter().any(|uid| group.to_string_lossy().contains(&format!("pod{uid}"))) {
                left.push(format!("cgroup {}", group.display()));
            }
        }
        for node in &self.nodes {
            for folder in ["node/pods", "node/netns"] {
                let entries = std::fs::read_dir(node.data_dir.join(folder));
                left.extend(
                    entries
                        .into_iter()
                        .flatten()
                        .flatten()
                        .map(|entry| format!("{} of {}", entry.path().display(), node.name)),
                );
            }
            let links = run("ip", &["-n", &node.namespace, "-o", "link"]).stdout;
            let pods = links.lines().filter(|l| !l.contains(": lo:") && !l.contains(": eth0"));
            left.extend(pods.map(|line| format!("link {line} of {}", node.name)));
        }
        left
    }
}

pub type Containers = BTreeMap<String, Vec<i32>>;

fn marked(id: &str) -> Containers {
    let mut found = Containers::new();
    for (pid, path) in processes().filter(|(_, path)| has_marker(path, id)) {
        let groups = std::fs::read_to_string(path.join("cgroup")).unwrap_or_default();
        // A process that has just ended is in no group.
        if let Some(uid) = pod_uid(&groups) {
            found.entry(uid).or_default().push(pid);
        }
    }
    found
}

fn has_marker(process: &Path, id: &str) -> bool {
    let marker = format!("{MARKER}={id}");
    let environment = std::fs::read(process.join("environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|v| v == marker.as_bytes())
}

/// Looks all the time for pods whose container runs twice.
pub struct Observer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<BTreeSet<String>>,
}

impl Observer {
    pub fn start(cluster: &Cluster) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (id, stopped) = (cluster.id.clone(), stop.clone());
        let records: Vec<PathBuf> =
            cluster.nodes.iter().map(|node| node.data_dir.join("node/pods")).collect();
        let thread = std::thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while !stopped.load(Ordering::Relaxed) {
                for (uid, pids) in marked(&id) {
                    // One that ended while /proc was read, and its successor, are no two.
                    let alive = |pid: &&i32| has_marker(Path::new(&format!("/proc/{pid}")), &id);
                    let twice = pids.len() > 1 && pids.iter().filter(alive).count() > 1;
                    assert!(!twice, "pod {uid} runs more than once: {pids:?}");
                }
                for folder in &records {
                    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
                    seen.extend(entries.map(|e| e.file_name().to_string_lossy().into_owned()));
                }
                std::thread::sleep(Duration::from_millis(25));
            }
            seen
        });
        Self { stop, thread }
    }

    /// The uids of all pods that there were.
    pub fn finish(self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no container ran twice")
    }
}

/// SIGKILL; a process that is gone already is no error.
pub fn kill_9(pid: i32) {
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
}

/// Processes of a program whose `option` names something below `dir`.
fn programs(program: &str, option: &str, dir: &Path) -> Vec<i32> {
    let ours = |path: &Path| {
        let command = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        let arguments: Vec<&str> = command.split('\0').collect();
        Path::new(arguments[0]).file_name().is_some_and(|name| name == program)
            && arguments.windows(2).any(|p| p[0] == option && Path::new(p[1]).starts_with(dir))
    };
    processes().filter(|(_, path)| ours(path)).map(|(pid, _)| pid).collect()
}

fn processes() -> impl Iterator<Item = (i32, PathBuf)> {
    let entries = std::fs::read_dir("/proc").expect("/proc is there").flatten();
    entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
}

fn pod_uid(groups: &str) -> Option<String> {
    let (_, rest) = groups.split_once("/pod")?;
    Some(rest.split(['/', '\n']).next()?.to_owned())
}

/// Every pod's cgroup in all hierarchies: `.../kubepods[/class]/pod<uid>`.
fn cgroups() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut search = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
    while let Some((dir, depth)) = search.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let name = entry.file_name();
            if name.to_string_lossy().starts_with("pod") {
                found.push(entry.path());
            } else if depth < 4 {
                search.push((entry.path(), depth + 1));
            }
        }
    }
    found
}
