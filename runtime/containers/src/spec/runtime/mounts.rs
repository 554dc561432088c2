//! The mounts of a container: those that every Linux program expects, and the
//! volumes. Does not know what lies in them.

use std::path::Path;

use serde_json::{Value, json};

use super::super::{ContainerSpec, Mount, MountKind, Propagation};
use super::Context;

pub(super) fn mounts(spec: &ContainerSpec, context: &Context<'_>) -> Vec<Value> {
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
