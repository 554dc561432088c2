//! A pod whose shim died: end what it left, and say how each container ended.
//!
//! Without its shim a container's output goes nowhere and its exit is seen by nobody, and a new
//! shim must never supervise the same name while the old process runs. So whatever is left is
//! killed, under the shim's own lock.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pintle_shim::cgroup::Hierarchies;
use pintle_shim::layout::{Bundle, ContainerRecord, Layout, read_json, write_json};
use pintle_shim::protocol::{ContainerState, Exit, Phase};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{SandboxError, lifecycle};
use crate::spec::SandboxSpec;

/// How long killed processes may take to be gone; longer means stuck in the kernel.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// Exit code of a container that nobody saw end: 128 + SIGKILL.
const LOST_CODE: i32 = 137;

const LOST_REASON: &str = "shim lost";

/// Cleans up and tells the states; `None` when the shim lives. Can be repeated.
pub(super) fn recover(
    layout: &Layout,
    spec: &SandboxSpec,
) -> Result<Option<Vec<ContainerState>>, SandboxError> {
    let Some(_lock) = lifecycle::try_lock(layout)? else {
        return Ok(None);
    };
    let hierarchies = lifecycle::hierarchies()?;
    end_runtimes(layout)?;
    end_processes(&hierarchies, &spec.cgroup_parent)?;
    delete_leftovers(layout, spec)?;
    let mut states = Vec::new();
    let bundles = layout
        .bundles()
        .map_err(|source| SandboxError::io("read", &layout.containers(), source))?;
    for bundle in bundles {
        states.extend(settle(&bundle)?);
    }
    lifecycle::release(layout, spec)?;
    Ok(Some(states))
}

/// Ends the OCI runtimes that the shim had started: one of them might be just about to start a
/// container, and would do so after everything else was looked for. What it has not yet put into
/// the cgroup waits for it on a pipe and ends with it.
fn end_runtimes(layout: &Layout) -> Result<(), SandboxError> {
    let root = layout.runtime_root();
    let Ok(root) = root.canonicalize() else {
        return Ok(());
    };
    for pid in processes_with_root(&root) {
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
            continue;
        };
        // The number may have been given to another process before it was opened.
        if !has_root(pid, &root) {
            continue;
        }
        let _ = pidfd_send_signal(&process, Signal::KILL);
        let limit = Timespec { tv_sec: KILL_TIMEOUT.as_secs() as i64, tv_nsec: 0 };
        let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit));
        if !matches!(ended, Ok(1)) {
            let error = std::io::Error::other("an OCI runtime survives SIGKILL");
            return Err(SandboxError::io("clean up", layout.dir(), error));
        }
    }
    Ok(())
}

fn processes_with_root(root: &Path) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        .filter(|&pid| has_root(pid, root))
        .collect()
}

/// Whether the process was called with `--root` and this directory.
fn has_root(pid: Pid, root: &Path) -> bool {
    let command = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    let arguments: Vec<&[u8]> = command.split(|&byte| byte == 0).collect();
    arguments.windows(2).any(|pair| {
        pair[0] == b"--root"
            && Path::new(OsStr::from_bytes(pair[1])).canonicalize().is_ok_and(|path| path == *root)
    })
}

fn end_processes(hierarchies: &Hierarchies, cgroup: &str) -> Result<(), SandboxError> {
    let deadline = Instant::now() + KILL_TIMEOUT;
    loop {
        hierarchies.kill(cgroup);
        let left = hierarchies.processes(cgroup);
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let what = format!("{} processes survive SIGKILL in it", left.len());
            return Err(SandboxError::io(
                "empty cgroup",
                Path::new(cgroup),
                std::io::Error::other(what),
            ));
        }
        // cgroup v1 tells nobody when a group becomes empty, and these are not our children.
        sleep(Duration::from_millis(2));
    }
}

/// Lets the OCI runtime remove its own state of every container that it still knows.
fn delete_leftovers(layout: &Layout, spec: &SandboxSpec) -> Result<(), SandboxError> {
    let root = layout.runtime_root();
    let Ok(entries) = fs::read_dir(&root) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let id = entry.file_name().to_string_lossy().into_owned();
        let output = Command::new(&spec.runtime)
            .arg("--root")
            .arg(&root)
            .args(["delete", "--force", &id])
            .stdin(Stdio::null())
            .output()
            .map_err(|source| SandboxError::io("run", &spec.runtime, source))?;
        // A runtime that was killed at work leaves a directory that it cannot read itself; with
        // every process gone nothing but that directory remains of the container.
        let removed = fs::remove_dir_all(entry.path())
            .or_else(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })
            .is_ok();
        if !removed {
            return Err(SandboxError::Cleanup {
                runtime: spec.runtime.display().to_string(),
                id,
                message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            });
        }
    }
    Ok(())
}

/// The state of one container, final from now on.
fn settle(bundle: &Bundle) -> Result<Option<ContainerState>, SandboxError> {
    let record = match read_json::<ContainerRecord>(&bundle.state()) {
        Ok(Some(record)) => record,
        // Killed before the container was registered: it never ran, nobody was told of it.
        Ok(None) => return Ok(None),
        Err(error) => {
            tracing::warn!(path = %bundle.state().display(), error = %error, "unreadable state");
            return Ok(None);
        }
    };
    let mut state = record.state;
    if state.phase == Phase::Created {
        return Ok(Some(state));
    }
    let observed = read_json::<Exit>(&bundle.exit()).unwrap_or_default();
    let known = observed.is_some();
    let exit = observed.unwrap_or_else(|| {
        let now = unix_millis();
        Exit {
            code: LOST_CODE,
            signal: Some(libc::SIGKILL),
            oom_killed: false,
            started_at: state.started_at.unwrap_or(now),
            finished_at: now,
            reason: Some(LOST_REASON.to_owned()),
        }
    });
    if !known {
        write_json(&bundle.exit(), &exit, true)
            .map_err(|source| SandboxError::io("write", &bundle.exit(), source))?;
    }
    state.phase = Phase::Exited;
    state.pid = None;
    state.exit = Some(exit);
    Ok(Some(state))
}

fn unix_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as i64)
}
