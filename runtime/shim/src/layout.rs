//! What a pod's state directory holds.
//!
//! ```text
//! intent.json                     what the pod was meant to be; written before anything is spawned
//! shim.lock                       held by the shim for its whole life: liveness is this lock
//! shim.sock                       0600
//! runtime/                        the OCI runtime's own state
//! exec/                           files of exec sessions, short-lived
//! containers/<name>/<attempt>/    the bundle: config.json, state.json, exit.json, runtime.log, init.pid
//! ```
//!
//! A process id would not do as a sign of life: it can be reused, and a check against it races with
//! a shim that is still starting. Two shims for one pod can therefore never run.
//!
//! Files are replaced by rename, so a reader sees the old or the new content. Only `exit.json` is
//! also synced: after a power cut no container runs, so nothing but an observed exit code could
//! still be true.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::protocol::{ContainerState, CreateRequest};

/// Largest state file read back, in bytes.
const MAX_STATE_FILE: u64 = 16 << 20;

/// `state.json`: what the shim was asked for and where the container stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerRecord {
    pub request: CreateRequest,
    pub state: ContainerState,
}

/// Paths inside one pod's state directory.
#[derive(Debug, Clone)]
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Layout { dir: dir.into() }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn intent(&self) -> PathBuf {
        self.dir.join("intent.json")
    }

    pub fn lock(&self) -> PathBuf {
        self.dir.join("shim.lock")
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("shim.sock")
    }

    pub fn runtime_root(&self) -> PathBuf {
        self.dir.join("runtime")
    }

    pub fn exec(&self) -> PathBuf {
        self.dir.join("exec")
    }

    pub fn containers(&self) -> PathBuf {
        self.dir.join("containers")
    }

    pub fn bundle(&self, name: &str, attempt: u32) -> Bundle {
        Bundle { dir: self.containers().join(name).join(attempt.to_string()) }
    }

    /// Every bundle on disk, whole or not.
    pub fn bundles(&self) -> io::Result<Vec<Bundle>> {
        let mut found = Vec::new();
        for name in entries(&self.containers())? {
            for dir in entries(&name)? {
                found.push(Bundle { dir });
            }
        }
        found.sort_by(|a, b| a.dir.cmp(&b.dir));
        Ok(found)
    }

    /// Takes the lock for as long as the file stays open; `None` when a shim holds it.
    pub fn try_lock(&self) -> io::Result<Option<File>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.lock())?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Paths of one container attempt.
#[derive(Debug, Clone)]
pub struct Bundle {
    pub dir: PathBuf,
}

impl Bundle {
    pub fn config(&self) -> PathBuf {
        self.dir.join("config.json")
    }

    pub fn state(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    pub fn exit(&self) -> PathBuf {
        self.dir.join("exit.json")
    }

    pub fn runtime_log(&self) -> PathBuf {
        self.dir.join("runtime.log")
    }

    pub fn pid_file(&self) -> PathBuf {
        self.dir.join("init.pid")
    }

    /// Where runc writes the process id before it renames the file. One that was killed leaves it,
    /// and the next refuses to overwrite it.
    pub fn unfinished_pid_file(&self) -> PathBuf {
        self.dir.join(".init.pid")
    }
}

fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| entry.map(|e| e.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Makes a directory (and its parents) that only root enters.
pub fn make_private_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Replaces `path` in one step; with `sync` also durably.
pub fn write_atomic(path: &Path, bytes: &[u8], sync: bool) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    if sync {
        file.sync_all()?;
    }
    fs::rename(&temporary, path)?;
    if sync && let Some(parent) = path.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Writes a value as JSON, see [`write_atomic`].
pub fn write_json<T: Serialize>(path: &Path, value: &T, sync: bool) -> io::Result<()> {
    write_atomic(path, &serde_json::to_vec(value)?, sync)
}

/// Reads what [`write_json`] wrote; `None` when there is no such file.
pub fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> io::Result<Option<T>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(MAX_STATE_FILE).read_to_end(&mut bytes)?;
    Ok(Some(serde_json::from_slice(&bytes)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_free_again_when_its_holder_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let held = layout.try_lock().unwrap();
        assert!(held.is_some());
        assert!(layout.try_lock().unwrap().is_none());
        drop(held);
        assert!(layout.try_lock().unwrap().is_some());
    }

    #[test]
    fn replaced_files_are_whole_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("exit.json");
        for value in [1u32, 22] {
            write_json(&path, &value, true).unwrap();
            assert_eq!(read_json::<u32>(&path).unwrap(), Some(value));
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_json::<u32>(&dir.path().join("none")).unwrap(), None);
    }
}
