//! From an applied Deployment to real containers on two nodes, every decision
//! on the way made by a plugin.

mod support;

use pintle_e2e::{Cluster, IMAGE, name, require_machine};
use serde_json::Value;

fn web(name: &str, replicas: usize) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: httpd
        image: {IMAGE}
        imagePullPolicy: Never
        command: ["/bin/sh", "-c"]
        args:
        - mkdir -p /tmp/www; echo "hello from $POD" > /tmp/www/index.html; echo serving; exec httpd -f -p 8080 -h /tmp/www
        env:
        - {{name: POD, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}
        resources: {{requests: {{cpu: 10m, memory: 8Mi}}, limits: {{memory: 32Mi}}}}
"#
    )
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

#[test]
fn a_deployment_runs_on_two_nodes_and_heals() {
    require_machine!();
    let cluster = Cluster::start(2);
    cluster.apply(&web("web", 4));
    cluster.wait_ready_pods("app=web", 4);
    let pods = cluster.ready_pods("app=web");

    // Spread over both nodes, each with an address of its node's range.
    let on = |node: &str| -> Vec<&Value> {
        pods.iter().filter(|p| text(p, "/spec/nodeName") == node).collect()
    };
    let (a, b) = (on("node-0"), on("node-1"));
    assert_eq!((a.len(), b.len()), (2, 2), "spread evenly");

    // A pod on each node fetches a page from a pod on the other. (A container is
    // ready before its program listens.)
    for (from, to) in [(a[0], b[0]), (b[0], a[0])] {
        let url = format!("http://{}:8080/", text(to, "/status/podIP"));
        let fetch = ["exec", name(from), "--", "wget", "-qO-", &url];
        cluster.wait(&format!("the page of {}", name(to)), |c| {
            c.try_pintle(&fetch).stdout.trim() == format!("hello from {}", name(to))
        });
    }

    // What no pod has of a node's range goes nowhere, instead of out and back.
    for (number, pod) in [(0, a[0]), (1, b[0])] {
        let ip = text(pod, "/status/podIP");
        let range = format!("{}.0/24", ip.rsplit_once('.').expect("IPv4").0);
        let routes = cluster.routes(number);
        assert!(routes.contains(&format!("blackhole {range}")), "{routes}");
        assert!(routes.contains(&format!("{ip} dev pt")), "{routes}");
    }

    // Logs and exit codes come back as they are.
    assert_eq!(cluster.pintle(&["logs", name(a[0])]), "serving\n");
    let output = cluster.try_pintle(&[
        "exec",
        name(a[0]),
        "--",
        "sh",
        "-c",
        "echo out; echo err >&2; exit 3",
    ]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(3), "out\n"));
    assert!(output.stderr.starts_with("err\n"), "{}", output.stderr);

    // A container that dies is started again in its pod.
    let victim = name(a[0]).to_owned();
    let _ = cluster.try_pintle(&["exec", &victim, "--", "sh", "-c", "kill -9 $(pidof httpd)"]);
    kill_container(text(a[0], "/metadata/uid"));
    cluster.wait("the container to be started again", |c| {
        let pod = c.get(&format!("pod {victim}"));
        let status = &pod["status"]["containerStatuses"][0];
        status["restartCount"].as_i64() >= Some(1) && status["ready"] == true
    });

    // Scaling down and up again leaves exactly what was asked for.
    cluster.apply(&web("web", 1));
    cluster.wait_ready_pods("app=web", 1);
    cluster.apply(&web("web", 3));
    cluster.wait_ready_pods("app=web", 3);

    // Deleting the Deployment takes everything with it.
    cluster.pintle(&["delete", "deployment", "web"]);
    cluster.wait("all pods to go", |c| {
        ["pods", "replicasets"]
            .iter()
            .all(|kind| c.get(kind)["items"].as_array().is_some_and(Vec::is_empty))
    });
}

/// Kills the first process of a pod's containers, from outside.
fn kill_container(pod_uid: &str) {
    let marker = format!("pod{pod_uid}");
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else {
            continue;
        };
        let group = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        if group.contains(&marker) {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
    }
}

#[test]
fn the_scheduler_is_swapped_while_pods_are_created() {
    require_machine!();
    let cluster = Cluster::start(1);
    let before = cluster.get("plugin scheduler");
    cluster.apply(&web("early", 2));
    let variant = cluster.path().join("scheduler.wasm");
    support::most_allocated(&variant);
    cluster.apply(&web("late", 10));
    let report = cluster.pintle(&["plugin", "swap", "scheduler", &variant.to_string_lossy()]);
    assert!(report.contains("active"), "{report}");
    cluster.wait_ready_pods("app=late", 10);
    cluster.wait_ready_pods("app=early", 2);

    let after = cluster.get("plugin scheduler");
    let digest = |p: &Value| text(p, "/status/activeDigest").to_owned();
    assert_ne!(digest(&before), digest(&after));
    assert_eq!(text(&after, "/status/previousDigest"), digest(&before));

    // And back, by name.
    cluster.pintle(&["plugin", "rollback", "scheduler"]);
    assert_eq!(digest(&cluster.get("plugin scheduler")), digest(&before));

    // A file that is no component changes nothing and says why.
    let bad = cluster.path().join("bad.wasm");
    std::fs::write(&bad, b"not a component").unwrap();
    let output = cluster.try_pintle(&["plugin", "swap", "scheduler", &bad.to_string_lossy()]);
    assert!(!output.success);
    assert!(output.stderr.contains("Rejected"), "{}", output.stderr);
    cluster.apply(&web("later", 2));
    cluster.wait_ready_pods("app=later", 2);
}

#[test]
fn bad_input_gets_errors_a_person_can_act_on() {
    require_machine!();
    let cluster = Cluster::start(0);
    let check = |yaml: &str, expect: &str| {
        let file = cluster.path().join("bad.yaml");
        std::fs::write(&file, yaml).unwrap();
        let output = cluster.try_pintle(&["apply", "-f", &file.to_string_lossy()]);
        assert!(!output.success, "accepted: {yaml}");
        assert!(output.stderr.contains(expect), "{yaml}\n{}", output.stderr);
        assert_eq!(output.stderr.lines().count(), 1, "one line: {}", output.stderr);
    };
    let pod = |name: &str, more: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  containers:\n  - {{name: a, image: b}}\n{more}"
        )
    };
    check("apiVersion: v1\nkind: Pod\nmetadata: {name: x", "not valid YAML");
    check(&pod("Bad_Name", ""), "a lowercase RFC 1123 subdomain");
    check(&pod("p", "  nonsense: 1\n"), "unknown field \"spec.nonsense\"");
    check(&pod("p", "  restartPolicy: Perhaps\n"), "Unsupported value: \"Perhaps\"");
    check(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: nowhere}\nspec: {containers: [{name: a, image: b}]}",
        "namespaces \"nowhere\" not found",
    );
    check(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: []}",
        "spec.containers: Required value",
    );

    let output = cluster.try_pintle(&["get", "pod", "nobody"]);
    assert_eq!(
        output.stderr.trim(),
        "pintle: Error from server (NotFound): pods \"nobody\" not found"
    );
    let output = cluster.try_pintle(&["get", "gadgets"]);
    assert!(output.stderr.contains("no kind \"gadgets\""), "{}", output.stderr);
}

#[test]
fn a_machine_with_the_name_of_another_is_refused() {
    require_machine!();
    let cluster = Cluster::start(1);
    let token = cluster.pintle(&["token", "create"]);
    let output = cluster.join_under_the_name_of(0, token.trim());
    assert!(!output.success);
    assert!(output.stderr.contains("another machine is connected as node"), "{}", output.stderr);
    // The token was not used up by that.
    let (id, _) = token.trim().rsplit_once("::").unwrap().1.split_once('.').unwrap();
    assert!(cluster.pintle(&["token", "list"]).contains(id));
}
