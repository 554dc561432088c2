//! How a node becomes a member: fetch the CA from whoever answers, compare it with
//! the token's hash, connect again with that CA as the only trust, and only then
//! send the secret and the certificate request.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::CertificateDer;

use crate::identity::KeyRequest;
use crate::tls::{self, Trust};
use crate::wire::{self, Answer, Open};
use crate::{JoinToken, LinkError, NodeIdentity};

/// Joins the cluster behind `server` (`host:port`) and stores the identity in `dir`.
pub async fn join(
    server: &str,
    token: &JoinToken,
    node: &str,
    dir: &Path,
) -> Result<Arc<NodeIdentity>, LinkError> {
    let address = resolve(server).await?;
    let ca = fetch_ca(address, server, token).await?;

    let key = KeyRequest::new(node)?;
    let endpoint = endpoint(address)?;
    let connection = connect(&endpoint, address, server, Trust::Ca(ca.clone()), None).await?;
    let open = Open::Join {
        token_id: token.id.clone(),
        secret: token.secret.clone(),
        node: node.to_owned(),
        csr: key.csr.clone(),
    };
    let answer = ask(&connection, &open).await;
    connection.close(0u32.into(), b"joined");
    match answer? {
        Answer::Certificate { chain } => {
            NodeIdentity::create(dir, node, ca, &key.certified(chain)?)
        }
        Answer::Refused { message } => Err(LinkError::Refused(message)),
        other => Err(LinkError::Protocol(format!("unexpected answer to a join: {other:?}"))),
    }
}

async fn fetch_ca(
    address: SocketAddr,
    server: &str,
    token: &JoinToken,
) -> Result<CertificateDer<'static>, LinkError> {
    let endpoint = endpoint(address)?;
    let connection = connect(&endpoint, address, server, Trust::Nobody, None).await?;
    let answer = ask(&connection, &Open::FetchCa).await;
    connection.close(0u32.into(), b"thanks");
    let der = match answer? {
        Answer::Ca { der } => der,
        Answer::Refused { message } => return Err(LinkError::Refused(message)),
        other => return Err(LinkError::Protocol(format!("unexpected answer: {other:?}"))),
    };
    let actual = JoinToken::hash(&der);
    if actual != token.ca_sha256 {
        return Err(LinkError::WrongCa { expected: token.ca_sha256.clone(), actual });
    }
    Ok(der.into())
}

/// One question on a stream of its own.
pub(crate) async fn ask(connection: &quinn::Connection, open: &Open) -> Result<Answer, LinkError> {
    let (mut send, mut recv) = connection.open_bi().await.map_err(LinkError::Closed)?;
    wire::write_frame(&mut send, wire::encode(open)?).await?;
    // An error means that the other side stopped reading: its answer says why.
    let _ = send.finish();
    wire::expect_frame(&mut recv).await
}

pub(crate) async fn resolve(server: &str) -> Result<SocketAddr, LinkError> {
    let unresolved = || LinkError::Resolve(server.to_owned());
    tokio::net::lookup_host(server).await.map_err(|_| unresolved())?.next().ok_or_else(unresolved)
}

pub(crate) fn endpoint(server: SocketAddr) -> Result<quinn::Endpoint, LinkError> {
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    quinn::Endpoint::client(local).map_err(|source| LinkError::Socket { address: local, source })
}

/// Of one attempt. QUIC itself would go on for 30 s with ever longer pauses, in
/// which a server that has come back is not noticed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

pub(crate) async fn connect(
    endpoint: &quinn::Endpoint,
    address: SocketAddr,
    server: &str,
    trust: Trust,
    identity: Option<Arc<NodeIdentity>>,
) -> Result<quinn::Connection, LinkError> {
    let crypto = tls::client(trust, identity.map(|identity| identity.resolver()))?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport(true)));
    // The certificate names the server by this fixed name, whatever its address:
    // trust hangs on the cluster's own CA, not on DNS.
    let connecting = endpoint
        .connect_with(config, address, SERVER_NAME)
        .map_err(|e| LinkError::Protocol(e.to_string()))?;
    let connected = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(quinn::ConnectionError::TimedOut),
    };
    connected.map_err(|source| LinkError::Connect { address: server.to_owned(), source })
}

/// The DNS name that every server certificate carries for node links.
pub(crate) const SERVER_NAME: &str = "pintle-server";

/// Idle after 30 s. The node keeps the session alive every 5 s, so that it learns
/// within that time of a server that was killed and is back; one that is away is
/// noticed after six lost packets, and the server sends nothing.
pub(crate) fn transport(node: bool) -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    transport.max_idle_timeout(Some(quinn::VarInt::from_u32(30_000).into()));
    transport.max_concurrent_uni_streams(0u32.into());
    if node {
        transport.keep_alive_interval(Some(Duration::from_secs(5)));
        // Streams that the server opens: logs and exec sessions at one time.
        transport.max_concurrent_bidi_streams(256u32.into());
    } else {
        // quinn reserves memory per permitted stream; more are granted once the
        // peer has shown who it is.
        transport.max_concurrent_bidi_streams(32u32.into());
    }
    transport
}
