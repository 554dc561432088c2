//! The node's side: one session at a time, made again whenever it is lost.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use crate::identity::KeyRequest;
use crate::join::{ask, connect, endpoint, resolve};
use crate::server::{read_body, software_name};
use crate::tls::Trust;
use crate::wire::{self, Accept, Answer, NodeStream, Open, Request};
use crate::{LinkError, NodeIdentity};

/// Waits between attempts to reach the server: first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Serves the streams that the server opens.
#[async_trait]
pub trait NodeHandler: Send + Sync + 'static {
    /// Refuses with a text, or accepts by returning the future that serves the stream.
    async fn serve(self: Arc<Self>, header: Bytes) -> Result<ServeStream, String>;
}

/// What a [`NodeHandler`] does with a stream once it was accepted.
pub type ServeStream = Box<dyn FnOnce(NodeStream) -> BoxFuture<'static, ()> + Send>;

pub struct LinkConfig {
    /// `host:port` of the server's node listener.
    pub server: String,
    pub identity: Arc<NodeIdentity>,
    pub capabilities: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    Connecting,
    Connected { session: u64 },
}

/// The answer to a request; the body arrives as it is made.
pub struct Response {
    pub status: u16,
    pub content_type: String,
    recv: quinn::RecvStream,
}

impl Response {
    /// The next piece of the body, `None` at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, LinkError> {
        wire::read_frame(&mut self.recv).await
    }

    pub async fn bytes(mut self, limit: usize) -> Result<Bytes, LinkError> {
        read_body(&mut self.recv, limit).await
    }
}

impl Drop for Response {
    fn drop(&mut self) {
        // Tells the server that nobody listens any more; fails when all was read.
        let _ = self.recv.stop(0u32.into());
    }
}

/// A session with the server that is opened again by itself whenever it ends.
pub struct Link {
    current: watch::Receiver<Option<quinn::Connection>>,
    state: watch::Receiver<LinkState>,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(connection) = &*self.current.borrow() {
            connection.close(0u32.into(), b"node stops");
        }
    }
}

impl Link {
    /// Starts connecting and returns at once; [`Link::request`] waits for the session.
    pub fn start(config: LinkConfig, handler: Arc<dyn NodeHandler>) -> Arc<Self> {
        let (publish, current) = watch::channel(None);
        let (publish_state, state) = watch::channel(LinkState::Connecting);
        let task = tokio::spawn(keep(config, handler, publish, publish_state));
        Arc::new(Self { current, state, task })
    }

    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.state.clone()
    }

    /// Sends a request, waiting for a session if there is none right now. The
    /// caller bounds the wait.
    pub async fn request(&self, request: Request) -> Result<Response, LinkError> {
        let connection = self.connection().await?;
        let (mut send, mut recv) = connection.open_bi().await.map_err(LinkError::Closed)?;
        let body = request.body.clone();
        wire::write_frame(&mut send, wire::encode(&Open::Call(request))?).await?;
        wire::write_body(&mut send, body).await?;
        let _ = send.finish();
        match wire::expect_frame(&mut recv).await? {
            Answer::Head { status, content_type } => Ok(Response { status, content_type, recv }),
            Answer::Refused { message } => Err(LinkError::Refused(message)),
            other => Err(LinkError::Protocol(format!("unexpected answer: {other:?}"))),
        }
    }

    async fn connection(&self) -> Result<quinn::Connection, LinkError> {
        let mut current = self.current.clone();
        let connection = current
            .wait_for(|c| c.as_ref().is_some_and(|c| c.close_reason().is_none()))
            .await
            .map_err(|_| LinkError::Disconnected)?;
        connection.clone().ok_or(LinkError::Disconnected)
    }
}

async fn keep(
    config: LinkConfig,
    handler: Arc<dyn NodeHandler>,
    publish: watch::Sender<Option<quinn::Connection>>,
    state: watch::Sender<LinkState>,
) {
    let mut wait = BACKOFF.0;
    let mut session = 0;
    loop {
        match open(&config).await {
            Ok((endpoint, connection, control)) => {
                wait = BACKOFF.0;
                session += 1;
                info!(server = config.server, session, "connected to the server");
                tokio::spawn(serve(connection.clone(), handler.clone()));
                publish.send_replace(Some(connection.clone()));
                state.send_replace(LinkState::Connected { session });
                let reason = live(&config, &connection).await;
                if connection.close_reason().is_some() {
                    publish.send_replace(None);
                    state.send_replace(LinkState::Connecting);
                    warn!(server = config.server, reason, "session ended");
                } else {
                    // A new certificate: the next session opens while streams of the
                    // old one run out; the server drops it at its not_after.
                    debug!("new certificate, opening the next session");
                    tokio::spawn(async move {
                        let _keep = (endpoint, control);
                        connection.closed().await;
                    });
                }
            }
            Err(error) => {
                let error = chain(&error);
                warn!(server = config.server, error, retry_in = ?wait, "cannot reach the server");
                // A server that is away sends no event when it comes back.
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(BACKOFF.1);
            }
        }
        if publish.is_closed() {
            return;
        }
    }
}

type Control = (quinn::SendStream, quinn::RecvStream);

async fn open(
    config: &LinkConfig,
) -> Result<(quinn::Endpoint, quinn::Connection, Control), LinkError> {
    let address = resolve(&config.server).await?;
    let endpoint = endpoint(address)?;
    let trust = Trust::Ca(config.identity.ca().clone());
    let identity = Some(config.identity.clone());
    let connection = connect(&endpoint, address, &config.server, trust, identity).await?;
    let (mut send, mut recv) = connection.open_bi().await.map_err(LinkError::Closed)?;
    let hello = Open::Hello {
        protocol: wire::PROTOCOL,
        software: software_name(),
        capabilities: config.capabilities.clone(),
    };
    wire::write_frame(&mut send, wire::encode(&hello)?).await?;
    match wire::expect_frame(&mut recv).await? {
        Answer::Welcome { .. } => Ok((endpoint, connection, (send, recv))),
        Answer::Refused { message } => Err(LinkError::Refused(message)),
        other => Err(LinkError::Protocol(format!("unexpected answer to hello: {other:?}"))),
    }
}

/// Until the session ends, or until a new certificate asks for the next one.
async fn live(config: &LinkConfig, connection: &quinn::Connection) -> String {
    let mut retry = Duration::ZERO;
    loop {
        let due = config.identity.renew_at().duration_since(SystemTime::now()).unwrap_or_default();
        tokio::select! {
            reason = connection.closed() => return reason.to_string(),
            () = tokio::time::sleep(due.max(retry)) => {}
        }
        match renew(config, connection).await {
            Ok(()) => return "certificate renewed".to_owned(),
            Err(error) => {
                warn!(error = chain(&error), "the node certificate could not be renewed");
                retry = Duration::from_secs(30);
            }
        }
    }
}

async fn renew(config: &LinkConfig, connection: &quinn::Connection) -> Result<(), LinkError> {
    let key = KeyRequest::new(config.identity.node())?;
    match ask(connection, &Open::Renew { csr: key.csr.clone() }).await? {
        Answer::Certificate { chain } => config.identity.replace(&key.certified(chain)?),
        Answer::Refused { message } => Err(LinkError::Refused(message)),
        other => Err(LinkError::Protocol(format!("unexpected answer to renew: {other:?}"))),
    }
}

/// Streams that the server opens, each served on a task of its own.
async fn serve(connection: quinn::Connection, handler: Arc<dyn NodeHandler>) {
    while let Ok((send, recv)) = connection.accept_bi().await {
        let handler = handler.clone();
        tokio::spawn(async move {
            if let Err(error) = accept(send, recv, handler).await {
                debug!(error = chain(&error), "stream from the server ended early");
            }
        });
    }
}

async fn accept(
    mut send: quinn::SendStream,
    mut recv: quinn::RecvStream,
    handler: Arc<dyn NodeHandler>,
) -> Result<(), LinkError> {
    let Some(header) = wire::read_frame(&mut recv).await? else {
        return Err(LinkError::Protocol("a stream without a header".into()));
    };
    match handler.serve(header).await {
        Ok(serve) => {
            wire::write_frame(&mut send, wire::encode(&Accept::Go)?).await?;
            serve(NodeStream { send, recv }).await;
            Ok(())
        }
        Err(message) => {
            wire::write_frame(&mut send, wire::encode(&Accept::Refused { message })?).await?;
            let _ = send.finish();
            Ok(())
        }
    }
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
