//! What runs on this machine, and how a test's own part of it is ended.

use std::path::Path;
use std::time::Duration;

use pintle_containers::ContentStore;

fn all_processes() -> Vec<(nix::unistd::Pid, String)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            Some((
                nix::unistd::Pid::from_raw(pid),
                String::from_utf8_lossy(&line).replace('\0', " "),
            ))
        })
        .collect()
}

/// Command lines of everything that runs.
pub fn processes() -> Vec<String> {
    all_processes().into_iter().map(|(_, line)| line).collect()
}

/// Processes by their command lines.
pub fn pids(holds: impl Fn(&str) -> bool) -> Vec<nix::unistd::Pid> {
    all_processes().into_iter().filter(|(_, line)| holds(line)).map(|(pid, _)| pid).collect()
}

/// Ends every pod below a data directory, whoever left it.
pub async fn end_all(data_dir: &Path) {
    let Ok(pods) = std::fs::read_dir(data_dir.join("pods")) else { return };
    for pod in pods.flatten() {
        let Ok(found) = pintle_containers::Sandbox::reconnect(&pod.path().join("sandbox")).await
        else {
            continue;
        };
        if let Some(sandbox) = found.live {
            for state in sandbox.containers() {
                let _ = sandbox.stop(&state.name, Duration::ZERO).await;
                let _ = sandbox.delete(&state.name).await;
            }
            let _ = sandbox.shutdown().await;
        }
    }
    if let Ok(store) = ContentStore::open(data_dir.join("images")) {
        for key in store.snapshots().list().unwrap_or_default() {
            let _ = store.snapshots().remove(&key);
        }
    }
}
