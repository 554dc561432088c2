//! The server's wiring: storage, bus, API, plugin host and node listener, in the
//! order in which they need each other.

mod admission;
mod authorizer;
mod bootstrap;
mod cluster;
mod connect;
mod events;
mod maintenance;
mod nodes;
mod roles;
mod services;
mod signing;
pub mod tokens;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pintle_api::kinds::Registry;
use pintle_apiserver::pki::{self, Ca, Kubeconfig};
use pintle_apiserver::{ApiServer, Clock, Parts, SystemClock, VersionInfo};
use pintle_node_link::{JoinToken, Server as NodeServer, ServerIdentity};
use pintle_plugin_host::{Host, HostConfig};
use pintle_watch::Bus;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::config::{Settings, Storage};
use crate::{compiler, embedded, sources};

/// The administrator's certificate is made anew at every start.
const ADMIN_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// A server that serves.
pub struct RunningServer {
    pub api: Arc<ApiServer>,
    pub ca: Arc<Ca>,
    pub api_address: SocketAddr,
    pub node_address: SocketAddr,
    pub kubeconfig: PathBuf,
    node_server: NodeServer,
    tasks: Vec<JoinHandle<()>>,
}

/// Starts everything; returns when requests are served.
pub async fn start(settings: &Settings, stop: watch::Receiver<bool>) -> Result<RunningServer> {
    let began = Instant::now();
    let data_dir = settings.data_dir();
    private_dir(&data_dir)?;
    let ca = Arc::new(Ca::load_or_create(&data_dir.join("pki"))?);
    let registry = Registry::builtin();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);

    let storage_dir = data_dir.join("storage");
    // An existing directory knows its engine; only another one that is asked for is an error.
    let engine = match settings.storage {
        Some(asked) => asked.into(),
        None => pintle_storage::engine_in(&storage_dir).unwrap_or(Storage::Sled.into()),
    };
    let store = pintle_storage::open(engine, &storage_dir, Default::default())?;
    let bus = Bus::new(registry, Default::default());
    bus.load(store.clone()).await.context("the stored objects cannot be read")?;
    info!(elapsed_ms = began.elapsed().as_millis() as u64, "storage open");

    // The ports are taken first, so that a second server fails before it does anything;
    // connections wait in the kernel until everything is there to serve them.
    let listener = TcpListener::bind(settings.listen())
        .await
        .with_context(|| format!("cannot listen at {}", settings.listen()))?;
    let api_address = listener.local_addr()?;
    let node_socket = pintle_node_link::listen(settings.node_listen())?;
    let sessions = Arc::new(nodes::SessionProxy::default());
    let admission = Arc::new(admission::HostAdmission::default());
    let authorizer = bootstrap::authorizer(&bus);
    let streams =
        Arc::new(connect::PluginStreams::new(authorizer.clone(), clock.clone(), stop.clone()));
    let api = ApiServer::new(Parts {
        store: store.clone(),
        bus: bus.clone(),
        registry,
        admission: admission.clone(),
        authorizer: authorizer.clone(),
        nodes: sessions.clone(),
        connector: streams.clone(),
        clock: clock.clone(),
        info: VersionInfo::of(env!("CARGO_PKG_VERSION"), "", ""),
        address: reachable(api_address).to_string(),
    });
    api.bootstrap().await.map_err(|e| anyhow::anyhow!("the first objects: {}", e.message()))?;
    services::ranges(&api, settings).await?;
    bootstrap::plugins(&api).await?;
    roles::reconcile(&api).await?;

    let cluster = Arc::new(cluster::LocalCluster::new(
        api.clone(),
        bus.clone(),
        registry,
        clock.clone(),
        signing::Signing::new(ca.clone()),
    ));
    let host = Host::new(
        HostConfig {
            cache_directory: data_dir.join("plugin-cache"),
            compiler: compiler::own(),
            embedded: embedded::with_defaults(
                settings,
                ca.certificate_pem(),
                services::config(settings, api_address)?,
            )?,
            sources: sources::with_public_keys(settings.plugin_public_keys.as_deref())?,
        },
        cluster,
    )?;
    // Weak: the host reaches the API, which must not hold the host.
    let scraped = Arc::downgrade(&host);
    api.add_metrics(move |text| {
        if let Some(host) = scraped.upgrade() {
            host.render_metrics(text);
        }
    });
    let mut tasks = vec![tokio::spawn(run_host(host.clone(), stop.clone()))];
    // Until its plugins decide, the server would answer differently than later.
    host.ready().await;
    admission.set(host.admission());
    authorizer.set(host.authorizers());
    streams.set(host.clone());
    info!(elapsed_ms = began.elapsed().as_millis() as u64, "plugins loaded");

    let names = certificate_names(settings, api_address.ip())?;
    let served = ca.issue_server(&names)?;
    let tls = Arc::new(pki::server_config(ca.certificate(), &served)?);
    tasks.push(api.serve(listener, tls, stopped(stop.clone())));

    let identity = ServerIdentity {
        chain: vec![served.certificate.der.clone()],
        key: served.key.clone_key(),
        ca: ca.certificate().clone(),
        reset_secret: ca.derived_secret("node-link stateless reset"),
    };
    let gateway = nodes::NodeGateway {
        api: api.clone(),
        ca: ca.clone(),
        clock: clock.clone(),
        sessions: sessions.clone(),
    };
    let node_server = NodeServer::on(node_socket, identity, Arc::new(gateway))?;
    sessions.set(node_server.sessions());
    let node_address = node_server.local_addr()?;

    tasks.push(tokio::spawn(maintenance::run(store, bus, clock, stop)));
    let kubeconfig = settings.kubeconfig();
    write_kubeconfig(&ca, &kubeconfig, api_address)?;
    Ok(RunningServer { api, ca, api_address, node_address, kubeconfig, node_server, tasks })
}

impl RunningServer {
    /// A token for a node in this very process.
    pub async fn own_join_token(&self) -> Result<JoinToken> {
        let token = tokens::Token::generate();
        let in_ten_minutes = SystemClock.now_unix_ms() + 600_000;
        bootstrap::create_secret(&self.api, token.secret_object(in_ten_minutes)).await?;
        Ok(JoinToken::new(self.ca.certificate(), &token.id, &token.secret))
    }

    /// After the stop signal: waits until requests have been answered.
    pub async fn finish(self) {
        self.node_server.shutdown().await;
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a part of the server ended badly");
            }
        }
    }
}

async fn run_host(host: Arc<Host>, stop: watch::Receiver<bool>) {
    let shutdown = CancellationToken::new();
    let running = host.run(shutdown.clone());
    tokio::pin!(running);
    tokio::select! {
        () = &mut running => return,
        () = stopped(stop) => shutdown.cancel(),
    }
    running.await;
}

/// Completes when the process is told to stop.
async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is the end as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

pub fn private_dir(dir: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(|| {
        format!("cannot create the data directory {}; name another with --data-dir", dir.display())
    })
}

/// What people and pods call this server.
fn certificate_names(settings: &Settings, listen: IpAddr) -> Result<Vec<String>> {
    let mut names: Vec<String> = [
        "localhost",
        "127.0.0.1",
        "::1",
        // Node links are made under this name, whatever the address.
        "pintle-server",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ]
    .map(str::to_owned)
    .to_vec();
    if let Ok(host) = nix::unistd::gethostname() {
        names.push(host.to_string_lossy().into_owned());
    }
    if listen.is_unspecified() {
        names.extend(own_addresses());
    } else {
        names.push(listen.to_string());
    }
    names.extend(settings.tls_san.iter().flatten().cloned());
    names.extend(services::first_addresses(settings)?.iter().map(IpAddr::to_string));
    names.sort();
    names.dedup();
    Ok(names)
}

fn own_addresses() -> Vec<String> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    interfaces
        .filter_map(|interface| interface.address)
        .filter_map(|address| {
            let v4 = address.as_sockaddr_in().map(|a| a.ip().to_string());
            // Link-local addresses need a zone, which certificates cannot name.
            let v6 = address
                .as_sockaddr_in6()
                .map(|a| a.ip())
                .filter(|ip| !ip.is_unicast_link_local())
                .map(|ip| ip.to_string());
            v4.or(v6)
        })
        .collect()
}

/// The address under which this machine reaches a listener.
pub fn reachable(listen: SocketAddr) -> SocketAddr {
    let mut address = listen;
    if address.ip().is_unspecified() {
        address.set_ip(match listen {
            SocketAddr::V4(_) => [127, 0, 0, 1].into(),
            SocketAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        });
    }
    address
}

fn write_kubeconfig(ca: &Ca, path: &Path, listen: SocketAddr) -> Result<()> {
    let admin = ca.issue_client("pintle-admin", &["system:masters"], ADMIN_LIFETIME)?;
    let server = format!("https://{}", reachable(listen));
    Kubeconfig::new(ca, &server, "pintle-admin", &admin).write(path)?;
    Ok(())
}
