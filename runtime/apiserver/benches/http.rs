//! The API over HTTPS, durable, with its clients in the same process:
//!
//! ```text
//! cargo bench -p pintle-apiserver
//! ```
//!
//! Each line has the figure of kube-apiserver with etcd on the same class of
//! machine beside it, and the figure to reach.

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Client, TestServer};

/// The allocator of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CLIENTS: usize = 64;
const PODS: usize = 5000;
const PHASE: Duration = Duration::from_secs(3);
const COLLECTION: &str = "/api/v1/namespaces/default/pods";

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run());
}

async fn run() {
    let server = TestServer::start().await;
    println!("{:<44} {:>12} {:>12} {:>12}", "", "here", "peer", "reach");

    let creates = {
        let connected = connect(&server).await;
        let start = Instant::now();
        let next = Arc::new(AtomicU64::new(0));
        let latencies = clients(connected, |mut client, mut latencies| {
            let next = next.clone();
            async move {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= PODS as u64 {
                        return latencies;
                    }
                    let body = pod(index).to_string();
                    let begin = Instant::now();
                    let answer = client
                        .send("POST", COLLECTION, &[("content-type", "application/json")], body)
                        .await;
                    latencies.push(begin.elapsed());
                    assert_eq!(answer.status, 201);
                }
            }
        })
        .await;
        (PODS as f64 / start.elapsed().as_secs_f64(), latencies)
    };
    line("pod creates/s (1.8 KB), 64 clients, durable", creates.0, "", 1493.0, 8000.0);
    percentiles(creates.1);

    let updates = timed(&server, |client, index| {
        let patch = json!({"metadata": {"labels": {"round": index.to_string()}}}).to_string();
        async move {
            let path = format!("{COLLECTION}/pod-{}", index % PODS as u64);
            let headers = [("content-type", "application/merge-patch+json")];
            let mut client = client;
            let answer = client.send("PATCH", &path, &headers, patch).await;
            assert_eq!(answer.status, 200);
            client
        }
    })
    .await;
    line("pod patches/s, 64 clients, durable", updates.0, "", 1493.0, 8000.0);
    percentiles(updates.1);

    let binds = {
        let connected = connect(&server).await;
        let start = Instant::now();
        let next = Arc::new(AtomicU64::new(0));
        let latencies = clients(connected, |mut client, mut latencies| {
            let next = next.clone();
            async move {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= PODS as u64 {
                        return latencies;
                    }
                    let path = format!("{COLLECTION}/pod-{index}/binding");
                    let body = json!({"target": {"kind": "Node", "name": format!("node-{}", index % 500)}});
                    let begin = Instant::now();
                    let answer = client.post(&path, &body).await;
                    latencies.push(begin.elapsed());
                    assert_eq!(answer.status, 201);
                }
            }
        })
        .await;
        (PODS as f64 / start.elapsed().as_secs_f64(), latencies)
    };
    line("bindings/s, 64 clients, durable", binds.0, "", 224.0, 2000.0);
    percentiles(binds.1);

    let gets = timed(&server, |client, index| async move {
        let path = format!("{COLLECTION}/pod-{}", index % PODS as u64);
        let mut client = client;
        let answer = client.get(&path).await;
        assert_eq!(answer.status, 200);
        client
    })
    .await;
    line("GETs/s, 64 clients", gets.0, "", 6387.0, 25_000.0);
    percentiles(gets.1);

    let mut client = server.admin().await;
    let mut times = Vec::new();
    let mut bytes = 0;
    for _ in 0..20 {
        let begin = Instant::now();
        let answer = client.get(COLLECTION).await;
        times.push(begin.elapsed());
        bytes = answer.bytes.len();
    }
    times.sort();
    let name = format!("list of {PODS} pods ({:.1} MB), whole request, p50", bytes as f64 / 1e6);
    line(&name, times[10].as_secs_f64() * 1e3, " ms", 129.0, 25.0);

    let mut times = Vec::new();
    for _ in 0..5 {
        let begin = Instant::now();
        let mut path = format!("{COLLECTION}?limit=500");
        let mut rows = 0;
        loop {
            let accept =
                [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")];
            let page = client.send("GET", &path, &accept, "").await.json();
            rows += page["rows"].as_array().map_or(0, Vec::len);
            match page["metadata"]["continue"].as_str() {
                Some(token) => path = format!("{COLLECTION}?limit=500&continue={token}"),
                None => break,
            }
        }
        assert_eq!(rows, PODS);
        times.push(begin.elapsed());
    }
    times.sort();
    println!(
        "{:<44} {:>9.0} ms",
        "the same as kubectl asks: tables of 500, p50",
        times[2].as_secs_f64() * 1e3
    );
}

fn line(name: &str, here: f64, unit: &str, peer: f64, reach: f64) {
    println!("{name:<44} {here:>9.0}{unit:<3} {peer:>9.0}{unit:<3} {reach:>9.0}{unit:<3}");
}

fn percentiles(mut latencies: Vec<Duration>) {
    latencies.sort();
    let at =
        |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("{:<44} p50 {:.2} ms, p99 {:.2} ms", "", at(0.5), at(0.99));
}

async fn connect(server: &TestServer) -> Vec<Client> {
    let mut connected = Vec::new();
    for _ in 0..CLIENTS {
        connected.push(server.admin().await);
    }
    connected
}

/// Runs one task per client until all are done; returns all latencies.
async fn clients<F, T>(connected: Vec<Client>, task: F) -> Vec<Duration>
where
    F: Fn(Client, Vec<Duration>) -> T,
    T: Future<Output = Vec<Duration>> + Send + 'static,
{
    let tasks: Vec<_> =
        connected.into_iter().map(|client| tokio::spawn(task(client, Vec::new()))).collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.expect("a client"));
    }
    latencies
}

/// Repeats a request on all clients for a while: requests per second, latencies.
async fn timed<F, T>(server: &TestServer, request: F) -> (f64, Vec<Duration>)
where
    F: Fn(Client, u64) -> T + Clone + Send + Sync + 'static,
    T: Future<Output = Client> + Send + 'static,
{
    let connected = connect(server).await;
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut tasks = Vec::new();
    for mut client in connected {
        let (request, next) = (request.clone(), next.clone());
        tasks.push(tokio::spawn(async move {
            let mut latencies = Vec::new();
            while start.elapsed() < PHASE {
                let begin = Instant::now();
                client = request(client, next.fetch_add(1, Ordering::Relaxed)).await;
                latencies.push(begin.elapsed());
            }
            latencies
        }));
    }
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.expect("a client"));
    }
    (latencies.len() as f64 / start.elapsed().as_secs_f64(), latencies)
}

fn pod(index: u64) -> Value {
    let environment: Vec<Value> = (0..6)
        .map(|n| json!({"name": format!("SETTING_{n}"), "value": format!("value-of-setting-{n}-of-{index}")}))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("pod-{index}"),
            "labels": {"app": format!("app-{}", index % 100), "tier": "backend", "version": "v1"},
            "annotations": {"example.com/owner": "team-a", "example.com/checksum": "0123456789abcdef0123456789abcdef"},
        },
        "spec": {
            "containers": [{
                "name": "main",
                "image": "registry.example.com/team/service:1.2.3",
                "args": ["--listen=:8080", "--log-level=info"],
                "env": environment,
                "ports": [{"name": "http", "containerPort": 8080}],
                "resources": {
                    "requests": {"cpu": "100m", "memory": "128Mi"},
                    "limits": {"cpu": "1", "memory": "256Mi"},
                },
                "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
            }],
            "volumes": [{"name": "scratch", "emptyDir": {}}],
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
        },
    })
}
