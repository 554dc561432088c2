//! `pintle logs`

use std::io::Write;

use anyhow::Result;
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;

use super::http::{Client, error_of};
use super::pods::choose;
use super::target::query_escape;
use crate::cli::Logs;

pub async fn run(logs: Logs) -> Result<()> {
    let client = Client::connect(&logs.connection)?;
    let namespace =
        logs.namespace.namespace.as_deref().unwrap_or_else(|| client.default_namespace());
    let chosen = choose(&client, namespace, &logs.pod, logs.container.as_deref()).await?;
    let mut query = Vec::new();
    if let Some(container) = &chosen.container {
        query.push(format!("container={}", query_escape(container)));
    }
    for (name, on) in
        [("follow", logs.follow), ("previous", logs.previous), ("timestamps", logs.timestamps)]
    {
        if on {
            query.push(format!("{name}=true"));
        }
    }
    if let Some(lines) = logs.tail {
        query.push(format!("tailLines={lines}"));
    }
    let path = format!(
        "/api/v1/namespaces/{namespace}/pods/{}/log?{}",
        query_escape(&chosen.pod),
        query.join("&")
    );
    let response = client.open(Method::GET, &path, &[], Bytes::new()).await?;
    let status = response.status();
    let mut body = response.into_body();
    if !status.is_success() {
        return Err(error_of(status, &body.collect().await?.to_bytes()));
    }
    let copy = async {
        let mut out = std::io::stdout();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                out.write_all(&data)?;
                out.flush()?;
            }
        }
        Ok(())
    };
    tokio::select! {
        result = copy => result,
        () = super::out::reader_gone() => Ok(()),
    }
}
