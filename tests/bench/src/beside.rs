//! What it costs the active scheduler that something runs beside it: a shadow of
//! the same program, or a recording. Rounds with and without alternate in one
//! run, forwards and then backwards, so that a machine that gets slower (or a
//! cluster that gets larger) counts for all alike.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use parking_lot::Mutex;
use pintle_plugin_host::trace::model::{Input, Note, Why};
use pintle_plugin_host::trace::{Entry, TraceReader};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::client::{Access, Connection};
use crate::figures::middle;
use crate::process::Pintle;
use crate::report::Report;
use crate::{load, plugin, schedule};

const ROUNDS: usize = 6;

/// Pods before each round, which are not measured.
const WARM: usize = 500;

/// What runs at the lowest priority may have to wait on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(180);

/// A trace that has not grown for so long holds all there is.
const QUIET: Duration = Duration::from_millis(300);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Beside {
    Nothing,
    Shadow,
    Recording,
}

/// Pods bound per second, round by round.
#[derive(Default)]
struct Rates {
    alone: Vec<f64>,
    shadowed: Vec<f64>,
    recorded: Vec<f64>,
    /// Decisions of the rounds that were compared, and all.
    compared: (u64, u64),
    in_trace: (u64, u64),
    trace_bytes: usize,
}

pub async fn run(report: &mut Report, size: usize) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let server = Pintle::server(&dir.path().join("server"))?;
    let access = server.access().clone();
    load::create_nodes(&access, size).await?;
    let mut rates = Rates::default();
    let mut order = [Beside::Nothing, Beside::Shadow, Beside::Recording];
    for round in 0..ROUNDS {
        for beside in order {
            measure(&access, &mut rates, beside, round, size).await?;
        }
        order.reverse();
    }
    server.stop();

    let alone = middle(rates.alone);
    let mut row = |what: &str, with: Vec<f64>, goal: &str, more: String| {
        let with = middle(with);
        report.row(
            what,
            format!("{:+.1} % throughput", (with / alone - 1.0) * 100.0),
            goal,
            format!("pods bound with {with:.0}/s, without {alone:.0}/s; {more}"),
        );
    };
    let share = |(part, all): (u64, u64)| format!("{:.0} %", part as f64 / all as f64 * 100.0);
    row(
        &format!("a shadow beside the scheduler, {size} nodes"),
        rates.shadowed,
        "cost ≤ 5 %",
        format!("{} of the decisions compared, all alike", share(rates.compared)),
    );
    row(
        &format!("a recording of the scheduler, {size} nodes"),
        rates.recorded,
        "cost ≤ 10 %",
        format!(
            "{} of the decisions in the trace, {:.1} MB",
            share(rates.in_trace),
            rates.trace_bytes as f64 / 1e6
        ),
    );
    Ok(())
}

async fn measure(
    access: &Access,
    rates: &mut Rates,
    beside: Beside,
    round: usize,
    pods: usize,
) -> Result<()> {
    let mut connection = access.connect().await?;
    let name = format!("{beside:?}").to_lowercase();
    let warm = format!("warm-{name}-{round}");
    let prefix = format!("{name}-{round}");
    match beside {
        Beside::Nothing => {
            schedule::create_to_bound(access, WARM, &warm).await?;
            rates.alone.push(rate(access, pods, &prefix).await?);
        }
        Beside::Shadow => {
            // The same program with a configuration that says what goes without saying.
            let shadow = json!({"decisions": u32::MAX, "then": "Stop"});
            let config = json!({"schedulerNames": ["default-scheduler"]});
            let on = json!({"spec": {"config": config, "rollout": {"shadow": shadow}}});
            plugin::change(&mut connection, &on).await?;
            plugin::settled(&mut connection, "Shadowing").await?;
            let before = joined(access, &mut connection, &warm).await?;
            rates.shadowed.push(rate(access, pods, &prefix).await?);
            let after = caught_up(&mut connection).await?;
            ensure!(after["divergences"] == 0, "the same program diverged: {after}");
            let of = |field: &str| {
                after[field].as_u64().unwrap_or(0) - before[field].as_u64().unwrap_or(0)
            };
            rates.compared.0 += of("decisions");
            rates.compared.1 += of("decisions") + of("skipped");
            let off = json!({"spec": {"config": null, "rollout": {"shadow": null}}});
            plugin::change(&mut connection, &off).await?;
            plugin::settled(&mut connection, "Active").await?;
        }
        Beside::Recording => {
            let trace = Trace::start(access).await?;
            trace.quiet().await?;
            schedule::create_to_bound(access, WARM, &warm).await?;
            trace.quiet().await?;
            rates.recorded.push(rate(access, pods, &prefix).await?);
            trace.quiet().await?;
            let bytes = trace.end().await?;
            let (recorded, lost) = decisions(&bytes)?;
            rates.in_trace.0 += recorded;
            rates.in_trace.1 += recorded + lost;
            rates.trace_bytes = bytes.len();
        }
    }
    Ok(())
}

async fn rate(access: &Access, pods: usize, prefix: &str) -> Result<f64> {
    let bound = schedule::create_to_bound(access, pods, prefix).await?;
    ensure!(bound.bound_twice == 0, "{} pods changed their node", bound.bound_twice);
    Ok(bound.per_second)
}

async fn comparison(connection: &mut Connection) -> Result<Value> {
    let request = connection.request("GET", &format!("{}/divergences", plugin::PATH), b"");
    let (status, body) = connection.call(&request).await?;
    ensure!(status == 200, "comparison: {}", String::from_utf8_lossy(&body));
    Ok(serde_json::from_slice(&body)?)
}

/// Creates pods until the shadow compares what is decided about them: before it
/// can it has to be shown the whole cluster.
async fn joined(access: &Access, connection: &mut Connection, prefix: &str) -> Result<Value> {
    let began = Instant::now();
    for batch in 0.. {
        schedule::create_to_bound(access, WARM, &format!("{prefix}-{batch}")).await?;
        let now = caught_up(connection).await?;
        if now["decisions"].as_u64().unwrap_or(0) > 0 {
            return Ok(now);
        }
        ensure!(began.elapsed() < PATIENCE, "the shadow does not compare: {now}");
    }
    bail!("there are no more numbers")
}

/// What was counted, once it is not counting any more.
async fn caught_up(connection: &mut Connection) -> Result<Value> {
    let began = Instant::now();
    let mut before = Value::Null;
    loop {
        let now = comparison(connection).await?;
        if now == before {
            return Ok(now);
        }
        ensure!(began.elapsed() < PATIENCE, "the shadow never ends: {now}");
        before = now;
        // What runs at the lowest priority is looked at from outside.
        tokio::time::sleep(QUIET).await;
    }
}

/// A recording, as it comes in.
struct Trace {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<Result<()>>,
}

impl Trace {
    async fn start(access: &Access) -> Result<Self> {
        let mut connection = access.connect().await?;
        let path = format!("{}/trace?seconds=600&component=false", plugin::PATH);
        let request = connection.request("GET", &path, b"");
        ensure!(connection.open(&request).await? == 200, "the recording is refused");
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let reader = tokio::spawn({
            let bytes = bytes.clone();
            async move {
                while let Some(chunk) = connection.chunk().await? {
                    bytes.lock().extend(chunk);
                }
                bail!("the recording ended by itself")
            }
        });
        Ok(Self { bytes, reader })
    }

    /// Until the recorder has nothing more to write.
    async fn quiet(&self) -> Result<()> {
        let began = Instant::now();
        let mut before = 0;
        loop {
            let now = self.bytes.lock().len();
            if now > 0 && now == before {
                return Ok(());
            }
            ensure!(began.elapsed() < PATIENCE, "the recorder never ends");
            before = now;
            // What runs at the lowest priority is looked at from outside.
            tokio::time::sleep(QUIET).await;
        }
    }

    /// Hangs up, which ends the recording.
    async fn end(self) -> Result<Vec<u8>> {
        ensure!(!self.reader.is_finished(), "the recording ended by itself");
        self.reader.abort();
        let _ = self.reader.await;
        Ok(std::mem::take(&mut self.bytes.lock()))
    }
}

/// How many pods were decided in the calls of a trace, and how many are missing.
fn decisions(trace: &[u8]) -> Result<(u64, u64)> {
    let mut reader = TraceReader::open(trace)?;
    let (mut recorded, mut lost) = (0, 0);
    // The end of a recording that was hung up is cut.
    while let Ok(Some(entry)) = reader.read() {
        match entry {
            Entry::Call(call) => {
                if let Input::Schedule { pods, .. } = &call.input {
                    recorded += pods.len() as u64;
                }
            }
            Entry::Start(start) => {
                if let Why::Lost(count) = start.why {
                    lost += count;
                }
            }
            Entry::Note(Note::Lost(count)) => lost += count,
            Entry::Note(_) => lost += 1,
            Entry::Footer(_) => {}
        }
    }
    Ok((recorded, lost))
}
