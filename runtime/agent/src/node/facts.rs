//! What this machine is and has, read once.

use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;
use nix::sys::utsname::uname;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub cpus: i64,
    pub memory_bytes: i64,
    pub storage_bytes: i64,
    pub kernel: String,
    pub os_image: String,
    pub machine_id: String,
    pub boot_id: String,
    pub system_uuid: String,
    /// The most protection from the kernel's OOM killer that may be given.
    pub lowest_oom_score: i32,
}

impl Facts {
    pub fn read(data_dir: &Path) -> io::Result<Facts> {
        let storage = statvfs(data_dir)?;
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let machine_id = text("/etc/machine-id");
        let uuid = text("/sys/class/dmi/id/product_uuid");
        Ok(Facts {
            cpus: std::thread::available_parallelism().map_or(1, |count| count.get() as i64),
            memory_bytes: memory_total(&std::fs::read_to_string("/proc/meminfo")?),
            storage_bytes: (storage.blocks() * storage.fragment_size()) as i64,
            kernel: uname()?.release().to_string_lossy().into_owned(),
            os_image: os_image(&text("/etc/os-release")),
            system_uuid: if uuid.is_empty() { machine_id.clone() } else { uuid },
            machine_id,
            lowest_oom_score: lowest_oom_score(
                &text("/proc/self/status"),
                &text("/proc/self/oom_score_adj"),
            ),
            boot_id: text("/proc/sys/kernel/random/boot_id"),
        })
    }
}

/// Of `linux/capability.h`: needed to lower a score below the own one.
const CAP_SYS_RESOURCE: u32 = 24;

/// A node inside a container often lacks the capability; its Guaranteed pods
/// must run all the same.
fn lowest_oom_score(status: &str, own: &str) -> i32 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    match effective & (1 << CAP_SYS_RESOURCE) {
        0 => own.parse().unwrap_or(0),
        _ => -1000,
    }
}

fn memory_total(meminfo: &str) -> i64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<i64>().ok());
    kib.unwrap_or(0) * 1024
}

fn os_image(os_release: &str) -> String {
    let line = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line.unwrap_or("Linux").trim_matches('"').to_owned()
}

pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read() {
        assert_eq!(memory_total("MemTotal:       24686000 kB\nMemFree: 1 kB\n"), 24_686_000 * 1024);
        assert_eq!(memory_total(""), 0);
        assert_eq!(os_image("ID=x\nPRETTY_NAME=\"Debian 12\"\n"), "Debian 12");
        assert_eq!(lowest_oom_score("CapEff:\t000001ffffffffff\n", "0"), -1000);
        assert_eq!(lowest_oom_score("CapEff:\t00000000a80425fb\n", "5"), 5);
        let facts = Facts::read(Path::new("/")).unwrap();
        assert!(facts.cpus > 0 && facts.memory_bytes > 0 && facts.storage_bytes > 0);
    }
}
