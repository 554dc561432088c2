//! The pod's own cgroup: the parent of its containers' and the place of its limits.

use std::fs;
use std::io;
use std::path::Path;

pub use pintle_shim::cgroup::Hierarchies;

use crate::sandbox::SandboxError;
use crate::spec::Resources;

/// Creates `cgroup` in every hierarchy, with limits. One that exists gets the limits.
pub fn create(
    hierarchies: &Hierarchies,
    cgroup: &str,
    resources: &Resources,
) -> Result<(), SandboxError> {
    let result = if hierarchies.is_pure_v2() {
        create_v2(hierarchies, cgroup)
    } else {
        create_v1(hierarchies, cgroup)
    };
    result.map_err(|source| SandboxError::io("create cgroup", Path::new(cgroup), source))?;
    limit(hierarchies, cgroup, resources)
}

/// Writes the limits of an existing cgroup; also how a pod is resized in place.
pub fn limit(
    hierarchies: &Hierarchies,
    cgroup: &str,
    resources: &Resources,
) -> Result<(), SandboxError> {
    let files = if hierarchies.is_pure_v2() {
        let dir = hierarchies.unified_dir(cgroup).unwrap_or_default();
        limits_v2(resources)
            .into_iter()
            .map(|(file, value)| (dir.join(file), value))
            .collect::<Vec<_>>()
    } else {
        limits_v1(resources)
            .into_iter()
            .filter_map(|(controller, file, value)| {
                Some((hierarchies.v1_dir(controller, cgroup)?.join(file), value))
            })
            .collect()
    };
    for (path, value) in files {
        fs::write(&path, value).map_err(|source| SandboxError::io("write", &path, source))?;
    }
    Ok(())
}

fn create_v1(hierarchies: &Hierarchies, cgroup: &str) -> io::Result<()> {
    for dir in hierarchies.dirs(cgroup) {
        fs::create_dir_all(&dir)?;
    }
    // A cpuset without members refuses processes, so each level inherits its parent's.
    if let Some(mount) = hierarchies.v1_mount("cpuset") {
        let mut dir = mount.to_owned();
        for part in parts(cgroup) {
            let parent = dir.clone();
            dir.push(part);
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if fs::read_to_string(dir.join(file))?.trim().is_empty() {
                    fs::write(dir.join(file), fs::read_to_string(parent.join(file))?)?;
                }
            }
        }
    }
    Ok(())
}

fn create_v2(hierarchies: &Hierarchies, cgroup: &str) -> io::Result<()> {
    let Some(mut dir) = hierarchies.unified.clone() else {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no cgroup file system is mounted"));
    };
    enable_controllers(&dir)?;
    for part in parts(cgroup) {
        dir.push(part);
        fs::create_dir_all(&dir)?;
        enable_controllers(&dir)?;
    }
    Ok(())
}

/// Hands every controller that a group has down to its children.
fn enable_controllers(dir: &Path) -> io::Result<()> {
    let available = fs::read_to_string(dir.join("cgroup.controllers"))?;
    let enabled = fs::read_to_string(dir.join("cgroup.subtree_control"))?;
    for controller in available.split_whitespace() {
        if !enabled.split_whitespace().any(|name| name == controller) {
            // One by one: a controller that cannot be handed down (in use by a v1 hierarchy, or
            // by real-time processes) must not keep the others from it.
            let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
    Ok(())
}

fn parts(cgroup: &str) -> impl Iterator<Item = &str> {
    cgroup.split('/').filter(|part| !part.is_empty())
}

fn limits_v1(resources: &Resources) -> Vec<(&'static str, &'static str, String)> {
    let mut files = Vec::new();
    let mut put = |controller, file, value: Option<String>| {
        files.extend(value.map(|value| (controller, file, value)));
    };
    put("cpu", "cpu.shares", resources.cpu_shares.map(|v| v.max(2).to_string()));
    put("cpu", "cpu.cfs_period_us", resources.cpu_period.map(|v| v.to_string()));
    put("cpu", "cpu.cfs_quota_us", resources.cpu_quota.map(|v| v.to_string()));
    put("cpuset", "cpuset.cpus", resources.cpuset_cpus.clone());
    put("memory", "memory.limit_in_bytes", resources.memory_limit.map(|v| v.to_string()));
    put("pids", "pids.max", resources.pids.map(limit_or_max));
    files
}

fn limits_v2(resources: &Resources) -> Vec<(&'static str, String)> {
    let mut files = Vec::new();
    if let Some(shares) = resources.cpu_shares {
        files.push(("cpu.weight", weight(shares).to_string()));
    }
    if let Some(quota) = resources.cpu_quota {
        let period = resources.cpu_period.unwrap_or(100_000);
        files.push(("cpu.max", format!("{} {period}", limit_or_max(quota))));
    }
    files.extend(resources.cpuset_cpus.clone().map(|cpus| ("cpuset.cpus", cpus)));
    files.extend(resources.memory_limit.map(|v| ("memory.max", limit_or_max(v))));
    files.extend(resources.pids.map(|v| ("pids.max", limit_or_max(v))));
    files
}

fn limit_or_max(value: i64) -> String {
    if value <= 0 { "max".to_owned() } else { value.to_string() }
}

/// cgroup v1 shares (2..=262144) as a v2 weight (1..=10000), by the conversion that OCI runtimes
/// and the kubelet use.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights() {
        for (shares, expect) in [(0, 1), (2, 1), (1024, 39), (262_144, 10_000), (u64::MAX, 10_000)]
        {
            assert_eq!(weight(shares), expect, "{shares}");
        }
    }

    #[test]
    fn the_same_limits_in_both_versions() {
        let resources = Resources {
            cpu_shares: Some(512),
            cpu_quota: Some(50_000),
            cpu_period: Some(100_000),
            memory_limit: Some(64 << 20),
            pids: Some(-1),
            ..Resources::default()
        };
        assert_eq!(
            limits_v2(&resources),
            [
                ("cpu.weight", "20".to_owned()),
                ("cpu.max", "50000 100000".to_owned()),
                ("memory.max", "67108864".to_owned()),
                ("pids.max", "max".to_owned()),
            ]
        );
        let v1 = limits_v1(&resources);
        assert_eq!(v1[0], ("cpu", "cpu.shares", "512".to_owned()));
        assert_eq!(v1.len(), 5);
    }
}
