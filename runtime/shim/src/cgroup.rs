//! The control groups of a container: finding, counting, killing, removing.
//!
//! Works on cgroup v2, on v1, and on the hybrid of both, where resources are limited through v1
//! and the (controller-less) v2 tree still offers `cgroup.kill`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

/// The mounted hierarchies of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchies {
    /// Where cgroup2 is mounted, in pure and in hybrid setups.
    pub unified: Option<PathBuf>,
    /// v1 controllers, each with its mount; named hierarchies by `name=<name>`.
    pub v1: Vec<(String, PathBuf)>,
}

impl Hierarchies {
    pub fn detect() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/self/mountinfo")?))
    }

    fn parse(mountinfo: &str) -> Self {
        let mut found = Hierarchies { unified: None, v1: Vec::new() };
        for line in mountinfo.lines() {
            let Some((mount, source)) = line.split_once(" - ") else {
                continue;
            };
            let Some(mountpoint) = mount.split(' ').nth(4).map(PathBuf::from) else {
                continue;
            };
            let mut fields = source.split(' ');
            let kind = fields.next();
            let options = fields.nth(1).unwrap_or_default();
            match kind {
                Some("cgroup2") if found.unified.is_none() => found.unified = Some(mountpoint),
                Some("cgroup") => {
                    for option in options.split(',') {
                        let known = option.starts_with("name=") || V1_CONTROLLERS.contains(&option);
                        if known && found.v1_mount(option).is_none() {
                            found.v1.push((option.to_owned(), mountpoint.clone()));
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// Whether resources are limited through cgroup2.
    pub fn is_pure_v2(&self) -> bool {
        self.unified.is_some()
            && self.v1_mount("memory").is_none()
            && self.v1_mount("cpu").is_none()
    }

    pub fn v1_mount(&self, controller: &str) -> Option<&Path> {
        self.v1.iter().find(|(name, _)| name == controller).map(|(_, mount)| mount.as_path())
    }

    /// The directory that a cgroup path has in one v1 hierarchy.
    pub fn v1_dir(&self, controller: &str, cgroup: &str) -> Option<PathBuf> {
        self.v1_mount(controller).map(|mount| join(mount, cgroup))
    }

    /// The directory that a cgroup path has in the v2 hierarchy.
    pub fn unified_dir(&self, cgroup: &str) -> Option<PathBuf> {
        self.unified.as_deref().map(|mount| join(mount, cgroup))
    }

    /// Every directory that a cgroup path has, each mount once.
    pub fn dirs(&self, cgroup: &str) -> Vec<PathBuf> {
        let mut dirs: Vec<_> = self.v1.iter().map(|(_, mount)| join(mount, cgroup)).collect();
        dirs.extend(self.unified_dir(cgroup));
        dirs.sort();
        dirs.dedup();
        dirs
    }

    /// Processes that the kernel killed in this cgroup for want of memory; `None` when it cannot
    /// say. Must be read before the cgroup is removed.
    pub fn oom_kills(&self, cgroup: &str) -> Option<u64> {
        let file = match self.v1_dir("memory", cgroup) {
            Some(dir) => dir.join("memory.oom_control"),
            None => self.unified_dir(cgroup)?.join("memory.events"),
        };
        counter(&fs::read_to_string(file).ok()?, "oom_kill")
    }

    /// Sends SIGKILL to every process in the cgroup and below it. Does not wait.
    pub fn kill(&self, cgroup: &str) {
        if let Some(dir) = self.unified_dir(cgroup) {
            // Missing on kernels before 5.14; the walk below then does it.
            let _ = fs::write(dir.join("cgroup.kill"), "1");
        }
        for pid in self.processes(cgroup) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// Moves this process out of the service that started it, as far as a service manager looks:
    /// systemd ends what is in a service's cgroup when the service stops, and a shim outlives the
    /// agent. Only the hierarchies that systemd tracks processes in are touched.
    pub fn leave_service(&self) -> io::Result<()> {
        let tracking = [self.v1_dir("name=systemd", SHIMS), self.unified_dir(SHIMS)];
        for dir in tracking.into_iter().flatten() {
            fs::create_dir_all(&dir)?;
            fs::write(dir.join("cgroup.procs"), "0")?;
        }
        Ok(())
    }

    /// The processes in the cgroup and below it, as far as they are visible from here.
    pub fn processes(&self, cgroup: &str) -> Vec<Pid> {
        let mut pids = Vec::new();
        for dir in self.dirs(cgroup) {
            collect(&dir, &mut pids);
        }
        pids.sort_unstable_by_key(|pid| pid.as_raw_nonzero());
        pids.dedup();
        pids
    }

    /// Removes the cgroup and what is below it. Fails with `ResourceBusy` while a process is in it.
    pub fn remove(&self, cgroup: &str) -> io::Result<()> {
        if cgroup.trim_matches('/').is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the root cgroup cannot be removed",
            ));
        }
        self.dirs(cgroup).iter().try_for_each(|dir| remove_tree(dir))
    }
}

/// Where all shims of a node are, apart from every service. It has no limits.
const SHIMS: &str = "/pintle-shims";

const V1_CONTROLLERS: [&str; 14] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "blkio",
    "pids",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "rdma",
    "misc",
];

fn join(mount: &Path, cgroup: &str) -> PathBuf {
    mount.join(cgroup.trim_start_matches('/'))
}

fn counter(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.trim().parse().ok())
}

fn collect(dir: &Path, pids: &mut Vec<Pid>) {
    if let Ok(text) = fs::read_to_string(dir.join("cgroup.procs")) {
        // A process of another pid namespace shows as 0 and is not ours to signal.
        pids.extend(text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)));
    }
    for child in subdirectories(dir) {
        collect(&child, pids);
    }
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    for child in subdirectories(dir) {
        remove_tree(&child)?;
    }
    match fs::remove_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn subdirectories(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:5 - cgroup2 cgroup2 rw
";

    #[test]
    fn hybrid() {
        let found = Hierarchies::parse(HYBRID);
        assert!(!found.is_pure_v2());
        assert_eq!(
            found.v1_dir("cpuacct", "/kubepods/a"),
            Some("/sys/fs/cgroup/cpu,cpuacct/kubepods/a".into())
        );
        assert_eq!(found.dirs("/a").len(), 4);
    }

    #[test]
    fn pure_v2() {
        let found =
            Hierarchies::parse("30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n");
        assert!(found.is_pure_v2());
        assert_eq!(found.dirs("/a/b"), [PathBuf::from("/sys/fs/cgroup/a/b")]);
    }

    #[test]
    fn counters() {
        let events = "low 0\noom 2\noom_kill 1\noom_group_kill 0\n";
        assert_eq!(counter(events, "oom_kill"), Some(1));
        assert_eq!(counter("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill"), Some(3));
        assert_eq!(counter("", "oom_kill"), None);
    }

    #[test]
    fn the_root_is_never_removed() {
        let found = Hierarchies::parse(HYBRID);
        assert!(found.remove("/").is_err());
        assert!(found.remove("").is_err());
    }
}
