//! The nodes' part where there are no nodes: what an agent would report about
//! its pods is written over the API, at once and for all nodes together.
//!
//! Bound pods become Running and Ready; deleted ones are let go. So controllers
//! and scheduler are measured without containers, which take their own time.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::client::{Access, Connection};

/// Connections that report.
const REPORTERS: usize = 32;

/// Reports that wait for a connection, per connection.
const BACKLOG: usize = 1024;

/// What a part of the bench waits for has come by then, or never comes.
const PATIENCE: Duration = Duration::from_secs(180);

/// The pods of a namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub present: usize,
    pub bound: usize,
    pub running: usize,
}

type Tallies = BTreeMap<String, Tally>;

pub struct Fleet {
    tallies: watch::Receiver<Tallies>,
    tasks: Vec<JoinHandle<Result<()>>>,
}

#[derive(Deserialize)]
struct Event<'a> {
    r#type: &'a str,
    object: Pod,
}

#[derive(Deserialize)]
struct Pod {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    namespace: String,
    deletion_timestamp: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    phase: String,
}

/// How far a pod has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Stage {
    bound: bool,
    running: bool,
    leaving: bool,
}

enum Report {
    Runs { namespace: String, name: String, number: u32 },
    Gone { namespace: String, name: String },
}

impl Fleet {
    /// Follows all pods of the cluster from now on.
    pub async fn start(access: &Access) -> Result<Self> {
        let mut watch = access.connect().await?;
        let request = watch.request("GET", "/api/v1/pods?watch=true", b"");
        ensure!(watch.open(&request).await? == 200, "the watch is refused");
        let (tell, tallies) = watch::channel(Tallies::new());
        let mut tasks = Vec::new();
        let mut lines = Vec::new();
        for _ in 0..REPORTERS {
            let (line, reports) = mpsc::channel(BACKLOG);
            tasks.push(tokio::spawn(report(access.connect().await?, reports)));
            lines.push(line);
        }
        tasks.push(tokio::spawn(follow(watch, lines, tell)));
        Ok(Self { tallies, tasks })
    }

    /// Until the pods of a namespace are as wanted.
    pub async fn until(
        &mut self,
        namespace: &str,
        mut wanted: impl FnMut(Tally) -> bool,
    ) -> Result<()> {
        let of = |tallies: &Tallies| tallies.get(namespace).copied().unwrap_or_default();
        let waiting = self.tallies.wait_for(|all| wanted(of(all)));
        if let Ok(waited) = tokio::time::timeout(PATIENCE, waiting).await {
            return waited.map(drop).context("the fleet has ended");
        }
        bail!("pods of {namespace} never got there: {:?}", of(&self.tallies.borrow()))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn follow(
    mut watch: Connection,
    lines: Vec<mpsc::Sender<Report>>,
    tell: watch::Sender<Tallies>,
) -> Result<()> {
    let mut pods: HashMap<(String, String), Stage> = HashMap::new();
    let mut tallies = Tallies::new();
    let mut pending = Vec::new();
    let mut number = 0u32;
    loop {
        let Some(chunk) = watch.chunk().await? else { bail!("the watch of pods ended") };
        pending.extend_from_slice(&chunk);
        let mut used = 0;
        let mut reports = Vec::new();
        for end in memchr::memchr_iter(b'\n', &pending) {
            let event: Event = serde_json::from_slice(&pending[used..end])?;
            used = end + 1;
            let Pod { metadata, spec, status } = event.object;
            let (namespace, name) = (metadata.namespace, metadata.name);
            let key = (namespace.clone(), name.clone());
            let tally = tallies.entry(namespace.clone()).or_default();
            let before = pods.get(&key).copied();
            if event.r#type == "DELETED" {
                if let Some(before) = pods.remove(&key) {
                    tally.present -= 1;
                    tally.bound -= usize::from(before.bound);
                    tally.running -= usize::from(before.running);
                }
                continue;
            }
            tally.present += usize::from(before.is_none());
            let before = before.unwrap_or_default();
            let now = Stage {
                bound: spec.node_name.is_some(),
                running: status.phase == "Running",
                leaving: metadata.deletion_timestamp.is_some(),
            };
            pods.insert(key, now);
            tally.bound = tally.bound + usize::from(now.bound) - usize::from(before.bound);
            tally.running = tally.running + usize::from(now.running) - usize::from(before.running);
            if now.leaving && !before.leaving {
                reports.push(Report::Gone { namespace, name });
            } else if now.bound && !before.bound && !now.running && !now.leaving {
                number += 1;
                reports.push(Report::Runs { namespace, name, number });
            }
        }
        pending.drain(..used);
        tell.send_replace(tallies.clone());
        for (at, report) in reports.into_iter().enumerate() {
            let line = &lines[(number as usize + at) % lines.len()];
            line.send(report).await.map_err(|_| anyhow::anyhow!("a reporter ended"))?;
        }
    }
}

async fn report(mut connection: Connection, mut reports: mpsc::Receiver<Report>) -> Result<()> {
    while let Some(report) = reports.recv().await {
        let request = match report {
            Report::Runs { namespace, name, number } => connection.request(
                "PATCH",
                &format!("/api/v1/namespaces/{namespace}/pods/{name}/status"),
                running(number).to_string().as_bytes(),
            ),
            Report::Gone { namespace, name } => connection.request(
                "DELETE",
                &format!("/api/v1/namespaces/{namespace}/pods/{name}?gracePeriodSeconds=0"),
                b"",
            ),
        };
        let outcome = connection.measure(&request).await?;
        // Somebody else may have been faster.
        ensure!(outcome.status < 300 || outcome.status == 404, "a report: {}", outcome.status);
    }
    Ok(())
}

/// The status of a pod that runs; `number` makes its address.
fn running(number: u32) -> Value {
    const SINCE: &str = "2026-01-01T00:00:00Z";
    let [_, a, b, c] = number.to_be_bytes();
    let address = format!("10.{a}.{b}.{c}");
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"]
        .map(|name| json!({"type": name, "status": "True", "lastTransitionTime": SINCE}));
    json!({"status": {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "hostIP": "127.0.0.1",
        "startTime": SINCE,
        "conditions": conditions,
        "containerStatuses": [{
            "name": "main", "ready": true, "started": true, "restartCount": 0,
            "image": "registry.example/bench/app:1.2.3", "imageID": "",
            "state": {"running": {"startedAt": SINCE}},
        }],
    }})
}

/// Follows one collection by a watch until an object in it is as wanted; `None`
/// stands for one that is gone.
pub async fn until(
    access: &Access,
    collection: &str,
    name: &str,
    mut wanted: impl FnMut(Option<&Value>) -> bool,
) -> Result<()> {
    let mut watch = access.connect().await?;
    let path = format!("{collection}?watch=true&fieldSelector=metadata.name%3D{name}");
    let request = watch.request("GET", &path, b"");
    ensure!(watch.open(&request).await? == 200, "the watch of {collection} is refused");
    let mut last = Value::Null;
    let following = async {
        let mut pending = Vec::new();
        loop {
            let Some(chunk) = watch.chunk().await? else { bail!("the watch ended") };
            pending.extend_from_slice(&chunk);
            let mut used = 0;
            for end in memchr::memchr_iter(b'\n', &pending) {
                let event: Value = serde_json::from_slice(&pending[used..end])?;
                used = end + 1;
                last = event["object"].clone();
                let present = (event["type"] != "DELETED").then_some(&last);
                if wanted(present) {
                    return Ok(());
                }
            }
            pending.drain(..used);
        }
    };
    match tokio::time::timeout(PATIENCE, following).await {
        Ok(found) => found,
        Err(_) => bail!("{collection}/{name} never got there: {}", last["status"]),
    }
}
