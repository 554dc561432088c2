//! The agent dies; its pods do not.

mod support;

use std::time::Duration;

use serde_json::json;
use support::{Cluster, PODS, isolated};

fn container(cluster: &Cluster, pod: &str) -> serde_json::Value {
    cluster.pod(pod)["status"]["containerStatuses"][0].clone()
}

#[test]
fn containers_outlive_the_agent() {
    isolated(|| {
        let mut cluster = Cluster::start();
        cluster.run("stays", "echo begun; exec sleep 600", json!({}));
        cluster.run("ends", "echo begun; sleep 1; exit 4", json!({"restartPolicy": "Never"}));
        cluster.run("deleted", "exec sleep 600", json!({}));
        for pod in ["stays", "ends", "deleted"] {
            cluster.wait_phase(pod, "Running");
        }
        let before = container(&cluster, "stays");
        cluster.kill_agent();
        // Meanwhile one ends by itself and one is deleted outright.
        cluster.delete(&format!("{PODS}/deleted"), 0);
        std::thread::sleep(Duration::from_millis(1200));
        assert_eq!(cluster.shims(), 3);
        cluster.start_agent();
        cluster.wait_phase("ends", "Failed");
        assert_eq!(container(&cluster, "ends")["state"]["terminated"]["exitCode"], 4);
        cluster.wait("the orphan to go", |c| c.shims() == 1);
        assert_eq!(container(&cluster, "stays"), before);
        let logs = cluster.stream("logs", "stays", json!({}), &[]);
        assert_eq!(Cluster::said(&logs, 1), "begun\n");
        cluster.delete(&format!("{PODS}/stays"), 1);
        cluster.wait("the shims to go", |c| c.shims() == 0);
    });
}

#[test]
fn killed_at_any_moment_it_runs_nothing_twice() {
    isolated(|| {
        let mut cluster = Cluster::start();
        let proof = cluster.dir.path().join("proof");
        std::fs::create_dir(&proof).unwrap();
        let names: Vec<String> = (0..6).map(|n| format!("p{n}")).collect();
        for (n, name) in names.iter().enumerate() {
            // Each start leaves a line outside of the container.
            let script = format!("echo start >> /proof/{name}; exec sleep 600");
            let spec = json!({
                "containers": [{
                    "name": "c", "image": support::IMAGE, "command": ["sh", "-c", script],
                    "volumeMounts": [{"name": "proof", "mountPath": "/proof"}],
                }],
                "volumes": [{"name": "proof", "hostPath": {"path": proof, "type": "Directory"}}],
            });
            cluster.run(name, "", spec);
            std::thread::sleep(Duration::from_millis(7 * (n as u64 + 1)));
            cluster.kill_agent();
            cluster.start_agent();
        }
        for name in &names {
            cluster.wait_phase(name, "Running");
        }
        cluster.wait("one shim for each pod", |c| c.shims() == names.len());
        for name in &names {
            let restarts = container(&cluster, name)["restartCount"].as_u64().unwrap() as usize;
            let starts = std::fs::read_to_string(proof.join(name)).unwrap().lines().count();
            assert!(starts <= restarts + 1, "{name}: {starts} starts, {restarts} restarts");
            let running = support::processes()
                .iter()
                .filter(|line| line.contains(&format!("proof/{name};")))
                .count();
            assert!(running <= 1, "{name} runs {running} times");
        }
        let mut ips: Vec<String> =
            names.iter().map(|name| cluster.pod(name)["status"]["podIP"].to_string()).collect();
        ips.sort();
        ips.dedup();
        assert_eq!(ips.len(), names.len(), "an address was given twice: {ips:?}");
        for name in &names {
            cluster.delete(&format!("{PODS}/{name}"), 0);
        }
        cluster.wait("the shims to go", |c| c.shims() == 0);
        cluster.wait("the records to go", |c| {
            std::fs::read_dir(c.data_dir().join("pods")).unwrap().count() == 0
        });
        assert_eq!(std::fs::read_dir(cluster.data_dir().join("netns")).unwrap().count(), 0);
    });
}
