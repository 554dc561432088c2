//! Volumes that outlive pods, with real containers: a StatefulSet's data after
//! its pod is gone, and where everything goes at the end.

use pintle_e2e::{Cluster, IMAGE, require_kubectl};

fn manifests() -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  replicas: 2
  serviceName: db
  podManagementPolicy: Parallel
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: c
        image: {IMAGE}
        imagePullPolicy: Never
        command: [sh, -c, "echo started >> /data/log; sleep 100000"]
        volumeMounts: [{{name: data, mountPath: /data}}]
  volumeClaimTemplates:
  - metadata: {{name: data}}
    spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Mi}}}}}}
"#
    )
}

/// Folders of volumes lie outside of any cluster's own directory.
struct Folders(Vec<String>);

impl Drop for Folders {
    fn drop(&mut self) {
        for path in &self.0 {
            // Whatever failed before is what the test tells.
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

#[test]
fn a_stateful_sets_data_survives_its_pods() {
    require_kubectl!();
    let cluster = Cluster::start(2);
    let class = cluster.get("storageclass standard");
    assert_eq!(class["provisioner"], "pintle.dev/host-path");

    cluster.apply(&manifests());
    cluster.wait("the claims to be bound", |c| {
        let phase = |name: &str| c.get(&format!("pvc {name}"))["status"]["phase"].clone();
        phase("data-db-0") == "Bound" && phase("data-db-1") == "Bound"
    });
    let volumes = cluster.get("pv");
    let folders = volumes["items"].as_array().into_iter().flatten();
    let paths = folders.filter_map(|volume| volume["spec"]["hostPath"]["path"].as_str());
    let folders = Folders(paths.map(str::to_owned).collect());
    assert_eq!(folders.0.len(), 2);
    cluster.kubectl(&["rollout", "status", "statefulset/db", "--timeout=180s"]);

    // What the pod wrote is there for the one that follows it, on the same node.
    let before = cluster.get("pod db-0");
    cluster.kubectl(&["exec", "db-0", "--", "sh", "-c", "echo kept > /data/file"]);
    cluster.kubectl(&["delete", "pod", "db-0"]);
    cluster.wait("another db-0", |c| {
        let pod = c.get("pod db-0");
        pod["status"]["phase"] == "Running" && pod["metadata"]["uid"] != before["metadata"]["uid"]
    });
    let after = cluster.get("pod db-0");
    assert_eq!(after["spec"]["nodeName"], before["spec"]["nodeName"]);
    // A container runs before its program has written anything.
    let reads = |pod: &str, files: &[&str], expect: &str| {
        let command = [&["exec", pod, "--", "cat"], files].concat();
        cluster.wait(&format!("{expect:?} in {pod}"), |c| c.try_kubectl(&command).stdout == expect);
    };
    reads("db-0", &["/data/file", "/data/log"], "kept\nstarted\nstarted\n");
    // Each has its own.
    reads("db-1", &["/data/log"], "started\n");

    // A claim in use stays until its pod is gone; then its volume goes too.
    cluster.kubectl(&["delete", "pvc", "data-db-0", "--wait=false"]);
    let held = cluster.get("pvc data-db-0");
    assert!(held["metadata"]["deletionTimestamp"].is_string(), "{held}");
    cluster.kubectl(&["delete", "statefulset", "db"]);
    cluster.wait("the claim to go", |c| {
        c.kubectl(&["get", "pvc", "-o", "name"]).trim() == "persistentvolumeclaim/data-db-1"
    });
    cluster.wait("its volume to go", |c| {
        c.get("pv")["items"].as_array().is_some_and(|items| items.len() == 1)
    });
}
