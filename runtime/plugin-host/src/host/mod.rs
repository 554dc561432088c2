//! The host itself: follows Plugin objects and keeps what they describe running.

mod absent;
mod embedded;
mod follow;
mod keep_status;
mod load;
mod manager;
mod metrics;
mod record;
mod roles;
mod slot;
mod status;
mod trial;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch as ready_watch;
use tokio_util::sync::CancellationToken;

use crate::admission::AdmissionChain;
use crate::artifact::{Artifacts, CacheError};
use crate::authorizer::AuthorizerChain;
use crate::cluster::Cluster;
use crate::compile::Compiler;
use crate::engine::{EngineError, Wasm};
use crate::events::Hub;
use crate::plugin::{ReviewRule, Role};
use crate::source::{Components, Sources};
pub use follow::FollowError;
use manager::Manager;

/// A plugin that came with the server.
#[derive(Debug, Clone)]
pub struct Embedded {
    /// Of the plugin and of its Plugin object.
    pub name: String,
    pub role: Role,
    pub wasm: Bytes,
    /// Defaults, over which `spec.config` is laid. `Null`: none.
    pub config: Value,
    /// Admission: what it reviews, known before it is compiled.
    pub reviews: Vec<ReviewRule>,
}

#[derive(Debug, Clone)]
pub struct HostConfig {
    /// Keeps compiled components; created if missing, for this user alone.
    pub cache_directory: PathBuf,
    pub compiler: Compiler,
    pub embedded: Vec<Embedded>,
    /// Where all other components come from, and who has to vouch for them.
    pub sources: Sources,
}

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Everything that runs plugins in one server.
pub struct Host {
    hub: Arc<Hub>,
    manager: Arc<Manager>,
    admission: Arc<AdmissionChain>,
    ready: ready_watch::Receiver<bool>,
}

impl Host {
    pub fn new(config: HostConfig, cluster: Arc<dyn Cluster>) -> Result<Arc<Self>, HostError> {
        let wasm = Wasm::new()?;
        let artifacts = Arc::new(Artifacts::open(wasm, &config.cache_directory, config.compiler)?);
        let hub = Hub::new(cluster.clone());
        let admission = Arc::new(AdmissionChain::default());
        let embedded: BTreeMap<_, _> =
            config.embedded.into_iter().map(|plugin| (plugin.name.clone(), plugin)).collect();
        let components = Components::new(config.sources, &config.cache_directory);
        let (settled, ready) = ready_watch::channel(false);
        let manager = Manager::new(
            cluster,
            hub.clone(),
            artifacts,
            components,
            admission.clone(),
            embedded,
            settled,
        );
        Ok(Arc::new(Self { hub, manager, admission, ready }))
    }

    /// Follows the Plugin objects until `shutdown`, then stops all plugins.
    pub async fn run(&self, shutdown: CancellationToken) {
        let events = {
            let (hub, shutdown) = (self.hub.clone(), shutdown.clone());
            tokio::spawn(async move { hub.run(shutdown).await })
        };
        self.manager.run(shutdown).await;
        if let Err(error) = events.await {
            tracing::error!(%error, "the event stream of the plugins ended badly");
        }
    }

    /// Returns when every plugin that was there at the start is active or has failed.
    pub async fn ready(&self) {
        let mut ready = self.ready.clone();
        // Fails only when the host is gone, and then nobody waits.
        let _ = ready.wait_for(|ready| *ready).await;
    }

    /// What a candidate decided differently from what decides, for people; None
    /// where nothing was compared since the spec of the plugin changed.
    pub fn divergences(&self, plugin: &str) -> Option<Value> {
        self.manager.comparison(plugin).map(|comparison| comparison.divergences(plugin))
    }

    /// Appends what all plugins have done, in Prometheus' text format.
    pub fn render_metrics(&self, out: &mut String) {
        crate::prometheus::render(&self.manager.scrape(), out);
    }

    /// What the API server asks before anything else.
    pub fn authorizers(&self) -> Arc<AuthorizerChain> {
        self.manager.authorizers.clone()
    }

    /// What the API server asks before it writes.
    pub fn admission(&self) -> Arc<AdmissionChain> {
        self.admission.clone()
    }
}
