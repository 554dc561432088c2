//! What the node writes down about one pod, below `<data dir>/pods/<uid>/`.
//!
//! ```text
//! pod.json        the pod as last seen in the API
//! runtime.json    PodRuntime
//! network.json    the sandbox's addresses
//! sandbox/        the shim's state directory
//! etc/            hosts, hostname, resolv.conf
//! volumes/<name>/ emptyDir, configMap, secret, ...
//! containers/<name>/termination-<attempt>
//! ```
//!
//! Files are replaced by rename, so they are whole at any moment. They are not
//! synced: after a power cut nothing of the pod runs any more, and the API still
//! has it.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::warn;

use super::model::Pod;
use super::runtime::PodRuntime;

#[derive(Debug, Clone)]
pub struct Record {
    dir: PathBuf,
    logs: PathBuf,
}

impl Record {
    /// `pod` must have passed [`safe_name`] on uid, namespace and name.
    pub fn new(data_dir: &Path, pod: &Pod) -> Record {
        let meta = &pod.metadata;
        let logs = format!("{}_{}_{}", meta.namespace, meta.name, meta.uid);
        Record {
            dir: data_dir.join("pods").join(&meta.uid),
            logs: data_dir.join("logs").join(logs),
        }
    }

    /// Every pod that this node has a record of. `None` stands for a runtime that
    /// cannot be read: a power cut can leave a file empty, and then nothing of
    /// the pod runs any more, but what lies around must be taken down.
    pub fn scan(data_dir: &Path) -> io::Result<Vec<(Pod, Option<PodRuntime>)>> {
        let mut found = Vec::new();
        let entries = match std::fs::read_dir(data_dir.join("pods")) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let dir = entry?.path();
            match read_json::<Pod>(&dir.join("pod.json")) {
                Ok(Some(pod)) => {
                    let runtime = read_json(&dir.join("runtime.json")).unwrap_or_default();
                    found.push((pod, runtime));
                }
                Ok(None) => discard(&dir),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => discard(&dir),
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    pub fn create(&self) -> io::Result<()> {
        let mut private = std::fs::DirBuilder::new();
        private.recursive(true).mode(0o711).create(&self.dir)?;
        private.create(self.volumes())?;
        private.mode(0o755).create(&self.logs)
    }

    pub fn save_pod(&self, pod: &Pod) -> io::Result<()> {
        write_json(&self.dir.join("pod.json"), pod)
    }

    pub fn save_runtime(&self, runtime: &PodRuntime) -> io::Result<()> {
        write_json(&self.dir.join("runtime.json"), runtime)
    }

    pub fn network(&self) -> PathBuf {
        self.dir.join("network.json")
    }

    pub fn sandbox(&self) -> PathBuf {
        self.dir.join("sandbox")
    }

    pub fn etc(&self) -> PathBuf {
        self.dir.join("etc")
    }

    pub fn volumes(&self) -> PathBuf {
        self.dir.join("volumes")
    }

    pub fn log_dir(&self, container: &str) -> PathBuf {
        self.logs.join(container)
    }

    pub fn log(&self, container: &str, attempt: u32) -> PathBuf {
        self.log_dir(container).join(format!("{attempt}.log"))
    }

    pub fn termination(&self, container: &str, attempt: u32) -> PathBuf {
        let dir = self.dir.join("containers").join(container);
        dir.join(format!("termination-{attempt}"))
    }

    /// Removes all of it, the record of the pod last.
    pub fn remove(&self) -> io::Result<()> {
        let gone = |result: io::Result<()>| match result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        };
        gone(std::fs::remove_dir_all(&self.logs))?;
        for part in ["containers", "volumes", "etc", "sandbox"] {
            gone(std::fs::remove_dir_all(self.dir.join(part)))?;
        }
        gone(std::fs::remove_dir_all(&self.dir))
    }
}

/// The pod's first write was cut short, so nothing else exists of it.
fn discard(dir: &Path) {
    if let Err(error) = std::fs::remove_dir_all(dir) {
        warn!(dir = %dir.display(), %error, "a pod's unreadable record could not be removed");
    }
}

/// Whether a name may become part of a path. The API checks names; a node does
/// not stake its file system on that.
pub fn safe_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    (1..=253).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('.')
}

pub fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    write_atomic(path, &serde_json::to_vec(value)?)
}

/// [`write_json`] for what must hold after a power cut.
pub fn write_json_synced<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    replace(path, &serde_json::to_vec(value)?, true)
}

pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, false)
}

fn replace(path: &Path, bytes: &[u8], sync: bool) -> io::Result<()> {
    // Beside the file, so that the rename stays within one file system.
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(&temporary)?;
    file.write_all(bytes)?;
    if sync {
        file.sync_data()?;
    }
    std::fs::rename(&temporary, path)?;
    match path.parent() {
        Some(parent) if sync => std::fs::File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

pub fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match std::fs::read(path) {
        Ok(bytes) => match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                let text = format!("{} is not as it was written: {error}", path.display());
                Err(io::Error::new(io::ErrorKind::InvalidData, text))
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_again_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "a", "namespace": "n", "uid": "u1"},
            "spec": {"containers": [{"name": "c"}]},
        }))
        .unwrap();
        assert!(Record::scan(dir.path()).unwrap().is_empty());
        let record = Record::new(dir.path(), &pod);
        record.create().unwrap();
        let mut runtime = PodRuntime::new(&pod, 7);
        runtime.begin(&pod, "c", 0, 8);
        record.save_pod(&pod).unwrap();
        record.save_runtime(&runtime).unwrap();
        // A directory whose first write never came about.
        std::fs::create_dir_all(dir.path().join("pods/u2")).unwrap();
        std::fs::create_dir_all(dir.path().join("pods/u3")).unwrap();
        std::fs::write(dir.path().join("pods/u3/pod.json"), "").unwrap();
        let found = Record::scan(dir.path()).unwrap();
        assert_eq!(found, vec![(pod.clone(), Some(runtime))]);
        assert!(!dir.path().join("pods/u2").exists() && !dir.path().join("pods/u3").exists());
        std::fs::write(dir.path().join("pods/u1/runtime.json"), "{").unwrap();
        assert_eq!(Record::scan(dir.path()).unwrap(), vec![(pod, None)]);
        record.remove().unwrap();
        record.remove().unwrap();
        assert!(Record::scan(dir.path()).unwrap().is_empty());
    }

    #[test]
    fn names_that_could_leave_their_directory_are_refused() {
        for (name, expect) in
            [("a-1.b", true), ("", false), ("..", false), (".a", false), ("a/b", false)]
        {
            assert_eq!(safe_name(name), expect, "{name}");
        }
    }
}
