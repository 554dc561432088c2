//! One session with a node, from its hello to its end, and the short visit of
//! a machine that has no certificate yet. What requests mean is the
//! [`NodeService`](super::NodeService)'s business.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::StreamExt;
use quinn::VarInt;
use rustls_pki_types::CertificateDer;
use tracing::{debug, info, warn};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{JoinRequest, Peer, Refusal, Shared};
use crate::LinkError;
use crate::wire::{self, Answer, Open};

/// A body read whole may not be larger than this; requests from nodes are small.
const MAX_REQUEST_BYTES: usize = 4 << 20;
/// Streams a node may have open at one time: its watches and its requests.
const STREAMS_PER_NODE: u32 = 128;

pub(super) async fn session(connection: quinn::Connection, shared: Arc<Shared>) {
    let Some(peer) = identify(&connection) else {
        return guest(connection, &shared).await;
    };
    let peer = Arc::new(peer);
    let left = peer.not_after.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO);
    connection.set_max_concurrent_bi_streams(STREAMS_PER_NODE.into());
    let expiry = tokio::time::sleep(left);
    tokio::pin!(expiry);
    let mut greeted = false;
    let end = loop {
        let stream = tokio::select! {
            stream = connection.accept_bi() => stream,
            () = &mut expiry => {
                connection.close(VarInt::from_u32(2), b"the certificate has run out");
                break "certificate expired".to_owned();
            }
        };
        let (mut send, mut recv) = match stream {
            Ok(stream) => stream,
            Err(error) => break error.to_string(),
        };
        if !greeted {
            // The first stream is the control stream; nothing is served before it.
            match hello(&mut send, &mut recv).await {
                Ok(software) => {
                    greeted = true;
                    shared.sessions.insert(&peer.node, &connection);
                    shared.service.connected(&peer);
                    info!(node = %peer.node, address = %peer.address, software, "node connected");
                    tokio::spawn(hold(send, recv));
                }
                Err(error) => {
                    connection.close(VarInt::from_u32(1), b"no hello");
                    break error.to_string();
                }
            }
            continue;
        }
        let (shared, peer) = (shared.clone(), peer.clone());
        tokio::spawn(async move {
            if let Err(error) = request(&mut send, &mut recv, &peer, &shared).await {
                debug!(node = %peer.node, %error, "request stream ended early");
            }
        });
    };
    if greeted && shared.sessions.remove(&peer.node, &connection) {
        shared.service.disconnected(&peer);
        info!(node = %peer.node, reason = end, "node disconnected");
    }
}

/// The control stream stays open for the session's life; its end is the session's end.
async fn hold(_send: quinn::SendStream, mut recv: quinn::RecvStream) {
    let mut scratch = [0u8; 64];
    while let Ok(Some(_)) = recv.read(&mut scratch).await {}
}

async fn hello(
    send: &mut quinn::SendStream,
    recv: &mut quinn::RecvStream,
) -> Result<String, LinkError> {
    match wire::expect_frame(recv).await? {
        Open::Hello { protocol, software, .. } if protocol == wire::PROTOCOL => {
            let welcome = Answer::Welcome { protocol, software: software_name() };
            wire::write_frame(send, wire::encode(&welcome)?).await?;
            Ok(software)
        }
        Open::Hello { protocol, .. } => {
            let message =
                format!("this server speaks node protocol {}, the node {protocol}", wire::PROTOCOL);
            refuse(send, message.clone()).await?;
            Err(LinkError::Refused(message))
        }
        _ => Err(LinkError::Protocol("a session starts with hello".into())),
    }
}

pub(crate) fn software_name() -> String {
    concat!("pintle/", env!("CARGO_PKG_VERSION")).to_owned()
}

async fn refuse(send: &mut quinn::SendStream, message: String) -> Result<(), LinkError> {
    wire::write_frame(send, wire::encode(&Answer::Refused { message })?).await?;
    let _ = send.finish();
    // Wait until it was read: the connection may be closed right after.
    let _ = send.stopped().await;
    Ok(())
}

async fn request(
    send: &mut quinn::SendStream,
    recv: &mut quinn::RecvStream,
    peer: &Arc<Peer>,
    shared: &Arc<Shared>,
) -> Result<(), LinkError> {
    match wire::expect_frame(recv).await? {
        Open::Call(mut request) => {
            request.body = read_body(recv, MAX_REQUEST_BYTES).await?;
            let mut reply = shared.service.call(peer, request).await;
            let head = Answer::Head { status: reply.status, content_type: reply.content_type };
            wire::write_frame(send, wire::encode(&head)?).await?;
            loop {
                let chunk = tokio::select! {
                    chunk = reply.body.next() => chunk,
                    // The node has lost interest: a watch ends here.
                    _ = send.stopped() => return Ok(()),
                };
                match chunk {
                    Some(Ok(chunk)) => wire::write_body(send, chunk).await?,
                    Some(Err(error)) => {
                        let _ = send.reset(VarInt::from_u32(1));
                        return Err(LinkError::Stream(error));
                    }
                    None => break,
                }
            }
            let _ = send.finish();
            Ok(())
        }
        Open::Renew { csr } => match shared.service.renew(peer, csr).await {
            Ok(chain) => certificate(send, chain).await,
            Err(Refusal(message)) => refuse(send, message).await,
        },
        Open::FetchCa => ca(send, shared).await,
        _ => refuse(send, "not possible on an open session".into()).await,
    }
}

/// A peer without a certificate: may fetch the CA, may join, and is gone.
async fn guest(connection: quinn::Connection, shared: &Arc<Shared>) {
    // Long enough for a slow link, short enough that idle guests cost nothing.
    let limit = Duration::from_secs(20);
    let served = tokio::time::timeout(limit, async {
        while let Ok((mut send, mut recv)) = connection.accept_bi().await {
            match wire::expect_frame(&mut recv).await? {
                Open::FetchCa => ca(&mut send, shared).await?,
                Open::Join { token_id, secret, node, csr } => {
                    let request = JoinRequest { token_id, secret, node, csr_der: csr };
                    let node = request.node.clone();
                    match shared.service.join(request).await {
                        Ok(chain) => {
                            info!(node, "node joined");
                            certificate(&mut send, chain).await?;
                        }
                        Err(Refusal(message)) => {
                            warn!(node, message, "join refused");
                            refuse(&mut send, message).await?;
                        }
                    }
                }
                _ => {
                    let message = "a node certificate is needed for that; join first";
                    refuse(&mut send, message.to_owned()).await?;
                }
            }
        }
        Ok::<(), LinkError>(())
    })
    .await;
    if let Ok(Err(error)) = served {
        debug!(%error, "guest session failed");
    }
    connection.close(VarInt::from_u32(0), b"");
}

async fn ca(send: &mut quinn::SendStream, shared: &Arc<Shared>) -> Result<(), LinkError> {
    let answer = Answer::Ca { der: shared.ca.to_vec() };
    wire::write_frame(send, wire::encode(&answer)?).await?;
    let _ = send.finish();
    Ok(())
}

async fn certificate(
    send: &mut quinn::SendStream,
    chain: Vec<CertificateDer<'static>>,
) -> Result<(), LinkError> {
    let chain = chain.iter().map(|der| der.to_vec()).collect();
    wire::write_frame(send, wire::encode(&Answer::Certificate { chain })?).await?;
    let _ = send.finish();
    Ok(())
}

pub(crate) async fn read_body(
    recv: &mut quinn::RecvStream,
    limit: usize,
) -> Result<Bytes, LinkError> {
    let mut body: Option<bytes::BytesMut> = None;
    let mut first = Bytes::new();
    while let Some(frame) = wire::read_frame(recv).await? {
        let length = body.as_ref().map_or(first.len(), |b| b.len()) + frame.len();
        if length > limit {
            return Err(LinkError::BodyTooLarge(limit));
        }
        match &mut body {
            // Most bodies are one frame, which is passed on without a copy.
            None if first.is_empty() => first = frame,
            None => {
                let mut joined = bytes::BytesMut::with_capacity(length * 2);
                joined.extend_from_slice(&first);
                joined.extend_from_slice(&frame);
                body = Some(joined);
            }
            Some(body) => body.extend_from_slice(&frame),
        }
    }
    Ok(body.map_or(first, bytes::BytesMut::freeze))
}

/// The node that a verified client certificate names.
fn identify(connection: &quinn::Connection) -> Option<Peer> {
    let identity = connection.peer_identity()?;
    let chain = identity.downcast_ref::<Vec<CertificateDer<'static>>>()?;
    let (_, certificate) = X509Certificate::from_der(chain.first()?).ok()?;
    let node = crate::identity::named(&certificate)?;
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
    Some(Peer {
        node: node.to_owned(),
        address: connection.remote_address(),
        not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
    })
}
