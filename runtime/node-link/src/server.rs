//! The server's side: accepts sessions, answers joins, hands requests to the
//! [`NodeService`], and opens streams towards nodes.

mod session;
mod sessions;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use quinn::VarInt;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tracing::debug;

use crate::join::transport;
use crate::wire::Request;
use crate::{LinkError, reset, tls};

use session::session;
pub(crate) use session::{read_body, software_name};
pub use sessions::Sessions;

pub type BodyStream = BoxStream<'static, std::io::Result<Bytes>>;

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

/// Takes the address at which nodes connect.
pub fn listen(address: SocketAddr) -> Result<UdpSocket, LinkError> {
    UdpSocket::bind(address).map_err(|source| LinkError::Socket { address, source })
}

/// Of a socket that does not tell its own address.
const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

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
        Self::on(listen(address)?, identity, service)
    }

    /// On a socket that was taken before there was anything to serve.
    pub fn on(
        socket: UdpSocket,
        identity: ServerIdentity,
        service: Arc<dyn NodeService>,
    ) -> Result<Self, LinkError> {
        let crypto = tls::server(identity.chain, identity.key, &identity.ca)?;
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(Arc::new(transport(false)));
        let own = reset::endpoint_config(&identity.reset_secret);
        let address = socket.local_addr().unwrap_or(UNKNOWN);
        let endpoint =
            quinn::Endpoint::new(own, Some(config), socket, Arc::new(quinn::TokioRuntime))
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
