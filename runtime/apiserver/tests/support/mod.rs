//! A real server for tests: sled in a temporary directory, TLS on loopback,
//! and a client that speaks HTTP/1.1 to it.
#![allow(dead_code)] // each test file uses a part of it

pub mod node;
pub mod objects;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use pintle_api::kinds::Registry;
use pintle_apiserver::pki::{self, Ca, Issued};
use pintle_apiserver::{
    Admission, AdmitAll, ApiServer, BusFacts, Connector, NoConnections, NoNodes, NodeProxy, Parts,
    StaticAuthorizer, SystemClock, VersionInfo,
};
use pintle_storage::{EngineKind, Store};
use pintle_watch::Bus;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;

pub struct TestServer {
    pub address: SocketAddr,
    pub ca: Ca,
    pub api: Arc<ApiServer>,
    pub store: Arc<dyn Store>,
    pub admin: Issued,
    pub dir: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
}

impl TestServer {
    pub async fn start() -> TestServer {
        TestServer::with(Arc::new(AdmitAll), Arc::new(NoNodes)).await
    }

    pub async fn with(admission: Arc<dyn Admission>, nodes: Arc<dyn NodeProxy>) -> TestServer {
        TestServer::with_connector(admission, nodes, Arc::new(NoConnections)).await
    }

    pub async fn with_connector(
        admission: Arc<dyn Admission>,
        nodes: Arc<dyn NodeProxy>,
        connector: Arc<dyn Connector>,
    ) -> TestServer {
        let dir = tempfile::tempdir().unwrap();
        let store =
            pintle_storage::open(EngineKind::Sled, &dir.path().join("db"), Default::default())
                .unwrap();
        let registry = Registry::builtin();
        let bus = Bus::new(registry, pintle_watch::Options::default());
        bus.load(store.clone()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let api = ApiServer::new(Parts {
            store: store.clone(),
            bus: bus.clone(),
            registry,
            admission,
            authorizer: Arc::new(StaticAuthorizer::new(Arc::new(BusFacts::new(bus, registry)))),
            nodes,
            connector,
            clock: Arc::new(SystemClock),
            info: VersionInfo::of("0.1.0", "unknown", "2026-01-01T00:00:00Z"),
            address: address.to_string(),
        });
        api.bootstrap().await.unwrap();
        let ca = Ca::load_or_create(&dir.path().join("pki")).unwrap();
        let serving = ca.issue_server(&["127.0.0.1".to_string(), "localhost".to_string()]).unwrap();
        let tls = pki::server_config(ca.certificate(), &serving).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        api.serve(listener, Arc::new(tls), async {
            let _ = stopped.await;
        });
        let admin =
            ca.issue_client("admin", &["system:masters"], Duration::from_secs(3600)).unwrap();
        TestServer { address, ca, api, store, admin, dir, stop: Some(stop) }
    }

    pub async fn admin(&self) -> Client {
        Client::connect(self.address, &self.ca, Some(&self.admin)).await
    }

    pub async fn user(&self, name: &str, groups: &[&str]) -> Client {
        let issued = self.ca.issue_client(name, groups, Duration::from_secs(3600)).unwrap();
        Client::connect(self.address, &self.ca, Some(&issued)).await
    }

    pub async fn anonymous(&self) -> Client {
        Client::connect(self.address, &self.ca, None).await
    }

    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop();
    }
}

pub struct Client {
    sender: SendRequest<Full<Bytes>>,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|_| panic!("not JSON: {:?}", String::from_utf8_lossy(&self.bytes)))
    }

    /// The object, or a panic that shows the error.
    pub fn ok(&self) -> Value {
        assert!(
            self.status.is_success(),
            "{} {}",
            self.status,
            String::from_utf8_lossy(&self.bytes)
        );
        self.json()
    }

    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_string()
    }

    pub fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_default().to_string()
    }

    pub fn warnings(&self) -> Vec<String> {
        let values = self.headers.get_all("warning").iter();
        values.map(|value| value.to_str().unwrap().to_string()).collect()
    }
}

impl Client {
    pub async fn connect(address: SocketAddr, ca: &Ca, identity: Option<&Issued>) -> Client {
        let config = pki::client_config(ca.certificate(), identity).unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        Client { sender }
    }

    pub async fn open(&mut self, request: Request<Full<Bytes>>) -> http::Response<Incoming> {
        self.sender.ready().await.unwrap();
        self.sender.send_request(request).await.unwrap()
    }

    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.open(request.body(Full::new(body.into())).unwrap()).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    pub async fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string()).await
    }

    pub async fn put(&mut self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, &[("content-type", "application/json")], body.to_string()).await
    }

    pub async fn patch(&mut self, path: &str, kind: &str, body: &Value) -> Answer {
        let content_type = match kind {
            "json" => "application/json-patch+json".to_string(),
            kind => format!("application/{kind}+json"),
        };
        self.send("PATCH", path, &[("content-type", &content_type)], body.to_string()).await
    }

    pub async fn delete(&mut self, path: &str) -> Answer {
        self.send("DELETE", path, &[], "").await
    }

    /// Opens a watch; lines come one by one.
    pub async fn watch(mut self, path: &str, accept: &str) -> Watch {
        let request = Request::builder()
            .uri(path)
            .header("host", "localhost")
            .header("accept", accept)
            .body(Full::default())
            .unwrap();
        let response = self.open(request).await;
        Watch {
            status: response.status(),
            body: response.into_body(),
            buffer: Vec::new(),
            _client: self,
        }
    }
}

pub struct Watch {
    pub status: StatusCode,
    body: Incoming,
    buffer: Vec<u8>,
    _client: Client,
}

impl Watch {
    /// The next event; `None` when the server has ended the watch.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = tokio::time::timeout(Duration::from_secs(180), self.body.frame());
            let frame = frame.await.expect("a watch event in time")?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }

    /// `ADDED name` and the like, for comparing.
    pub async fn brief(&mut self) -> String {
        match self.next().await {
            None => "end".to_string(),
            Some(event) => format!(
                "{} {}",
                event["type"].as_str().unwrap_or_default(),
                event["object"]["metadata"]["name"].as_str().unwrap_or_default()
            ),
        }
    }
}
