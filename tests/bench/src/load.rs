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

/// Ready, in one of three zones, with a range for its pods, which `node-ipam` would
/// have for a few hundred nodes only.
pub fn node(number: usize) -> Value {
    let name = node_name(number);
    let range = format!("10.{}.{}.0/24", 64 + (number >> 8) % 192, number & 255);
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux",
            "topology.kubernetes.io/zone": format!("zone-{}", number % 3)}},
        "spec": {"podCIDR": range, "podCIDRs": [range]},
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

pub fn node_name(number: usize) -> String {
    format!("node-{number:05}")
}

/// Nodes without agents: the objects, and a condition that says they are ready.
pub async fn create_nodes(access: &Access, count: usize) -> Result<()> {
    // A lease that is good for the whole run, in the place of agents that renew it.
    spread(access, 16, count, "POST", |n| {
        let name = node_name(n);
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name},
            "spec": {"holderIdentity": name, "leaseDurationSeconds": 40,
                "renewTime": "2099-01-01T00:00:00.000000Z"},
        });
        let path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
        (path.into(), lease.to_string().into_bytes())
    })
    .await?;
    spread(access, 16, count, "POST", |n| {
        ("/api/v1/nodes".into(), node(n).to_string().into_bytes())
    })
    .await?;
    settle(access, count).await
}

/// Until the controllers have looked at every node and none is tainted.
async fn settle(access: &Access, count: usize) -> Result<()> {
    let mut connection = access.connect().await?;
    let request = connection.request("GET", "/api/v1/nodes", b"");
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let (_, body) = connection.call(&request).await?;
        let tainted = memchr::memmem::find_iter(&body, b"node.kubernetes.io/").count();
        if tainted == 0 {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{tainted} taints are left on {count} nodes");
        // A bench may look again; thousands of watch events would be in the figures.
        tokio::time::sleep(Duration::from_millis(500)).await;
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
