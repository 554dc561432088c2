//! `kill -9` of everything, and the cluster converges by itself.

use std::collections::BTreeMap;

use pintle_e2e::{Cluster, IMAGE, items, name, require_machine};

fn sleepers(replicas: usize) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: sleepers}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: sleepers}}}}
  template:
    metadata: {{labels: {{app: sleepers}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {{name: main, image: "{IMAGE}", imagePullPolicy: Never, command: [sleep, "1000000"]}}
"#
    )
}

/// Processes of the test's containers by pod: their number must stay one each.
fn containers(cluster: &Cluster) -> BTreeMap<String, usize> {
    let pods = cluster.get("pods -l app=sleepers");
    let uids: Vec<&str> =
        items(&pods).iter().filter_map(|p| p["metadata"]["uid"].as_str()).collect();
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let path = entry.path();
        let Ok(group) = std::fs::read_to_string(path.join("cgroup")) else { continue };
        let command = std::fs::read(path.join("cmdline")).unwrap_or_default();
        if !command.starts_with(b"sleep\0") {
            continue;
        }
        if let Some(uid) = uids.iter().find(|uid| group.contains(&format!("pod{uid}"))) {
            *found.entry((*uid).to_owned()).or_insert(0) += 1;
        }
    }
    found
}

#[test]
fn containers_survive_the_death_of_server_and_agent_and_run_once() {
    require_machine!();
    let mut cluster = Cluster::start(1);
    cluster.apply(&sleepers(3));
    cluster.wait_ready_pods("app=sleepers", 3);
    let before = containers(&cluster);
    assert_eq!(before.len(), 3);

    for round in 0..4 {
        if round % 2 == 0 {
            cluster.server.take().unwrap().kill_9();
            cluster.start_server();
        }
        cluster.nodes[0].agent.take().unwrap().kill_9();
        cluster.start_agent(0, None);
        cluster.wait_ready_pods("app=sleepers", 3);
        assert_eq!(containers(&cluster), before, "the same three, each once");
    }

    // Under load: kills while pods come and go.
    for round in 0..8 {
        cluster.apply(&sleepers(if round % 2 == 0 { 8 } else { 2 }));
        std::thread::sleep(std::time::Duration::from_millis(150 * (round % 4)));
        if round % 3 == 0 {
            cluster.server.take().unwrap().kill_9();
            cluster.start_server();
        } else {
            cluster.nodes[0].agent.take().unwrap().kill_9();
            cluster.start_agent(0, None);
        }
    }
    cluster.apply(&sleepers(5));
    cluster.wait_ready_pods("app=sleepers", 5);
    cluster.wait("five containers, each once", 60, |c| {
        let found = containers(c);
        found.len() == 5 && found.values().all(|count| *count == 1)
    });
    let pods = cluster.ready_pods("app=sleepers");
    assert_eq!(pods.len(), 5, "{:?}", pods.iter().map(name).collect::<Vec<_>>());
}
