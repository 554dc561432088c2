//! The server's side: accepts sessions, answers joins, hands requests to the
//! [`NodeService`], and opens streams towards nodes.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use parking_lot::RwLock;
use quinn::VarInt;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tracing::{debug, info, warn};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::join::transport;
use crate::wire::{self, Accept, Answer, NodeStream, Open, Request};
use crate::{LinkError, reset, tls};

pub type BodyStream = BoxStream<'static, std::io::Result<Bytes>>;

/// A body read whole may not be larger than this; requests from nodes are small.
const MAX_REQUEST_BYTES: usize = 4 << 20;
/// Streams a node may have open at one time: its watches and its requests.
const STREAMS_PER_NODE: u32 = 128;
/// From this many sessions in handshake on, addresses are validated first (RFC 9000, 8.1.2).
const RETRY_ABOVE: usize = 256;

/// The node at the other end, as its certificate names it.
#[derive(Debug, Clone)]
pub struct Peer {
    pub node: String,
    pub address: SocketAddr,
    pub not_after: SystemTime,
}

#[derive(Clone)]
pub struct JoinRequest {
    pub token_id: String,
    pub secret: String,
    pub node: String,
    pub csr_der: Vec<u8>,
}

/// A refusal, in words for the person at the node.
#[derive(Debug)]
pub struct Refusal(pub String);

pub struct Reply {
    pub status: u16,
    pub content_type: String,
    pub body: BodyStream,
}

/// What the server does for nodes. Everything that means something is decided here.
#[async_trait]
pub trait NodeService: Send + Sync + 'static {
    /// Checks the token and signs; returns the certificate chain, leaf first.
    async fn join(&self, request: JoinRequest) -> Result<Vec<CertificateDer<'static>>, Refusal>;
    async fn renew(
        &self,
        peer: &Peer,
        csr_der: Vec<u8>,
    ) -> Result<Vec<CertificateDer<'static>>, Refusal>;
    async fn call(&self, peer: &Peer, request: Request) -> Reply;
    fn connected(&self, peer: &Peer);
    fn disconnected(&self, peer: &Peer);
}

/// Key and certificate of this server. The certificate carries the DNS name
/// `pintle-server` beside the addresses that people use.
pub struct ServerIdentity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    pub ca: CertificateDer<'static>,
    /// The same in every life of the server: with it nodes believe a restarted
    /// server that their sessions are gone, and need not wait for a timeout.
    pub reset_secret: [u8; 32],
}

/// The open sessions by node name.
#[derive(Clone, Default)]
pub struct Sessions(Arc<RwLock<HashMap<String, quinn::Connection>>>);

impl Sessions {
    pub fn nodes(&self) -> Vec<String> {
        self.0.read().keys().cloned().collect()
    }

    /// Whether the node is connected, as far as this server knows.
    pub fn has(&self, node: &str) -> bool {
        self.0.read().contains_key(node)
    }

    /// Opens a stream to a node's handler. `header` says what it is for.
    pub async fn open(&self, node: &str, header: Bytes) -> Result<NodeStream, LinkError> {
        let connection = self
            .0
            .read()
            .get(node)
            .cloned()
            .ok_or_else(|| LinkError::NoSuchNode(node.to_owned()))?;
        let (mut send, mut recv) = connection.open_bi().await.map_err(LinkError::Closed)?;
        wire::write_frame(&mut send, header).await?;
        match wire::expect_frame(&mut recv).await? {
            Accept::Go => Ok(NodeStream { send, recv }),
            Accept::Refused { message } => Err(LinkError::Refused(message)),
        }
    }

    fn insert(&self, node: &str, connection: &quinn::Connection) {
        // A node that dials again has given up the session it had.
        if let Some(old) = self.0.write().insert(node.to_owned(), connection.clone()) {
            debug!(node, old = old.stable_id(), "session replaced");
        }
    }

    /// True when the session was the node's current one.
    fn remove(&self, node: &str, connection: &quinn::Connection) -> bool {
        let mut sessions = self.0.write();
        let current = sessions.get(node).is_some_and(|c| c.stable_id() == connection.stable_id());
        if current {
            sessions.remove(node);
        }
        current
    }
}

/// Listens for nodes until it is shut down.
pub struct Server {
    endpoint: quinn::Endpoint,
    sessions: Sessions,
}

struct Shared {
    service: Arc<dyn NodeService>,
    sessions: Sessions,
    ca: CertificateDer<'static>,
}

impl Server {
    pub fn bind(
        address: SocketAddr,
        identity: ServerIdentity,
        service: Arc<dyn NodeService>,
    ) -> Result<Self, LinkError> {
        let crypto = tls::server(identity.chain, identity.key, &identity.ca)?;
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(Arc::new(transport(false)));
        let endpoint = UdpSocket::bind(address)
            .and_then(|socket| {
                let own = reset::endpoint_config(&identity.reset_secret);
                quinn::Endpoint::new(own, Some(config), socket, Arc::new(quinn::TokioRuntime))
            })
            .map_err(|source| LinkError::Socket { address, source })?;
        let sessions = Sessions::default();
        let shared = Arc::new(Shared { service, sessions: sessions.clone(), ca: identity.ca });
        tokio::spawn(accept(endpoint.clone(), shared));
        Ok(Self { endpoint, sessions })
    }

    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    pub fn sessions(&self) -> Sessions {
        self.sessions.clone()
    }

    /// Ends every session, so that nodes look for the server at once again.
    pub async fn shutdown(&self) {
        self.endpoint.close(VarInt::from_u32(0), b"server stops");
        self.endpoint.wait_idle().await;
    }
}

async fn accept(endpoint: quinn::Endpoint, shared: Arc<Shared>) {
    while let Some(incoming) = endpoint.accept().await {
        if endpoint.open_connections() > RETRY_ABOVE && !incoming.remote_address_validated() {
            // Fails only when the packet was a retried one already.
            let _ = incoming.retry();
            continue;
        }
        let shared = shared.clone();
        tokio::spawn(async move {
            match incoming.await {
                Ok(connection) => session(connection, shared).await,
                Err(error) => debug!(%error, "handshake failed"),
            }
        });
    }
}

async fn session(connection: quinn::Connection, shared: Arc<Shared>) {
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
