//! Logs and exec, with a node at the other end of the stream that answers in
//! the node's protocol.

mod support;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use pintle_apiserver::AdmitAll;
use pintle_apiserver::nodes::channel;
use serde_json::{Value, json};
use support::node::PlaybackNode;
use support::{Client, TestServer};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

const PODS: &str = "/api/v1/namespaces/default/pods";

async fn server() -> (TestServer, Client) {
    let server = TestServer::with(Arc::new(AdmitAll), Arc::new(PlaybackNode)).await;
    let mut client = server.admin().await;
    for (name, node, containers) in [
        ("one", "n1", json!([{"name": "a", "image": "i"}])),
        ("two", "n1", json!([{"name": "a", "image": "i"}, {"name": "b", "image": "i"}])),
        ("away", "n2", json!([{"name": "a", "image": "i"}])),
        ("unbound", "", json!([{"name": "a", "image": "i"}])),
    ] {
        client
            .post(PODS, &json!({"metadata": {"name": name}, "spec": {"containers": containers}}))
            .await
            .ok();
        if !node.is_empty() {
            let binding = json!({"target": {"kind": "Node", "name": node}});
            client.post(&format!("{PODS}/{name}/binding"), &binding).await.ok();
        }
    }
    (server, client)
}

#[tokio::test]
async fn logs_are_the_nodes_text() {
    let (_server, mut client) = server().await;
    for (query, code, expect) in [
        ("one/log", 200, "a line 0\na line 1\na line 2\n"),
        ("one/log?tailLines=1", 200, "a line 0\n"),
        ("one/log?tailLines=0", 200, ""),
        ("two/log?container=b&tailLines=1", 200, "b line 0\n"),
        ("two/log", 400, "a container name must be specified for pod two, choose one of: [a b]"),
        ("two/log?container=x", 400, "container x is not valid for pod two"),
        ("one/log?previous=true", 404, "previous container"),
        (
            "one/log?tailLines=-1",
            422,
            "tailLines: Invalid value: -1: must be greater than or equal to 0",
        ),
        ("unbound/log", 400, "pod unbound does not have a host assigned"),
        ("away/log", 503, "node \\\"n2\\\" is not connected"),
        ("none/log", 404, "pods \\\"none\\\" not found"),
    ] {
        let answer = client.get(&format!("{PODS}/{query}")).await;
        let text = String::from_utf8_lossy(&answer.bytes);
        assert_eq!(answer.status.as_u16(), code, "{query}: {text}");
        assert!(
            if code == 200 { text == expect } else { text.contains(expect) },
            "{query}: {text}"
        );
    }
}

async fn upgrade(client: &mut Client, path: &str) -> http::Response<hyper::body::Incoming> {
    let request = Request::builder()
        .uri(format!("{PODS}/{path}"))
        .header("host", "localhost")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-protocol", "v5.channel.k8s.io")
        .body(Full::<Bytes>::default())
        .unwrap();
    client.open(request).await
}

#[tokio::test]
async fn exec_runs_over_a_websocket() {
    let (_server, mut client) = server().await;
    let response =
        upgrade(&mut client, "one/exec?command=sh&command=-c&stdin=true&stdout=true").await;
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()["sec-websocket-protocol"], "v5.channel.k8s.io");
    let upgraded = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await;
    let next =
        async |socket: &mut WebSocketStream<_>| socket.next().await.unwrap().unwrap().into_data();
    assert_eq!(next(&mut socket).await, Bytes::from_static(b"\x01[\"sh\",\"-c\"]"));
    socket.send(Message::Binary(Bytes::from_static(b"\x00hello"))).await.unwrap();
    assert_eq!(next(&mut socket).await, Bytes::from_static(b"\x01hello"));
    socket.send(Message::Binary(Bytes::from_static(b"\xff\x00"))).await.unwrap();
    let status = next(&mut socket).await;
    assert_eq!(status[0], channel::STATUS);
    let status: Value = serde_json::from_slice(&status[1..]).unwrap();
    assert_eq!(status["details"]["causes"][0], json!({"reason": "ExitCode", "message": "3"}));
    assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))));
}

#[tokio::test]
async fn exec_refuses_before_it_upgrades() {
    let (server, _) = server().await;
    for (path, code) in [
        ("none/exec?command=ls&stdout=true", 404),
        ("one/exec?stdout=true", 400),
        ("one/exec?command=ls", 400),
        ("two/exec?command=ls&stdout=true", 400),
        ("away/exec?command=ls&stdout=true", 503),
        ("unbound/attach?stdout=true", 400),
    ] {
        let mut client = server.admin().await;
        assert_eq!(upgrade(&mut client, path).await.status().as_u16(), code, "{path}");
    }
    let mut client = server.admin().await;
    let spdy = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
    let answer =
        client.send("POST", &format!("{PODS}/one/exec?command=ls&stdout=true"), &spdy, "").await;
    assert_eq!(answer.status, 400);
    assert!(answer.message().contains("only WebSocket upgrades"), "{}", answer.message());
    let no_such_container = format!("{PODS}/one/exec?command=ls&stdout=true&container=x");
    let answer = client.send("POST", &no_such_container, &spdy, "").await;
    assert_eq!(answer.message(), "container x is not valid for pod one");
    let mut dev = server.user("dev", &["devs"]).await;
    let refused = upgrade(&mut dev, "one/exec?command=ls&stdout=true").await;
    assert_eq!(refused.status(), 403);
}
