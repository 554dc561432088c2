//! WebSockets as exec and attach use them: the first byte of each binary
//! message is a channel number (`v4.channel.k8s.io`, `v5.channel.k8s.io`).

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Extensions, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use pintle_api::status::StatusError;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};

use crate::body::Body;
use crate::nodes::{MAX_FRAME_BYTES, NodeStream, channel, read_frame, write_frame};

/// Protocols in order of preference. The fifth version adds closing a channel.
const PROTOCOLS: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io"];
/// How long the client has to answer our close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A checked upgrade request.
pub struct Handshake {
    protocol: &'static str,
    accept: String,
}

/// Whether the request asks for a WebSocket, and if so, one that we speak.
pub fn handshake(headers: &HeaderMap) -> Result<Handshake, StatusError> {
    let has = |name, token: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
    };
    if !has(CONNECTION, "upgrade") {
        return Err(StatusError::bad_request("Upgrade request required"));
    }
    if !has(UPGRADE, "websocket") {
        return Err(StatusError::bad_request(
            "only WebSocket upgrades are served here (kubectl 1.31 and newer use them), SPDY is not",
        ));
    }
    if !has(SEC_WEBSOCKET_VERSION, "13") {
        return Err(StatusError::bad_request("Sec-WebSocket-Version must be 13"));
    }
    let key = headers
        .get(SEC_WEBSOCKET_KEY)
        .ok_or_else(|| StatusError::bad_request("Sec-WebSocket-Key is missing"))?;
    let protocol = PROTOCOLS
        .iter()
        .find(|protocol| has(SEC_WEBSOCKET_PROTOCOL, protocol))
        .ok_or_else(|| {
            StatusError::bad_request(format!(
                "no common WebSocket subprotocol, served are: {}",
                PROTOCOLS.join(", ")
            ))
        })?;
    Ok(Handshake { protocol, accept: derive_accept_key(key.as_bytes()) })
}

impl Handshake {
    /// Answers 101 and relays between the client and the node until one ends.
    /// `extensions` are the request's; the connection is handed over in them.
    pub fn relay(
        self,
        extensions: Extensions,
        node: NodeStream,
    ) -> Result<Response<Body>, StatusError> {
        let mut request = Request::new(());
        *request.extensions_mut() = extensions;
        let upgrade = hyper::upgrade::on(&mut request);
        let header = |text: &str| HeaderValue::from_str(text).map_err(StatusError::internal);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, header(&self.accept)?);
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(self.protocol));
        let closes_channels = self.protocol == PROTOCOLS[0];
        tokio::spawn(async move {
            match upgrade.await {
                Ok(upgraded) => run(TokioIo::new(upgraded), node, closes_channels).await,
                Err(error) => tracing::debug!(%error, "WebSocket upgrade failed"),
            }
        });
        Ok(response)
    }
}

/// Relays both directions. Public to the crate's tests through `relay` only.
async fn run<S>(stream: S, node: NodeStream, closes_channels: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_FRAME_BYTES + 1))
        .max_frame_size(Some(MAX_FRAME_BYTES + 1));
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    let (mut to_client, mut from_client) = socket.split();
    let NodeStream { mut reader, mut writer } = node;
    let relayed = tokio::select! {
        () = outgoing(&mut reader, &mut to_client) => true,
        () = incoming(&mut from_client, &mut writer, closes_channels) => false,
    };
    // Tells the node that nobody listens any more; it ends what still runs.
    if let Err(error) = writer.shutdown().await {
        tracing::debug!(%error, "node stream was closed already");
    }
    if relayed {
        let goodbye = async {
            let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
            if to_client.send(Message::Close(Some(close))).await.is_ok() {
                while let Some(Ok(_)) = from_client.next().await {}
            }
        };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, goodbye).await;
    }
}

/// Node to client, until the status has been sent.
async fn outgoing<S>(
    reader: &mut (dyn AsyncRead + Send + Unpin),
    to_client: &mut SplitSink<WebSocketStream<S>, Message>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let (number, payload) = match read_frame(reader).await {
            Ok(Some(frame)) => frame,
            Ok(None) => (channel::STATUS, lost("the node ended the session without a status")),
            Err(error) => {
                (channel::STATUS, lost(&format!("the connection to the node broke: {error}")))
            }
        };
        if !matches!(number, channel::STDOUT | channel::STDERR | channel::STATUS) {
            continue;
        }
        let mut message = BytesMut::with_capacity(1 + payload.len());
        message.put_u8(number);
        message.put_slice(&payload);
        let sent = to_client.send(Message::Binary(message.freeze())).await;
        if sent.is_err() || number == channel::STATUS {
            return;
        }
    }
}

fn lost(why: &str) -> Bytes {
    StatusError::internal(why).status().to_json().into()
}

/// Client to node, until the client leaves or the node stops reading.
async fn incoming<S>(
    from_client: &mut SplitStream<WebSocketStream<S>>,
    writer: &mut (dyn AsyncWrite + Send + Unpin),
    closes_channels: bool,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = from_client.next().await {
        let data = match message {
            Message::Binary(data) => data,
            Message::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
        };
        let Some((&number, payload)) = data.split_first() else { continue };
        let wanted = match number {
            // Clients announce their channels with empty messages.
            channel::STDIN | channel::RESIZE => !payload.is_empty(),
            channel::CLOSE => closes_channels && payload.len() == 1,
            _ => false,
        };
        if wanted && write_frame(writer, number, payload).await.is_err() {
            // The node's side has ended; what it said last comes the other way.
            return std::future::pending().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| ((*name).parse().unwrap(), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn upgrades_must_be_websockets_with_a_known_protocol() {
        let good = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "v4.channel.k8s.io, v5.channel.k8s.io"),
        ];
        let accepted = handshake(&headers(&good)).unwrap();
        assert_eq!(accepted.protocol, "v5.channel.k8s.io");
        assert_eq!(accepted.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for missing in 0..good.len() {
            let mut some = good.to_vec();
            some.remove(missing);
            let error = handshake(&headers(&some)).err().unwrap();
            assert_eq!(error.code(), 400, "without {}", good[missing].0);
        }
    }

    async fn session(
        closes: bool,
    ) -> (WebSocketStream<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (client, server) = tokio::io::duplex(1 << 16);
        let (node, node_far) = tokio::io::duplex(1 << 16);
        let (reader, writer) = tokio::io::split(node);
        let node = NodeStream { reader: Box::new(reader), writer: Box::new(writer) };
        tokio::spawn(run(server, node, closes));
        (WebSocketStream::from_raw_socket(client, Role::Client, None).await, node_far)
    }

    #[tokio::test]
    async fn input_reaches_the_node_and_output_the_client_until_the_status() {
        let (mut client, mut node) = session(true).await;
        client.send(Message::Binary(Bytes::from_static(b"\x00"))).await.unwrap();
        client.send(Message::Binary(Bytes::from_static(b"\x00ls\n"))).await.unwrap();
        client.send(Message::Binary(Bytes::from_static(b"\x01not allowed"))).await.unwrap();
        client.send(Message::Binary(Bytes::from_static(b"\xff\x00"))).await.unwrap();
        assert_eq!(read_frame(&mut node).await.unwrap().unwrap(), (0, "ls\n".into()));
        assert_eq!(read_frame(&mut node).await.unwrap().unwrap(), (255, Bytes::from_static(b"\0")));
        write_frame(&mut node, channel::STDOUT, b"file\n").await.unwrap();
        write_frame(&mut node, channel::STATUS, br#"{"status":"Success"}"#).await.unwrap();
        let message = client.next().await.unwrap().unwrap();
        assert_eq!(message.into_data(), Bytes::from_static(b"\x01file\n"));
        let message = client.next().await.unwrap().unwrap();
        assert_eq!(message.into_data(), Bytes::from_static(b"\x03{\"status\":\"Success\"}"));
        assert!(matches!(client.next().await.unwrap().unwrap(), Message::Close(_)));
    }

    #[tokio::test]
    async fn a_node_that_vanishes_becomes_a_failure_status() {
        let (mut client, node) = session(true).await;
        drop(node);
        let message = client.next().await.unwrap().unwrap().into_data();
        assert_eq!(message[0], channel::STATUS);
        assert!(message.windows(10).any(|w| w == b"\"Failure\"," || w.starts_with(b"\"Failure\"")));
    }

    #[tokio::test]
    async fn a_client_that_leaves_ends_the_node_stream() {
        let (client, mut node) = session(false).await;
        drop(client);
        assert!(read_frame(&mut node).await.unwrap().is_none());
    }
}
