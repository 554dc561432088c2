//! The door: who gets in, over which protocol, and what knocks in vain.

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pintle_apiserver::pki::{self, Ca};
use rustls_pki_types::ServerName;
use serde_json::json;
use support::TestServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

async fn tls(
    server: &TestServer,
    config: rustls::ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(server.address).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

#[tokio::test]
async fn many_requests_share_one_http2_connection() {
    let server = TestServer::start().await;
    let mut config = pki::client_config(server.ca.certificate(), Some(&server.admin)).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = tls(&server, config).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let creates = (0..200).map(|index| {
        let mut sender = sender.clone();
        async move {
            let body = json!({"metadata": {"name": format!("c{index}")}}).to_string();
            let request = Request::post("https://localhost/api/v1/namespaces/default/configmaps")
                .header("content-type", "application/json")
                .body(Full::new(Bytes::from(body)))
                .unwrap();
            sender.send_request(request).await.unwrap().status().as_u16()
        }
    });
    assert_eq!(join_all(creates).await, vec![201; 200]);
    let mut sender = sender.clone();
    let list = Request::get("https://localhost/api/v1/configmaps").body(Full::default()).unwrap();
    let list =
        sender.send_request(list).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    let list: serde_json::Value = serde_json::from_slice(&list).unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 200);
}

/// Whether a request over this stream is answered at all.
async fn answers(stream: std::io::Result<TlsStream<TcpStream>>) -> bool {
    let Ok(mut stream) = stream else { return false };
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut answer = Vec::new();
    // With TLS 1.3 a client learns of its refusal when it reads.
    stream.write_all(request).await.is_ok()
        && stream.read_to_end(&mut answer).await.is_ok()
        && answer.starts_with(b"HTTP/1.1 200")
}

#[tokio::test]
async fn certificates_of_other_authorities_are_refused() {
    let server = TestServer::start().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Ca::load_or_create(elsewhere.path()).unwrap();
    let forged = other.issue_client("admin", &["system:masters"], Duration::from_secs(60)).unwrap();
    let config = pki::client_config(server.ca.certificate(), Some(&forged)).unwrap();
    assert!(!answers(tls(&server, config).await).await);
    // A serving certificate does not make a client.
    let serving = server.ca.issue_server(&["localhost".to_string()]).unwrap();
    let config = pki::client_config(server.ca.certificate(), Some(&serving)).unwrap();
    assert!(!answers(tls(&server, config).await).await);
    // And a client that trusts another authority does not trust this server.
    let config = pki::client_config(other.certificate(), None).unwrap();
    assert!(tls(&server, config).await.is_err());
    let config = pki::client_config(server.ca.certificate(), Some(&server.admin)).unwrap();
    assert!(answers(tls(&server, config).await).await);
}

#[tokio::test]
async fn who_forgets_tls_is_told_so() {
    let server = TestServer::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 400 "), "{answer}");
    assert!(answer.ends_with("Client sent an HTTP request to an HTTPS server.\n"), "{answer}");
}

#[tokio::test]
async fn noise_on_the_port_hurts_nobody() {
    let server = TestServer::start().await;
    for noise in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], b""] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(noise).await.unwrap();
        drop(stream);
    }
    let config = pki::client_config(server.ca.certificate(), Some(&server.admin)).unwrap();
    let mut stream = tls(&server, config).await.unwrap();
    stream.write_all(b"\0\0\0 NONSENSE\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let ended =
        tokio::time::timeout(Duration::from_secs(180), stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "the server hangs up");
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"));
    let mut client = server.admin().await;
    client.get("/api/v1/namespaces/default").await.ok();
    let metrics = client.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.bytes);
    assert!(
        text.contains("pintle_apiserver_requests_total{method=\"GET\",code=\"2xx\"} 1\n"),
        "{text}"
    );
}
