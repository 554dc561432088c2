//! Joining, asking, being asked, and coming back: two real QUIC endpoints on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use parking_lot::Mutex;
use pintle_node_link::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer,
    KeyPair,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A cluster of one server: signs CSRs with its CA, answers calls by echo.
struct Cluster {
    ca: Issuer<'static, KeyPair>,
    ca_der: CertificateDer<'static>,
    tokens: Mutex<Vec<String>>,
    lifetime: Duration,
    connected: AtomicUsize,
}

impl Cluster {
    fn new(lifetime: Duration) -> Arc<Self> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test CA");
        let ca_der = params.self_signed(&key).unwrap().der().clone();
        Arc::new(Self {
            ca: Issuer::new(params, key),
            ca_der,
            tokens: Mutex::new(vec!["secret1".into()]),
            lifetime,
            connected: AtomicUsize::new(0),
        })
    }

    fn server(self: &Arc<Self>, address: SocketAddr) -> Server {
        self.try_server(address).unwrap()
    }

    fn try_server(self: &Arc<Self>, address: SocketAddr) -> Result<Server, LinkError> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["pintle-server".into()]).unwrap();
        let leaf = params.signed_by(&key, &self.ca).unwrap();
        let identity = ServerIdentity {
            chain: vec![leaf.der().clone()],
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            ca: self.ca_der.clone(),
            reset_secret: [7; 32],
        };
        Server::bind(address, identity, self.clone())
    }

    fn sign(&self, csr: &[u8], node: &str) -> Vec<CertificateDer<'static>> {
        let mut csr = CertificateSigningRequestParams::from_der(&csr.into()).unwrap();
        csr.params.distinguished_name = Default::default();
        csr.params.distinguished_name.push(DnType::CommonName, format!("system:node:{node}"));
        csr.params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        let now = SystemTime::now();
        csr.params.not_before = now.into();
        csr.params.not_after = (now + self.lifetime).into();
        vec![csr.signed_by(&self.ca).unwrap().der().clone()]
    }

    fn token(&self, secret: &str) -> JoinToken {
        JoinToken::new(&self.ca_der, "id1", secret)
    }
}

#[async_trait::async_trait]
impl NodeService for Cluster {
    async fn join(&self, r: JoinRequest) -> Result<Vec<CertificateDer<'static>>, Refusal> {
        let mut tokens = self.tokens.lock();
        let Some(at) = tokens.iter().position(|t| *t == r.secret) else {
            return Err(Refusal("the join token is unknown, expired or used".into()));
        };
        tokens.remove(at);
        Ok(self.sign(&r.csr_der, &r.node))
    }

    async fn renew(
        &self,
        peer: &Peer,
        csr: Vec<u8>,
    ) -> Result<Vec<CertificateDer<'static>>, Refusal> {
        Ok(self.sign(&csr, &peer.node))
    }

    async fn call(&self, peer: &Peer, request: Request) -> Reply {
        let line = format!("{} {} {} ", peer.node, request.method, request.path);
        let body = request.body.clone();
        let chunks: Vec<std::io::Result<Bytes>> = match request.path.as_str() {
            "/forever" => {
                let body =
                    stream::once(async { Ok(Bytes::from("first\n")) }).chain(stream::pending());
                return Reply {
                    status: 200,
                    content_type: "text/plain".into(),
                    body: body.boxed(),
                };
            }
            "/big" => (0..64).map(|_| Ok(Bytes::from(vec![7u8; 300 << 10]))).collect(),
            _ => vec![Ok(line.into()), Ok(body)],
        };
        let body = stream::iter(chunks).boxed();
        Reply { status: 200, content_type: "text/plain".into(), body }
    }

    fn connected(&self, _: &Peer) {
        self.connected.fetch_add(1, Ordering::SeqCst);
    }

    fn disconnected(&self, _: &Peer) {}
}

/// Echoes what the server sends, after the header.
struct Echo;

#[async_trait::async_trait]
impl NodeHandler for Echo {
    async fn serve(self: Arc<Self>, header: Bytes) -> Result<ServeStream, String> {
        if header == "forbidden" {
            return Err("no such container".into());
        }
        Ok(Box::new(|mut stream| {
            async move {
                tokio::io::copy(&mut stream.recv, &mut stream.send).await.unwrap();
                stream.send.finish().unwrap();
                stream.send.stopped().await.ok();
            }
            .boxed()
        }))
    }
}

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

async fn joined(cluster: &Cluster, server: &Server, dir: &std::path::Path) -> (String, Arc<Link>) {
    let address = server.local_addr().unwrap().to_string();
    let identity = join(&address, &cluster.token("secret1"), "n1", dir).await.unwrap();
    let config = LinkConfig { server: address.clone(), identity, capabilities: vec![] };
    (address, Link::start(config, Arc::new(Echo)))
}

async fn within<T>(f: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(180), f).await.expect("in time")
}

#[tokio::test]
async fn a_node_joins_once_and_only_with_a_good_token() {
    let cluster = Cluster::new(Duration::from_secs(3600));
    let server = cluster.server(LOOPBACK);
    let address = server.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();

    let wrong = join(&address, &cluster.token("wrong"), "n1", dir.path()).await.unwrap_err();
    assert!(wrong.to_string().contains("unknown, expired or used"), "{wrong}");

    let other = JoinToken::new(b"another CA", "id1", "secret1");
    let error = join(&address, &other, "n1", dir.path()).await.unwrap_err();
    assert!(matches!(error, LinkError::WrongCa { .. }), "{error}");
    assert!(NodeIdentity::load(dir.path(), "n1", SystemTime::now()).unwrap().is_none());

    join(&address, &cluster.token("secret1"), "n1", dir.path()).await.unwrap();
    let again = join(&address, &cluster.token("secret1"), "n2", dir.path()).await.unwrap_err();
    assert!(again.to_string().contains("used"), "{again}");

    let now = SystemTime::now();
    assert!(NodeIdentity::load(dir.path(), "n1", now).unwrap().is_some());
    let other = NodeIdentity::load(dir.path(), "n2", now).unwrap_err();
    assert!(other.to_string().contains("is that of node \"n1\", not of \"n2\""), "{other}");
    let later = now + Duration::from_secs(7200);
    assert!(NodeIdentity::load(dir.path(), "n1", later).unwrap().is_none(), "expired");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(dir.path().join("node.credentials")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn requests_carry_bodies_of_any_size_and_streams_go_both_ways() {
    let cluster = Cluster::new(Duration::from_secs(3600));
    let server = cluster.server(LOOPBACK);
    let dir = tempfile::tempdir().unwrap();
    let (_, link) = joined(&cluster, &server, dir.path()).await;

    let request = Request {
        method: "POST".into(),
        path: "/x".into(),
        content_type: "text/plain".into(),
        body: Bytes::from("hello"),
    };
    let answer = within(link.request(request)).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.bytes(1 << 20).await.unwrap(), "n1 POST /x hello");

    let big = within(link.request(Request::get("/big"))).await.unwrap();
    assert_eq!(within(big.bytes(64 << 20)).await.unwrap().len(), 64 * (300 << 10));
    let big = within(link.request(Request::get("/big"))).await.unwrap();
    assert!(matches!(big.bytes(1 << 20).await, Err(LinkError::BodyTooLarge(_))));

    let mut watch = within(link.request(Request::get("/forever"))).await.unwrap();
    assert_eq!(watch.chunk().await.unwrap().unwrap(), "first\n");
    drop(watch);

    let sessions = server.sessions();
    assert_eq!(sessions.nodes(), ["n1"]);
    let mut stream = within(sessions.open("n1", Bytes::from("exec"))).await.unwrap();
    stream.send.write_all(b"echo me").await.unwrap();
    stream.send.finish().unwrap();
    assert_eq!(stream.recv.read_to_end(1024).await.unwrap(), b"echo me");

    let refused = within(sessions.open("n1", Bytes::from("forbidden"))).await.err().unwrap();
    assert_eq!(refused.to_string(), "the server refused: no such container");
    let absent = sessions.open("n9", Bytes::new()).await.err().unwrap();
    assert!(matches!(absent, LinkError::NoSuchNode(_)));
}

#[tokio::test]
async fn a_session_comes_back_after_the_server_restarts() {
    let cluster = Cluster::new(Duration::from_secs(3600));
    let server = cluster.server(LOOPBACK);
    let dir = tempfile::tempdir().unwrap();
    let (address, link) = joined(&cluster, &server, dir.path()).await;
    within(link.request(Request::get("/a"))).await.unwrap();

    server.shutdown().await;
    drop(server);
    // Within one process the old socket closes when quinn's driver task is done,
    // which nothing announces; a restarted process has no such wait.
    let server = within(async {
        loop {
            match cluster.try_server(address.parse().unwrap()) {
                Ok(server) => break server,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    })
    .await;
    let mut state = link.state();
    within(state.wait_for(|s| *s == LinkState::Connected { session: 2 })).await.unwrap();
    let answer = within(link.request(Request::get("/b"))).await.unwrap();
    assert_eq!(answer.bytes(1024).await.unwrap(), "n1 GET /b ");
    assert_eq!(server.sessions().nodes(), ["n1"]);
}

#[tokio::test]
async fn a_server_that_was_killed_and_is_back_is_noticed_before_the_session_times_out() {
    let cluster = Cluster::new(Duration::from_secs(3600));
    // Dropping the runtime ends the first server without a word to anybody.
    let first = tokio::runtime::Runtime::new().unwrap();
    let (of_first, again) = (first.handle().clone(), cluster.clone());
    let server = of_first.spawn(async move { again.server(LOOPBACK) }).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (address, link) = joined(&cluster, &server, dir.path()).await;
    within(link.request(Request::get("/a"))).await.unwrap();
    let mut watch = within(link.request(Request::get("/forever"))).await.unwrap();
    watch.chunk().await.unwrap();

    first.shutdown_background();
    drop(server);
    let server = within(async {
        loop {
            match cluster.try_server(address.parse().unwrap()) {
                Ok(server) => break server,
                // As above: the old socket closes unannounced.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    })
    .await;
    let began = Instant::now();
    assert!(within(watch.chunk()).await.is_err(), "the watch ends");
    let answer = within(link.request(Request::get("/b"))).await.unwrap();
    assert_eq!(answer.bytes(1024).await.unwrap(), "n1 GET /b ");
    // After which it would have been given up anyway.
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(server.sessions().nodes(), ["n1"]);
}

#[tokio::test]
async fn a_certificate_is_renewed_while_a_stream_stays_open() {
    // Certificates count whole seconds, so a life of 6 s is renewed after about 4.
    let began = Instant::now();
    let cluster = Cluster::new(Duration::from_secs(6));
    let server = cluster.server(LOOPBACK);
    let dir = tempfile::tempdir().unwrap();
    let (_, link) = joined(&cluster, &server, dir.path()).await;
    let mut watch = within(link.request(Request::get("/forever"))).await.unwrap();
    watch.chunk().await.unwrap();

    let mut state = link.state();
    let renewed = |s: &LinkState| matches!(s, LinkState::Connected { session } if *session >= 2);
    within(state.wait_for(renewed)).await.unwrap();
    assert!(cluster.connected.load(Ordering::SeqCst) >= 2);
    let quiet = tokio::time::timeout(Duration::from_millis(200), watch.chunk()).await;
    // Where all of this took longer than the certificate lives, it has to be over.
    let alive = began.elapsed() < Duration::from_secs(5);
    assert!(quiet.is_err() || !alive, "the stream of the first session still stands");
    within(link.request(Request::get("/c"))).await.unwrap();

    // The first session ends with its certificate.
    assert!(within(watch.chunk()).await.is_err());
}
