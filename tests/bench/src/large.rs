//! A cluster of 50 000 nodes with 100 000 pods on them, and more to decide.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::load::{self, CLIENTS, node_name, spread};
use crate::metrics;
use crate::process::Pintle;
use crate::report::{Report, ms, percentile};
use crate::schedule;
use crate::workloads::value;

/// Pods that are decided.
const MORE: usize = 10_000;

pub async fn run(report: &mut Report, nodes: usize, pods: usize) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let server = Pintle::server(&dir.path().join("server"))?;
    let access = server.access().clone();
    load::create_nodes(&access, nodes).await?;
    // With a node from the start: nobody has to decide about them.
    spread(&access, CLIENTS, pods, "POST", move |n| {
        let mut pod = load::pod(&format!("resident-{n:06}"));
        pod["spec"]["nodeName"] = node_name(n % nodes).into();
        ("/api/v1/namespaces/default/pods".into(), pod.to_string().into_bytes())
    })
    .await?;
    let mut connection = access.connect().await?;
    metrics::quiet(&mut connection).await?;
    let mut bound = schedule::create_to_bound(&access, MORE, "more").await?;
    ensure!(bound.bound_twice == 0, "{} pods changed their node", bound.bound_twice);
    let rested = metrics::quiet(&mut connection).await?;
    // The allocator gives back late.
    tokio::time::sleep(Duration::from_secs(3)).await;
    report.row(
        &format!("pods created → bound, {nodes} nodes and {pods} pods resident"),
        format!(
            "{:.0}/s, p50 {}, p99 {}; scheduler {:.1} MB",
            bound.per_second,
            ms(percentile(&mut bound.latencies, 50)),
            ms(percentile(&mut bound.latencies, 99)),
            value(&rested, "memory_bytes", "scheduler")? / 1e6
        ),
        "≥ 2000/s, ≤ 300 MB",
        format!(
            "peer: k8s-1m has a fleet for 1M nodes; the whole server {:.1} MB",
            server.resident_mb()
        ),
    );
    server.stop();
    Ok(())
}
