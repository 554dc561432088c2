//! Which devices a container may use.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use serde_json::{Value, json};

use crate::sandbox::SandboxError;

/// Nothing but creating nodes, and the pseudo devices that the OCI runtime provides in `/dev`.
pub(super) fn default_rules() -> Value {
    json!([
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "access": "m" },
        { "allow": true, "type": "b", "access": "m" },
        { "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm" },
        { "allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm" },
        { "allow": true, "type": "c", "major": 1, "minor": 7, "access": "rwm" },
        { "allow": true, "type": "c", "major": 1, "minor": 8, "access": "rwm" },
        { "allow": true, "type": "c", "major": 1, "minor": 9, "access": "rwm" },
        { "allow": true, "type": "c", "major": 5, "minor": 0, "access": "rwm" },
        { "allow": true, "type": "c", "major": 5, "minor": 2, "access": "rwm" },
        { "allow": true, "type": "c", "major": 136, "access": "rwm" },
    ])
}

/// Every device node of the node's `/dev`, for privileged containers.
pub(super) fn of_the_host() -> Result<Vec<Value>, SandboxError> {
    let mut devices = Vec::new();
    collect(Path::new("/dev"), &mut devices)
        .map_err(|source| SandboxError::io("read", Path::new("/dev"), source))?;
    Ok(devices)
}

fn collect(dir: &Path, devices: &mut Vec<Value>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let path = entry.path();
        if kind.is_dir() {
            // Terminals, shared memory and queues are the container's own; the rest of these are
            // links into /proc.
            if !["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"]
                .iter()
                .any(|name| entry.file_name() == *name)
            {
                collect(&path, devices)?;
            }
            continue;
        }
        if !(kind.is_char_device() || kind.is_block_device()) || path == Path::new("/dev/console") {
            continue;
        }
        // A device may be unplugged between the two looks.
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        devices.push(json!({
            "path": path,
            "type": if kind.is_char_device() { "c" } else { "b" },
            "major": rustix::fs::major(meta.rdev()),
            "minor": rustix::fs::minor(meta.rdev()),
            "fileMode": meta.mode() & 0o7777,
            "uid": meta.uid(),
            "gid": meta.gid(),
        }));
    }
    Ok(())
}
