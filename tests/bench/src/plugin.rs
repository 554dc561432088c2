//! The Plugin object of the scheduler, through the API.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::client::Connection;

pub const PATH: &str = "/apis/plugins.pintle.dev/v1alpha1/plugins/scheduler";

pub async fn read(connection: &mut Connection) -> Result<Value> {
    let request = connection.request("GET", PATH, b"");
    let (status, body) = connection.call(&request).await?;
    ensure!(status == 200, "the scheduler: {}", String::from_utf8_lossy(&body));
    Ok(serde_json::from_slice(&body)?)
}

pub async fn change(connection: &mut Connection, patch: &Value) -> Result<()> {
    let request = connection.request("PATCH", PATH, patch.to_string().as_bytes());
    let (status, body) = connection.call(&request).await?;
    ensure!(status == 200, "a change of the scheduler: {}", String::from_utf8_lossy(&body));
    Ok(())
}

/// The status, once it is that of the present spec and in this phase.
pub async fn settled(connection: &mut Connection, phase: &str) -> Result<Value> {
    let began = Instant::now();
    loop {
        let plugin = read(connection).await?;
        let status = &plugin["status"];
        if status["observedGeneration"] == plugin["metadata"]["generation"]
            && status["phase"] == phase
        {
            return Ok(status.clone());
        }
        ensure!(began.elapsed() < Duration::from_secs(60), "it never was {phase}: {status}");
        // A bench may look again; a watch would carry the whole component each time.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
