//! Logs: text from a node, as it comes.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use pintle_api::kinds::Resource;
use pintle_api::status::{FieldError, Status, StatusError};
use tokio::io::AsyncRead;
use tokio::sync::mpsc;

use super::{Call, options, pods, respond};
use crate::body::Body;
use crate::nodes::{NodeRequest, NodeStream, channel, read_frame};
use crate::raised;

const FRAMES_IN_FLIGHT: usize = 16;
/// A reader that takes nothing for this long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(120);

pub async fn logs(
    call: &Call<'_>,
    resource: &'static Resource,
) -> Result<Response<Body>, StatusError> {
    let query = call.query;
    let mut place = pods::locate(call, resource)?;
    for flag in ["follow", "previous", "timestamps"] {
        place.body[flag] = query.is_set(flag)?.into();
    }
    for (name, least) in [("tailLines", 0), ("sinceSeconds", 1), ("limitBytes", 1)] {
        let Some(value) = query.integer(name)? else { continue };
        if value < least {
            let detail = format!("must be greater than or equal to {least}");
            return Err(options::invalid(
                "PodLogOptions",
                FieldError::invalid(name, value, detail),
            ));
        }
        place.body[name] = value.into();
    }
    if let Some(since) = query.get("sinceTime") {
        if query.get("sinceSeconds").is_some() {
            let detail = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            return Err(options::invalid(
                "PodLogOptions",
                FieldError::forbidden("sinceSeconds", detail),
            ));
        }
        place.body["sinceTime"] = since.into();
    }
    let body = serde_json::to_vec(&place.body).map_err(StatusError::internal)?.into();
    let NodeStream { mut reader, writer } =
        call.server.nodes.open(&place.node, NodeRequest { kind: "logs", body }).await?;
    // A failure comes as the first frame, so headers wait for it.
    let first = match next(&mut *reader).await? {
        Some(first) => first,
        None => return Ok(respond::text(StatusCode::OK, Bytes::new())),
    };
    let (sender, receiver) = mpsc::channel(FRAMES_IN_FLIGHT);
    let mut closing = call.server.closing();
    tokio::spawn(async move {
        // Held until the end: dropping it tells the node to stop.
        let _writer = writer;
        let mut piece = first;
        loop {
            let sent = tokio::time::timeout(WRITE_TIMEOUT, sender.send(piece)).await;
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
            let following = tokio::select! {
                next = next(&mut *reader) => next,
                () = sender.closed() => return,
                () = raised(&mut closing) => return,
            };
            match following {
                Ok(Some(bytes)) => piece = bytes,
                Ok(None) => return,
                Err(error) => {
                    // The headers are out; the text says why it ends here.
                    let line = format!("\n{error}\n");
                    let _ = sender.send(line.into()).await;
                    return;
                }
            }
        }
    });
    Ok(respond::with_body(StatusCode::OK, "text/plain; charset=utf-8", Body::channel(receiver)))
}

/// The next piece of text; `None` at the end.
async fn next(reader: &mut (dyn AsyncRead + Send + Unpin)) -> Result<Option<Bytes>, StatusError> {
    loop {
        match read_frame(reader).await {
            Ok(None) => return Ok(None),
            Ok(Some((channel::STDOUT, bytes))) if !bytes.is_empty() => return Ok(Some(bytes)),
            Ok(Some((channel::STATUS, bytes))) => return failure(&bytes),
            Ok(Some(_)) => {}
            Err(error) => {
                return Err(StatusError::internal(format!(
                    "the connection to the node broke: {error}"
                )));
            }
        }
    }
}

fn failure(bytes: &[u8]) -> Result<Option<Bytes>, StatusError> {
    let status: Status = serde_json::from_slice(bytes).map_err(|error| {
        StatusError::internal(format!("the node answered with an unreadable status: {error}"))
    })?;
    if status.status == "Success" { Ok(None) } else { Err(status.into()) }
}
