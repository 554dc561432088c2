//! Processes beside a container's own, with and without a terminal.

mod common;

use std::time::Duration;

use common::{PATIENCE, Pod};
use pintle_containers::{ExecSpec, ExecStream, FaultCode, TerminalSize, User};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn running() -> Pod {
    let mut pod = Pod::new().await;
    pod.run("c", "sleep 1000").await;
    pod
}

fn shell(script: &str) -> ExecSpec {
    ExecSpec { args: ["/bin/sh", "-c", script].map(String::from).to_vec(), ..ExecSpec::default() }
}

/// Reads both streams to their ends, then the exit code.
async fn finish(mut stream: ExecStream) -> (String, String, i32) {
    let (mut out, mut err) = (String::new(), String::new());
    let read = async {
        tokio::join!(stream.stdout.read_to_string(&mut out), stream.stderr.read_to_string(&mut err))
    };
    let (a, b) = tokio::time::timeout(PATIENCE, read).await.unwrap();
    a.and(b).unwrap();
    let exit = stream.exit.wait().await.unwrap();
    (out, err, exit.code)
}

#[tokio::test]
async fn streams_are_separate_and_complete() {
    need_containers!();
    let pod = running().await;
    let stream =
        pod.sandbox().exec("c", shell("seq 1 100000; echo err >&2; exit 9")).await.unwrap();
    let (out, err, code) = finish(stream).await;
    assert!(out == (1..=100_000).map(|n| format!("{n}\n")).collect::<String>());
    assert_eq!((err.as_str(), code), ("err\n", 9));
}

#[tokio::test]
async fn input_is_passed_on_and_its_end_too() {
    need_containers!();
    let pod = running().await;
    let mut spec = shell("cat | wc -c");
    spec.stdin = true;
    let mut stream = pod.sandbox().exec("c", spec).await.unwrap();
    let mut stdin = std::mem::replace(&mut stream.stdin, tokio::io::duplex(1).0);
    let writer = tokio::spawn(async move {
        for _ in 0..50 {
            stdin.write_all(&[b'x'; 20_000]).await.unwrap();
        }
    });
    let (out, _, code) = finish(stream).await;
    writer.await.unwrap();
    assert_eq!((out.trim(), code), ("1000000", 0));
}

#[tokio::test]
async fn environment_user_and_directory() {
    need_containers!();
    let pod = running().await;
    let mut spec = shell("id -u; echo $FROM_IMAGE $MORE; pwd");
    spec.env = vec![("MORE".into(), "too".into())];
    spec.cwd = "/tmp".into();
    spec.user = Some(User { uid: 33, gid: 33, additional_gids: Vec::new() });
    let stream = pod.sandbox().exec("c", spec).await.unwrap();
    assert_eq!(finish(stream).await.0, "33\nyes too\n/tmp\n");
}

#[tokio::test]
async fn a_terminal_can_be_typed_into_and_resized() {
    need_containers!();
    let pod = running().await;
    // Sizes and input travel on different queues: the line is read when the size is there.
    let mut spec = shell(
        "stty size; until [ \"$(stty size)\" = '40 120' ]; do sleep 0.05; done; \
         read line; stty size; echo got $line; test -t 2 && exit 6",
    );
    (spec.tty, spec.stdin, spec.size) = (true, true, Some((100, 30)));
    let mut stream = pod.sandbox().exec("c", spec).await.unwrap();
    let mut first = [0; 8];
    stream.stdout.read_exact(&mut first).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&first), "30 100\r\n");
    stream.resize.set(TerminalSize { width: 120, height: 40 }).await;
    stream.stdin.write_all(b"hello\n").await.unwrap();
    let keep_open = std::mem::replace(&mut stream.stdin, tokio::io::duplex(1).0);
    let (out, err, code) = finish(stream).await;
    drop(keep_open);
    assert_eq!(out, "hello\r\n40 120\r\ngot hello\r\n");
    assert_eq!((err.as_str(), code), ("", 6));
}

#[tokio::test]
async fn a_client_that_goes_takes_its_process_along() {
    need_containers!();
    let pod = running().await;
    let stream = pod.sandbox().exec("c", shell("sleep 1000")).await.unwrap();
    let pid = rustix::process::Pid::from_raw(stream.pid as i32).unwrap();
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    drop(stream);
    let gone = tokio::task::spawn_blocking(move || {
        let mut wait = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        let limit = rustix::event::Timespec { tv_sec: 180, tv_nsec: 0 };
        rustix::event::poll(&mut wait, Some(&limit)).unwrap()
    });
    assert_eq!(gone.await.unwrap(), 1, "the process ends in time");
}

#[tokio::test]
async fn a_slow_reader_gets_everything() {
    need_containers!();
    let pod = running().await;
    let mut stream = pod.sandbox().exec("c", shell("seq 1 400000; exit 1")).await.unwrap();
    // Long enough for every buffer on the way to fill up.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut out = Vec::new();
    stream.stdout.read_to_end(&mut out).await.unwrap();
    assert_eq!(stream.exit.wait().await.unwrap().code, 1);
    assert!(out.ends_with(b"399999\n400000\n"));
    assert_eq!(out.len(), (1..=400_000).map(|n: u32| n.to_string().len() + 1).sum::<usize>());
}

#[tokio::test]
async fn what_cannot_be_executed_is_refused() {
    need_containers!();
    let mut pod = running().await;
    let code =
        |result: Result<ExecStream, pintle_containers::SandboxError>| result.unwrap_err().code();
    let mut spec = shell("");
    spec.args = vec!["/bin/none".into()];
    let error = pod.sandbox().exec("c", spec).await.unwrap_err();
    assert!(error.fault().unwrap().message.contains("no such file"), "{error:?}");
    let created = pod.container("created", "true");
    pod.sandbox().create_container(created).await.unwrap();
    assert_eq!(
        code(pod.sandbox().exec("created", shell("true")).await),
        Some(FaultCode::WrongPhase)
    );
    assert!(pod.sandbox().exec("none", shell("true")).await.is_err());
}

#[tokio::test]
async fn attach_joins_the_container_itself() {
    need_containers!();
    let mut pod = Pod::new().await;
    let mut spec = pod.container("cat", "echo early; cat; exit 4");
    spec.stdin = true;
    pod.sandbox().create_container(spec).await.unwrap();
    pod.sandbox().start("cat").await.unwrap();
    let mut stream = pod.sandbox().attach("cat").await.unwrap();
    stream.stdin.write_all(b"typed\n").await.unwrap();
    stream.stdin.shutdown().await.unwrap();
    let (out, _, code) = finish(stream).await;
    assert!(out.ends_with("typed\n"), "{out:?}");
    assert_eq!(code, 4);
    assert_eq!(pod.output("cat", "stdout"), "early\ntyped\n");
}
