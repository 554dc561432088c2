//! The OCI runtime specification of a container, from a [`ContainerSpec`].

mod capabilities;
mod devices;

use std::path::{Path, PathBuf};

use pintle_shim::cgroup::Hierarchies;
use pintle_shim::layout::read_json;
use serde_json::{Map, Value, json};

use super::{ContainerSpec, ExecSpec, Mount, MountKind, Propagation, Resources, SandboxSpec, User};
use crate::sandbox::SandboxError;

/// Where the stop signal is kept in `config.json`.
const STOP_SIGNAL: &str = "io.pintle.stop-signal";

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Hidden from containers, as containerd hides them: each tells or changes something of the node.
const MASKED_PATHS: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];

const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What a container's specification needs to know of its pod.
pub(crate) struct Context<'a> {
    pub sandbox: &'a SandboxSpec,
    /// The shim lives in the pod's IPC and UTS namespaces and so keeps them alive.
    pub shim_pid: u32,
    pub shm: PathBuf,
    pub hierarchies: Hierarchies,
}

pub(crate) fn cgroup_path(sandbox: &SandboxSpec, name: &str, attempt: u32) -> String {
    format!("{}/{name}-{attempt}", sandbox.cgroup_parent.trim_end_matches('/'))
}

pub(crate) fn config_json(
    spec: &ContainerSpec,
    context: &Context<'_>,
) -> Result<Value, SandboxError> {
    let mut annotations: Map<String, Value> = spec
        .annotations
        .iter()
        .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
        .collect();
    annotations.insert(STOP_SIGNAL.into(), spec.stop_signal.to_string().into());
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": process(spec),
        "root": { "path": spec.rootfs, "readonly": spec.readonly_rootfs },
        "mounts": mounts(spec, context),
        "annotations": annotations,
        "linux": linux(spec, context)?,
    });
    // Without a UTS namespace of its own a container must not name the host.
    if !context.sandbox.host_uts {
        config["hostname"] = context.sandbox.hostname.clone().into();
    }
    Ok(config)
}

fn process(spec: &ContainerSpec) -> Value {
    let capabilities = match spec.privileged {
        true => capabilities::all(),
        false => capabilities::resolve(&spec.capabilities),
    };
    let env = environment(
        spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        spec.tty,
    );
    let mut process = json!({
        "terminal": spec.tty,
        "user": user(&spec.user),
        "args": spec.args,
        "env": env,
        "cwd": if spec.cwd.is_empty() { "/" } else { &spec.cwd },
        "capabilities": {
            "bounding": capabilities,
            "effective": capabilities,
            "permitted": capabilities,
        },
        "noNewPrivileges": spec.no_new_privileges && !spec.privileged,
        "oomScoreAdj": spec.oom_score_adj,
    });
    if !spec.rlimits.is_empty() {
        process["rlimits"] = spec
            .rlimits
            .iter()
            .map(|limit| json!({ "type": limit.kind, "soft": limit.soft, "hard": limit.hard }))
            .collect();
    }
    process
}

/// Adds what programs expect to find and the image did not set.
fn environment(mut env: Vec<String>, tty: bool) -> Vec<String> {
    let has = |env: &[String], name: &str| env.iter().any(|entry| entry.starts_with(name));
    if !has(&env, "PATH=") {
        env.push(format!("PATH={DEFAULT_PATH}"));
    }
    if tty && !has(&env, "TERM=") {
        env.push("TERM=xterm".into());
    }
    env
}

fn user(user: &User) -> Value {
    json!({
        "uid": user.uid,
        "gid": user.gid,
        "additionalGids": user.additional_gids,
    })
}

fn mounts(spec: &ContainerSpec, context: &Context<'_>) -> Vec<Value> {
    let sys_mode = if spec.privileged { "rw" } else { "ro" };
    let entry = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": source, "options": options });
    let mut mounts = vec![
        entry("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        entry("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        entry(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        entry("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        entry("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", sys_mode]),
        entry(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", sys_mode],
        ),
    ];
    let has_shm = spec.mounts.iter().any(|mount| mount.destination == Path::new("/dev/shm"));
    if !has_shm {
        let shm = match context.sandbox.host_ipc {
            true => Path::new("/dev/shm"),
            false => &context.shm,
        };
        mounts.push(json!({
            "destination": "/dev/shm",
            "type": "bind",
            "source": shm,
            "options": ["rbind", "nosuid", "noexec", "nodev", "rprivate"],
        }));
    }
    mounts.extend(spec.mounts.iter().map(mount));
    mounts
}

fn mount(mount: &Mount) -> Value {
    let mode = if mount.readonly { "ro" } else { "rw" };
    match &mount.kind {
        MountKind::Bind { propagation } => {
            let propagation = match propagation {
                Propagation::Private => "rprivate",
                Propagation::HostToContainer => "rslave",
                Propagation::Bidirectional => "rshared",
            };
            json!({
                "destination": mount.destination,
                "type": "bind",
                "source": mount.source,
                "options": ["rbind", propagation, mode],
            })
        }
        MountKind::Tmpfs { size_bytes } => {
            let mut options =
                vec!["nosuid".to_owned(), "nodev".into(), "mode=1777".into(), mode.into()];
            options.extend(size_bytes.map(|size| format!("size={size}")));
            json!({
                "destination": mount.destination,
                "type": "tmpfs",
                "source": "tmpfs",
                "options": options,
            })
        }
    }
}

fn linux(spec: &ContainerSpec, context: &Context<'_>) -> Result<Value, SandboxError> {
    let bidirectional = spec.mounts.iter().any(|mount| {
        matches!(mount.kind, MountKind::Bind { propagation: Propagation::Bidirectional })
    });
    let mut linux = json!({
        "namespaces": namespaces(context),
        "cgroupsPath": cgroup_path(context.sandbox, &spec.name, spec.attempt),
        "resources": resources(spec, context),
        // Host mounts arrive only where a volume asks for them.
        "rootfsPropagation": if bidirectional { "rshared" } else { "rslave" },
    });
    if !context.sandbox.sysctls.is_empty() {
        linux["sysctl"] = json!(context.sandbox.sysctls);
    }
    if spec.privileged {
        linux["devices"] = devices::of_the_host()?.into();
    } else if spec.mask_paths {
        linux["maskedPaths"] = json!(MASKED_PATHS);
        linux["readonlyPaths"] = json!(READONLY_PATHS);
    }
    Ok(linux)
}

fn namespaces(context: &Context<'_>) -> Vec<Value> {
    let sandbox = context.sandbox;
    let of_the_shim = |kind: &str, file: &str| json!({ "type": kind, "path": format!("/proc/{}/ns/{file}", context.shim_pid) });
    let mut namespaces = vec![json!({ "type": "mount" })];
    if !sandbox.host_pid {
        namespaces.push(json!({ "type": "pid" }));
    }
    if !sandbox.host_ipc {
        namespaces.push(of_the_shim("ipc", "ipc"));
    }
    if !sandbox.host_uts {
        namespaces.push(of_the_shim("uts", "uts"));
    }
    if let Some(netns) = &sandbox.netns {
        namespaces.push(json!({ "type": "network", "path": netns }));
    }
    if context.hierarchies.is_pure_v2() {
        namespaces.push(json!({ "type": "cgroup" }));
    }
    namespaces
}

fn resources(spec: &ContainerSpec, context: &Context<'_>) -> Value {
    let Resources {
        cpu_shares,
        cpu_quota,
        cpu_period,
        cpuset_cpus,
        memory_limit,
        pids,
        hugepage_limits,
    } = &spec.resources;
    let mut out = Map::new();
    let rules = match spec.privileged {
        true => json!([{ "allow": true, "access": "rwm" }]),
        false => devices::default_rules(),
    };
    out.insert("devices".into(), rules);
    let mut cpu = Map::new();
    cpu.extend(cpu_shares.map(|v| ("shares".to_owned(), v.into())));
    cpu.extend(cpu_quota.map(|v| ("quota".to_owned(), v.into())));
    cpu.extend(cpu_period.map(|v| ("period".to_owned(), v.into())));
    cpu.extend(cpuset_cpus.clone().map(|v| ("cpus".to_owned(), v.into())));
    if !cpu.is_empty() {
        out.insert("cpu".into(), cpu.into());
    }
    if let Some(limit) = memory_limit {
        out.insert("memory".into(), json!({ "limit": limit }));
    }
    if let Some(limit) = pids {
        out.insert("pids".into(), json!({ "limit": limit }));
    }
    if !hugepage_limits.is_empty() {
        out.insert(
            "hugepageLimits".into(),
            hugepage_limits
                .iter()
                .map(|(size, limit)| json!({ "pageSize": size, "limit": limit }))
                .collect(),
        );
    }
    if context.hierarchies.is_pure_v2() {
        // The container ends as a whole, as it does under Kubernetes: half of one is of no use.
        out.insert("unified".into(), json!({ "memory.oom.group": "1" }));
    }
    out.into()
}

/// The `process` of an exec session: the container's own with another command.
pub(crate) fn process_json(config: &Path, spec: &ExecSpec) -> Result<String, SandboxError> {
    if spec.args.first().is_none_or(|program| program.is_empty()) {
        return Err(SandboxError::invalid("args", "no command to execute"));
    }
    let mut process = read_config(config)?["process"].take();
    let mut env: Vec<String> = process["env"]
        .as_array()
        .map(|env| env.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect())
        .unwrap_or_default();
    for (name, value) in &spec.env {
        let prefix = format!("{name}=");
        env.retain(|entry| !entry.starts_with(&prefix));
        env.push(format!("{prefix}{value}"));
    }
    process["env"] = environment(env, spec.tty).into();
    process["args"] = json!(spec.args);
    process["terminal"] = spec.tty.into();
    if let (true, Some((width, height))) = (spec.tty, spec.size) {
        // Set by the runtime before the process starts: it may look at once.
        process["consoleSize"] = json!({ "width": width, "height": height });
    }
    if !spec.cwd.is_empty() {
        process["cwd"] = spec.cwd.clone().into();
    }
    if let Some(as_user) = &spec.user {
        process["user"] = user(as_user);
    }
    Ok(process.to_string())
}

/// What [`ContainerSpec::stop_signal`] said.
pub(crate) fn stop_signal(config: &Path) -> Result<i32, SandboxError> {
    Ok(read_config(config)?["annotations"][STOP_SIGNAL]
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or(libc::SIGTERM))
}

fn read_config(config: &Path) -> Result<Value, SandboxError> {
    read_json(config)
        .and_then(|found| found.ok_or_else(|| std::io::ErrorKind::NotFound.into()))
        .map_err(|source| SandboxError::io("read", config, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: impl FnOnce(&mut SandboxSpec, &mut ContainerSpec)) -> Value {
        let mut sandbox = SandboxSpec {
            id: "p".into(),
            hostname: "host".into(),
            cgroup_parent: "/kubepods/p".into(),
            ..SandboxSpec::default()
        };
        let mut spec = ContainerSpec {
            name: "web".into(),
            args: vec!["sh".into()],
            ..ContainerSpec::default()
        };
        change(&mut sandbox, &mut spec);
        let context = Context {
            sandbox: &sandbox,
            shim_pid: 42,
            shm: "/state/shm".into(),
            hierarchies: Hierarchies { unified: Some("/sys/fs/cgroup".into()), v1: Vec::new() },
        };
        config_json(&spec, &context).unwrap()
    }

    fn types(config: &Value) -> Vec<&str> {
        let namespaces = config["linux"]["namespaces"].as_array().unwrap();
        namespaces.iter().map(|n| n["type"].as_str().unwrap()).collect()
    }

    #[test]
    fn namespaces_are_shared_as_asked() {
        let own = config(|sandbox, _| sandbox.netns = Some("/run/netns/a".into()));
        assert_eq!(types(&own), ["mount", "pid", "ipc", "uts", "network", "cgroup"]);
        assert_eq!(own["linux"]["namespaces"][2]["path"], "/proc/42/ns/ipc");
        assert_eq!(own["hostname"], "host");
        let host = config(|sandbox, _| {
            (sandbox.host_ipc, sandbox.host_pid, sandbox.host_uts) = (true, true, true);
        });
        assert_eq!(types(&host), ["mount", "cgroup"]);
        assert_eq!(host["hostname"], Value::Null);
    }

    #[test]
    fn a_plain_container_is_confined_and_a_privileged_one_is_not() {
        let plain = config(|_, _| {});
        assert_eq!(plain["linux"]["maskedPaths"].as_array().unwrap().len(), 11);
        assert_eq!(plain["linux"]["resources"]["devices"][0]["allow"], false);
        assert_eq!(plain["linux"]["cgroupsPath"], "/kubepods/p/web-0");
        let privileged = config(|_, spec| spec.privileged = true);
        assert_eq!(privileged["linux"]["maskedPaths"], Value::Null);
        assert_eq!(privileged["linux"]["resources"]["devices"][0]["allow"], true);
    }

    #[test]
    fn exec_inherits_and_overrides() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let config = config(|_, spec| {
            spec.env = vec![("A".into(), "1".into()), ("B".into(), "2".into())];
            spec.user.uid = 7;
            spec.stop_signal = 3;
        });
        pintle_shim::layout::write_json(&path, &config, false).unwrap();
        let exec = ExecSpec {
            args: vec!["id".into()],
            env: vec![("A".into(), "3".into())],
            tty: true,
            ..ExecSpec::default()
        };
        let process: Value = serde_json::from_str(&process_json(&path, &exec).unwrap()).unwrap();
        assert_eq!(process["user"]["uid"], 7);
        assert_eq!(process["args"], json!(["id"]));
        let env = process["env"].as_array().unwrap();
        assert!(env.contains(&json!("A=3")) && env.contains(&json!("B=2")));
        assert!(env.contains(&json!("TERM=xterm")) && !env.contains(&json!("A=1")));
        assert_eq!(stop_signal(&path).unwrap(), 3);
        assert!(process_json(&path, &ExecSpec::default()).is_err());
    }
}
