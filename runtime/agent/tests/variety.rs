//! What pods ask for besides running, with everything real.

mod support;

use std::time::Instant;

use serde_json::{Value, json};
use support::{Cluster, IMAGE, PODS, isolated};

fn state(cluster: &Cluster, pod: &str) -> Value {
    cluster.pod(pod)["status"]["containerStatuses"][0]["state"].clone()
}

fn container(script: &str, more: Value) -> Value {
    let mut container = json!({"name": "c", "image": IMAGE, "command": ["sh", "-c", script]});
    for (key, value) in more.as_object().into_iter().flatten() {
        container[key] = value.clone();
    }
    json!({"containers": [container], "restartPolicy": "Never"})
}

fn finish(cluster: &Cluster, pods: &[&str]) {
    for pod in pods {
        cluster.delete(&format!("{PODS}/{pod}"), 0);
    }
    cluster.wait("the shims to go", |c| c.shims() == 0);
}

#[test]
fn security_contexts_hold() {
    isolated(|| {
        let cluster = Cluster::start();
        let script = "id -u; id -g; touch /x 2>/dev/null || echo readonly";
        let security = json!({"securityContext": {
            "runAsUser": 1000, "runAsGroup": 2000, "readOnlyRootFilesystem": true,
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
        }});
        cluster.run("locked", "", container(script, security));
        cluster.wait_phase("locked", "Succeeded");
        let logs = cluster.stream("logs", "locked", json!({}), &[]);
        assert_eq!(Cluster::said(&logs, 1), "1000\n2000\nreadonly\n");
        cluster.run(
            "root",
            "",
            container("true", json!({"securityContext": {"runAsNonRoot": true}})),
        );
        cluster.wait("the refusal", |c| {
            let waiting = &state(c, "root")["waiting"];
            let message = waiting["message"].as_str().unwrap_or_default();
            waiting["reason"] == "CreateContainerConfigError" && message.contains("runAsNonRoot")
        });
        finish(&cluster, &["locked", "root"]);
    });
}

#[test]
fn memory_limits_and_commands_that_do_not_exist() {
    isolated(|| {
        let cluster = Cluster::start();
        let limit = json!({"resources": {"limits": {"memory": "24Mi"}}});
        cluster.run("greedy", "", container("busybox tail /dev/zero", limit));
        cluster.run("absent", "", container("", json!({"command": ["/no/such/program"]})));
        cluster.wait_phase("greedy", "Failed");
        cluster.wait_phase("absent", "Failed");
        let ended = state(&cluster, "greedy")["terminated"].clone();
        assert!(ended["reason"] == "OOMKilled" || ended["exitCode"] == 137, "{ended}");
        let ended = state(&cluster, "absent")["terminated"].clone();
        assert_eq!((&ended["reason"], &ended["exitCode"]), (&json!("StartError"), &json!(128)));
        assert!(ended["message"].as_str().unwrap().contains("/no/such/program"), "{ended}");
        finish(&cluster, &["greedy", "absent"]);
    });
}

#[test]
fn the_nodes_own_network() {
    isolated(|| {
        let cluster = Cluster::start();
        cluster.run("host", "hostname; exec sleep 600", json!({"hostNetwork": true}));
        cluster.wait_phase("host", "Running");
        assert_eq!(cluster.pod("host")["status"]["podIP"], "127.0.0.1");
        assert_eq!(std::fs::read_dir(cluster.data_dir().join("netns")).unwrap().count(), 0);
        finish(&cluster, &["host"]);
    });
}

#[test]
fn deaf_containers_are_killed_when_their_time_is_up() {
    isolated(|| {
        let cluster = Cluster::start();
        let deaf = "trap '' TERM; echo set; while true; do sleep 0.1; done";
        cluster.run("deaf", deaf, json!({"terminationGracePeriodSeconds": 2}));
        cluster.run(
            "polite",
            "trap 'exit 0' TERM; echo set; while true; do sleep 0.1; done",
            json!({"terminationGracePeriodSeconds": 120}),
        );
        // Far from the time of the other one.
        for (pod, grace, least, most) in [("deaf", 2, 1, 60), ("polite", 120, 0, 60)] {
            cluster.wait_phase(pod, "Running");
            cluster.wait_log(pod, "set\n");
            let begun = Instant::now();
            cluster.delete(&format!("{PODS}/{pod}"), grace);
            cluster.wait("the pod to go", |c| c.get(&format!("{PODS}/{pod}")).is_none());
            let took = begun.elapsed().as_secs();
            assert!((least..most).contains(&took), "{pod} took {took} s");
        }
        cluster.wait("the shims to go", |c| c.shims() == 0);
    });
}

#[test]
fn sidecars_stay_beside_and_attach_hears_the_end() {
    isolated(|| {
        let cluster = Cluster::start();
        // It goes on when somebody is attached and says so.
        let mut spec = container("read line; echo late; exit 0", json!({"stdin": true}));
        spec["initContainers"] = json!([{
            "name": "side", "image": IMAGE, "restartPolicy": "Always",
            "command": ["sh", "-c", "trap 'exit 0' TERM; while true; do sleep 0.1; done"],
        }]);
        cluster.run("pair", "", spec);
        cluster.wait_phase("pair", "Running");
        let attach = json!({"stdin": true, "stdout": true, "stderr": true});
        let frames = cluster.stream("attach", "pair", attach, &[(0, b"go\n")]);
        assert_eq!(Cluster::said(&frames, 1), "late\n");
        assert!(Cluster::said(&frames, 3).contains("Success"), "{frames:?}");
        cluster.wait_phase("pair", "Succeeded");
        cluster.wait("the sidecar to end", |c| c.shims() == 0);
        let side = cluster.pod("pair")["status"]["initContainerStatuses"][0].clone();
        assert!(side["state"]["terminated"].is_object(), "{side}");
        finish(&cluster, &["pair"]);
    });
}
