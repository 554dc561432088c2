//! Nothing of a container's output is lost, however much and however it ends.

mod common;

use common::{Pod, same};
use pintle_containers::LogLimits;

#[tokio::test]
async fn all_of_a_big_output_is_in_the_log_when_the_exit_is_told() {
    need_containers!();
    let mut pod = Pod::new().await;
    let mut spec = pod.container("big", "seq 1 300000; seq 1 1000 >&2; printf 'no end'");
    spec.log_limits.max_bytes = 1 << 30;
    pod.sandbox().create_container(spec).await.unwrap();
    pod.sandbox().start("big").await.unwrap();
    assert_eq!(pod.wait("big").await.code, 0);
    let expect: String = (1..=300_000).map(|n| format!("{n}\n")).collect();
    same(&pod.output("big", "stdout"), &(expect + "no end"));
    let expect: String = (1..=1000).map(|n| format!("{n}\n")).collect();
    same(&pod.output("big", "stderr"), &expect);
}

#[tokio::test]
async fn a_line_longer_than_an_entry_is_joined_again() {
    need_containers!();
    let mut pod = Pod::new().await;
    pod.run("long", "head -c 100000 /dev/zero | tr '\\0' x; echo").await;
    pod.wait("long").await;
    assert_eq!(pod.output("long", "stdout"), "x".repeat(100_000) + "\n");
    let text = std::fs::read_to_string(pod.log("long")).unwrap();
    assert_eq!(text.lines().filter(|line| line.contains(" stdout P ")).count(), 6);
}

#[tokio::test]
async fn logs_rotate_within_their_limits() {
    need_containers!();
    let mut pod = Pod::new().await;
    let mut spec = pod.container("chatty", "seq 1 100000");
    spec.log_limits = LogLimits { max_bytes: 100_000, max_files: 3 };
    pod.sandbox().create_container(spec).await.unwrap();
    pod.sandbox().start("chatty").await.unwrap();
    pod.wait("chatty").await;
    let size = |suffix: &str| {
        let path = format!("{}{suffix}", pod.log("chatty").display());
        std::fs::metadata(path).ok().map(|meta| meta.len())
    };
    assert!(size(".1").unwrap() >= 100_000 && size(".2").unwrap() < 170_000);
    assert_eq!(size(".3"), None);
    assert!(pod.output("chatty", "stdout").ends_with("99999\n100000\n"));
}

#[tokio::test]
async fn output_of_what_a_container_left_behind_does_not_hold_up_its_exit() {
    need_containers!();
    let mut pod = Pod::with(|spec| spec.host_pid = true).await;
    pod.run("parent", "sleep 1000 & echo done; exit 5").await;
    let started = std::time::Instant::now();
    assert_eq!(pod.wait("parent").await.code, 5);
    assert!(started.elapsed().as_secs() < 500, "it waited for what was left behind");
    assert_eq!(pod.output("parent", "stdout"), "done\n");
    pod.sandbox().delete("parent").await.unwrap();
    pod.sandbox().shutdown().await.unwrap();
    assert_eq!(pod.traces(), Vec::<String>::new());
}

#[tokio::test]
async fn a_container_with_a_terminal_logs_what_it_prints_there() {
    need_containers!();
    let mut pod = Pod::new().await;
    let mut spec = pod.container("tty", "test -t 0 && test -t 1 && seq 1 20000; exit 2");
    spec.tty = true;
    pod.sandbox().create_container(spec).await.unwrap();
    pod.sandbox().start("tty").await.unwrap();
    assert_eq!(pod.wait("tty").await.code, 2);
    let expect: String = (1..=20_000).map(|n| format!("{n}\r\n")).collect();
    same(&pod.output("tty", "stdout"), &expect);
}
