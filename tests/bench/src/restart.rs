//! Starting again with a large cluster in the data directory: after a stop, and
//! after a kill, both right behind the load, when the files are as large as they get.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::metrics;
use crate::process::Pintle;
use crate::report::{Report, ms};
use crate::{load, schedule};

/// Pods of the cluster that is started again.
const PODS: usize = 20_000;

pub async fn run(report: &mut Report, nodes: usize) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("server");
    let server = Pintle::server(&data)?;
    let access = server.access().clone();
    load::create_nodes(&access, nodes).await?;
    let bound = schedule::create_to_bound(&access, PODS, "kept").await?;
    ensure!(bound.bound_twice == 0, "{} pods changed their node", bound.bound_twice);
    metrics::quiet(&mut access.connect().await?).await?;
    server.stop();

    let held = format!("{nodes} nodes and {PODS} pods");
    let stored = megabytes(&data.join("storage"));
    let server = Pintle::server(&data)?;
    let first = decided(&server, "after-stop").await?;
    report.row(
        &format!("start to ready, second start, {held}"),
        ms(server.started_in),
        "≤ 500 ms",
        format!(
            "peer 3.7 s; {stored:.0} MB of storage; a new pod is bound {} after ready",
            ms(first)
        ),
    );
    metrics::quiet(&mut server.access().connect().await?).await?;
    // The allocator gives back late.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let resident = server.resident_mb();
    server.kill();

    let stored = megabytes(&data.join("storage"));
    let server = Pintle::server(&data)?;
    let first = decided(&server, "after-kill").await?;
    report.row(
        "the same after a kill",
        ms(server.started_in),
        "≤ 500 ms",
        format!("{stored:.0} MB of storage; a new pod is bound {} after ready", ms(first)),
    );
    report.row(
        &format!("resident, started again with {held}"),
        format!("{resident:.1} MB"),
        "none set",
        "peer 1637 MB with 5000 pods".into(),
    );
    server.stop();
    Ok(())
}

/// How long it takes until a pod that is created now has its node.
async fn decided(server: &Pintle, name: &str) -> Result<Duration> {
    let began = Instant::now();
    schedule::create_to_bound(server.access(), 1, name).await?;
    Ok(began.elapsed())
}

/// What the files of a directory take on the disk, holes not counted.
fn megabytes(dir: &Path) -> f64 {
    use std::os::unix::fs::MetadataExt;
    fn blocks(dir: &Path) -> u64 {
        let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
        let each = entries.flatten().filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            Some(if metadata.is_dir() { blocks(&entry.path()) } else { metadata.blocks() })
        });
        each.sum()
    }
    // Blocks of 512 bytes (stat(2)).
    blocks(dir) as f64 * 512.0 / 1e6
}
