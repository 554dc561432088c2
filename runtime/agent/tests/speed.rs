//! How long a pod takes from its object to Running, and what of it the agent
//! costs. Prints figures; fails only when they are out of all proportion, since
//! other work on the machine counts in.

mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use support::{Cluster, PODS, isolated};

const PODS_MEASURED: usize = 30;

#[test]
fn a_pod_is_running_soon() {
    isolated(|| {
        let cluster = Cluster::start();
        cluster.wait("the node to be ready", |c| {
            let node = c.get("/api/v1/nodes/n1").unwrap();
            node["status"]["conditions"]
                .as_array()
                .unwrap()
                .iter()
                .any(|x| x["type"] == "Ready" && x["status"] == "True")
        });
        let mut took: Vec<Duration> = (0..PODS_MEASURED)
            .map(|n| {
                let name = format!("p{n}");
                let begun = Instant::now();
                cluster.run(&name, "exec sleep 600", json!({}));
                while cluster.phase(&name) != "Running" {
                    assert!(begun.elapsed() < support::PATIENCE);
                    std::thread::sleep(Duration::from_millis(1));
                }
                begun.elapsed()
            })
            .collect();
        took.sort();
        let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_millis();
        eprintln!("created to Running: p50 {} ms, p90 {} ms, max {} ms", at(50), at(90), at(100));
        assert!(at(50) < 20_000);
        // Nothing happens any more, so nothing may be done: an agent never polls.
        // What is left to be done is done some time; polling has no end.
        let idle = Duration::from_secs(2);
        let quiet = (0..10).any(|_| {
            let before = cpu_time();
            std::thread::sleep(idle);
            let used = cpu_time() - before;
            eprintln!("idle with {PODS_MEASURED} pods: {used:?} of CPU in {idle:?}");
            used < idle / 10
        });
        assert!(quiet, "it is never idle");
        let begun = Instant::now();
        for n in 0..PODS_MEASURED {
            cluster.delete(&format!("{PODS}/p{n}"), 0);
        }
        cluster.wait("the shims to go", |c| c.shims() == 0);
        eprintln!("{PODS_MEASURED} pods removed in {} ms", begun.elapsed().as_millis());
    });
}

/// Of this process: server and agent.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // USER_HZ is 100 on every architecture that matters here.
    Duration::from_millis(ticks * 10)
}
