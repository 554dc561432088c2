//! `kill -9` of everything, and the cluster converges by itself.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use pintle_e2e::{Cluster, Observer, PATIENCE, Writer, items, kill_9, require_machine, workload};

const APP: &str = "app=sleepers";

/// Kills per scenario; `PINTLE_E2E_KILLS=500` for an evening's run.
fn kills() -> usize {
    std::env::var("PINTLE_E2E_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(20)
}

fn sleepers(cluster: &Cluster, replicas: usize) -> String {
    workload::sleepers(&cluster.marker(), replicas)
}

/// Every ready pod's container runs once, and none runs that no pod wants.
fn wait_exact(cluster: &Cluster, count: usize) {
    cluster.wait_ready_pods(APP, count);
    cluster.wait("each container once, and no other", |c| {
        let pods = c.ready_pods(APP);
        let wanted: BTreeSet<&str> =
            pods.iter().filter_map(|pod| pod["metadata"]["uid"].as_str()).collect();
        let found = c.containers();
        wanted.len() == count
            && found.keys().map(String::as_str).collect::<BTreeSet<_>>() == wanted
            && found.values().all(|pids| pids.len() == 1)
    });
}

/// Deletes the pods; nothing of any pod that ever was may be left on the machine.
fn wait_clean(cluster: &Cluster, uids: &BTreeSet<String>) {
    cluster.pintle(&["delete", "deployment", "sleepers"]);
    cluster
        .wait("all pods to go", |c| c.get("pods")["items"].as_array().is_some_and(Vec::is_empty));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = cluster.leftovers(uids);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "left behind: {left:#?}\n{}", cluster.logs());
        // The node deletes a pod's object before the last of its files.
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Kills one of the processes that `find` finds, as soon as there is one.
fn kill_one(cluster: &Cluster, round: usize, find: impl Fn(&Cluster) -> Vec<i32>) -> bool {
    let deadline = Instant::now() + Duration::from_secs(2);
    while Instant::now() < deadline {
        let found = find(cluster);
        if !found.is_empty() {
            kill_9(found[round % found.len()]);
            return true;
        }
        // An OCI runtime lives for milliseconds: looking again at once is the
        // only way to meet one.
    }
    false
}

#[test]
fn twenty_kills_under_load_lose_nothing_and_duplicate_nothing() {
    require_machine!();
    let mut cluster = Cluster::start(2);
    cluster.apply(&sleepers(&cluster, 3));
    cluster.wait_ready_pods(APP, 3);
    let (writer, observer) = (Writer::start(&cluster), Observer::start(&cluster));
    let mut runtimes = 0;
    for round in 0..kills() {
        let replicas = if round % 2 == 0 { 8 } else { 3 };
        cluster.apply(&sleepers(&cluster, replicas));
        // The kill meets another stage of starting and stopping each time.
        std::thread::sleep(Duration::from_millis(35 * (round as u64 * 7 % 11)));
        match round % 4 {
            0 => {
                cluster.server.take().unwrap().kill_9();
                cluster.start_server();
            }
            1 => {
                let node = round / 4 % 2;
                cluster.nodes[node].agent.take().unwrap().kill_9();
                // Every other time a pod's shim dies unseen.
                if round % 8 == 5 {
                    let dir = cluster.nodes[node].data_dir.clone();
                    kill_one(&cluster, round, |c| c.shims_of(&dir));
                }
                cluster.start_agent(node, None);
            }
            2 => assert!(kill_one(&cluster, round, Cluster::shims), "no shim in two seconds"),
            _ => runtimes += usize::from(kill_one(&cluster, round, Cluster::runtimes)),
        }
    }
    // One lives for milliseconds: on a machine that is fast enough none may have been met.
    let deadline = Instant::now() + PATIENCE;
    for round in 0.. {
        if runtimes > 0 {
            break;
        }
        assert!(Instant::now() < deadline, "no OCI runtime was met at work");
        cluster.apply(&sleepers(&cluster, if round % 2 == 0 { 8 } else { 3 }));
        runtimes += usize::from(kill_one(&cluster, round, Cluster::runtimes));
    }
    cluster.apply(&sleepers(&cluster, 5));
    wait_exact(&cluster, 5);
    writer.finish().check(&cluster);
    let uids = observer.finish();
    wait_clean(&cluster, &uids);
}

#[test]
fn what_redb_has_acknowledged_survives_twenty_kills() {
    require_machine!();
    let mut cluster = Cluster::start_with(0, "redb");
    let writer = Writer::start(&cluster);
    for round in 0..kills() as u64 {
        std::thread::sleep(Duration::from_millis(37 * (round % 7)));
        cluster.server.take().unwrap().kill_9();
        cluster.start_server();
    }
    writer.finish().check(&cluster);
}

#[test]
fn containers_survive_server_and_agent() {
    require_machine!();
    let mut cluster = Cluster::start(1);
    cluster.apply(&sleepers(&cluster, 3));
    wait_exact(&cluster, 3);
    let before = cluster.containers();
    for round in 0..3 {
        let agent = cluster.nodes[0].agent.take().unwrap();
        if round == 2 {
            agent.terminate()
        } else {
            agent.kill_9()
        }
        if round != 1 {
            cluster.server.take().unwrap().kill_9();
            cluster.start_server();
        }
        cluster.start_agent(0, None);
        cluster.wait_ready_pods(APP, 3);
        assert_eq!(cluster.containers(), before, "the same processes");
    }

    // The server alone: the node notices soon, not when its session times out.
    cluster.server.take().unwrap().kill_9();
    cluster.start_server();
    let back = Instant::now();
    cluster.apply(&sleepers(&cluster, 4));
    cluster.wait_ready_pods(APP, 4);
    assert!(back.elapsed() < Duration::from_secs(20), "took {:?}", back.elapsed());
    let after = cluster.containers();
    assert!(before.iter().all(|(uid, pids)| after.get(uid) == Some(pids)), "the same processes");
}

#[test]
fn an_agent_that_dies_while_pods_come_and_go_finishes_its_work() {
    require_machine!();
    let mut cluster = Cluster::start(1);
    let observer = Observer::start(&cluster);
    for round in 0..8u64 {
        cluster.apply(&sleepers(&cluster, if round % 2 == 0 { 6 } else { 1 }));
        std::thread::sleep(Duration::from_millis(45 * round));
        cluster.nodes[0].agent.take().unwrap().kill_9();
        cluster.start_agent(0, None);
    }
    cluster.apply(&sleepers(&cluster, 3));
    wait_exact(&cluster, 3);
    wait_clean(&cluster, &observer.finish());
}

#[test]
fn after_a_power_cut_the_pods_run_again_on_the_same_node() {
    require_machine!();
    let mut cluster = Cluster::start(1);
    let observer = Observer::start(&cluster);
    cluster.apply(&sleepers(&cluster, 3));
    wait_exact(&cluster, 3);
    let before = cluster.containers();
    cluster.cut_power(0);
    cluster.wait("everything to be dead", |c| c.containers().is_empty());
    cluster.start_agent(0, None);
    wait_exact(&cluster, 3);
    let after = cluster.containers();
    assert!(before.keys().eq(after.keys()), "the same pods");
    let pods = cluster.ready_pods(APP);
    for pod in &pods {
        let status = &pod["status"]["containerStatuses"][0];
        assert!(status["restartCount"].as_i64() >= Some(1), "{status}");
    }
    wait_clean(&cluster, &observer.finish());
}

#[test]
fn a_node_that_was_cut_off_does_what_it_has_missed() {
    require_machine!();
    let mut cluster = Cluster::start(2);
    let observer = Observer::start(&cluster);
    cluster.apply(&sleepers(&cluster, 4));
    wait_exact(&cluster, 4);
    let before = cluster.containers();
    let victim = |c: &Cluster| -> Vec<String> {
        let list = c.get("pods");
        let of_node = items(&list).iter().filter(|pod| pod["spec"]["nodeName"] == "node-1");
        of_node.filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect()
    };
    let pods = victim(&cluster);
    assert_eq!(pods.len(), 2, "spread evenly");

    // One node's link is down for longer than a session lasts without a word,
    // and meanwhile the server is away as well.
    cluster.set_link(1, false);
    cluster.pintle(&["delete", "pod", &pods[0]]);
    cluster.server.take().unwrap().kill_9();
    std::thread::sleep(Duration::from_secs(32));
    assert_eq!(cluster.containers(), before, "nodes keep their pods without a server");
    cluster.start_server();
    cluster.set_link(1, true);

    cluster.wait("the deleted pod to go", |c| !victim(c).contains(&pods[0]));
    wait_exact(&cluster, 4);
    let after = cluster.containers();
    let kept = before.iter().filter(|(uid, pids)| after.get(*uid) == Some(*pids)).count();
    assert_eq!(kept, 3, "only the deleted pod was replaced");
    cluster.wait("both nodes to be Ready", |c| {
        let nodes = c.get("nodes");
        items(&nodes).iter().all(|node| pintle_e2e::condition(node, "Ready") == "True")
    });
    wait_clean(&cluster, &observer.finish());
}
