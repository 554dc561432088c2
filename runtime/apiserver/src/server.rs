//! The listener: TCP, TLS 1.3, then HTTP/1.1 or HTTP/2, one task per
//! connection. Every limit that protects the server from its clients on this
//! level is a constant here.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::body::Body;
use crate::user::User;
use crate::{ApiServer, raised};

/// More connections than this wait in the kernel's accept queue.
const MAX_CONNECTIONS: usize = 16_384;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// For the headers of a request, and for the next request of a connection:
/// longer than the 90 s that Go's clients keep an idle connection, so that it
/// is they who close it.
const HEADER_TIMEOUT: Duration = Duration::from_secs(120);
/// Requests in flight on one HTTP/2 connection; the same as kube-apiserver.
const MAX_STREAMS: u32 = 250;
/// Flow-control windows: one stream may have a whole list in flight.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// What is buffered per stream towards a client that reads slowly.
const SEND_BUFFER: usize = 1024 * 1024;
/// Headers of one request, the query of a long label selector included; without
/// this HTTP/2 would take a quarter of what HTTP/1.1 does.
const MAX_HEADER_BYTES: u32 = 128 * 1024;
/// What a client reads that forgot the `s` of `https`.
const PLAIN_HTTP: &[u8] = b"HTTP/1.0 400 Bad Request\r\ncontent-type: text/plain\r\n\r\n\
    Client sent an HTTP request to an HTTPS server.\n";
/// Pings that find dead peers behind NAT.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long requests may go on after the server was told to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

impl ApiServer {
    /// Serves until `shutdown` completes, then lets requests finish for a few
    /// seconds. Watches end at once, so that their clients reconnect elsewhere.
    pub fn serve(
        self: &Arc<Self>,
        listener: TcpListener,
        tls: Arc<rustls::ServerConfig>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        tokio::spawn(accept(self.clone(), listener, TlsAcceptor::from(tls), shutdown))
    }
}

async fn accept(
    server: Arc<ApiServer>,
    listener: TcpListener,
    tls: TlsAcceptor,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let builders = Arc::new(Builders::new());
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let next = async {
            // The semaphore is never closed, so there is always a permit to wait for.
            let permit = permits.clone().acquire_owned().await.ok();
            (listener.accept().await, permit)
        };
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            (accepted, permit) = next => match accepted {
                Ok((stream, peer)) => {
                    let connection = Connection {
                        server: server.clone(),
                        builders: builders.clone(),
                        stopped: stopped.clone(),
                        peer,
                        _permit: permit,
                    };
                    connections.spawn(connection.run(stream, tls.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    // Out of file descriptors: accept fails again at once until
                    // some connection ends, and the kernel has no event for that.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop(listener);
    server.close();
    let _ = stop.send(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
        tracing::info!("some requests did not finish in time and were cut off");
    }
}

/// One per protocol: the client has chosen in the TLS handshake, so nothing
/// is guessed from its first bytes (and no connection hangs there).
struct Builders {
    http1: auto::Builder<TokioExecutor>,
    http2: auto::Builder<TokioExecutor>,
}

impl Builders {
    fn new() -> Builders {
        let mut http1 = auto::Builder::new(TokioExecutor::new()).http1_only();
        http1
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .pipeline_flush(true);
        let mut http2 = auto::Builder::new(TokioExecutor::new()).http2_only();
        http2
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(MAX_HEADER_BYTES)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        Builders { http1, http2 }
    }
}

struct Connection {
    server: Arc<ApiServer>,
    builders: Arc<Builders>,
    stopped: watch::Receiver<bool>,
    peer: SocketAddr,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Connection {
    async fn run(mut self, stream: TcpStream, tls: TlsAcceptor) {
        let counting = self.server.clone();
        let _counted = counting.metrics.connections.count();
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, peer = %self.peer, "cannot set TCP_NODELAY");
        }
        let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake(stream, &tls)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%error, peer = %self.peer, "TLS handshake failed");
                return;
            }
            Err(_) => {
                tracing::debug!(peer = %self.peer, "TLS handshake took too long");
                return;
            }
        };
        let session = stream.get_ref().1;
        let http2 = session.alpn_protocol() == Some(b"h2");
        let user = session
            .peer_certificates()
            .and_then(|chain| User::from_certificate(chain.first()?))
            .unwrap_or_else(User::anonymous);
        let user = Arc::new(user);
        let server = self.server.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let server = server.clone();
            let user = user.clone();
            async move {
                let request = request.map(Body::from);
                Ok::<Response<Body>, Infallible>(server.handle(user, request).await)
            }
        });
        let builders = self.builders.clone();
        let builder = if http2 { &builders.http2 } else { &builders.http1 };
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = raised(&mut self.stopped) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, peer = %self.peer, "connection ended early");
        }
    }
}

async fn handshake(mut stream: TcpStream, tls: &TlsAcceptor) -> io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    // A TLS record never starts with a letter, a request line always does.
    if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
        // Closing with bytes unread would reset the connection before the answer is read.
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await?;
        stream.write_all(PLAIN_HTTP).await?;
        stream.shutdown().await?;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a request without TLS"));
    }
    tls.accept(stream).await
}
