//! What a pod and its containers shall be: the input of [`Sandbox`](crate::Sandbox).

mod check;
mod runtime;

use std::collections::BTreeMap;
use std::path::PathBuf;

use pintle_shim::protocol::LogLimits;
use serde::{Deserialize, Serialize};

pub(crate) use runtime::{Context, cgroup_path, config_json, process_json, stop_signal};

/// One pod as its shim sees it. Stored as the intent, so a restarted agent finds it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxSpec {
    /// Unique on the node; letters, digits, `-`, `_` and `.`.
    pub id: String,
    /// Everything about the pod lies here; made private to root. Must not be on a `noexec` mount.
    pub state_dir: PathBuf,
    pub hostname: String,
    /// The pinned network namespace to join; `None` is the host's network.
    pub netns: Option<PathBuf>,
    /// Share the node's IPC namespace instead of one for the pod.
    pub host_ipc: bool,
    /// Containers see the node's processes.
    pub host_pid: bool,
    /// Keep the node's host name instead of a namespace for the pod.
    pub host_uts: bool,
    /// Absolute from the cgroup root, for example `/kubepods/burstable/pod<uid>`. Created with
    /// `resources` and removed at shutdown.
    pub cgroup_parent: String,
    /// Limits of the pod as a whole.
    pub resources: Resources,
    /// The `pintle-shim` executable.
    pub shim_binary: PathBuf,
    /// The OCI runtime, see [`probe_runtime`](crate::probe_runtime).
    pub runtime: PathBuf,
    /// Namespaced sysctls, set in every container.
    pub sysctls: BTreeMap<String, String>,
    /// For the caller: stored and given back, not interpreted.
    pub labels: BTreeMap<String, String>,
}

impl Default for SandboxSpec {
    fn default() -> Self {
        SandboxSpec {
            id: String::new(),
            state_dir: PathBuf::new(),
            hostname: String::new(),
            netns: None,
            host_ipc: false,
            host_pid: false,
            host_uts: false,
            cgroup_parent: String::new(),
            resources: Resources::default(),
            shim_binary: PathBuf::from("pintle-shim"),
            runtime: PathBuf::from("runc"),
            sysctls: BTreeMap::new(),
            labels: BTreeMap::new(),
        }
    }
}

/// One attempt of one container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// Unique in the pod.
    pub name: String,
    /// Counts the restarts; a new attempt needs the previous one deleted.
    pub attempt: u32,
    /// A mounted root file system, see [`Snapshots::prepare`](crate::Snapshots::prepare).
    pub rootfs: PathBuf,
    /// The whole command line; must not be empty.
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    /// Absolute; empty is `/`.
    pub cwd: String,
    pub user: User,
    pub mounts: Vec<Mount>,
    pub resources: Resources,
    pub oom_score_adj: i32,
    pub privileged: bool,
    /// Kubernetes' `allowPrivilegeEscalation: false` is `true` here.
    pub no_new_privileges: bool,
    pub capabilities: Capabilities,
    pub readonly_rootfs: bool,
    /// Kubernetes' `procMount: Unmasked` is `false` here.
    pub mask_paths: bool,
    pub rlimits: Vec<Rlimit>,
    pub tty: bool,
    /// Keep an input open for [`Sandbox::attach`](crate::Sandbox::attach).
    pub stdin: bool,
    /// The current log file; its directory must exist. `None` discards the output.
    pub log_path: Option<PathBuf>,
    pub log_limits: LogLimits,
    /// What [`Sandbox::stop`](crate::Sandbox::stop) sends first; a number, SIGTERM (15) by default.
    pub stop_signal: i32,
    pub annotations: BTreeMap<String, String>,
}

impl Default for ContainerSpec {
    fn default() -> Self {
        ContainerSpec {
            name: String::new(),
            attempt: 0,
            rootfs: PathBuf::new(),
            args: Vec::new(),
            env: Vec::new(),
            cwd: String::new(),
            user: User::default(),
            mounts: Vec::new(),
            resources: Resources::default(),
            oom_score_adj: 0,
            privileged: false,
            no_new_privileges: false,
            capabilities: Capabilities::default(),
            readonly_rootfs: false,
            mask_paths: true,
            rlimits: Vec::new(),
            tty: false,
            stdin: false,
            log_path: None,
            log_limits: LogLimits::default(),
            stop_signal: 15,
            annotations: BTreeMap::new(),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub additional_gids: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// On the node; ignored for a tmpfs.
    pub source: PathBuf,
    /// In the container, absolute.
    pub destination: PathBuf,
    pub readonly: bool,
    pub kind: MountKind,
}

impl Mount {
    pub fn bind(source: impl Into<PathBuf>, destination: impl Into<PathBuf>) -> Self {
        Mount {
            source: source.into(),
            destination: destination.into(),
            readonly: false,
            kind: MountKind::Bind { propagation: Propagation::Private },
        }
    }

    pub fn readonly(mut self) -> Self {
        self.readonly = true;
        self
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    Bind { propagation: Propagation },
    Tmpfs { size_bytes: Option<u64> },
}

/// Kubernetes' `mountPropagation`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    #[default]
    Private,
    HostToContainer,
    Bidirectional,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// cgroup v1's shares; converted to a weight on v2.
    pub cpu_shares: Option<u64>,
    /// Microseconds per period.
    pub cpu_quota: Option<i64>,
    /// Microseconds.
    pub cpu_period: Option<u64>,
    pub cpuset_cpus: Option<String>,
    /// Bytes.
    pub memory_limit: Option<i64>,
    pub pids: Option<i64>,
    /// Page size (`2MB`) to limit in bytes.
    pub hugepage_limits: BTreeMap<String, u64>,
}

/// Changes to the default set; `ALL` is understood. Names with or without `CAP_`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    pub add: Vec<String>,
    pub drop: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_NOFILE` and so on.
    pub kind: String,
    pub soft: u64,
    pub hard: u64,
}

/// One more process in a running container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecSpec {
    pub args: Vec<String>,
    /// Added to the container's own environment.
    pub env: Vec<(String, String)>,
    pub tty: bool,
    pub stdin: bool,
    /// The container's when empty.
    pub cwd: String,
    /// The container's when `None`.
    pub user: Option<User>,
    /// First size of the terminal, columns and rows.
    pub size: Option<(u16, u16)>,
}
