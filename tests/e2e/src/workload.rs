//! Manifests that several scenarios share.

use crate::IMAGE;

/// A Deployment `sleepers` of pods with one process each; `marker` comes from
/// [`Cluster::marker`](crate::Cluster::marker).
pub fn sleepers(marker: &str, replicas: usize) -> String {
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
      - name: main
        image: "{IMAGE}"
        imagePullPolicy: Never
        command: [sleep, "1000000"]
        env: [{marker}]
        volumeMounts: [{{name: scratch, mountPath: /scratch}}]
      volumes: [{{name: scratch, emptyDir: {{medium: Memory}}}}]
"#
    )
}
