//! The node's wiring: identity, link, network plugin, agent.

mod cni;
mod reset;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use pintle_agent::{Agent, AgentConfig, Clock, LinkClient};
use pintle_containers::probe_runtime;
use pintle_node_link::{JoinToken, Link, LinkConfig, LinkState, NodeIdentity};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::compiler;
use crate::config::Settings;
use crate::server::{RunningServer, private_dir, reachable};

pub use reset::reset;

/// Below the data directory: everything of the node but its images, which
/// `pintle image` finds without knowing of nodes.
pub fn node_dir(data_dir: &Path) -> std::path::PathBuf {
    data_dir.join("node")
}

/// A node that is connected.
pub struct RunningNode {
    pub name: String,
    task: JoinHandle<()>,
    _link: Arc<Link>,
}

struct SystemClock;

impl Clock for SystemClock {
    fn now_unix_ms(&self) -> i64 {
        pintle_apiserver::Clock::now_unix_ms(&pintle_apiserver::SystemClock)
    }
}

/// Takes up this node's containers at once, and returns when the server is reached.
pub async fn start(
    settings: &Settings,
    own: Option<&RunningServer>,
    mut stop: watch::Receiver<bool>,
) -> Result<RunningNode> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "a node needs root, for namespaces, mounts and cgroups; without it run `pintle server` only"
    );
    let data_dir = settings.data_dir();
    let dir = node_dir(&data_dir);
    private_dir(&dir)?;
    let name = settings.node_name()?;
    // Asking the runtime for its version takes longer than what comes next.
    let asked = settings.oci_runtime.clone();
    let runtime = tokio::task::spawn_blocking(move || probe_runtime(asked.as_deref()));
    let server = server_address(settings, own, &dir)?;
    let identity = identity(settings, own, &dir, &name, &server).await?;
    std::fs::write(dir.join("server"), &server)
        .with_context(|| format!("cannot write to {}", dir.display()))?;

    let ip = match settings.node_ip {
        Some(ip) => ip,
        None => own_address(&server).await?,
    };
    let sources = crate::sources::with_public_keys(settings.plugin_public_keys.as_deref())?;
    let plugin = cni::load(&data_dir, compiler::own(), sources)?;
    let mut config = agent_config(settings, &ip.to_string(), plugin.clone())?;
    config.runtime_binary = runtime.await??;
    let agent = Agent::open(config)?;

    let link = Link::start(
        LinkConfig { server, identity, capabilities: vec!["logs".into(), "exec".into()] },
        Arc::new(agent.stream_handler()),
    );
    let shutdown = CancellationToken::new();
    let client = Arc::new(LinkClient::new(link.clone()));
    let follower = tokio::spawn(plugin.follow(client.clone()));
    let cancel = shutdown.clone();
    tokio::spawn(async move {
        // An error means that the process is ending in another way.
        let _ = stop.wait_for(|stop| *stop).await;
        cancel.cancel();
    });
    let task = tokio::spawn(async move {
        if let Err(error) = agent.run(client, shutdown).await {
            tracing::error!(%error, "the agent ended");
        }
        follower.abort();
    });
    let mut state = link.state();
    state
        .wait_for(|state| matches!(state, LinkState::Connected { .. }))
        .await
        .context("the link to the server ended")?;
    info!(node = name, "node connected");
    Ok(RunningNode { name, task, _link: link })
}

fn agent_config(
    settings: &Settings,
    ip: &str,
    network: Arc<cni::NodeNetwork>,
) -> Result<AgentConfig> {
    let data_dir = settings.data_dir();
    let name = settings.node_name()?;
    let mut config = AgentConfig::new(&name, node_dir(&data_dir), ip, Arc::new(SystemClock));
    config.image_dir = crate::image::store_dir(&data_dir);
    config.labels = settings.node_labels()?.into_iter().collect();
    config.shim_binary = settings.shim()?;
    config.network_plugin = Some(network);
    Ok(config)
}

impl RunningNode {
    pub async fn finish(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the agent ended badly");
        }
    }
}

/// Where the server is: in this process, as told, or as told last time.
fn server_address(settings: &Settings, own: Option<&RunningServer>, dir: &Path) -> Result<String> {
    if let Some(own) = own {
        return Ok(reachable(own.node_address).to_string());
    }
    if let Some(server) = &settings.server {
        return Ok(server.clone());
    }
    std::fs::read_to_string(dir.join("server"))
        .ok()
        .filter(|server| !server.is_empty())
        .context("which server? Name its node address with --server HOST:PORT")
}

async fn identity(
    settings: &Settings,
    own: Option<&RunningServer>,
    dir: &Path,
    name: &str,
    server: &str,
) -> Result<Arc<NodeIdentity>> {
    let pki = dir.join("pki");
    if let Some(identity) = NodeIdentity::load(&pki, name, SystemTime::now())? {
        return Ok(identity);
    }
    let token: JoinToken = match (&settings.join, own) {
        (Some(token), _) => token.parse()?,
        (None, Some(own)) => own.own_join_token().await?,
        (None, None) => bail!(
            "this node has not joined a cluster yet, or its certificate has run out; \
             make a token with `pintle token create` on the server and give it with --join"
        ),
    };
    pintle_node_link::join(server, &token, name, &pki)
        .await
        .with_context(|| format!("cannot join the cluster at {server}"))
}

/// The address that this machine uses towards the server. With the server on
/// loopback any other route tells more, so the default route is asked instead.
async fn own_address(server: &str) -> Result<IpAddr> {
    let toward = async |target: &str| -> std::io::Result<IpAddr> {
        let target = tokio::net::lookup_host(target)
            .await?
            .next()
            .ok_or_else(|| std::io::Error::other("no address"))?;
        let any: SocketAddr = if target.is_ipv4() {
            ([0, 0, 0, 0], 0).into()
        } else {
            (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
        };
        let socket = UdpSocket::bind(any).await?;
        // Connecting a UDP socket sends nothing; it only picks the route.
        socket.connect(target).await?;
        Ok(socket.local_addr()?.ip())
    };
    let ip = toward(server)
        .await
        .with_context(|| format!("there is no route to the server {server}"))?;
    if ip.is_loopback()
        && let Ok(outward) = toward("192.0.2.1:9").await
    {
        return Ok(outward);
    }
    Ok(ip)
}
