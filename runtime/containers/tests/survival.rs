//! Whoever is killed: no container runs twice, none is lost, nothing stays.

mod common;

use std::process::Command;
use std::time::Duration;

use common::{Pod, next};
use pintle_containers::{ContainerEvent, FaultCode, Phase, Sandbox, SandboxError, discover};
use rustix::process::{Pid, Signal, kill_process};

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_client_that_comes_back_finds_everything_as_it_is() {
    need_containers!();
    let mut pod = Pod::new().await;
    pod.run("ends", "sleep 0.3; echo while away; exit 5").await;
    pod.run("stays", "sleep 1000").await;
    let before = pod.sandbox().state("stays").unwrap();
    pod.sandbox = None;

    assert_eq!(discover(pod.dir.path()).unwrap(), [pod.spec.state_dir.clone()]);
    let found = Sandbox::reconnect(&pod.spec.state_dir).await.unwrap();
    assert_eq!(found.spec, pod.spec);
    pod.sandbox = found.live;
    assert_eq!(pod.sandbox().state("stays").unwrap(), before);
    assert_eq!(pod.wait("ends").await.code, 5);
    assert_eq!(pod.output("ends", "stdout"), "while away\n");
    // A third client is told what the second saw happen.
    let again = Sandbox::reconnect(&pod.spec.state_dir).await.unwrap();
    let mut events = again.live.unwrap().events();
    let mut told = Vec::new();
    while told.len() < 3 {
        told.push(match next(&mut events).await.unwrap() {
            ContainerEvent::Started { name, .. } => format!("{name} started"),
            ContainerEvent::Exited { name, exit, .. } => format!("{name} {}", exit.code),
        });
    }
    assert_eq!(told, ["ends started", "ends 5", "stays started"]);
}

/// The client's process is this test's own child: killed in the middle of its work, twenty times.
#[tokio::test]
async fn a_client_that_is_killed_takes_nothing_with_it() {
    need_containers!();
    let mut pod = Pod::new().await;
    pod.run("c", "sleep 1000").await;
    let pid = pod.sandbox().state("c").unwrap().pid;
    for _ in 0..20 {
        let mut client = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "helper_client", "--nocapture"])
            .env("PINTLE_TEST_STATE_DIR", &pod.spec.state_dir)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // Killed once it is connected, at whatever it then does.
        let mut line = String::new();
        let mut output = std::io::BufReader::new(client.stdout.take().unwrap());
        while !line.contains("connected") {
            line.clear();
            assert!(std::io::BufRead::read_line(&mut output, &mut line).unwrap() > 0);
        }
        client.kill().unwrap();
        client.wait().unwrap();
    }
    let found = Sandbox::reconnect(&pod.spec.state_dir).await.unwrap();
    let state = found.live.unwrap().state("c").unwrap();
    assert_eq!((state.phase, state.pid), (Phase::Running, pid));
}

/// Not a test: what `a_client_that_is_killed_takes_nothing_with_it` starts and kills.
#[tokio::test]
async fn helper_client() {
    let Some(dir) = std::env::var_os("PINTLE_TEST_STATE_DIR") else {
        return;
    };
    let sandbox = Sandbox::reconnect(dir.as_ref()).await.unwrap().live.unwrap();
    println!("connected");
    loop {
        let spec = pintle_containers::ExecSpec {
            args: vec!["/bin/sleep".into(), "1000".into()],
            ..Default::default()
        };
        drop(sandbox.exec("c", spec).await);
    }
}

#[tokio::test]
async fn a_killed_shim_ends_its_containers_and_its_pod_can_start_again() {
    need_containers!();
    let mut pod = Pod::new().await;
    pod.run("ended", "exit 5").await;
    pod.wait("ended").await;
    pod.run("lost", "trap '' TERM; sleep 1000 & sleep 1000").await;
    let created = pod.container("created", "true");
    pod.sandbox().create_container(created).await.unwrap();
    let mut events = pod.sandbox().events();

    kill(pod.sandbox().shim_pid());
    while next(&mut events).await.is_some() {}
    assert!(matches!(pod.sandbox().start("created").await, Err(SandboxError::ShimLost)));

    for _ in 0..2 {
        let found = Sandbox::reconnect(&pod.spec.state_dir).await.unwrap();
        assert!(found.live.is_none());
        let told: Vec<_> = found
            .records
            .iter()
            .map(|state| {
                let exit = state.exit.as_ref().map(|exit| (exit.code, exit.reason.as_deref()));
                (state.name.as_str(), state.phase, exit)
            })
            .collect();
        assert_eq!(
            told,
            [
                ("created", Phase::Created, None),
                ("ended", Phase::Exited, Some((5, None))),
                ("lost", Phase::Exited, Some((137, Some("shim lost")))),
            ]
        );
        assert_eq!(pod.traces(), Vec::<String>::new());
    }

    pod.sandbox = Some(Sandbox::create(pod.spec.clone()).await.unwrap());
    assert!(pod.sandbox().containers().is_empty());
    pod.run("lost", "exit 6").await;
    assert_eq!(pod.wait("lost").await.code, 6);
    kill(pod.sandbox().shim_pid());
    Sandbox::reconnect(&pod.spec.state_dir).await.unwrap();
    Sandbox::forget(&pod.spec.state_dir).await.unwrap();
    assert!(!pod.spec.state_dir.exists());
    assert!(matches!(
        Sandbox::reconnect(&pod.spec.state_dir).await,
        Err(SandboxError::NoIntent(_))
    ));
}

#[tokio::test]
async fn a_shim_killed_in_the_middle_of_starts_leaves_nothing() {
    need_containers!();
    for round in 0..10 {
        let mut pod = Pod::new().await;
        let mut starts = Vec::new();
        for n in 0..3 {
            let name = format!("c{n}");
            let spec = pod.container(&name, "sleep 1000");
            pod.sandbox().create_container(spec).await.unwrap();
            let sandbox = pod.sandbox().clone();
            starts.push(tokio::spawn(async move { sandbox.start(&name).await }));
        }
        tokio::time::sleep(Duration::from_millis(2 + 4 * round)).await;
        kill(pod.sandbox().shim_pid());
        for start in starts {
            let _ = start.await.unwrap();
        }
        let found = Sandbox::reconnect(&pod.spec.state_dir).await.unwrap();
        assert!(found.live.is_none() && found.records.len() == 3);
        // Were something still on its way to start, it would show by now.
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(pod.traces(), Vec::<String>::new(), "round {round}");
    }
}

/// A runtime whose first command `verb` is killed after some time.
fn killed_runtime(pod: &Pod, verb: &str, after_millis: u32) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let real = pintle_containers::probe_runtime(None).unwrap();
    let path = pod.dir.path().join("runtime.sh");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *' {verb} '*)\n\
         [ -e {marker} ] || {{ touch {marker}; exec timeout -s KILL {seconds} {real} \"$@\"; }};; esac\n\
         exec {real} \"$@\"\n",
        marker = pod.dir.path().join("killed-once").display(),
        seconds = f64::from(after_millis) / 1000.0,
        real = real.display(),
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

#[tokio::test]
async fn a_killed_runtime_is_reported_and_the_start_can_be_repeated() {
    need_containers!();
    for after_millis in [1, 3, 6, 9, 12, 15, 18, 22, 30] {
        let mut pod = Pod::unstarted(|_| {});
        pod.spec.runtime = killed_runtime(&pod, "run", after_millis);
        pod.sandbox = Some(Sandbox::create(pod.spec.clone()).await.unwrap());
        let spec = pod.container("c", "echo once; exit 3");
        pod.sandbox().create_container(spec).await.unwrap();
        if let Err(error) = pod.sandbox().start("c").await {
            assert!(
                matches!(error.code(), Some(FaultCode::RuntimeKilled | FaultCode::Runtime)),
                "{error:?}"
            );
            assert_eq!(pod.sandbox().state("c").unwrap().phase, Phase::Created);
            pod.sandbox().start("c").await.unwrap();
        }
        assert_eq!(pod.wait("c").await.code, 3, "after {after_millis} ms");
        pod.sandbox().delete("c").await.unwrap();
        pod.sandbox().shutdown().await.unwrap();
        assert_eq!(pod.traces(), Vec::<String>::new(), "after {after_millis} ms");
    }
}

#[tokio::test]
async fn a_shim_that_cannot_start_says_why_and_leaves_nothing() {
    need_containers!();
    let mut pod = Pod::unstarted(|_| {});
    pod.spec.shim_binary = "/bin/false".into();
    let error = Sandbox::create(pod.spec.clone()).await.unwrap_err();
    assert!(matches!(error, SandboxError::Launch { .. }), "{error}");
    assert_eq!(pod.traces(), Vec::<String>::new());
    assert!(!pod.spec.state_dir.exists());
}

/// The session of a process. Read from /proc, where it is 0 for a session whose leader lies outside
/// of our PID namespace: `getsid` of rustix takes that answer for impossible and panics.
fn session_of(pid: &str) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // proc_pid_stat(5): the name may hold anything; state, ppid, pgrp and session follow it.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').nth(3).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_shim_leaves_the_session_and_the_service_of_its_creator() {
    need_containers!();
    let pod = Pod::new().await;
    let shim = pod.sandbox().shim_pid();
    let hierarchies = pintle_containers::cgroup::Hierarchies::detect().unwrap();
    let tracked = hierarchies.unified.is_some() || hierarchies.v1_mount("name=systemd").is_some();
    let cgroups = std::fs::read_to_string(format!("/proc/{shim}/cgroup")).unwrap();
    assert_eq!(cgroups.contains(":/pintle-shims\n"), tracked, "{cgroups}");
    assert_ne!(session_of(&shim.to_string()), session_of("self"));
}

#[tokio::test]
async fn a_runtime_killed_at_exec_or_delete_leaves_nothing() {
    need_containers!();
    for after_millis in [1, 3, 6, 10] {
        for verb in ["exec", "delete"] {
            let mut pod = Pod::unstarted(|_| {});
            pod.spec.runtime = killed_runtime(&pod, verb, after_millis);
            pod.sandbox = Some(Sandbox::create(pod.spec.clone()).await.unwrap());
            pod.run("c", "sleep 1000").await;
            let exec = pintle_containers::ExecSpec {
                args: vec!["/bin/true".into()],
                ..Default::default()
            };
            for round in 0..2 {
                match pod.sandbox().exec("c", exec.clone()).await {
                    Ok(stream) => {
                        let code = stream.exit.wait().await.unwrap().code;
                        // How far the killed one got is the machine's business.
                        assert!(code == 0 || verb == "exec" && round == 0, "{code}");
                    }
                    Err(error) => assert!(verb == "exec" && round == 0, "{error:?}"),
                }
            }
            pod.sandbox().stop("c", Duration::ZERO).await.unwrap();
            pod.sandbox().delete("c").await.unwrap();
            pod.sandbox().shutdown().await.unwrap();
            assert_eq!(pod.traces(), Vec::<String>::new(), "{verb} after {after_millis} ms");
        }
    }
}
