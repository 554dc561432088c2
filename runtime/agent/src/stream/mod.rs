//! What a server asks of a node over streams of its own: logs, exec, attach.
//!
//! A stream opens with `<kind>\n<JSON>` and then carries frames of one channel
//! byte, a big-endian length and the payload; see [`frame`].

mod exec;
pub mod frame;
mod log_files;
mod log_text;
pub mod logs;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use parking_lot::RwLock;
use pintle_api::meta::GroupResource;
use pintle_api::status::{Status, StatusError};
use pintle_node_link::{NodeHandler, NodeStream, ServeStream};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

use crate::client::chain;
use crate::clock::Clock;
use crate::pod::driver::{PodHandle, View};
use crate::pod::model::Pod;

/// The pods that run here, by uid.
pub type Pods = RwLock<HashMap<String, PodHandle>>;

/// Serves the streams of all pods of this node.
#[derive(Clone)]
pub struct StreamHandler {
    pub(crate) pods: Arc<Pods>,
    pub(crate) data_dir: std::path::PathBuf,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Which container is meant; part of every request.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Place {
    namespace: String,
    pod: String,
    uid: String,
    container: String,
}

/// A pod that was found.
struct Found {
    pod: Arc<Pod>,
    view: Arc<View>,
    container: String,
}

enum Asked {
    Logs(logs::Options),
    Exec(exec::Options),
    Attach(exec::Options),
}

impl StreamHandler {
    /// Serves one stream whose header was read. Errors go to the other side.
    pub async fn serve_stream<R, W>(&self, header: &[u8], reader: R, mut writer: W)
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let result = match self.understand(header) {
            Ok((found, Asked::Logs(options))) => {
                let path = |attempt| {
                    let record = crate::pod::record::Record::new(&self.data_dir, &found.pod);
                    record.log(&found.container, attempt)
                };
                let runtime = found.view.runtime.borrow().clone();
                match logs::choose(&found.pod, &found.container, &runtime, &options) {
                    Ok(attempt) => {
                        let log = logs::Log {
                            path: path(attempt),
                            container: found.container.clone(),
                            attempt,
                            runtime: found.view.runtime.subscribe(),
                        };
                        let now = self.clock.now_unix_ms();
                        logs::serve(log, options, now, reader, &mut writer).await.map_err(|error| {
                            StatusError::internal(format!(
                                "cannot read the container's log: {}",
                                chain(&error)
                            ))
                        })
                    }
                    Err(error) => Err(error),
                }
            }
            Ok((found, Asked::Exec(options))) => {
                exec::serve(found, options, false, reader, &mut writer).await
            }
            Ok((found, Asked::Attach(options))) => {
                exec::serve(found, options, true, reader, &mut writer).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            debug!(error = error.message(), "stream refused");
            let status = error.status().to_json();
            // Nobody listens any more if this fails.
            let _ = frame::write(&mut writer, frame::STATUS, &status).await;
        }
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut writer).await;
    }

    fn understand(&self, header: &[u8]) -> Result<(Found, Asked), StatusError> {
        let at = header.iter().position(|byte| *byte == b'\n').unwrap_or(header.len());
        let (kind, body) = header.split_at(at);
        let bad = |error: serde_json::Error| {
            StatusError::bad_request(format!("malformed stream request: {error}"))
        };
        let place: Place = serde_json::from_slice(body).map_err(bad)?;
        let asked = match kind {
            b"logs" => Asked::Logs(serde_json::from_slice(body).map_err(bad)?),
            b"exec" => Asked::Exec(serde_json::from_slice(body).map_err(bad)?),
            b"attach" => Asked::Attach(serde_json::from_slice(body).map_err(bad)?),
            _ => {
                let kind = String::from_utf8_lossy(kind);
                return Err(StatusError::bad_request(format!(
                    "this node does not serve streams of kind {kind:?}"
                )));
            }
        };
        Ok((self.find(&place)?, asked))
    }

    fn find(&self, place: &Place) -> Result<Found, StatusError> {
        let not_found = || StatusError::not_found(GroupResource::new("", "pods"), &place.pod);
        let pods = self.pods.read();
        let handle = match place.uid.as_str() {
            "" => pods.values().find(|handle| {
                let meta = &handle.pod().metadata;
                meta.namespace == place.namespace && meta.name == place.pod
            }),
            uid => pods.get(uid),
        };
        let handle = handle.ok_or_else(not_found)?;
        let pod = handle.pod();
        if pod.container(&place.container).is_none() {
            let text = format!("container {} is not valid for pod {}", place.container, place.pod);
            return Err(StatusError::bad_request(text));
        }
        Ok(Found { pod, view: handle.view.clone(), container: place.container.clone() })
    }
}

#[async_trait]
impl NodeHandler for StreamHandler {
    async fn serve(self: Arc<Self>, header: Bytes) -> Result<ServeStream, String> {
        Ok(Box::new(move |stream: NodeStream| {
            async move {
                let (reader, writer) = stream.split();
                self.serve_stream(&header, reader, writer).await;
            }
            .boxed()
        }))
    }
}

/// How a process ended, in the form that kubectl reads.
fn exit_status(code: i32) -> Vec<u8> {
    if code == 0 {
        return Status::success(0).to_json();
    }
    let status = serde_json::json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "message": format!("command terminated with exit code {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        "code": 500,
    });
    status.to_string().into_bytes()
}
