//! What surrounds a shim: its directory, cgroup and shared memory, and the launch itself.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pintle_shim::cgroup::Hierarchies;
use pintle_shim::layout::{Layout, make_private_dir, read_json, write_json};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::{SandboxError, lost};
use crate::cgroup;
use crate::spec::SandboxSpec;

/// Size of a pod's `/dev/shm`, as container runtimes have it by default.
const SHM_OPTIONS: &str = "mode=1777,size=67108864";

/// How long a shim may take to end once it has said that it will.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// Every state directory below `root` that holds a pod, for the start of an agent.
pub fn discover(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let dir = entry?.path();
        if Layout::new(&dir).intent().is_file() {
            found.push(dir);
        }
    }
    found.sort();
    Ok(found)
}

pub(super) fn read_intent(layout: &Layout) -> Result<SandboxSpec, SandboxError> {
    let mut spec: SandboxSpec = read_json(&layout.intent())
        .map_err(|source| SandboxError::io("read", &layout.intent(), source))?
        .ok_or_else(|| SandboxError::NoIntent(layout.dir().to_owned()))?;
    // The directory may have been reached by another path than the one it was made with.
    spec.state_dir = layout.dir().to_owned();
    Ok(spec)
}

pub(super) fn hierarchies() -> Result<Hierarchies, SandboxError> {
    Hierarchies::detect()
        .map_err(|source| SandboxError::io("read", Path::new("/proc/self/mountinfo"), source))
}

/// Where the pod's shared `/dev/shm` is mounted.
pub(super) fn shm_dir(layout: &Layout) -> PathBuf {
    layout.dir().join("shm")
}

/// Brings up the cgroup, the mounts and the shim; takes everything back when one of them fails.
pub(super) fn launch(spec: &SandboxSpec) -> Result<(), SandboxError> {
    let layout = Layout::new(&spec.state_dir);
    let dir = layout.dir();
    make_private_dir(dir).map_err(|source| SandboxError::io("create", dir, source))?;
    match layout.intent().exists() {
        true => {
            let old = read_intent(&layout)?;
            if lost::recover(&layout, &old)?.is_none() {
                return Err(SandboxError::AlreadyRunning(dir.to_owned()));
            }
            clear(&layout)?;
        }
        false if try_lock(&layout)?.is_none() => {
            return Err(SandboxError::AlreadyRunning(dir.to_owned()));
        }
        false => {}
    }
    write_json(&layout.intent(), spec, false)
        .map_err(|source| SandboxError::io("write", &layout.intent(), source))?;
    let launched = prepare(&layout, spec).and_then(|()| spawn(spec));
    if launched.is_err() {
        // The first error is the one to report; what this leaves is found by `reconnect`.
        if let Err(error) = remove(&layout, spec) {
            tracing::warn!(dir = %dir.display(), error = %error, "cannot remove a failed pod");
        }
    }
    launched
}

fn prepare(layout: &Layout, spec: &SandboxSpec) -> Result<(), SandboxError> {
    for dir in [layout.containers(), layout.exec(), layout.runtime_root()] {
        make_private_dir(&dir).map_err(|source| SandboxError::io("create", &dir, source))?;
    }
    cgroup::create(&hierarchies()?, &spec.cgroup_parent, &spec.resources)?;
    if !spec.host_ipc {
        let shm = shm_dir(layout);
        make_private_dir(&shm)
            .and_then(|()| {
                let options = c_string(SHM_OPTIONS)?;
                let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
                Ok(mount("shm", &shm, "tmpfs", flags, options.as_c_str())?)
            })
            .map_err(|source| SandboxError::io("mount", &shm, source))?;
    }
    Ok(())
}

fn c_string(text: &str) -> io::Result<std::ffi::CString> {
    std::ffi::CString::new(text).map_err(io::Error::from)
}

/// Starts the shim. It leaves by itself into the background once its socket answers, so its exit
/// status says whether it serves.
fn spawn(spec: &SandboxSpec) -> Result<(), SandboxError> {
    let failed =
        |message: String| SandboxError::Launch { binary: spec.shim_binary.clone(), message };
    let mut command = Command::new(&spec.shim_binary);
    command.arg("--state-dir").arg(&spec.state_dir).arg("--runtime").arg(&spec.runtime);
    if !spec.host_uts {
        command.arg("--hostname").arg(&spec.hostname);
    }
    if !spec.host_ipc {
        command.arg("--new-ipc");
    }
    let output = command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(failed(format!("{} ({})", text.trim(), output.status)))
}

/// Removes everything of a pod whose shim ends or has ended, and its directory.
pub(super) fn remove(layout: &Layout, spec: &SandboxSpec) -> Result<(), SandboxError> {
    let Some(_lock) = wait_for_lock(layout, END_PATIENCE)? else {
        return Ok(());
    };
    release(layout, spec)?;
    remove_dir(layout)
}

/// Unmounts and removes what lies outside the directory. The caller holds the lock.
pub(super) fn release(layout: &Layout, spec: &SandboxSpec) -> Result<(), SandboxError> {
    let shm = shm_dir(layout);
    match unmount(&shm, UnmountFlags::DETACH) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
        Err(error) => return Err(SandboxError::io("unmount", &shm, error.into())),
    }
    hierarchies()?
        .remove(&spec.cgroup_parent)
        .map_err(|source| SandboxError::io("remove cgroup", Path::new(&spec.cgroup_parent), source))
}

pub(super) fn forget(layout: &Layout) -> Result<(), SandboxError> {
    if !layout.dir().exists() {
        return Ok(());
    }
    let Some(_lock) = try_lock(layout)? else {
        return Err(SandboxError::AlreadyRunning(layout.dir().to_owned()));
    };
    remove_dir(layout)
}

pub(super) fn try_lock(layout: &Layout) -> Result<Option<File>, SandboxError> {
    layout.try_lock().map_err(|source| SandboxError::io("lock", &layout.lock(), source))
}

/// Waits until the ending shim has let go; `None` when the directory is gone already. A shim that
/// does not end is an error: it may be one that an earlier caller had started and did not live to
/// see, and can be reconnected to.
fn wait_for_lock(layout: &Layout, patience: Duration) -> Result<Option<File>, SandboxError> {
    match File::options().read(true).write(true).open(layout.lock()) {
        Ok(file) => {
            let give_up = Instant::now() + patience;
            loop {
                match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                    Ok(()) => return Ok(Some(file)),
                    // Waiting in the kernel has no time limit.
                    Err(Errno::WOULDBLOCK) if Instant::now() < give_up => {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    Err(Errno::WOULDBLOCK) => {
                        return Err(SandboxError::AlreadyRunning(layout.dir().to_owned()));
                    }
                    Err(error) => {
                        return Err(SandboxError::io("lock", &layout.lock(), error.into()));
                    }
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if layout.dir().exists() {
                try_lock(layout)
            } else {
                Ok(None)
            }
        }
        Err(error) => Err(SandboxError::io("open", &layout.lock(), error)),
    }
}

/// Empties the directory for a new pod, except for the lock.
fn clear(layout: &Layout) -> Result<(), SandboxError> {
    for dir in [layout.containers(), layout.exec(), layout.runtime_root()] {
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(SandboxError::io("remove", &dir, error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn remove_dir(layout: &Layout) -> Result<(), SandboxError> {
    // The intent goes first: without it nobody takes a half-removed directory for a pod.
    for step in [fs::remove_file(layout.intent()), fs::remove_dir_all(layout.dir())] {
        match step {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(SandboxError::io("remove", layout.dir(), error));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_waited_for_but_not_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let held = layout.try_lock().unwrap();
        let refused = wait_for_lock(&layout, Duration::from_millis(20)).unwrap_err();
        assert!(matches!(refused, SandboxError::AlreadyRunning(_)), "{refused}");
        let waiting = std::thread::spawn(move || wait_for_lock(&layout, END_PATIENCE));
        drop(held);
        assert!(waiting.join().unwrap().unwrap().is_some());
        let gone = Layout::new(dir.path().join("gone"));
        assert!(wait_for_lock(&gone, Duration::ZERO).unwrap().is_none());
    }
}
