//! Clients and settings that a shim must withstand.

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use common::{PATIENCE, Pod};
use pintle_containers::{ContainerSpec, Mount, MountKind, Phase, SandboxError};
use pintle_shim::protocol::{self, ClientHello, FaultCode, Role, ServerHello};

fn connect(pod: &Pod) -> UnixStream {
    let stream = UnixStream::connect(pod.spec.state_dir.join("shim.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What the shim answers before it hangs up.
fn answer(mut stream: UnixStream) -> Option<ServerHello> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    protocol::decode(&mut bytes).unwrap()
}

#[tokio::test]
async fn malformed_clients_are_refused_and_disturb_nobody() {
    need_containers!();
    let mut pod = Pod::new().await;
    pod.run("c", "sleep 1000").await;
    let garbage: [&[u8]; 4] =
        [&[0xff; 64], b"\0\0\0\x02{}", b"\0\0\0\x05hello", b"GET / HTTP/1.1\r\n\r\n"];
    for bytes in garbage {
        let mut stream = connect(&pod);
        stream.write_all(bytes).unwrap();
        let Some(ServerHello::Refused(fault)) = answer(stream) else {
            panic!("{bytes:?} is not refused");
        };
        assert_eq!(fault.code, FaultCode::Invalid);
    }
    let mut other = connect(&pod);
    let hello = ClientHello { version: 99, role: Role::Control };
    other.write_all(&protocol::encode(&hello).unwrap()).unwrap();
    assert!(matches!(
        answer(other),
        Some(ServerHello::Refused(fault)) if fault.code == FaultCode::Version
    ));
    // Many that say nothing, and many that leave at once.
    let silent: Vec<_> = (0..50).map(|_| connect(&pod)).collect();
    for _ in 0..300 {
        drop(connect(&pod));
    }
    pod.run("d", "exit 3").await;
    assert_eq!(pod.wait("d").await.code, 3);
    assert_eq!(pod.sandbox().state("c").unwrap().phase, Phase::Running);
    drop(silent);
}

#[tokio::test]
async fn the_socket_and_the_files_are_roots_alone() {
    use std::os::unix::fs::PermissionsExt;
    need_containers!();
    let pod = Pod::new().await;
    for (file, mode) in
        [("", 0o700), ("shim.sock", 0o600), ("intent.json", 0o600), ("shim.lock", 0o600)]
    {
        let meta = std::fs::metadata(pod.spec.state_dir.join(file)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777 & !mode, 0, "{file}");
    }
}

#[tokio::test]
async fn a_state_directory_longer_than_a_socket_address() {
    need_containers!();
    let long = "d".repeat(150);
    let mut pod = Pod::with(|spec| spec.state_dir = spec.state_dir.join(&long)).await;
    let mut spec = pod.container("c", "tty=yes; test -t 0 && exit 5");
    spec.tty = true;
    pod.sandbox().create_container(spec).await.unwrap();
    pod.sandbox().start("c").await.unwrap();
    assert_eq!(pod.wait("c").await.code, 5);
}

#[tokio::test]
async fn invalid_specs_are_refused_before_anything_runs() {
    need_containers!();
    let mut pod = Pod::new().await;
    let good = pod.container("c", "true");
    let refused: [fn(&mut ContainerSpec); 4] = [
        |spec| spec.name = "a/b".into(),
        |spec| spec.args.clear(),
        |spec| spec.cwd = "relative".into(),
        |spec| spec.mounts.push(Mount::bind("/etc", "relative")),
    ];
    for change in refused {
        let mut spec = good.clone();
        change(&mut spec);
        let error = pod.sandbox().create_container(spec).await.unwrap_err();
        assert!(matches!(error, SandboxError::Invalid { .. }), "{error}");
    }
    let mut spec = good;
    spec.log_path = Some("/nonexistent-directory/c.log".into());
    pod.sandbox().create_container(spec).await.unwrap();
    let error = pod.sandbox().start("c").await.unwrap_err();
    assert_eq!(error.code(), Some(FaultCode::Invalid));
}

/// Removed also when the test fails.
struct Netns(String);

impl Netns {
    fn add() -> Option<Self> {
        let netns = Self(common::unique("pt"));
        netns.ip("add").then_some(netns)
    }

    fn ip(&self, verb: &str) -> bool {
        Command::new("ip").args(["netns", verb, &self.0]).status().is_ok_and(|s| s.success())
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        self.ip("delete");
    }
}

#[tokio::test]
async fn mounts_limits_and_the_network_namespace_are_as_asked() {
    need_containers!();
    let Some(netns) = Netns::add() else {
        println!("SKIPPED: needs ip (iproute2)");
        return;
    };
    let path = format!("/run/netns/{}", netns.0);
    let mut pod = Pod::with(|spec| {
        spec.netns = Some(path.clone().into());
        spec.resources.pids = Some(500);
    })
    .await;
    let volume = pod.dir.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("file"), "shared").unwrap();
    let mut spec = pod.container(
        "c",
        "cat /data/file; touch /data/no 2>/dev/null && echo written; touch /no 2>/dev/null && echo written; echo done; sleep 1000",
    );
    spec.readonly_rootfs = true;
    spec.mounts = vec![Mount::bind(&volume, "/data").readonly()];
    spec.resources.memory_limit = Some(64 << 20);
    spec.oom_score_adj = 500;
    // Mount points cannot be made in a root file system that is read-only.
    std::fs::create_dir(spec.rootfs.join("data")).unwrap();
    pod.sandbox().create_container(spec).await.unwrap();
    pod.sandbox().start("c").await.unwrap();
    let pid = pod.sandbox().state("c").unwrap().pid.unwrap();
    use std::os::unix::fs::MetadataExt;
    let inode = |path: &str| std::fs::metadata(path).unwrap().ino();
    assert_eq!(inode(&format!("/proc/{pid}/ns/net")), inode(&path));
    let score = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    assert_eq!(score.trim(), "500");
    let cgroups = pintle_containers::cgroup::Hierarchies::detect().unwrap();
    let cgroup = format!("{}/c-0", pod.spec.cgroup_parent);
    let limit = match cgroups.v1_dir("memory", &cgroup) {
        Some(dir) => dir.join("memory.limit_in_bytes"),
        None => cgroups.unified_dir(&cgroup).unwrap().join("memory.max"),
    };
    assert_eq!(std::fs::read_to_string(limit).unwrap().trim(), (64 << 20).to_string());
    let pids = match cgroups.v1_dir("pids", &pod.spec.cgroup_parent) {
        Some(dir) => dir.join("pids.max"),
        None => cgroups.unified_dir(&pod.spec.cgroup_parent).unwrap().join("pids.max"),
    };
    assert_eq!(std::fs::read_to_string(pids).unwrap().trim(), "500");
    // Until the script has come to its end; it says so only in its log.
    while !std::fs::read_to_string(pod.log("c")).unwrap().contains("done") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    pod.sandbox().stop("c", Duration::ZERO).await.unwrap();
    assert_eq!(pod.output("c", "stdout"), "shareddone\n");
}

#[tokio::test]
async fn a_privileged_container_sees_the_devices() {
    need_containers!();
    let mut pod = Pod::new().await;
    let mut spec = pod.container("c", "ls /dev/kmsg && head -c 1 /dev/zero > /dev/null && exit 8");
    spec.privileged = true;
    pod.sandbox().create_container(spec).await.unwrap();
    pod.sandbox().start("c").await.unwrap();
    assert_eq!(pod.wait("c").await.code, 8);
}

#[tokio::test]
async fn a_user_reaches_a_mount_below_directories_that_were_not_there() {
    need_containers!();
    let mut pod = Pod::new().await;
    let volume = pod.dir.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("token"), "secret").unwrap();
    let mut spec =
        pod.container("c", "cat /run/secrets/deep/token; touch /scratch/mine; ls -l /scratch/mine");
    spec.user.uid = 33;
    spec.mounts = vec![
        Mount::bind(&volume, "/run/secrets/deep").readonly(),
        Mount {
            kind: MountKind::Tmpfs { size_bytes: Some(1 << 20) },
            ..Mount::bind("/", "/scratch")
        },
    ];
    pod.sandbox().create_container(spec).await.unwrap();
    pod.sandbox().start("c").await.unwrap();
    let code = pod.wait("c").await.code;
    assert_eq!((code, pod.output("c", "stderr").as_str()), (0, ""));
    let output = pod.output("c", "stdout");
    assert!(output.starts_with("secret-rw-r--r--"), "{output}");
}
