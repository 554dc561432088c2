//! Pods from created to bound, and a swap of the scheduler in between.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::client::{Access, Connection};
use crate::load::{CLIENTS, pod};
use crate::plugin;

pub struct Bound {
    pub pods: usize,
    pub per_second: f64,
    /// From the moment a create was sent to the moment the watch showed a node.
    pub latencies: Vec<Duration>,
    pub bound_twice: usize,
    pub longest_gap: Duration,
}

/// Makes the pod of that name and number.
type Make = fn(&str, usize) -> Value;

/// Creates pods with 64 clients and follows them by a watch until all are bound.
pub async fn create_to_bound(access: &Access, count: usize, prefix: &str) -> Result<Bound> {
    stream(access, prefix, Numbers::up_to(count), |name, _| pod(name)).await
}

/// So many applications are there of the pods that look at each other.
pub const APPLICATIONS: usize = 10;

/// The same with pods that keep away from the nodes of their like and spread over zones.
pub async fn neighbours_to_bound(access: &Access, count: usize, prefix: &str) -> Result<Bound> {
    stream(access, prefix, Numbers::up_to(count), neighbour).await
}

fn neighbour(name: &str, number: usize) -> Value {
    let labels = json!({"app": format!("bench-{}", number % APPLICATIONS)});
    let like = json!({"matchLabels": labels});
    let mut pod = pod(name);
    pod["metadata"]["labels"] = labels;
    pod["spec"]["affinity"]["podAntiAffinity"] = json!({
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": like}],
    });
    pod["spec"]["topologySpreadConstraints"] = json!([{
        "maxSkew": 5, "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": like,
    }]);
    pod
}

/// The pods of a stream, by number.
struct Numbers {
    next: AtomicUsize,
    count: AtomicUsize,
}

impl Numbers {
    fn up_to(count: usize) -> Arc<Self> {
        Arc::new(Self { next: AtomicUsize::new(0), count: AtomicUsize::new(count) })
    }

    fn take(&self) -> Option<usize> {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        (number < self.count()).then_some(number)
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// So many more than have been taken, unless there are fewer left.
    fn end_after(&self, more: usize) {
        self.count.fetch_min(self.next.load(Ordering::SeqCst) + more, Ordering::SeqCst);
    }
}

/// So many requests are made before the clock starts: making them takes the cores
/// that are being measured.
const MADE_BEFORE: usize = 10_000;

async fn stream(access: &Access, prefix: &str, numbers: Arc<Numbers>, make: Make) -> Result<Bound> {
    let mut watch = access.connect().await?;
    let version = {
        let mut connection = access.connect().await?;
        let request = connection.request("GET", "/api/v1/namespaces/default/pods?limit=1", b"");
        let (_, body) = connection.call(&request).await?;
        let list: Value = serde_json::from_slice(&body)?;
        list["metadata"]["resourceVersion"].as_str().context("no version")?.to_owned()
    };
    let request = watch.request(
        "GET",
        &format!("/api/v1/namespaces/default/pods?watch=true&resourceVersion={version}"),
        b"",
    );
    ensure!(watch.open(&request).await? == 200, "the watch is refused");

    let mut connections = Vec::with_capacity(CLIENTS);
    for _ in 0..CLIENTS {
        connections.push(access.connect().await?);
    }
    let name_of = |prefix: &str, number: usize| format!("{prefix}-{number:05}");
    let request = move |connection: &Connection, name: &str, number: usize| {
        let body = make(name, number).to_string().into_bytes();
        connection.request("POST", "/api/v1/namespaces/default/pods", &body)
    };
    let ready: Vec<Vec<u8>> = (0..numbers.count().min(MADE_BEFORE))
        .map(|number| request(&connections[0], &name_of(prefix, number), number))
        .collect();
    let ready = Arc::new(ready);
    let began = Instant::now();
    let follower = tokio::spawn(follow(watch, numbers.clone(), format!("{prefix}-")));
    let mut tasks = Vec::new();
    for mut connection in connections {
        let (numbers, prefix, ready) = (numbers.clone(), prefix.to_owned(), ready.clone());
        tasks.push(tokio::spawn(async move {
            let mut mine = Vec::new();
            while let Some(number) = numbers.take() {
                let name = name_of(&prefix, number);
                let request = match ready.get(number) {
                    Some(request) => Cow::Borrowed(request.as_slice()),
                    None => Cow::Owned(request(&connection, &name, number)),
                };
                mine.push((name, Instant::now()));
                let outcome = connection.measure(&request).await?;
                ensure!(outcome.status == 201, "create: {}", outcome.status);
            }
            anyhow::Ok(mine)
        }));
    }
    let mut sent = HashMap::new();
    for task in tasks {
        sent.extend(task.await??);
    }
    let seen = tokio::time::timeout(Duration::from_secs(120), follower)
        .await
        .context("not all pods were bound within two minutes")???;
    let mut ends: Vec<Instant> = seen.bound.values().map(|(at, _)| *at).collect();
    ends.sort_unstable();
    let longest_gap = ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(Duration::ZERO);
    let latencies = seen
        .bound
        .iter()
        .filter_map(|(name, (at, _))| sent.get(name).map(|start| *at - *start))
        .collect();
    let last = ends.last().copied().unwrap_or(began);
    Ok(Bound {
        pods: sent.len(),
        per_second: sent.len() as f64 / (last - began).as_secs_f64(),
        latencies,
        bound_twice: seen.changed,
        longest_gap,
    })
}

struct Seen {
    bound: HashMap<String, (Instant, String)>,
    /// Pods whose node changed after they had one.
    changed: usize,
}

async fn follow(mut watch: Connection, numbers: Arc<Numbers>, prefix: String) -> Result<Seen> {
    let mut seen = Seen { bound: HashMap::new(), changed: 0 };
    let mut pending = Vec::new();
    while seen.bound.len() < numbers.count() {
        let Some(chunk) = watch.chunk().await? else { bail!("the watch ended") };
        let at = Instant::now();
        pending.extend_from_slice(&chunk);
        let mut used = 0;
        for end in memchr::memchr_iter(b'\n', &pending) {
            let line = &pending[used..end];
            used = end + 1;
            if let Some((name, node)) = names(line).filter(|(name, _)| name.starts_with(&prefix)) {
                match seen.bound.get(name) {
                    Some((_, before)) if before != node => seen.changed += 1,
                    Some(_) => {}
                    None => {
                        seen.bound.insert(name.to_owned(), (at, node.to_owned()));
                    }
                }
            }
        }
        pending.drain(..used);
    }
    Ok(seen)
}

/// Pod and node of an event, cut out without parsing: this runs on the cores
/// that are being measured.
fn names(event: &[u8]) -> Option<(&str, &str)> {
    let node = field(event, b"\"nodeName\":\"")?;
    // The pod's own name is the one in metadata, and metadata names it last
    // before its namespace; `bench` pods carry theirs in no other field.
    let metadata = memchr::memmem::find(event, b"\"metadata\":")?;
    let name = field(&event[metadata..], b"\"name\":\"")?;
    Some((name, node))
}

fn field<'a>(text: &'a [u8], key: &[u8]) -> Option<&'a str> {
    let start = memchr::memmem::find(text, key)? + key.len();
    let end = start + memchr::memchr(b'"', &text[start..])?;
    std::str::from_utf8(&text[start..end]).ok()
}

/// At most so many pods are created while the swap takes place.
const MOST_PODS: usize = 60_000;

/// Of the pods of a swap, these come after it.
const AFTER: usize = 2000;

/// Swaps the scheduler for another build while pods are being created all the
/// time: from before the request to well after the end of the swap.
pub async fn swap(access: &Access, wasm: &Path) -> Result<(Value, Bound)> {
    let component =
        std::fs::read(wasm).with_context(|| format!("{} is missing", wasm.display()))?;
    let mut connection = access.connect().await?;
    let before = plugin::read(&mut connection).await?;
    let patch = json!({"spec": {
        "source": {"embedded": null, "inline": {"data": STANDARD.encode(&component)}},
        "digest": digest(&component),
        // The same rights that the embedded one has.
        "grants": before["status"]["needs"],
    }});
    let numbers = Numbers::up_to(MOST_PODS);
    let pods = tokio::spawn({
        let (access, numbers) = (access.clone(), numbers.clone());
        async move { stream(&access, "swap", numbers, |name, _| pod(name)).await }
    });
    // In the middle of the stream of pods, not before it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    plugin::change(&mut connection, &patch).await?;
    let status = plugin::settled(&mut connection, "Active").await?;
    numbers.end_after(AFTER);
    Ok((status, pods.await??))
}

fn digest(bytes: &[u8]) -> String {
    let digest = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256
        .tls13()
        .map(|suite| suite.common.hash_provider.hash(bytes));
    let hex: String =
        digest.iter().flat_map(|d| d.as_ref().iter().map(|b| format!("{b:02x}"))).collect();
    format!("sha256:{hex}")
}
