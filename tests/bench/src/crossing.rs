//! How many bytes cross into a controller when one object of a small and of a
//! large set changes.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::client::{Access, Connection};
use crate::fleet::{self, Fleet};
use crate::metrics::{self, Scrape};
use crate::report::Report;
use crate::workloads::{complete, deployment_of, make_namespace, send, template, value};

const FEW: usize = 100;
const MANY: usize = 5000;

/// Objects that change, one after the other.
const CHANGES: usize = 8;

/// Who is measured while pods become unready.
const STATES: [&str; 5] = ["replicaset", "deployment", "endpointslice", "job", "disruption"];

/// Who is measured while pods are deleted and others made in their place.
const NUMBERS: [&str; 2] = ["resource-quota-controller", "resource-quota"];

/// Namespaces with pods: `few`, `many`, and the rest.
pub struct Filled;

/// Fills the cluster with so many pods: Deployments and Jobs of 100 and of 5000,
/// and more Deployments of 1000, each with a Service and a budget for disruptions.
pub async fn fill(access: &Access, fleet: &mut Fleet, pods: usize) -> Result<Filled> {
    let mut connection = access.connect().await?;
    let mut sets = vec![("few".to_owned(), FEW, FEW), ("many".to_owned(), MANY, MANY)];
    let mut left = pods.saturating_sub(2 * FEW + 2 * MANY);
    for number in 0.. {
        if left == 0 {
            break;
        }
        sets.push((format!("more-{number}"), left.min(1000), 0));
        left -= left.min(1000);
    }
    for (namespace, replicas, parallel) in &sets {
        make_namespace(&mut connection, namespace).await?;
        let at = |group: &str, kind: &str| format!("{group}/namespaces/{namespace}/{kind}");
        for (path, object) in [
            (at("/api/v1", "services"), service()),
            (at("/apis/policy/v1", "poddisruptionbudgets"), budget()),
            (at("/apis/apps/v1", "deployments"), deployment_of("web", *replicas)),
        ] {
            send(&mut connection, "POST", &path, &object).await?;
        }
        if *parallel > 0 {
            let quota = json!({"metadata": {"name": "all"}, "spec": {"hard": {
                "pods": "100000", "requests.cpu": "100k", "requests.memory": "100Ti"}}});
            send(&mut connection, "POST", &at("/apis/batch/v1", "jobs"), &job(*parallel)).await?;
            fleet.until(namespace, |tally| tally.running == replicas + parallel).await?;
            send(&mut connection, "POST", &at("/api/v1", "resourcequotas"), &quota).await?;
        }
    }
    for (namespace, replicas, _) in &sets {
        let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
        fleet::until(access, &path, "web", |object| complete(object, *replicas)).await?;
    }
    Ok(Filled)
}

fn service() -> Value {
    json!({"metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}})
}

fn budget() -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"maxUnavailable": "10%",
        "selector": {"matchLabels": {"app": "web"}}}})
}

fn job(parallel: usize) -> Value {
    let mut template = template("batch");
    template["spec"]["restartPolicy"] = json!("Never");
    json!({"metadata": {"name": "batch"}, "spec": {"parallelism": parallel, "template": template}})
}

impl Filled {
    pub async fn measure(&self, report: &mut Report, access: &Access) -> Result<()> {
        let mut connection = access.connect().await?;
        let few = crossing(&mut connection, "few").await?;
        let many = crossing(&mut connection, "many").await?;
        // One that has answered from what it knew, or was not asked, says so.
        let shown = |bytes: Option<f64>| {
            bytes.map_or_else(|| "no call".to_owned(), |bytes| format!("{:.1}", bytes / 1e3))
        };
        for (at, name) in STATES.iter().chain(&NUMBERS).enumerate() {
            report.row(
                &format!("bytes into {name} per call, one pod of {FEW} / of {MANY} changes"),
                format!("{} / {} KB", shown(few[at]), shown(many[at])),
                "does not grow with the set",
                format!("floor: the pod itself, 1.9 KB; all of them, {:.0} KB", 1.9 * MANY as f64),
            );
        }
        let few = binding(&mut connection, 0..FEW).await?;
        let many = binding(&mut connection, FEW..MANY).await?;
        report.row(
            &format!(
                "bytes into persistent-volume per call, a claim beside {FEW} / {MANY} volumes"
            ),
            format!("{} / {} KB", shown(few), shown(many)),
            "does not grow with the set",
            format!("floor: a volume, 0.8 KB; all of them, {:.0} KB", 0.8 * MANY as f64),
        );
        Ok(())
    }
}

/// Bytes per call of each controller while single pods of a namespace change.
async fn crossing(connection: &mut Connection, namespace: &str) -> Result<Vec<Option<f64>>> {
    let web = some(connection, namespace, "web").await?;
    let batch = some(connection, namespace, "batch").await?;
    // What a first look costs is another matter.
    for app in [&web, &batch] {
        turn(connection, namespace, &app[0]).await?;
    }
    let before = metrics::quiet(connection).await?;
    for pod in web[1..].iter().chain(&batch[1..]) {
        turn(connection, namespace, pod).await?;
        metrics::quiet(connection).await?;
    }
    let after = metrics::quiet(connection).await?;
    let mut bytes = per_call(&before, &after, &STATES)?;
    remove(connection, namespace, &web[0]).await?;
    let before = metrics::quiet(connection).await?;
    for pod in &web[1..] {
        remove(connection, namespace, pod).await?;
        metrics::quiet(connection).await?;
    }
    let after = metrics::quiet(connection).await?;
    bytes.extend(per_call(&before, &after, &NUMBERS)?);
    Ok(bytes)
}

/// Bytes per call of the controller of volumes while single claims are bound,
/// with so many more volumes that are none of theirs.
async fn binding(connection: &mut Connection, more: std::ops::Range<usize>) -> Result<Option<f64>> {
    const VOLUMES: &str = "/api/v1/persistentvolumes";
    const CLAIMS: &str = "/api/v1/namespaces/few/persistentvolumeclaims";
    for number in more.clone() {
        send(connection, "POST", VOLUMES, &volume(&format!("spare-{number}"), "spare")).await?;
    }
    let mut before = metrics::quiet(connection).await?;
    for number in 0..=CHANGES {
        let name = format!("own-{}-{number}", more.end);
        let claim = json!({"metadata": {"name": name}, "spec": {"storageClassName": name,
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
        send(connection, "POST", VOLUMES, &volume(&name, &name)).await?;
        send(connection, "POST", CLAIMS, &claim).await?;
        let quiet = metrics::quiet(connection).await?;
        if number == 0 {
            // What a first look costs is another matter.
            before = quiet;
        }
    }
    let after = metrics::quiet(connection).await?;
    Ok(per_call(&before, &after, &["persistent-volume"])?[0])
}

fn volume(name: &str, class: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"storageClassName": class,
        "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
        "hostPath": {"path": format!("/volumes/{name}")}}})
}

fn per_call(before: &Scrape, after: &Scrape, plugins: &[&str]) -> Result<Vec<Option<f64>>> {
    let rise = |metric: &str, plugin: &str| -> Result<f64> {
        Ok(value(after, metric, plugin)? - value(before, metric, plugin)?)
    };
    let each = |plugin: &&str| -> Result<Option<f64>> {
        let calls = rise("calls_total", plugin)?;
        let bytes = rise("read_bytes_total", plugin)?;
        Ok((calls > 0.0).then(|| bytes / calls))
    };
    plugins.iter().map(each).collect()
}

/// The names of some pods.
async fn some(connection: &mut Connection, namespace: &str, app: &str) -> Result<Vec<String>> {
    let path =
        format!("/api/v1/namespaces/{namespace}/pods?limit={CHANGES}&labelSelector=app%3D{app}");
    let request = connection.request("GET", &path, b"");
    let (_, body) = connection.call(&request).await?;
    let list: Value = serde_json::from_slice(&body)?;
    let name = |pod: &Value| pod["metadata"]["name"].as_str().map(str::to_owned);
    let names: Option<Vec<String>> =
        list["items"].as_array().into_iter().flatten().map(name).collect();
    let names = names.context("a pod without a name")?;
    ensure!(names.len() == CHANGES, "{} pods of {app} in {namespace}", names.len());
    Ok(names)
}

async fn remove(connection: &mut Connection, namespace: &str, pod: &str) -> Result<()> {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}");
    send(connection, "DELETE", &path, &json!({})).await
}

/// Makes one pod unready.
async fn turn(connection: &mut Connection, namespace: &str, pod: &str) -> Result<()> {
    let patch = json!({"status": {"conditions": [
        {"type": "Ready", "status": "False", "reason": "Bench"}]}});
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/status");
    send(connection, "PATCH", &path, &patch).await
}
