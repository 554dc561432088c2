//! The API under load: durable writes, reads, a large list.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::client::Access;

pub const CLIENTS: usize = 64;

/// A pod of about 1.6 KB as it is stored.
pub fn pod(name: &str) -> Value {
    let env: Vec<Value> = (0..8)
        .map(|n| json!({"name": format!("SETTING_{n}"), "value": format!("value-of-setting-{n}-{name}")}))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "bench", "tier": "load"}},
        "spec": {"containers": [{
            "name": "main",
            "image": "registry.example/bench/app:1.2.3",
            "command": ["/bin/app", "--serve"],
            "env": env,
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        }]},
    })
}

pub fn node(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux",
            "topology.kubernetes.io/zone": format!("zone-{}", name.len() % 3)}},
        "spec": {},
        "status": {
            "capacity": {"cpu": "32", "memory": "128Gi", "pods": "110", "ephemeral-storage": "500Gi"},
            "allocatable": {"cpu": "32", "memory": "128Gi", "pods": "110", "ephemeral-storage": "500Gi"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
                "message": "kubelet is posting ready status",
                "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "nodeInfo": {"architecture": "amd64", "bootID": "", "containerRuntimeVersion": "pintle://0.1.0",
                "kernelVersion": "6.0.0", "kubeProxyVersion": "", "kubeletVersion": "v1.35.0",
                "machineID": "", "operatingSystem": "linux", "osImage": "Linux", "systemUUID": ""},
        },
    })
}

/// `count` requests by [`CLIENTS`] connections; each latency, and the whole time.
pub async fn spread(
    access: &Access,
    clients: usize,
    count: usize,
    method: &'static str,
    make: impl Fn(usize) -> (String, Vec<u8>) + Send + Sync + 'static,
) -> Result<(Vec<Duration>, Duration)> {
    let make = Arc::new(make);
    let next = Arc::new(AtomicUsize::new(0));
    let mut connections = Vec::new();
    for _ in 0..clients {
        connections.push(access.connect().await?);
    }
    let began = Instant::now();
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|mut connection| {
            let (make, next) = (make.clone(), next.clone());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return anyhow::Ok(latencies);
                    }
                    let (path, body) = make(number);
                    let request = connection.request(method, &path, &body);
                    let sent = Instant::now();
                    let outcome = connection.measure(&request).await?;
                    latencies.push(sent.elapsed());
                    ensure!(outcome.status < 300, "{method} {path}: {}", outcome.status);
                }
            })
        })
        .collect();
    let mut latencies = Vec::with_capacity(count);
    for task in tasks {
        latencies.extend(task.await??);
    }
    Ok((latencies, began.elapsed()))
}

/// Nodes without agents: the objects, and a condition that says they are ready.
pub async fn create_nodes(access: &Access, count: usize) -> Result<()> {
    // A lease that is good for the whole run, in the place of agents that renew it.
    spread(access, 16, count, "POST", |n| {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": format!("node-{n:05}")},
            "spec": {"holderIdentity": format!("node-{n:05}"), "leaseDurationSeconds": 40,
                "renewTime": "2099-01-01T00:00:00.000000Z"},
        });
        let path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
        (path.into(), lease.to_string().into_bytes())
    })
    .await?;
    spread(access, 16, count, "POST", |n| {
        ("/api/v1/nodes".into(), node(&format!("node-{n:05}")).to_string().into_bytes())
    })
    .await?;
    // Status is a subresource: a create drops it, as Kubernetes does.
    spread(access, 16, count, "PATCH", |n| {
        let name = format!("node-{n:05}");
        let status = json!({"status": node(&name)["status"]});
        (format!("/api/v1/nodes/{name}/status"), status.to_string().into_bytes())
    })
    .await?;
    settle(access, count).await
}

/// Until the controllers have looked at every node and none is tainted.
async fn settle(access: &Access, count: usize) -> Result<()> {
    let mut connection = access.connect().await?;
    let request = connection.request("GET", "/api/v1/nodes", b"");
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let (_, body) = connection.call(&request).await?;
        let tainted = memchr::memmem::find_iter(&body, b"node.kubernetes.io/").count();
        let ranges = memchr::memmem::find_iter(&body, b"\"podCIDR\":").count();
        if tainted == 0 && ranges == count {
            return Ok(());
        }
        if Instant::now() > deadline {
            // A range for pods may not be there for every node (a /16 has 256 parts).
            ensure!(tainted == 0, "{tainted} taints are left on the nodes");
            return Ok(());
        }
        // A bench may look again; thousands of watch events would be in the figures.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The whole list, several times over one connection: the median and its size.
pub async fn list_pods(access: &Access) -> Result<(Duration, usize)> {
    let mut connection = access.connect().await?;
    let request = connection.request("GET", "/api/v1/namespaces/default/pods", b"");
    let mut times = Vec::new();
    let mut bytes = 0;
    for _ in 0..11 {
        let began = Instant::now();
        let outcome = connection.measure(&request).await?;
        times.push(began.elapsed());
        ensure!(outcome.status == 200, "list: {}", outcome.status);
        bytes = outcome.bytes;
    }
    times.sort_unstable();
    Ok((times[times.len() / 2], bytes))
}
