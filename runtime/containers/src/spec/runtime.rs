//! The OCI runtime specification of a container, from a [`ContainerSpec`].

mod capabilities;
mod devices;
mod mounts;
mod process;

use std::path::{Path, PathBuf};

use pintle_shim::cgroup::Hierarchies;
use pintle_shim::layout::read_json;
use serde_json::{Map, Value, json};

use super::{ContainerSpec, MountKind, Propagation, Resources, SandboxSpec};
use crate::sandbox::SandboxError;

use mounts::mounts;
use process::process;
pub(crate) use process::process_json;

/// Where the stop signal is kept in `config.json`.
const STOP_SIGNAL: &str = "io.pintle.stop-signal";

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

    pub(super) fn config(change: impl FnOnce(&mut SandboxSpec, &mut ContainerSpec)) -> Value {
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
}
