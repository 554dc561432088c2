//! What the tests with real containers share: an image made on the spot and a pod that removes
//! itself, however the test ends.

#![allow(dead_code)] // each test binary uses a part

pub mod image;
pub mod store;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use pintle_containers::{
    ContainerEvent, ContainerSpec, ContentStore, Events, Exit, Sandbox, SandboxSpec, probe_runtime,
};

/// Whatever has to come has come by then, on a busy machine too.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Why containers cannot run here, if so. The test then prints it and passes.
pub fn cannot_run() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("SKIPPED: needs root".into());
    }
    if let Err(error) = probe_runtime(None) {
        return Some(format!("SKIPPED: {error}"));
    }
    (!Path::new("/bin/busybox").exists())
        .then(|| "SKIPPED: needs /bin/busybox (busybox-static)".into())
}

#[macro_export]
macro_rules! need_containers {
    () => {
        if let Some(reason) = common::cannot_run() {
            println!("{reason}");
            return;
        }
    };
}

/// The shim, built like the test itself.
pub fn shim_binary() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            if let Some(path) = std::env::var_os("PINTLE_SHIM") {
                return path.into();
            }
            let profile_dir =
                std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
            let binary = profile_dir.join("pintle-shim");
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--quiet", "-p", "pintle-shim", "--bin", "pintle-shim"]);
            if profile_dir.ends_with("release") {
                cargo.arg("--release");
            }
            let built = cargo
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .status()
                .is_ok_and(|status| status.success());
            assert!(built || binary.exists(), "cannot build pintle-shim");
            binary
        })
        .clone()
}

pub fn unique(prefix: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let nanos =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
    format!("{prefix}-{}-{}-{nanos}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// A pod with an image, in a directory of its own.
pub struct Pod {
    pub dir: tempfile::TempDir,
    pub store: ContentStore,
    pub spec: SandboxSpec,
    pub sandbox: Option<Sandbox>,
    keys: Vec<String>,
}

impl Pod {
    pub async fn new() -> Pod {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut SandboxSpec)) -> Pod {
        let mut pod = Self::unstarted(change);
        pod.sandbox = Some(Sandbox::create(pod.spec.clone()).await.unwrap());
        pod
    }

    pub fn unstarted(change: impl FnOnce(&mut SandboxSpec)) -> Pod {
        let dir = tempfile::Builder::new().prefix("pintle-test-").tempdir().unwrap();
        let store = ContentStore::open(dir.path().join("images")).unwrap();
        let archive = image::busybox_archive();
        store.import_reader(&archive[..], None).unwrap();
        let id = unique("test");
        let mut spec = SandboxSpec {
            cgroup_parent: format!("/{id}/pod"),
            state_dir: dir.path().join("pod"),
            hostname: "pod-host".into(),
            shim_binary: shim_binary(),
            runtime: probe_runtime(None).unwrap(),
            id,
            ..SandboxSpec::default()
        };
        change(&mut spec);
        Pod { dir, store, spec, sandbox: None, keys: Vec::new() }
    }

    pub fn sandbox(&self) -> &Sandbox {
        self.sandbox.as_ref().unwrap()
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.log"))
    }

    /// A container that runs a shell script.
    pub fn container(&mut self, name: &str, script: &str) -> ContainerSpec {
        let image = self.store.resolve("busybox:test").unwrap().unwrap();
        let key = unique(name);
        let rootfs = self.store.snapshots().prepare(&image, &key).unwrap();
        self.keys.push(key);
        ContainerSpec {
            name: name.into(),
            rootfs,
            args: ["/bin/sh", "-c", script].map(String::from).to_vec(),
            env: image.config.env,
            log_path: Some(self.log(name)),
            ..ContainerSpec::default()
        }
    }

    pub async fn run(&mut self, name: &str, script: &str) {
        let spec = self.container(name, script);
        self.sandbox().create_container(spec).await.unwrap();
        self.sandbox().start(name).await.unwrap();
    }

    pub async fn wait(&self, name: &str) -> Exit {
        tokio::time::timeout(PATIENCE, self.sandbox().wait(name))
            .await
            .expect("the container ends in time")
            .unwrap()
    }

    /// The text of one stream, joined as a reader of the log does.
    pub fn output(&self, name: &str, stream: &str) -> String {
        let text = std::fs::read_to_string(self.log(name)).unwrap();
        let mut out = String::new();
        for line in text.split_terminator('\n') {
            let fields: Vec<&str> = line.splitn(4, ' ').collect();
            assert_eq!(fields.len(), 4, "{line:?}");
            if fields[1] == stream {
                out.push_str(fields[3]);
                if fields[2] == "F" {
                    out.push('\n');
                }
            }
        }
        out
    }

    /// Everything that the pod has on the machine outside its directory.
    pub fn traces(&self) -> Vec<String> {
        let hierarchies = pintle_containers::cgroup::Hierarchies::detect().unwrap();
        let mut traces: Vec<String> = hierarchies
            .dirs(&self.spec.cgroup_parent)
            .iter()
            .filter(|dir| dir.exists())
            .map(|dir| dir.display().to_string())
            .collect();
        let state_dir = self.spec.state_dir.display().to_string();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        traces.extend(mounts.lines().filter(|line| line.contains(&state_dir)).map(String::from));
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&command).contains(&self.spec.id) {
                traces.push(format!("process {:?}", entry.file_name()));
            }
        }
        traces
    }
}

impl Drop for Pod {
    /// Independent of the code under test: kills, unmounts and removes.
    fn drop(&mut self) {
        if let Ok(lock) = std::fs::File::open(self.spec.state_dir.join("shim.lock"))
            && rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
                .is_err()
            && let Some(sandbox) = &self.sandbox
        {
            let pid = rustix::process::Pid::from_raw(sandbox.shim_pid() as i32).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let hierarchies = pintle_containers::cgroup::Hierarchies::detect().unwrap();
        for _ in 0..500 {
            hierarchies.kill(&self.spec.id);
            if hierarchies.remove(&self.spec.id).is_ok() {
                break;
            }
            // Killed processes leave their cgroup on their own time, and v1 does not tell when.
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = rustix::mount::unmount(
            self.spec.state_dir.join("shm"),
            rustix::mount::UnmountFlags::DETACH,
        );
        for key in &self.keys {
            let _ = self.store.snapshots().remove(key);
        }
    }
}

pub async fn next(events: &mut Events) -> Option<ContainerEvent> {
    tokio::time::timeout(PATIENCE, events.next()).await.expect("an event comes in time")
}

/// Equality of long texts, with a message of bearable length.
#[track_caller]
pub fn same(actual: &str, expect: &str) {
    let differ = actual.bytes().zip(expect.bytes()).position(|(a, b)| a != b);
    let at = differ.unwrap_or(actual.len().min(expect.len()));
    let around = |text: &str| {
        text.bytes().skip(at.saturating_sub(20)).take(60).map(char::from).collect::<String>()
    };
    assert!(
        actual == expect,
        "differ at byte {at} of {} and {}: {:?} instead of {:?}",
        actual.len(),
        expect.len(),
        around(actual),
        around(expect)
    );
}
