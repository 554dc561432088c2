//! The agent dies; its pods do not.

mod support;

use std::time::Duration;

use serde_json::json;
use support::{Cluster, PODS, isolated};

fn container(cluster: &Cluster, pod: &str) -> serde_json::Value {
    cluster.pod(pod)["status"]["containerStatuses"][0].clone()
}

/// A folder that the test shares with a pod, at `/shared` there: what a container
/// does shows in it also while no agent is there, and the test says when it goes on.
struct Shared(std::path::PathBuf);

impl Shared {
    fn new(cluster: &Cluster) -> Self {
        let path = cluster.dir.path().join("shared");
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// The spec of a pod of one container that runs `script`.
    fn spec(&self, script: &str) -> serde_json::Value {
        json!({
            "containers": [{
                "name": "c", "image": support::IMAGE, "command": ["sh", "-c", script],
                "volumeMounts": [{"name": "shared", "mountPath": "/shared"}],
            }],
            "volumes": [{"name": "shared", "hostPath": {"path": self.0, "type": "Directory"}}],
        })
    }

    fn write(&self, name: &str) {
        std::fs::write(self.0.join(name), "").unwrap();
    }

    fn lines(&self, name: &str) -> usize {
        std::fs::read_to_string(self.0.join(name)).map_or(0, |text| text.lines().count())
    }
}

#[test]
fn containers_outlive_the_agent() {
    isolated(|| {
        let mut cluster = Cluster::start();
        let shared = Shared::new(&cluster);
        cluster.run("stays", "echo begun; exec sleep 600", json!({}));
        let script =
            "while [ ! -e /shared/end ]; do sleep 0.1; done; echo end >> /shared/ended; exit 4";
        let mut ends = shared.spec(script);
        ends["restartPolicy"] = json!("Never");
        cluster.run("ends", "", ends);
        cluster.run("deleted", "exec sleep 600", json!({}));
        for pod in ["stays", "ends", "deleted"] {
            cluster.wait_phase(pod, "Running");
        }
        let before = container(&cluster, "stays");
        cluster.kill_agent();
        // Meanwhile one ends by itself and one is deleted outright.
        cluster.delete(&format!("{PODS}/deleted"), 0);
        shared.write("end");
        cluster.wait("one to end by itself", |_| shared.lines("ended") == 1);
        assert_eq!(cluster.shims(), 3);
        cluster.start_agent();
        cluster.wait_phase("ends", "Failed");
        assert_eq!(container(&cluster, "ends")["state"]["terminated"]["exitCode"], 4);
        cluster.wait("the orphan to go", |c| c.shims() == 1);
        assert_eq!(container(&cluster, "stays"), before);
        cluster.wait_log("stays", "begun\n");
        cluster.delete(&format!("{PODS}/stays"), 1);
        cluster.wait("the shims to go", |c| c.shims() == 0);
    });
}

#[test]
fn killed_at_any_moment_it_runs_nothing_twice() {
    isolated(|| {
        let mut cluster = Cluster::start();
        let shared = Shared::new(&cluster);
        // Tells this run's processes from those of another.
        let token = cluster.dir.path().file_name().unwrap().to_string_lossy().into_owned();
        let names: Vec<String> = (0..6).map(|n| format!("p{n}")).collect();
        for (n, name) in names.iter().enumerate() {
            // Each start leaves a line outside of the container.
            let script = format!("echo start >> /shared/{name}; : {token}-{name}; sleep 600");
            cluster.run(name, "", shared.spec(&script));
            std::thread::sleep(Duration::from_millis(7 * (n as u64 + 1)));
            cluster.kill_agent();
            cluster.start_agent();
        }
        for name in &names {
            cluster.wait_phase(name, "Running");
        }
        cluster.wait("one shim for each pod", |c| c.shims() == names.len());
        // Killing the agent is no reason to restart a container.
        for name in &names {
            assert_eq!(
                container(&cluster, name)["restartCount"],
                0,
                "{name}: {:#?}",
                cluster.warnings()
            );
        }
        for name in &names {
            let restarts = container(&cluster, name)["restartCount"].as_u64().unwrap() as usize;
            cluster.wait("its program to start", |_| shared.lines(name) > 0);
            let starts = shared.lines(name);
            assert!(starts <= restarts + 1, "{name}: {starts} starts, {restarts} restarts");
            let running = support::processes()
                .iter()
                .filter(|line| line.contains(&format!("{token}-{name};")))
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

#[test]
fn a_lost_shim_is_replaced() {
    isolated(|| {
        let cluster = Cluster::start();
        cluster.run("web", "exec sleep 600", json!({}));
        cluster.wait_phase("web", "Running");
        let before = container(&cluster, "web");
        let needle = cluster.data_dir().to_string_lossy().into_owned();
        let shim = support::pids(|line| line.contains("pintle-shim") && line.contains(&needle));
        assert_eq!(shim.len(), 1);
        nix::sys::signal::kill(shim[0], nix::sys::signal::Signal::SIGKILL).unwrap();
        cluster.wait("the container to be back", |c| {
            let now = container(c, "web");
            now["state"]["running"].is_object() && now["restartCount"] == 1
        });
        assert_ne!(container(&cluster, "web")["containerID"], before["containerID"]);
        assert_eq!(cluster.shims(), 1);
        cluster.delete(&format!("{PODS}/web"), 0);
        cluster.wait("the shims to go", |c| c.shims() == 0);
    });
}

#[test]
fn a_node_without_a_server_keeps_its_pods() {
    isolated(|| {
        let mut cluster = Cluster::start();
        let shared = Shared::new(&cluster);
        let script = "echo start >> /shared/starts; \
                      while [ ! -e /shared/end ]; do sleep 0.1; done; rm /shared/end; exit 1";
        cluster.run("web", "", shared.spec(script));
        cluster.wait_phase("web", "Running");
        cluster.cut_line(true);
        // Killed and started again without anyone to ask, too.
        cluster.kill_agent();
        cluster.start_agent();
        let shims = cluster.shims();
        shared.write("end");
        cluster.wait("another start without a server", |_| shared.lines("starts") == 2);
        assert_eq!((shims, cluster.shims()), (1, 1));
        let restarts = container(&cluster, "web")["restartCount"].clone();
        assert_eq!(restarts, 0, "nothing can have been told yet");
        cluster.cut_line(false);
        cluster.wait("the news", |c| container(c, "web")["restartCount"].as_u64() >= Some(1));
        cluster.delete(&format!("{PODS}/web"), 0);
        cluster.wait("the shims to go", |c| c.shims() == 0);
    });
}

#[test]
fn what_others_wrote_of_a_lost_node_is_put_right() {
    isolated(|| {
        let cluster = Cluster::start();
        cluster.run("web", "exec sleep 600", json!({}));
        cluster.wait_phase("web", "Running");
        let ready = |object: serde_json::Value| {
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
        };
        cluster.wait("the node to be ready", |c| ready(c.get("/api/v1/nodes/n1").unwrap()));
        cluster.wait("the pod to be told ready", |c| ready(c.pod("web")));
        cluster.cut_line(true);
        let unknown = json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}});
        cluster.patch("/api/v1/nodes/n1/status", unknown);
        let lost = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
        cluster.patch(&format!("{PODS}/web/status"), lost);
        assert!(!ready(cluster.pod("web")));
        cluster.cut_line(false);
        cluster.wait("the node to be ready", |c| ready(c.get("/api/v1/nodes/n1").unwrap()));
        cluster.wait("the pod to be ready", |c| ready(c.pod("web")));
        cluster.delete(&format!("{PODS}/web"), 0);
        cluster.wait("the shims to go", |c| c.shims() == 0);
    });
}

#[test]
fn after_a_reboot_everything_is_made_anew() {
    isolated(|| {
        let mut cluster = Cluster::start();
        cluster.run("web", "exec sleep 600", json!({}));
        cluster.run("once", "exec sleep 600", json!({"restartPolicy": "Never"}));
        cluster.wait_phase("web", "Running");
        cluster.wait_phase("once", "Running");
        cluster.kill_agent();
        let needle = cluster.data_dir().to_string_lossy().into_owned();
        for shim in support::pids(|line| line.contains("pintle-shim") && line.contains(&needle)) {
            nix::sys::signal::kill(shim, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
        // Mounts do not survive a reboot.
        let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        for point in
            mounts.lines().filter_map(|line| line.split(' ').nth(4)).filter(|m| m.contains(&needle))
        {
            nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH).unwrap();
        }
        cluster.start_agent();
        cluster.wait("the pod to be back", |c| {
            let now = container(c, "web");
            now["restartCount"] == 1 && now["ready"] == true
        });
        cluster.wait_phase("once", "Failed");
        assert_eq!(container(&cluster, "once")["state"]["terminated"]["exitCode"], 137);
        for pod in ["web", "once"] {
            cluster.delete(&format!("{PODS}/{pod}"), 0);
        }
        cluster.wait("the shims to go", |c| c.shims() == 0);
    });
}
