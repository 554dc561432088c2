//! How long a container takes from create to running, against bare `runc run` in the same run, and
//! what a shim costs in memory.
//!
//! `cargo bench -p pintle-containers --bench start`; needs root, an OCI runtime and busybox.

#[path = "../tests/common/mod.rs"]
mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::Pod;

const ROUNDS: usize = 50;

#[tokio::main]
async fn main() {
    if let Some(reason) = common::cannot_run() {
        println!("{reason}");
        return;
    }
    let rounds = ROUNDS;
    let mut pod = Pod::new().await;
    let once = bare_runtime(&mut pod);
    let mut bare = Vec::new();
    let mut running = Vec::new();
    let mut deleting = Vec::new();
    // The three take turns, so that whatever else the machine does falls on all of them.
    let mut whole = Vec::new();
    let mut memory = Vec::new();
    for n in 0..rounds {
        bare.push(once(n));
        let name = format!("c{n}");
        let begun = Instant::now();
        let spec = pod.container(&name, "exec sleep 1000");
        pod.sandbox().create_container(spec).await.unwrap();
        pod.sandbox().start(&name).await.unwrap();
        running.push(begun.elapsed());
        pod.sandbox().stop(&name, Duration::ZERO).await.unwrap();
        let begun = Instant::now();
        pod.sandbox().delete(&name).await.unwrap();
        deleting.push(begun.elapsed());
        let mut fresh = Pod::unstarted(|_| {});
        let begun = Instant::now();
        let sandbox = pintle_containers::Sandbox::create(fresh.spec.clone()).await.unwrap();
        fresh.sandbox = Some(sandbox);
        fresh.run("c", "echo hello; exec sleep 1000").await;
        whole.push(begun.elapsed());
        memory.push(resident(fresh.sandbox().shim_pid()));
        fresh.sandbox().stop("c", Duration::ZERO).await.unwrap();
        fresh.sandbox().delete("c").await.unwrap();
        fresh.sandbox().shutdown().await.unwrap();
    }
    let busy = after_work().await;
    println!("{:<44} {:>9} {:>9}", format!("{rounds} rounds"), "p50", "p99");
    let floor = report("bare runc run --detach", bare, None);
    report("container: rootfs, create, start", running, Some(floor));
    report("container: delete", deleting, None);
    report("pod: shim, rootfs, create, start", whole, Some(floor));
    memory.sort_unstable();
    let (rss, own) = (memory[memory.len() / 2], memory[memory.len() - 1]);
    println!(
        "{:<44} {:>6} kB {:>6} kB  (of it private: {} kB, {} kB)",
        "resident memory of a shim, p50 and maximum", rss.0, own.0, rss.1, own.1
    );
    println!(
        "{:<44} {:>6} kB            (of it private: {} kB)",
        "the same after 20 MB of log and 100 execs", busy.0, busy.1
    );
}

/// Memory of a shim that has had work: a log of 20 MB and a hundred exec sessions.
async fn after_work() -> (u64, u64) {
    let mut pod = Pod::new().await;
    pod.run("chatty", "seq 1 400000").await;
    pod.wait("chatty").await;
    pod.run("c", "exec sleep 1000").await;
    for _ in 0..100 {
        let exec = pintle_containers::ExecSpec {
            args: ["/bin/seq", "1", "1000"].map(String::from).to_vec(),
            ..Default::default()
        };
        let mut stream = pod.sandbox().exec("c", exec).await.unwrap();
        let mut output = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut stream.stdout, &mut output).await.unwrap();
        stream.exit.wait().await.unwrap();
    }
    resident(pod.sandbox().shim_pid())
}

fn report(what: &str, mut times: Vec<Duration>, floor: Option<Duration>) -> Duration {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    let ratio = floor
        .map(|floor| format!("  {:.2} x bare", at(50).as_secs_f64() / floor.as_secs_f64()))
        .unwrap_or_default();
    let millis = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    println!("{what:<44} {:>9} {:>9}{ratio}", millis(at(50)), millis(at(99)));
    at(50)
}

/// The same bundle, started without us.
fn bare_runtime(pod: &mut Pod) -> impl Fn(usize) -> Duration + use<> {
    let spec = pod.container("bare", "exec sleep 1000");
    let root = pod.dir.path().join("bare-root");
    let bundle = pod.dir.path().join("bare");
    std::fs::create_dir(&bundle).unwrap();
    let (runtime, own_id, own_bundle) =
        (pod.spec.runtime.clone(), pod.spec.id.clone(), bundle.clone());
    let run = move |arguments: &[&str]| {
        let status = Command::new(&runtime)
            .arg("--root")
            .arg(&root)
            .args(arguments)
            .current_dir(&own_bundle)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{arguments:?}");
    };
    run(&["spec"]);
    let path = bundle.join("config.json");
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["process"]["args"] = serde_json::json!(spec.args);
    config["process"]["terminal"] = false.into();
    config["root"]["path"] = serde_json::json!(spec.rootfs);
    config["linux"]["cgroupsPath"] = format!("{}/bare", pod.spec.cgroup_parent).into();
    std::fs::write(&path, config.to_string()).unwrap();
    move |n| {
        let id = format!("{own_id}-bare-{n}");
        let begun = Instant::now();
        run(&["run", "--detach", &id]);
        let took = begun.elapsed();
        run(&["delete", "--force", &id]);
        took
    }
}

/// Resident and private kilobytes of a process.
fn resident(pid: u32) -> (u64, u64) {
    let text =
        std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("smaps_rollup"))
            .unwrap();
    let field = |name: &str| {
        text.lines()
            .filter(|line| line.starts_with(name))
            .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
            .sum()
    };
    (field("Rss:"), field("Private_"))
}
