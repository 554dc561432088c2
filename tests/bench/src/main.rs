//! `make bench`: the project's figures, measured on the real binary over real
//! TLS with real fsync, or on the library where that is said, beside what a
//! peer or the machine's floor does.
//!
//! Absolute numbers depend on the machine; nothing here ever fails on time.

mod beside;
mod client;
mod crossing;
#[path = "../../../runtime/plugin-host/benches/figures/mod.rs"]
mod figures;
mod fleet;
mod host;
mod large;
mod load;
mod metrics;
mod plugin;
mod pods;
mod process;
mod report;
mod restart;
mod schedule;
#[path = "../../../runtime/plugin-host/tests/support/mod.rs"]
mod support;
mod workloads;

use std::fs::OpenOptions;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;

use crate::load::CLIENTS;
use crate::process::Pintle;
use crate::report::{Report, ms, percentile};

/// Measures pintle and prints the table.
#[derive(Parser)]
struct Options {
    /// Nodes and pods of the large cluster
    #[arg(long, default_value_t = 5000)]
    size: usize,
    /// Nodes of the largest cluster; twice as many pods
    #[arg(long, default_value_t = 50_000)]
    large: usize,
    /// Only these parts
    #[arg(long, value_delimiter = ',', default_values_t = ["host", "api", "schedule", "neighbours", "workloads", "restart", "large", "beside", "pods"].map(String::from))]
    parts: Vec<String>,
    /// Another build of the scheduler, to swap in
    #[arg(long)]
    scheduler: Option<PathBuf>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let mut report = Report::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let part = |name: &str| options.parts.iter().any(|part| part == name);
    if part("host") {
        host::run(&mut report, options.size)?;
    }
    runtime.block_on(async {
        if part("api") {
            api(&mut report).await?;
        }
        if part("schedule") {
            large_cluster(&mut report, &options).await?;
        }
        if part("neighbours") {
            neighbours(&mut report, options.size).await?;
        }
        if part("workloads") {
            workloads::run(&mut report, options.size).await?;
        }
        if part("restart") {
            restart::run(&mut report, options.size).await?;
        }
        if part("large") {
            large::run(&mut report, options.large, 2 * options.large).await?;
        }
        if part("beside") {
            beside::run(&mut report, options.size).await?;
        }
        if part("pods-inside") {
            pods::inside(&mut report).await?;
        }
        anyhow::Ok(())
    })?;
    report.print();
    if part("pods") {
        pods::run()?;
    }
    Ok(())
}

async fn api(report: &mut Report) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("server");
    let server = Pintle::server(&data)?;
    // Idle is what is left some time after the start: the allocator gives back late.
    tokio::time::sleep(Duration::from_secs(2)).await;
    report.row(
        "resident, idle server",
        format!("{:.1} MB", server.resident_mb()),
        "≤ 50 MB",
        "peer 505 MB".into(),
    );

    let access = server.access().clone();
    let floor = fdatasync_floor(dir.path())?;
    let writes = 40_000;
    let (mut latencies, took) = load::spread(&access, CLIENTS, writes, "POST", |n| {
        let value = "x".repeat(1400);
        let body = format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"bench-{n}"}},"data":{{"value":"{value}"}}}}"#
        );
        ("/api/v1/namespaces/default/configmaps".into(), body.into_bytes())
    })
    .await?;
    report.row(
        "durable writes over HTTPS, 64 clients",
        format!(
            "{:.0}/s, p50 {}, p99 {}",
            writes as f64 / took.as_secs_f64(),
            ms(percentile(&mut latencies, 50)),
            ms(percentile(&mut latencies, 99))
        ),
        "≥ 8000/s",
        format!("peer 1493/s; one writer's fdatasync floor {floor:.0}/s"),
    );

    let gets = 200_000;
    let (mut latencies, took) = load::spread(&access, CLIENTS, gets, "GET", |n| {
        (format!("/api/v1/namespaces/default/configmaps/bench-{}", n % 40_000), Vec::new())
    })
    .await?;
    report.row(
        "single GETs over HTTPS, 64 clients",
        format!(
            "{:.0}/s, p50 {}, p99 {}",
            gets as f64 / took.as_secs_f64(),
            ms(percentile(&mut latencies, 50)),
            ms(percentile(&mut latencies, 99))
        ),
        "≥ 25000/s",
        "peer 6387/s".into(),
    );
    server.stop();
    Ok(())
}

async fn large_cluster(report: &mut Report, options: &Options) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("server");
    let server = Pintle::server(&data)?;
    let access = server.access().clone();
    let size = options.size;
    load::create_nodes(&access, size).await?;

    let before = server.cpu();
    let mut bound = schedule::create_to_bound(&access, size, "bench").await?;
    let cpu = (server.cpu() - before).as_secs_f64() * 1e6 / size as f64;
    report.row(
        &format!("pods created → bound, {size} nodes, {size} pods, 64 clients"),
        format!(
            "{:.0}/s, p50 {}, p99 {}",
            bound.per_second,
            ms(percentile(&mut bound.latencies, 50)),
            ms(percentile(&mut bound.latencies, 99))
        ),
        "≥ 2500/s, p50 ≤ 100 ms",
        format!("peer 224/s, p50 8.5 s; {cpu:.0} µs of server CPU a pod"),
    );
    anyhow::ensure!(bound.bound_twice == 0, "{} pods changed their node", bound.bound_twice);

    let (list, bytes) = load::list_pods(&access).await?;
    report.row(
        &format!("list of {size} pods ({:.1} MB), whole request", bytes as f64 / 1e6),
        ms(list),
        "≤ 25 ms",
        "peer 129 ms".into(),
    );
    // The allocator gives back late.
    tokio::time::sleep(Duration::from_secs(3)).await;
    report.row(
        &format!("resident, server with {size} nodes and {size} pods"),
        format!("{:.1} MB", server.resident_mb()),
        "≤ 200 MB",
        "peer 1637 MB".into(),
    );

    let variant = options.scheduler.clone().unwrap_or_else(|| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../target/guests/variants/scheduler-most-allocated.wasm")
    });
    if variant.is_file() {
        let (status, swap) = schedule::swap(&access, &variant).await?;
        let pause = status["lastSwapPauseMicroseconds"].as_f64().unwrap_or(f64::NAN) / 1e3;
        report.row(
            &format!("scheduler hot swap, {size} nodes, {size} pods and more coming"),
            format!(
                "{pause:.1} ms pause; {} pods, longest gap between two bound {}",
                swap.pods,
                ms(swap.longest_gap)
            ),
            "≤ 10 ms, none lost or bound twice",
            format!(
                "none known; longest gap without a swap {}; {} bound twice, 0 lost",
                ms(bound.longest_gap),
                swap.bound_twice
            ),
        );
    } else {
        println!("no other build of the scheduler at {}: the swap is left out", variant.display());
    }
    server.stop();

    let server = Pintle::server(&data)?;
    report.row(
        "start to ready, second start, data present",
        ms(server.started_in),
        "≤ 500 ms",
        "peer 3.7 s".into(),
    );
    server.stop();
    Ok(())
}

/// Every pod keeps away from the nodes of its like and spreads over zones.
async fn neighbours(report: &mut Report, size: usize) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let server = Pintle::server(&dir.path().join("server"))?;
    let access = server.access().clone();
    load::create_nodes(&access, size).await?;
    let before = server.cpu();
    let mut bound = schedule::neighbours_to_bound(&access, size, "near").await?;
    let cpu = (server.cpu() - before).as_secs_f64() * 1e6 / size as f64;
    report.row(
        &format!(
            "the same, anti-affinity and spread on every pod, {} applications",
            schedule::APPLICATIONS
        ),
        format!(
            "{:.0}/s, p50 {}, p99 {}",
            bound.per_second,
            ms(percentile(&mut bound.latencies, 50)),
            ms(percentile(&mut bound.latencies, 99))
        ),
        "≥ 1000/s",
        format!("the peer loses 2–10 ×; {cpu:.0} µs of server CPU a pod"),
    );
    anyhow::ensure!(bound.bound_twice == 0, "{} pods changed their node", bound.bound_twice);
    server.stop();
    Ok(())
}

/// Appends of 4 KiB, each made durable: what one writer on this disk can reach.
fn fdatasync_floor(dir: &Path) -> Result<f64> {
    let mut file =
        OpenOptions::new().create(true).truncate(true).write(true).open(dir.join("floor"))?;
    let block = [0u8; 4096];
    file.write_all(&[0u8; 4 << 20])?;
    file.sync_all()?;
    file.rewind()?;
    let began = Instant::now();
    let rounds = 1000;
    for _ in 0..rounds {
        file.write_all(&block)?;
        file.sync_data()?;
    }
    Ok(f64::from(rounds) / began.elapsed().as_secs_f64())
}
