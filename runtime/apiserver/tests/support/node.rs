//! The other end of a node stream, in the node's protocol.

use async_trait::async_trait;
use pintle_api::meta::GroupResource;
use pintle_api::status::StatusError;
use pintle_apiserver::nodes::{channel, read_frame, write_frame};
use pintle_apiserver::{NodeProxy, NodeRequest, NodeStream};
use serde_json::{Value, json};
use tokio::io::DuplexStream;

/// A node that plays back what each request is to see.
pub struct PlaybackNode;

#[async_trait]
impl NodeProxy for PlaybackNode {
    async fn open(&self, node: &str, request: NodeRequest) -> Result<NodeStream, StatusError> {
        if node != "n1" {
            return Err(StatusError::service_unavailable(format!(
                "node {node:?} is not connected to this server"
            )));
        }
        let (near, far) = tokio::io::duplex(1 << 16);
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        tokio::spawn(play(request.kind, body, far));
        let (reader, writer) = tokio::io::split(near);
        Ok(NodeStream { reader: Box::new(reader), writer: Box::new(writer) })
    }
}

async fn play(kind: &'static str, body: Value, mut stream: DuplexStream) {
    if kind == "logs" {
        if body["previous"] == true {
            let error =
                StatusError::not_found(GroupResource::new("", "pods"), "previous container");
            write_frame(&mut stream, channel::STATUS, &error.status().to_json()).await.unwrap();
            return;
        }
        let lines = body["tailLines"].as_i64().unwrap_or(3);
        for line in 0..lines {
            let text = format!("{} line {line}\n", body["container"].as_str().unwrap());
            write_frame(&mut stream, channel::STDOUT, text.as_bytes()).await.unwrap();
        }
        return;
    }
    // Echo what comes in until it is closed, then exit with a code.
    write_frame(&mut stream, channel::STDOUT, body["command"].to_string().as_bytes())
        .await
        .unwrap();
    while let Ok(Some((number, payload))) = read_frame(&mut stream).await {
        match number {
            channel::STDIN => write_frame(&mut stream, channel::STDOUT, &payload).await.unwrap(),
            channel::CLOSE => break,
            _ => {}
        }
    }
    let status = json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode", "code": 500,
        "message": "command terminated with exit code 3",
        "details": {"causes": [{"reason": "ExitCode", "message": "3"}]},
    });
    // The client may be gone already.
    let _ = write_frame(&mut stream, channel::STATUS, status.to_string().as_bytes()).await;
}
