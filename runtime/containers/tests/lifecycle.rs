//! The life of containers under a real shim and a real OCI runtime.

mod common;

use std::time::{Duration, Instant};

use common::{Pod, next};
use pintle_containers::{ContainerEvent, FaultCode, Phase, Sandbox};

#[tokio::test]
async fn a_container_runs_and_its_exit_is_told_after_its_output() {
    need_containers!();
    let mut pod = Pod::new().await;
    let mut events = pod.sandbox().events();
    pod.run("web", "echo out; echo err >&2; hostname; echo $FROM_IMAGE; exit 7").await;
    assert!(matches!(
        next(&mut events).await,
        Some(ContainerEvent::Started { name, attempt: 0, .. }) if name == "web"
    ));
    let Some(ContainerEvent::Exited { exit, .. }) = next(&mut events).await else {
        panic!("no exit");
    };
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (7, None, false));
    assert!(exit.finished_at >= exit.started_at);
    assert_eq!(pod.output("web", "stdout"), "out\npod-host\nyes\n");
    assert_eq!(pod.output("web", "stderr"), "err\n");

    pod.sandbox().delete("web").await.unwrap();
    assert!(pod.sandbox().containers().is_empty());
    pod.sandbox().shutdown().await.unwrap();
    assert_eq!(next(&mut events).await, None);
    assert_eq!(pod.traces(), Vec::<String>::new());
    assert!(!pod.spec.state_dir.exists());
}

#[tokio::test]
async fn requests_that_do_not_fit_the_phase_are_refused() {
    need_containers!();
    let mut pod = Pod::new().await;
    let sandbox = pod.sandbox().clone();
    let code = |result: Result<(), pintle_containers::SandboxError>| result.unwrap_err().code();
    assert_eq!(code(sandbox.start("none").await), Some(FaultCode::NotFound));
    let spec = pod.container("c", "sleep 60");
    sandbox.create_container(spec.clone()).await.unwrap();
    assert_eq!(code(sandbox.create_container(spec).await), Some(FaultCode::AlreadyExists));
    assert_eq!(code(sandbox.kill("c", 15).await), Some(FaultCode::WrongPhase));
    assert!(sandbox.wait("c").await.is_err());
    sandbox.start("c").await.unwrap();
    assert_eq!(code(sandbox.start("c").await), Some(FaultCode::WrongPhase));
    assert_eq!(code(sandbox.delete("c").await), Some(FaultCode::WrongPhase));
    assert_eq!(code(sandbox.shutdown().await), Some(FaultCode::WrongPhase));
    assert_eq!(code(sandbox.kill("c", 99).await), Some(FaultCode::Invalid));
    let exit = sandbox.stop("c", Duration::ZERO).await.unwrap();
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
}

#[tokio::test]
async fn a_start_that_fails_says_why_and_leaves_nothing() {
    need_containers!();
    let mut pod = Pod::new().await;
    let mut spec = pod.container("c", "");
    spec.args = vec!["/bin/no-such-program".into()];
    pod.sandbox().create_container(spec).await.unwrap();
    for _ in 0..2 {
        let error = pod.sandbox().start("c").await.unwrap_err();
        let fault = error.fault().unwrap();
        assert_eq!(fault.code, FaultCode::Runtime);
        assert!(fault.message.contains("no such file"), "{fault}");
        assert_eq!(pod.sandbox().state("c").unwrap().phase, Phase::Created);
    }
    pod.sandbox().delete("c").await.unwrap();
    pod.sandbox().shutdown().await.unwrap();
    assert_eq!(pod.traces(), Vec::<String>::new());
}

#[tokio::test]
async fn stop_asks_first_and_kills_after_the_grace() {
    need_containers!();
    let mut pod = Pod::new().await;
    pod.run("polite", "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done")
        .await;
    let mut deaf = pod.container("deaf", "trap '' QUIT; echo ready; while :; do sleep 0.05; done");
    deaf.stop_signal = 3;
    pod.sandbox().create_container(deaf).await.unwrap();
    pod.sandbox().start("deaf").await.unwrap();
    for name in ["polite", "deaf"] {
        // Until the shell has set its trap; it says so only in its log.
        while !std::fs::read_to_string(pod.log(name)).unwrap().contains("ready") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let exit = pod.sandbox().stop("polite", Duration::from_secs(30)).await.unwrap();
    assert_eq!(exit.code, 3);
    assert!(pod.output("polite", "stdout").ends_with("bye\n"));
    let started = Instant::now();
    let exit = pod.sandbox().stop("deaf", Duration::from_millis(300)).await.unwrap();
    assert_eq!(exit.signal, Some(9));
    assert!(started.elapsed() >= Duration::from_millis(300));
    // Again, of one that has ended: the same answer.
    assert_eq!(pod.sandbox().stop("deaf", Duration::ZERO).await.unwrap(), exit);
}

#[tokio::test]
async fn containers_of_a_pod_share_ipc_and_uts_and_nothing_else() {
    need_containers!();
    let mut pod = Pod::new().await;
    pod.run("a", "echo shared > /dev/shm/note; echo own > /tmp/note; sleep 60").await;
    pod.run("b", "until grep -q shared /dev/shm/note; do :; done; ls /tmp; hostname; ps | wc -l")
        .await;
    assert_eq!(pod.wait("b").await.code, 0);
    let output = pod.output("b", "stdout");
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines[0], "pod-host");
    // Its own processes only: the header, sh, ps and wc at most.
    assert!(lines[1].trim().parse::<u32>().unwrap() <= 4, "{output}");
    let links: Vec<_> = ["a"]
        .iter()
        .map(|name| pod.sandbox().state(name).unwrap().pid.unwrap())
        .map(|pid| std::fs::read_link(format!("/proc/{pid}/ns/ipc")).unwrap())
        .collect();
    let shim = std::fs::read_link(format!("/proc/{}/ns/ipc", pod.sandbox().shim_pid())).unwrap();
    assert_eq!(links, [shim]);
}

#[tokio::test]
async fn several_containers_start_at_the_same_time() {
    need_containers!();
    let mut pod = Pod::new().await;
    let names: Vec<String> = (0..6).map(|n| format!("c{n}")).collect();
    for name in &names {
        let spec = pod.container(name, "echo $HOSTNAME; exit 4");
        pod.sandbox().create_container(spec).await.unwrap();
    }
    let starts: Vec<_> = names
        .iter()
        .map(|name| {
            let (sandbox, name) = (pod.sandbox().clone(), name.clone());
            tokio::spawn(async move { sandbox.start(&name).await })
        })
        .collect();
    for start in starts {
        start.await.unwrap().unwrap();
    }
    for name in &names {
        assert_eq!(pod.wait(name).await.code, 4);
        pod.sandbox().delete(name).await.unwrap();
    }
}

#[tokio::test]
async fn a_second_shim_for_the_same_pod_is_refused() {
    need_containers!();
    let mut pod = Pod::new().await;
    pod.run("c", "sleep 60").await;
    assert!(Sandbox::create(pod.spec.clone()).await.is_err());
    assert_eq!(pod.sandbox().state("c").unwrap().phase, Phase::Running);
}

#[tokio::test]
async fn the_kernel_killing_for_memory_is_told() {
    need_containers!();
    let mut pod = Pod::new().await;
    let mut spec = pod.container("hog", "x=a; while :; do x=$x$x; done");
    spec.resources.memory_limit = Some(16 << 20);
    pod.sandbox().create_container(spec).await.unwrap();
    pod.sandbox().start("hog").await.unwrap();
    let exit = pod.wait("hog").await;
    assert_eq!((exit.code, exit.oom_killed), (137, true));
    // One that only dies of the same signal is not confused with it.
    pod.run("killed", "kill -9 $$; sleep 60").await;
    pod.sandbox().kill("killed", 9).await.ok();
    let exit = pod.wait("killed").await;
    assert_eq!((exit.code, exit.oom_killed), (137, false));
}
