//! The server's end of node links: joins, the API as nodes see it, and the way
//! back to a node for logs and exec.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use pintle_api::status::StatusError;
use pintle_apiserver::pki::{Ca, Identity, NODE_LIFETIME};
use pintle_apiserver::{ApiServer, Body, Clock, NodeProxy, NodeRequest, NodeStream, User};
use pintle_node_link::{
    JoinRequest, LinkError, NodeService, Peer, Refusal, Reply, Request, Sessions,
};
use rustls_pki_types::CertificateDer;
use tracing::debug;

use super::tokens;

pub struct NodeGateway {
    pub api: Arc<ApiServer>,
    pub ca: Arc<Ca>,
    pub clock: Arc<dyn Clock>,
    pub sessions: Arc<SessionProxy>,
}

impl NodeGateway {
    fn sign(&self, csr_der: &[u8], node: &str) -> Result<Vec<CertificateDer<'static>>, Refusal> {
        self.ca
            .sign_csr(csr_der, &Identity::node(node), NODE_LIFETIME)
            .map(|signed| vec![signed.der])
            .map_err(|error| Refusal(format!("the certificate request cannot be signed: {error}")))
    }
}

#[async_trait]
impl NodeService for NodeGateway {
    async fn join(&self, request: JoinRequest) -> Result<Vec<CertificateDer<'static>>, Refusal> {
        if let Some(problem) = pintle_api::names::dns_subdomain(&request.node) {
            return Err(Refusal(format!("{:?} cannot be a node's name: {problem}", request.node)));
        }
        let now = self.clock.now_unix_ms();
        let token =
            tokens::check(&self.api, &request.token_id, &request.secret, now).map_err(Refusal)?;
        // Machines made from one image have one name; under it they would run the
        // same pods twice. A node that has lost its identity has no session either.
        if self.sessions.has(&request.node) {
            return Err(Refusal(format!(
                "another machine is connected as node {:?}; give this one a name of its own with \
                 --node-name, or stop the agent there first",
                request.node
            )));
        }
        tokens::use_up(&self.api, &token).await.map_err(Refusal)?;
        self.sign(&request.csr_der, &request.node)
    }

    async fn renew(
        &self,
        peer: &Peer,
        csr_der: Vec<u8>,
    ) -> Result<Vec<CertificateDer<'static>>, Refusal> {
        self.sign(&csr_der, &peer.node)
    }

    /// The Kubernetes API, as the user that the node's certificate names.
    async fn call(&self, peer: &Peer, request: Request) -> Reply {
        let user = User::new(format!("system:node:{}", peer.node), ["system:nodes"]);
        let built = http::Request::builder()
            .method(request.method.as_str())
            .uri(request.path.as_str())
            .header("content-type", request.content_type.as_str())
            .header("accept", "application/json")
            .body(Body::full(request.body));
        let response = match built {
            Ok(request) => self.api.handle(user, request).await,
            Err(error) => {
                let status = StatusError::bad_request(format!("no valid request: {error}"));
                return refusal(&status);
            }
        };
        let content_type = response
            .headers()
            .get("content-type")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let status = response.status().as_u16();
        let body = response
            .into_body()
            .into_data_stream()
            .map(|chunk| chunk.map_err(std::io::Error::other))
            .boxed();
        Reply { status, content_type, body }
    }

    fn connected(&self, peer: &Peer) {
        debug!(node = peer.node, "session opened");
    }

    fn disconnected(&self, peer: &Peer) {
        debug!(node = peer.node, "session closed");
    }
}

fn refusal(error: &StatusError) -> Reply {
    let body = Bytes::from(error.status().to_json());
    let body = futures_util::stream::once(async { Ok(body) }).boxed();
    Reply { status: error.code(), content_type: "application/json".into(), body }
}

/// Opens streams to nodes over their sessions. The sessions exist only after
/// the API server, which needs this, so they are put in later.
#[derive(Default)]
pub struct SessionProxy(OnceLock<Sessions>);

impl SessionProxy {
    pub fn set(&self, sessions: Sessions) {
        let _ = self.0.set(sessions);
    }

    fn has(&self, node: &str) -> bool {
        self.0.get().is_some_and(|sessions| sessions.has(node))
    }
}

#[async_trait]
impl NodeProxy for SessionProxy {
    async fn open(&self, node: &str, request: NodeRequest) -> Result<NodeStream, StatusError> {
        let unavailable = |text: String| StatusError::service_unavailable(text);
        let sessions =
            self.0.get().ok_or_else(|| unavailable("the server is still starting".into()))?;
        // Header of a stream: the kind, a newline, the JSON of the request.
        let mut header = Vec::with_capacity(request.kind.len() + 1 + request.body.len());
        header.extend_from_slice(request.kind.as_bytes());
        header.push(b'\n');
        header.extend_from_slice(&request.body);
        match sessions.open(node, header.into()).await {
            Ok(stream) => {
                let (reader, writer) = stream.split();
                Ok(NodeStream { reader: Box::new(reader), writer: Box::new(writer) })
            }
            Err(LinkError::Refused(message)) => Err(StatusError::bad_request(message)),
            Err(LinkError::NoSuchNode(_)) => {
                Err(unavailable(format!("node {node:?} is not connected to this server")))
            }
            Err(error) => Err(unavailable(format!("node {node:?} cannot be reached: {error}"))),
        }
    }
}
