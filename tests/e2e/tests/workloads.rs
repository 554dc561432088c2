//! The other workloads, with real containers and the real kubectl: each made,
//! changed and ended, by the plugin that is built in for it.

use std::io::{BufRead, BufReader};

use pintle_e2e::{Cluster, IMAGE, condition, require_kubectl};
use serde_json::Value;

fn workloads() -> String {
    let container = |command: &str| {
        format!(
            "containers: [{{name: c, image: {IMAGE}, imagePullPolicy: Never, command: [sh, -c, {command:?}]}}]"
        )
    };
    let sleeps = container("sleep 100000");
    format!(
        r#"
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  replicas: 3
  serviceName: db
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec:
      terminationGracePeriodSeconds: 0
      {sleeps}
---
apiVersion: v1
kind: Service
metadata: {{name: db}}
spec: {{clusterIP: None, selector: {{app: db}}, ports: [{{port: 80}}]}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: agent}}
spec:
  selector: {{matchLabels: {{app: agent}}}}
  template:
    metadata: {{labels: {{app: agent}}}}
    spec:
      terminationGracePeriodSeconds: 0
      {sleeps}
---
apiVersion: batch/v1
kind: Job
metadata: {{name: sums}}
spec:
  completions: 3
  parallelism: 2
  completionMode: Indexed
  template:
    spec:
      restartPolicy: Never
      {counts}
---
apiVersion: batch/v1
kind: Job
metadata: {{name: doomed}}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      {fails}
---
apiVersion: batch/v1
kind: CronJob
metadata: {{name: tick}}
spec:
  schedule: "@every 1s"
  concurrencyPolicy: Forbid
  successfulJobsHistoryLimit: 1
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          {ticks}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{name: db}}
spec: {{minAvailable: 3, selector: {{matchLabels: {{app: db}}}}}}
"#,
        counts = container("echo index $JOB_COMPLETION_INDEX"),
        fails = container("exit 3"),
        ticks = container("date"),
    )
}

fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

#[test]
fn every_workload_comes_up_follows_and_ends() {
    require_kubectl!();
    let cluster = Cluster::start(2);
    cluster.apply(&workloads());

    // One after the other, under their own names.
    cluster.kubectl(&["rollout", "status", "statefulset/db", "--timeout=180s"]);
    for number in 0..3 {
        let name = format!("db-{number}");
        assert_eq!(cluster.kubectl(&["exec", &name, "--", "hostname"]).trim(), name);
    }
    cluster.wait("the addresses behind the service", |c| {
        let endpoints = c.get("endpoints db");
        endpoints["subsets"][0]["addresses"].as_array().is_some_and(|list| list.len() == 3)
    });

    // One on each node.
    cluster.kubectl(&["rollout", "status", "daemonset/agent", "--timeout=180s"]);
    assert_eq!(number(&cluster.get("daemonset agent"), "/status/numberReady"), 2);

    // Every index once; a failure is told.
    cluster.kubectl(&["wait", "--for=condition=complete", "job/sums", "--timeout=180s"]);
    let mut lines: Vec<String> = cluster
        .kubectl(&["logs", "-l", "batch.kubernetes.io/job-name=sums"])
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    assert_eq!(lines, ["index 0", "index 1", "index 2"]);
    cluster.kubectl(&["wait", "--for=condition=failed", "job/doomed", "--timeout=180s"]);
    let failed = cluster.get("job doomed");
    assert_eq!(condition(&failed, "Failed"), "True");
    assert_eq!(number(&failed, "/status/failed"), 1);

    // By the clock, with the old ones cleared away.
    cluster.wait("a run of the cron job", |c| {
        c.get("cronjob tick")["status"]["lastSuccessfulTime"].is_string()
    });
    cluster.kubectl(&["patch", "cronjob", "tick", "-p", r#"{"spec":{"suspend":true}}"#]);

    // A budget that needs all of them lets none go.
    cluster.wait("the budget to be counted", |c| {
        number(&c.get("pdb db"), "/status/currentHealthy") == 3
    });
    let node = cluster.get("pod db-0")["spec"]["nodeName"].as_str().unwrap().to_owned();
    let drain = ["drain", &node, "--ignore-daemonsets", "--force", "--pod-selector=app=db"];
    let mut draining = cluster.client().spawn_program("kubectl", &drain);
    let mut said = BufReader::new(draining.stderr.take().unwrap()).lines().map(Result::unwrap);
    let refused = said.any(|line| line.contains("would violate the pod's disruption budget"));
    assert!(refused, "the node was drained");
    // It would try for ever.
    draining.kill().unwrap();
    draining.wait().unwrap();
    cluster.kubectl(&["uncordon", &node]);
    cluster.kubectl(&["delete", "pdb", "db"]);

    // A changed template reaches them, and the scale goes down from the top.
    cluster.kubectl(&["set", "env", "statefulset/db", "daemonset/agent", "GENERATION=2"]);
    cluster.kubectl(&["rollout", "status", "statefulset/db", "--timeout=180s"]);
    cluster.kubectl(&["rollout", "status", "daemonset/agent", "--timeout=180s"]);
    let generation = cluster.kubectl(&["exec", "db-0", "--", "sh", "-c", "echo $GENERATION"]);
    assert_eq!(generation.trim(), "2");
    cluster.kubectl(&["scale", "statefulset/db", "--replicas=1"]);
    cluster.wait("the higher numbers to go", |c| {
        let left = c.ready_pods("app=db");
        left.len() == 1 && pintle_e2e::name(&left[0]) == "db-0"
    });

    cluster.kubectl(&["delete", "sts,ds,job,cronjob,service", "--all"]);
    cluster
        .wait("all pods to go", |c| c.get("pods")["items"].as_array().is_some_and(Vec::is_empty));
}
