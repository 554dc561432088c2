//! What lifecycle hooks and probes do: run a command in the container, ask an
//! HTTP server or open a connection.

use std::time::Duration;

use pintle_containers::{ExecSpec, Sandbox};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::driver::Message;
use super::model::{Container, Handler, Probe};

/// Output of a failed command that is worth telling.
const OUTPUT_LIMIT: usize = 1024;

/// The container that a hook or probe concerns.
#[derive(Clone)]
pub struct Target {
    pub sandbox: Sandbox,
    pub container: Container,
    pub attempt: u32,
    /// Where the container's ports are reached.
    pub host: String,
}

/// `Err` says what went wrong, in words for an event.
pub async fn run(target: &Target, handler: &Handler, timeout: Duration) -> Result<(), String> {
    let work = async {
        if let Some(exec) = &handler.exec {
            run_command(target, &exec.command).await
        } else if let Some(get) = &handler.http_get {
            if get.scheme.eq_ignore_ascii_case("https") {
                return Err("HTTPS is not supported in probes and hooks of this node".into());
            }
            let host = if get.host.is_empty() { &target.host } else { &get.host };
            let headers = get.http_headers.iter().map(|h| (h.name.as_str(), h.value.as_str()));
            http_get(host, port(target, &get.port)?, &get.path, headers).await
        } else if let Some(tcp) = &handler.tcp_socket {
            let host = if tcp.host.is_empty() { &target.host } else { &tcp.host };
            let port = port(target, &tcp.port)?;
            let connected = TcpStream::connect((host.as_str(), port)).await;
            connected.map(|_| ()).map_err(|error| format!("dial tcp {host}:{port}: {error}"))
        } else if let Some(sleep) = &handler.sleep {
            tokio::time::sleep(Duration::from_secs(sleep.seconds)).await;
            Ok(())
        } else {
            Err("the handler names no action that this node knows".into())
        }
    };
    match tokio::time::timeout(timeout, work).await {
        Ok(result) => result,
        Err(_) => Err(format!("command timed out after {}s", timeout.as_secs())),
    }
}

fn port(target: &Target, port: &Value) -> Result<u16, String> {
    let number = match port {
        Value::Number(number) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
        Value::String(name) => {
            let ports = &target.container.ports;
            let named =
                ports.iter().find(|port| port.name == *name).map(|port| port.container_port);
            named.or_else(|| name.parse().ok())
        }
        _ => None,
    };
    number.filter(|number| *number > 0).ok_or_else(|| format!("couldn't find port {port}"))
}

async fn run_command(target: &Target, command: &[String]) -> Result<(), String> {
    let spec = ExecSpec { args: command.to_vec(), ..ExecSpec::default() };
    let session = target.sandbox.exec(&target.container.name, spec).await;
    let mut session = session.map_err(|error| crate::client::chain(&error))?;
    drop(session.stdin);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (read_out, read_err) =
        tokio::join!(keep(&mut session.stdout, &mut out), keep(&mut session.stderr, &mut err));
    read_out.and(read_err).map_err(|error| error.to_string())?;
    let exit = session.exit.wait().await.map_err(|error| crate::client::chain(&error))?;
    if exit.code == 0 {
        return Ok(());
    }
    out.extend_from_slice(&err);
    out.truncate(OUTPUT_LIMIT);
    Err(format!("command exited with {}: {}", exit.code, String::from_utf8_lossy(&out).trim()))
}

/// Reads to the end, keeps the beginning.
async fn keep(from: &mut (impl AsyncReadExt + Unpin), into: &mut Vec<u8>) -> std::io::Result<()> {
    let mut chunk = [0; 4096];
    loop {
        let count = from.read(&mut chunk).await?;
        if count == 0 {
            return Ok(());
        }
        let room = OUTPUT_LIMIT.saturating_sub(into.len()).min(count);
        into.extend_from_slice(&chunk[..room]);
    }
}

/// One request; any status from 200 to 399 is success.
async fn http_get<'a>(
    host: &str,
    port: u16,
    path: &str,
    headers: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), String> {
    let path = if path.is_empty() { "/" } else { path };
    let failed = |error: std::io::Error| format!("Get \"http://{host}:{port}{path}\": {error}");
    let mut request = format!("GET {path} HTTP/1.1\r\n");
    let mut host_named = false;
    for (name, value) in headers {
        if name.contains(['\r', '\n']) || value.contains(['\r', '\n']) {
            return Err(format!("header {name:?} contains a line break"));
        }
        host_named |= name.eq_ignore_ascii_case("host");
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if !host_named {
        request.push_str(&format!("Host: {host}:{port}\r\n"));
    }
    request.push_str("User-Agent: kube-probe/1.32\r\nAccept: */*\r\nConnection: close\r\n\r\n");
    let mut stream = TcpStream::connect((host, port)).await.map_err(failed)?;
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut head = Vec::new();
    let mut chunk = [0; 256];
    while !head.contains(&b'\n') && head.len() < OUTPUT_LIMIT {
        match stream.read(&mut chunk).await.map_err(failed)? {
            0 => break,
            count => head.extend_from_slice(&chunk[..count]),
        }
    }
    let line = String::from_utf8_lossy(&head);
    let status = line.split_ascii_whitespace().nth(1).and_then(|word| word.parse::<u16>().ok());
    match status {
        Some(status) if (200..400).contains(&status) => Ok(()),
        Some(status) => Err(format!("HTTP probe failed with statuscode: {status}")),
        None => Err("the answer is not HTTP".into()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeKind {
    Startup,
    Readiness,
    Liveness,
}

impl ProbeKind {
    pub fn name(self) -> &'static str {
        match self {
            ProbeKind::Startup => "Startup",
            ProbeKind::Readiness => "Readiness",
            ProbeKind::Liveness => "Liveness",
        }
    }
}

/// Probes one running container until the task is dropped. The startup probe
/// must pass before the others begin.
pub async fn probe(target: Target, inbox: mpsc::Sender<Message>) {
    let container = target.container.clone();
    if let Some(startup) = &container.startup_probe {
        repeat(&target, startup, ProbeKind::Startup, &inbox).await;
    }
    let other = |probe: Option<Probe>, kind| {
        let (target, inbox) = (&target, &inbox);
        async move {
            if let Some(probe) = probe {
                repeat(target, &probe, kind, inbox).await;
            }
        }
    };
    tokio::join!(
        other(container.readiness_probe.clone(), ProbeKind::Readiness),
        other(container.liveness_probe.clone(), ProbeKind::Liveness),
    );
}

/// A probe is a question that is asked at an interval: here a timer is the point.
async fn repeat(target: &Target, probe: &Probe, kind: ProbeKind, inbox: &mpsc::Sender<Message>) {
    let seconds = |seconds: i64| Duration::from_secs(seconds.max(1).unsigned_abs());
    tokio::time::sleep(Duration::from_secs(probe.initial_delay_seconds.max(0).unsigned_abs()))
        .await;
    let (mut good, mut bad) = (0u32, 0u32);
    let mut told = None;
    loop {
        let result = run(target, &probe.handler, seconds(probe.timeout_seconds)).await;
        let passed = result.is_ok();
        (good, bad) = if passed { (good + 1, 0) } else { (0, bad + 1) };
        let verdict = match passed {
            true if good >= probe.success_threshold.max(1) => Some(true),
            false if bad >= probe.failure_threshold.max(1) => Some(false),
            _ => None,
        };
        let changed = verdict.is_some() && verdict != told;
        if changed || !passed {
            let message = Message::Probe {
                container: target.container.name.clone(),
                attempt: target.attempt,
                kind,
                verdict: verdict.filter(|_| changed),
                failure: result.err(),
            };
            if inbox.send(message).await.is_err() {
                return;
            }
        }
        if changed {
            told = verdict;
        }
        if kind == ProbeKind::Startup && verdict == Some(true) {
            return;
        }
        tokio::time::sleep(seconds(probe.period_seconds)).await;
    }
}
