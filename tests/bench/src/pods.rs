//! Pods from created to Running with real containers, beside bare `runc run`,
//! and what agent and shims keep in memory.
//!
//! Runs in a network namespace of its own: see [`run`].

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use crate::client::Access;
use crate::process::{Pintle, binary, resident_kb};
use crate::report::{Report, ms, percentile};

const IMAGE: &str = "pintle.dev/bench/busybox:1";
const PODS: usize = 50;

/// Starts this program again for the part `pods-inside`, without a network but
/// its own, so that the machine's stays as it is.
pub fn run() -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "pods need root");
    let status = Command::new("unshare")
        .args(["--net", "--"])
        .arg(std::env::current_exe()?)
        .args(["--parts", "pods-inside"])
        .status()
        .context("unshare (util-linux) cannot be run")?;
    ensure!(status.success(), "the part `pods` failed");
    Ok(())
}

pub async fn inside(report: &mut Report) -> Result<()> {
    let dir = tempfile::tempdir()?;
    tool("ip", &["link", "set", "lo", "up"])?;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let image = dir.path().join("image.tar");
    tool(path(&workspace.join("docs/examples/image.sh")), &[path(&image), IMAGE])?;

    let (server_dir, node_dir) = (dir.path().join("server"), dir.path().join("node"));
    let pintle = binary()?;
    tool(path(&pintle), &["image", "--data-dir", path(&node_dir), "import", path(&image)])?;
    let server = Pintle::server(&server_dir)?;
    let access = server.access().clone();
    let kubeconfig = server_dir.join("admin.kubeconfig");
    let token = tool(path(&pintle), &["token", "create", "--kubeconfig", path(&kubeconfig)])?;
    let link = server.node_address.clone().context("no node address")?;
    let agent = Pintle::start(
        "agent",
        &node_dir,
        &[
            "--node-name",
            "bench",
            "--node-ip",
            "127.0.0.1",
            "--server",
            &link,
            "--join",
            token.trim(),
        ],
    )?;
    let measured = measure(report, &access, &agent, &node_dir, dir.path(), &image).await;
    agent.stop();
    server.stop();
    tool(path(&pintle), &["reset", "--data-dir", path(&node_dir)])?;
    measured
}

async fn measure(
    report: &mut Report,
    access: &Access,
    agent: &Pintle,
    node_dir: &Path,
    scratch: &Path,
    image: &Path,
) -> Result<()> {
    // The allocator gives back late.
    tokio::time::sleep(Duration::from_secs(2)).await;
    report.row(
        "resident, idle agent",
        format!("{:.1} MB", agent.resident_mb()),
        "≤ 30 MB",
        "peer 275 MB (k3s agent)".into(),
    );
    let mut times = Vec::with_capacity(PODS);
    for number in 0..PODS {
        times.push(create_to_running(access, &format!("pod-{number:03}")).await?);
    }
    let mut floor = runc_floor(scratch, image)?;
    let (p50, p99) = (percentile(&mut times, 50), percentile(&mut times, 99));
    let floor = percentile(&mut floor, 50);
    report.row(
        &format!("pod created → Running, image present, {PODS} one by one"),
        format!("p50 {}, p99 {}", ms(p50), ms(p99)),
        "p50 ≤ 120 ms, p99 ≤ 300 ms",
        format!(
            "peer 1.1–1.8 s; bare runc run {}: ratio {:.1}",
            ms(floor),
            p50.as_secs_f64() / floor.as_secs_f64()
        ),
    );
    let shims = shims(node_dir);
    let total: u64 = shims.iter().map(|pid| resident_kb(*pid)).sum();
    report.row(
        &format!("resident per pod (shim), {} pods", shims.len()),
        format!("{:.2} MB", total as f64 / 1024.0 / shims.len().max(1) as f64),
        "≤ 2 MB",
        "peer 10 MB (containerd-shim)".into(),
    );
    report.row(
        &format!("resident, agent with {} pods", shims.len()),
        format!("{:.1} MB", agent.resident_mb()),
        "",
        String::new(),
    );
    Ok(())
}

/// One pod: from the moment the create is sent to the moment a watch says Running.
async fn create_to_running(access: &Access, name: &str) -> Result<Duration> {
    let mut watch = access.connect().await?;
    let selector = format!("fieldSelector=metadata.name%3D{name}");
    let request = watch.request(
        "GET",
        &format!("/api/v1/namespaces/default/pods?watch=true&{selector}&timeoutSeconds=30"),
        b"",
    );
    ensure!(watch.open(&request).await? == 200, "the watch is refused");
    let body = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
            "name": "main", "image": IMAGE, "imagePullPolicy": "Never",
            "command": ["sleep", "1000000"],
            "resources": {"requests": {"cpu": "5m", "memory": "4Mi"}, "limits": {"memory": "32Mi"}},
        }]},
    });
    let mut connection = access.connect().await?;
    let body = body.to_string();
    let request = connection.request("POST", "/api/v1/namespaces/default/pods", body.as_bytes());
    let began = Instant::now();
    let (status, answer) = connection.call(&request).await?;
    ensure!(status == 201, "create: {}", String::from_utf8_lossy(&answer));
    let mut text = Vec::new();
    while let Some(chunk) = watch.chunk().await? {
        text.extend_from_slice(&chunk);
        if memchr::memmem::find(&text, b"\"phase\":\"Running\"").is_some() {
            return Ok(began.elapsed());
        }
    }
    bail!("pod {name} did not run within 30 s: {}", String::from_utf8_lossy(&text))
}

/// `runc run` of `true` on the same root file system, with nothing around it.
fn runc_floor(scratch: &Path, image: &Path) -> Result<Vec<Duration>> {
    let bundle = scratch.join("bundle");
    let rootfs = bundle.join("rootfs");
    std::fs::create_dir_all(&rootfs)?;
    tool("tar", &["-C", path(scratch), "-xf", path(image), "layer.tar"])?;
    tool("tar", &["-C", path(&rootfs), "-xf", path(&scratch.join("layer.tar"))])?;
    tool("runc", &["spec", "--bundle", path(&bundle)])?;
    let file = bundle.join("config.json");
    let mut spec: serde_json::Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!(["/bin/true"]);
    std::fs::write(&file, spec.to_string())?;
    let root = scratch.join("runc");
    (0..PODS)
        .map(|number| {
            let id = format!("floor-{}-{number}", std::process::id());
            let began = Instant::now();
            tool("runc", &["--root", path(&root), "run", "--bundle", path(&bundle), &id])?;
            Ok(began.elapsed())
        })
        .collect()
}

/// Shims whose command line names the node's data directory.
fn shims(node_dir: &Path) -> Vec<u32> {
    let marker = node_dir.to_string_lossy().into_owned();
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command);
            command.contains("pintle-shim") && command.contains(&marker)
        })
        .collect()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

fn tool(program: &str, arguments: &[&str]) -> Result<String> {
    let sbin = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(PathBuf::from(program))
        .args(arguments)
        .env("PATH", sbin)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{program} cannot be run"))?;
    ensure!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
