//! What controllers do: a large Deployment made and rolled, a namespace emptied,
//! and what they hold and read with many pods. No containers run: the fleet
//! reports for all nodes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::client::{Access, Connection};
use crate::fleet::{self, Fleet};
use crate::load::{self, CLIENTS};
use crate::metrics::{self, Scrape};
use crate::process::Pintle;
use crate::report::{Report, ms};
use crate::{crossing, load::spread};

/// Replicas of the Deployment that is measured, and objects of the namespace.
const MANY: usize = 1000;

/// Pods that controllers look after when their memory is measured.
const PODS: usize = 20_000;

pub async fn run(report: &mut Report, nodes: usize) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let server = Pintle::server(&dir.path().join("server"))?;
    let access = server.access().clone();
    load::create_nodes(&access, nodes).await?;
    let mut fleet = Fleet::start(&access).await?;

    let writes = writes_per_second(&access).await?;
    let floor =
        |count: usize| format!("floor: {count} plain writes take {:.2} s", count as f64 / writes);
    let (made, rolled) = deployment(&access, &mut fleet).await?;
    report.row(
        &format!("Deployment of {MANY} replicas → all bound, {nodes} nodes"),
        seconds(made),
        "≤ 2 s",
        floor(2 * MANY),
    );
    report.row(
        &format!("rolling update of {MANY} replicas → all new ones available, old ones gone"),
        seconds(rolled),
        "≤ 6 s",
        // Created, bound and reported, and the old one marked and removed.
        floor(5 * MANY),
    );
    report.row(
        &format!("namespace with {MANY} objects, {} of them pods, deleted", MANY / 5),
        seconds(namespace(&access, &mut fleet).await?),
        "≤ 2 s",
        format!("peer tens of seconds; {}", floor(MANY + MANY / 5)),
    );

    let before = server.resident_mb();
    let filled = crossing::fill(&access, &mut fleet, PODS).await?;
    memory(report, &server, before, nodes).await?;
    filled.measure(report, &access).await?;
    server.stop();
    Ok(())
}

/// What the same server takes in of objects that nobody looks after.
async fn writes_per_second(access: &Access) -> Result<f64> {
    let count = 5000;
    let (_, took) = spread(access, CLIENTS, count, "POST", |n| {
        let value = "x".repeat(1400);
        let map = json!({"metadata": {"name": format!("floor-{n}")}, "data": {"value": value}});
        ("/api/v1/namespaces/default/configmaps".into(), map.to_string().into_bytes())
    })
    .await?;
    Ok(count as f64 / took.as_secs_f64())
}

async fn deployment(access: &Access, fleet: &mut Fleet) -> Result<(Duration, Duration)> {
    const PATH: &str = "/apis/apps/v1/namespaces/rolling/deployments";
    let mut connection = access.connect().await?;
    make_namespace(&mut connection, "rolling").await?;
    metrics::quiet(&mut connection).await?;

    let began = Instant::now();
    send(&mut connection, "POST", PATH, &deployment_of("web", MANY)).await?;
    fleet.until("rolling", |pods| pods.bound == MANY).await?;
    let made = began.elapsed();
    fleet::until(access, PATH, "web", |object| complete(object, MANY)).await?;
    metrics::quiet(&mut connection).await?;

    let image = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "main", "image": "registry.example/bench/app:1.2.4"}]}}}});
    let began = Instant::now();
    send(&mut connection, "PATCH", &format!("{PATH}/web"), &image).await?;
    fleet::until(access, PATH, "web", |object| complete(object, MANY)).await?;
    fleet.until("rolling", |pods| pods.present == MANY && pods.running == MANY).await?;
    let rolled = began.elapsed();
    send(&mut connection, "DELETE", "/api/v1/namespaces/rolling", &json!({})).await?;
    fleet::until(access, "/api/v1/namespaces", "rolling", |object| object.is_none()).await?;
    metrics::quiet(&mut connection).await?;
    Ok((made, rolled))
}

/// The rollout of the present template is over.
pub fn complete(deployment: Option<&Value>, replicas: usize) -> bool {
    let Some(deployment) = deployment else { return false };
    let status = &deployment["status"];
    let is = |field: &str| status[field].as_u64() == Some(replicas as u64);
    status["observedGeneration"] == deployment["metadata"]["generation"]
        && is("replicas")
        && is("updatedReplicas")
        && is("availableReplicas")
}

pub fn deployment_of(name: &str, replicas: usize) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": template(name)},
    })
}

/// The pod of `load`, under this label.
pub fn template(app: &str) -> Value {
    let pod = load::pod(app);
    json!({"metadata": {"labels": {"app": app}}, "spec": pod["spec"]})
}

async fn namespace(access: &Access, fleet: &mut Fleet) -> Result<Duration> {
    const NAME: &str = "doomed";
    let mut connection = access.connect().await?;
    make_namespace(&mut connection, NAME).await?;
    let pods = MANY / 5;
    spread(access, CLIENTS, MANY, "POST", |n| {
        let name = format!("object-{n:04}");
        let (kind, object) = match n % 5 {
            0 => ("pods", load::pod(&name)),
            1 => ("secrets", json!({"metadata": {"name": name}, "stringData": {"key": "value"}})),
            2 => ("serviceaccounts", json!({"metadata": {"name": name}})),
            _ => ("configmaps", json!({"metadata": {"name": name}, "data": {"key": "value"}})),
        };
        (format!("/api/v1/namespaces/{NAME}/{kind}"), object.to_string().into_bytes())
    })
    .await?;
    fleet.until(NAME, |tally| tally.running == pods).await?;
    metrics::quiet(&mut connection).await?;
    let began = Instant::now();
    send(&mut connection, "DELETE", &format!("/api/v1/namespaces/{NAME}"), &json!({})).await?;
    fleet::until(access, "/api/v1/namespaces", NAME, |object| object.is_none()).await?;
    Ok(began.elapsed())
}

async fn memory(report: &mut Report, server: &Pintle, before: f64, nodes: usize) -> Result<()> {
    let mut connection = server.access().connect().await?;
    let rested = metrics::quiet(&mut connection).await?;
    // The allocator gives back late.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut of: Vec<(String, f64)> =
        rested.of("memory_bytes", Some("Controller")).into_iter().collect();
    of.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let sum: f64 = of.iter().map(|(_, bytes)| bytes).sum();
    let largest: Vec<String> =
        of.iter().take(3).map(|(name, bytes)| format!("{name} {:.1}", bytes / 1e6)).collect();
    report.row(
        &format!("memory of all {} controllers, {nodes} nodes, {PODS} pods", of.len()),
        format!("{:.1} MB, most of it {}", sum / 1e6, largest.join(", ")),
        "≤ 150 MB",
        format!(
            "peer 207 MB at 5000 pods; the whole server {:.1} MB, {before:.1} MB before the pods",
            server.resident_mb()
        ),
    );
    Ok(())
}

pub async fn make_namespace(connection: &mut Connection, name: &str) -> Result<()> {
    let namespace = json!({"metadata": {"name": name}});
    send(connection, "POST", "/api/v1/namespaces", &namespace).await
}

pub async fn send(
    connection: &mut Connection,
    method: &str,
    path: &str,
    body: &Value,
) -> Result<()> {
    let request = strategic(connection, method, path, body);
    let (status, answer) = connection.call(&request).await?;
    ensure!(status < 300, "{method} {path}: {}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// Lists of containers are merged by name.
fn strategic(connection: &Connection, method: &str, path: &str, body: &Value) -> Vec<u8> {
    let request = connection.request(method, path, body.to_string().as_bytes());
    if method != "PATCH" {
        return request;
    }
    let text = String::from_utf8_lossy(&request);
    text.replacen("application/merge-patch+json", "application/strategic-merge-patch+json", 1)
        .into_bytes()
}

fn seconds(time: Duration) -> String {
    if time < Duration::from_secs(1) { ms(time) } else { format!("{:.2} s", time.as_secs_f64()) }
}

/// One metric of one plugin.
pub fn value(scrape: &Scrape, metric: &str, plugin: &str) -> Result<f64> {
    scrape.of(metric, None).get(plugin).copied().with_context(|| format!("no {metric} of {plugin}"))
}
