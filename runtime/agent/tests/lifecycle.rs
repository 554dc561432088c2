//! Pods from their objects to their containers and back, with everything real.

mod support;

use serde_json::json;
use support::{Cluster, IMAGE, PODS, isolated};

#[test]
fn a_pod_runs_and_goes() {
    isolated(|| {
        let cluster = Cluster::start();
        cluster.run(
            "web",
            "echo hello; echo last > /dev/termination-log; exec sleep 600",
            json!({}),
        );
        cluster.wait_phase("web", "Running");
        let status = cluster.pod("web")["status"].clone();
        assert_eq!(status["podIP"], "10.244.1.1");
        assert_eq!(status["qosClass"], "BestEffort");
        assert_eq!(status["containerStatuses"][0]["ready"], true);
        let ready =
            status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Ready").unwrap();
        assert_eq!(ready["status"], "True");
        cluster.wait("the events", |c| {
            let reasons = c.reasons();
            ["Pulled", "Created", "Started"]
                .iter()
                .all(|reason| reasons.iter().any(|r| r == reason))
        });

        cluster.wait_log("web", "hello\n");
        let script = "hostname; cat; ip -o addr show eth0; exit 3";
        let exec =
            json!({"command": ["sh", "-c", script], "stdin": true, "stdout": true, "stderr": true});
        let frames = cluster.stream("exec", "web", exec, &[(0, b"typed\n"), (255, &[0])]);
        let said = Cluster::said(&frames, 1);
        assert!(said.starts_with("web\ntyped\n") && said.contains("10.244.1.1/32"), "{said}");
        let status: serde_json::Value = serde_json::from_str(&Cluster::said(&frames, 3)).unwrap();
        assert_eq!(status["reason"], "NonZeroExitCode");
        assert_eq!(status["details"]["causes"][0], json!({"reason": "ExitCode", "message": "3"}));
        let tty = json!({"command": ["sh", "-c", "stty size"], "stdin": true, "stdout": true, "tty": true});
        let frames = cluster.stream("exec", "web", tty, &[]);
        assert!(Cluster::said(&frames, 3).contains("Success"), "{frames:?}");

        cluster.delete(&format!("{PODS}/web"), 1);
        cluster.wait("the pod to go", |c| c.get(&format!("{PODS}/web")).is_none());
        cluster.wait("its shim to go", |c| c.shims() == 0);
        cluster.wait("its record to go", |c| {
            std::fs::read_dir(c.data_dir().join("pods")).unwrap().count() == 0
        });
        let left = std::fs::read_dir(cluster.data_dir().join("netns")).unwrap().count();
        assert_eq!(left, 0, "a network namespace is left");
    });
}

#[test]
fn pods_end_and_restart_by_their_policy() {
    isolated(|| {
        let cluster = Cluster::start();
        cluster.run(
            "good",
            "echo done > /dev/termination-log; exit 0",
            json!({"restartPolicy": "Never"}),
        );
        cluster.run("bad", "exit 7", json!({"restartPolicy": "Never"}));
        cluster.run("loop", "exit 1", json!({}));
        cluster.wait_phase("good", "Succeeded");
        cluster.wait_phase("bad", "Failed");
        let ended =
            cluster.pod("good")["status"]["containerStatuses"][0]["state"]["terminated"].clone();
        assert_eq!(
            (ended["reason"].as_str(), ended["message"].as_str()),
            (Some("Completed"), Some("done\n"))
        );
        let code =
            cluster.pod("bad")["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"]
                .clone();
        assert_eq!(code, 7);
        cluster.wait("the back-off", |c| {
            let status = &c.pod("loop")["status"]["containerStatuses"][0];
            status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
                && status["restartCount"].as_u64() >= Some(1)
        });
        cluster.wait("ended pods to hold nothing", |c| c.shims() == 1);
        for name in ["good", "bad", "loop"] {
            cluster.delete(&format!("{PODS}/{name}"), 0);
        }
        cluster.wait("the shims to go", |c| c.shims() == 0);
    });
}

#[test]
fn init_containers_volumes_and_environment() {
    isolated(|| {
        let cluster = Cluster::start();
        cluster.create(
            "/api/v1/namespaces/default/configmaps",
            json!({"metadata": {"name": "settings"}, "data": {"colour": "blue"}}),
        );
        let container = |name: &str, script: &str| {
            json!({
                "name": name, "image": IMAGE, "command": ["sh", "-c", script],
                "env": [
                    {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}},
                    {"name": "BOTH", "value": "$(POD)-$(COLOUR)"},
                ],
                "volumeMounts": [
                    {"name": "work", "mountPath": "/work"},
                    {"name": "fast", "mountPath": "/fast"},
                    {"name": "settings", "mountPath": "/settings", "readOnly": true},
                ],
                "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}},
            })
        };
        let main = "cat /work/first; cat /settings/colour; mount | grep -c ' /fast type tmpfs' || true; \
                    cat /etc/hostname; echo $BOTH; exec sleep 600";
        cluster.create(
            PODS,
            json!({"metadata": {"name": "init"}, "spec": {
                "nodeName": "n1",
                "terminationGracePeriodSeconds": 1,
                "initContainers": [container("first", "echo $BOTH > /work/first")],
                "containers": [container("c", main)],
                "volumes": [
                    {"name": "work", "emptyDir": {}},
                    {"name": "fast", "emptyDir": {"medium": "Memory"}},
                    {"name": "settings", "configMap": {"name": "settings"}},
                ],
            }}),
        );
        cluster.wait_phase("init", "Running");
        assert_eq!(cluster.pod("init")["status"]["qosClass"], "Guaranteed");
        cluster.wait("the log", |c| {
            let text = Cluster::said(&c.stream("logs", "init", json!({}), &[]), 1);
            text.contains("init-blue\nblue") && text.ends_with("init\ninit-blue\n")
        });
        cluster.delete(&format!("{PODS}/init"), 1);
        cluster.wait("the pod to go", |c| c.get(&format!("{PODS}/init")).is_none());
        cluster.wait("its record to go", |c| {
            std::fs::read_dir(c.data_dir().join("pods")).unwrap().count() == 0
        });
    });
}

#[test]
fn a_missing_image_says_what_to_do_and_an_import_cures_it() {
    isolated(|| {
        let cluster = Cluster::start();
        let spec =
            json!({"containers": [{"name": "c", "image": "nginx:1", "command": ["sleep", "600"]}]});
        cluster.run("web", "", spec);
        cluster.wait("the error", |c| {
            let waiting = &c.pod("web")["status"]["containerStatuses"][0]["state"]["waiting"];
            let known = ["ErrImagePull", "ImagePullBackOff"]
                .iter()
                .any(|reason| waiting["reason"] == *reason);
            known && waiting["message"].as_str().unwrap_or_default().contains("pintle image import")
        });
        let store =
            pintle_containers::ContentStore::open(cluster.data_dir().join("images")).unwrap();
        store.import(&cluster.dir.path().join("busybox.tar"), Some("nginx:1")).unwrap();
        cluster.wait_phase("web", "Running");
        cluster.delete(&format!("{PODS}/web"), 0);
        cluster.wait("its shim to go", |c| c.shims() == 0);
    });
}

#[test]
fn hooks_and_probes() {
    isolated(|| {
        let cluster = Cluster::start();
        let spec = json!({"containers": [{
            "name": "c", "image": IMAGE,
            "command": ["sh", "-c", "trap 'exit 0' TERM; while true; do sleep 0.1; done"],
            "readinessProbe": {"exec": {"command": ["ls", "/tmp/ready"]}, "periodSeconds": 1},
            "lifecycle": {
                "postStart": {"exec": {"command": ["touch", "/tmp/started"]}},
                "preStop": {"exec": {"command": ["sh", "-c", "echo bye > /dev/termination-log"]}},
            },
        }], "terminationGracePeriodSeconds": 5});
        cluster.run("probed", "", spec);
        cluster.wait_phase("probed", "Running");
        assert_eq!(cluster.pod("probed")["status"]["containerStatuses"][0]["ready"], false);
        let exec = |command: &[&str]| json!({"command": command, "stdout": true, "stderr": true});
        cluster.wait("the hook", |c| {
            let frames = c.stream("exec", "probed", exec(&["ls", "/tmp/started"]), &[]);
            Cluster::said(&frames, 3).contains("Success")
        });
        cluster.stream("exec", "probed", exec(&["touch", "/tmp/ready"]), &[]);
        cluster.wait("readiness", |c| {
            c.pod("probed")["status"]["containerStatuses"][0]["ready"] == true
        });
        cluster.delete(&format!("{PODS}/probed"), 5);
        cluster.wait("the pod to go", |c| c.get(&format!("{PODS}/probed")).is_none());
    });
}

#[test]
fn a_finalizer_keeps_the_object_and_nothing_else() {
    isolated(|| {
        let cluster = Cluster::start();
        let path = format!("{PODS}/held");
        cluster.run("held", "exec sleep 600", json!({}));
        cluster.patch(&path, json!({"metadata": {"finalizers": ["example.org/hold"]}}));
        cluster.wait_phase("held", "Running");
        cluster.delete(&path, 1);
        cluster.wait("the record to go", |c| {
            std::fs::read_dir(c.data_dir().join("pods")).unwrap().count() == 0
        });
        assert_eq!(cluster.phase("held"), "Failed");
        // Whatever was still to be written, at some time it is.
        let revision = || cluster.pod("held")["metadata"]["resourceVersion"].clone();
        let quiet = (0..20).any(|_| {
            let before = revision();
            std::thread::sleep(std::time::Duration::from_millis(500));
            revision() == before
        });
        assert!(quiet, "it is written again and again");
        cluster.patch(&path, json!({"metadata": {"finalizers": null}}));
        cluster.wait("the pod to go", |c| c.get(&path).is_none());
    });
}
