//! Keeps the Node object and the Lease as they should be.
//!
//! A heartbeat is a timer by nature: its absence is what others look for.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::{info, warn};

use super::object::{NodeIdentity, Readiness};
use crate::client::{Api, ApiError, MERGE_PATCH, STRATEGIC_PATCH, chain};
use crate::clock::Clock;

const LEASE_PERIOD: Duration = Duration::from_secs(10);
const STATUS_PERIOD: Duration = Duration::from_secs(300);
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Registers the node and reports its status: at once when its readiness
/// changes or its object was lost or changed by others (`disturbed` counts
/// that), and every five minutes.
pub async fn keep_node(
    api: Api,
    node: Arc<NodeIdentity>,
    clock: Arc<dyn Clock>,
    mut ready: watch::Receiver<Readiness>,
    mut disturbed: watch::Receiver<u64>,
) {
    let mut previous = Value::Null;
    let mut retry = RETRY.0;
    loop {
        let readiness = ready.borrow_and_update().clone();
        let wait = match report(&api, &node, &readiness, &mut previous, clock.now_unix_ms()).await {
            Ok(()) => {
                retry = RETRY.0;
                STATUS_PERIOD
            }
            Err(error) => {
                warn!(
                    node = node.name,
                    error = chain(&error),
                    "the node's status could not be written"
                );
                retry = (retry * 2).min(RETRY.1);
                retry
            }
        };
        tokio::select! {
            changed = ready.changed() => if changed.is_err() { return },
            changed = disturbed.changed() => {
                if changed.is_err() {
                    return;
                }
                // What the API has is not what was written: look before writing.
                previous = Value::Null;
            }
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn report(
    api: &Api,
    node: &NodeIdentity,
    ready: &Readiness,
    previous: &mut Value,
    now: i64,
) -> Result<(), ApiError> {
    let path = format!("/api/v1/nodes/{}", node.name);
    if previous.is_null() {
        match api.get(&path).await {
            Ok(mut object) => {
                *previous = object["status"].take();
                let labels = json!({"metadata": {"labels": node.labels()}});
                let wanted = node.labels();
                let has = |(key, value): (&String, &String)| {
                    object["metadata"]["labels"][key] == value.as_str()
                };
                if !wanted.iter().all(has) {
                    api.patch(&path, MERGE_PATCH, &labels).await?;
                }
            }
            Err(error) if error.is_not_found() => {
                return register(api, node, ready, previous, now).await;
            }
            Err(error) => return Err(error),
        }
    }
    let status = node.status(ready, previous, now);
    match api.patch(&format!("{path}/status"), STRATEGIC_PATCH, &json!({"status": status})).await {
        Ok(_) => {
            *previous = status;
            Ok(())
        }
        Err(error) if error.is_not_found() => register(api, node, ready, previous, now).await,
        Err(error) => Err(error),
    }
}

async fn register(
    api: &Api,
    node: &NodeIdentity,
    ready: &Readiness,
    previous: &mut Value,
    now: i64,
) -> Result<(), ApiError> {
    let object = node.object(ready, &Value::Null, now);
    let created = api.create("/api/v1/nodes", &object).await?;
    info!(node = node.name, "node registered");
    // A status that came with the creation may have been dropped.
    let status = object["status"].clone();
    if created["status"]["conditions"].as_array().is_none_or(Vec::is_empty) {
        let path = format!("/api/v1/nodes/{}/status", node.name);
        api.patch(&path, STRATEGIC_PATCH, &json!({"status": status})).await?;
    }
    *previous = status;
    Ok(())
}

/// Renews the lease every ten seconds.
pub async fn keep_lease(api: Api, node: Arc<NodeIdentity>, clock: Arc<dyn Clock>) {
    let collection = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let path = format!("{collection}/{}", node.name);
    let mut wait = LEASE_PERIOD;
    loop {
        let lease = node.lease(clock.now_unix_ms());
        let patch = json!({"spec": lease["spec"]});
        let result = match api.patch(&path, MERGE_PATCH, &patch).await {
            Err(error) if error.is_not_found() => api.create(collection, &lease).await,
            result => result,
        };
        match result {
            Ok(_) => wait = LEASE_PERIOD,
            Err(error) => {
                warn!(
                    node = node.name,
                    error = chain(&error),
                    "the node's lease could not be renewed"
                );
                wait = (wait / 2).max(Duration::from_millis(500));
            }
        }
        tokio::time::sleep(wait).await;
    }
}
