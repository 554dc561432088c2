//! The network plugin of this node: a component, its operations in the form the
//! executor takes, and its replacement when the cluster's Plugin object changes.

mod plan;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use parking_lot::Mutex;
use pintle_agent::net::{
    AddPlan, Interface, NetworkPlugin, NodeInfo, Peer, Reservation, SandboxInfo,
};
use pintle_agent::{ApiClient, Lines, LinkClient};
use pintle_netops::NetOp;
use pintle_plugin_host::Compiler;
use pintle_plugin_host::cni::{self, CniPlugin};
use pintle_plugin_host::plugin::{BudgetSpec, Plugin, PluginSpec, Role};
use pintle_plugin_host::source::{Components, Sources};
use serde_json::Value;
use tokio::task::AbortHandle;
use tracing::{info, warn};

use crate::embedded;
use plan::{operations, to_node, to_peers, to_sandbox};

const PLUGINS: &str = "/apis/plugins.pintle.dev/v1alpha1/plugins?watch=true";
/// The plugin that is used until the cluster says otherwise: a node keeps its
/// pods connected even when no server is there.
const DEFAULT: &str = "cni-routed";
/// After a watch that failed at once; a lost session waits in the link itself.
const WATCH_RETRY: Duration = Duration::from_secs(1);
/// After a registry that gave nothing: at first, and at most.
const PULL_RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

pub struct NodeNetwork {
    active: ArcSwap<Active>,
    cache_dir: PathBuf,
    compiler: Compiler,
    components: Components,
    /// Counts what the cluster has said; only the latest counts.
    turn: AtomicU64,
    swapping: Mutex<()>,
    pulling: Mutex<Option<AbortHandle>>,
}

/// The plugin that plans, and what it was made of.
struct Active {
    plugin: CniPlugin,
    config: Value,
    budgets: BudgetSpec,
}

impl Active {
    fn same_as(&self, other: &Self) -> bool {
        self.plugin.digest() == other.plugin.digest()
            && self.config == other.config
            && self.budgets == other.budgets
    }
}

/// The embedded plugin, loaded.
pub fn load(data_dir: &Path, compiler: Compiler, sources: Sources) -> Result<Arc<NodeNetwork>> {
    let cache_dir = data_dir.join("plugin-cache");
    let wasm = embedded::component(DEFAULT)
        .with_context(|| format!("this binary has no plugin {DEFAULT:?}"))?;
    let (config, budgets) = (Value::Null, BudgetSpec::default());
    let plugin = CniPlugin::load(&cache_dir, &compiler, DEFAULT, wasm, None, &config, &budgets)?;
    let active = ArcSwap::from_pointee(Active { plugin, config, budgets });
    let components = Components::new(sources, &cache_dir);
    Ok(Arc::new(NodeNetwork {
        active,
        cache_dir,
        compiler,
        components,
        turn: AtomicU64::new(0),
        swapping: Mutex::default(),
        pulling: Mutex::default(),
    }))
}

impl NodeNetwork {
    /// Follows the Plugin objects of role CNI for as long as the node lives.
    pub async fn follow(self: Arc<Self>, client: Arc<LinkClient>) {
        loop {
            if let Err(error) = self.follow_once(&client).await {
                warn!(
                    error = format!("{error:#}"),
                    "the network plugin's object cannot be followed"
                );
                // A server that refuses gives no sign when it would not any more.
                tokio::time::sleep(WATCH_RETRY).await;
            }
        }
    }

    async fn follow_once(self: &Arc<Self>, client: &LinkClient) -> Result<()> {
        let mut watch = client.watch(PLUGINS).await?;
        let mut lines = Lines::default();
        while let Some(line) = lines.next(watch.as_mut()).await? {
            let event: Value = serde_json::from_slice(&line).context("no valid event")?;
            match event["type"].as_str() {
                Some("ADDED" | "MODIFIED") => self.applied(&event["object"]).await,
                Some("ERROR") => bail!("{}", event["object"]["message"]),
                _ => {}
            }
        }
        Ok(())
    }

    async fn applied(self: &Arc<Self>, object: &Value) {
        let Ok(plugin) = serde_json::from_value::<Plugin>(object.clone()) else { return };
        if plugin.spec.role != Role::Cni || plugin.spec.suspended {
            return;
        }
        let turn = self.turn.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(before) = self.pulling.lock().take() {
            before.abort();
        }
        if plugin.spec.source.only_oci().is_some() {
            // A registry takes its time, and later events do not wait for it.
            let network = self.clone();
            let task = tokio::spawn(async move { network.pull(plugin, turn).await });
            *self.pulling.lock() = Some(task.abort_handle());
        } else {
            self.take(plugin, None, turn).await;
        }
    }

    /// Until the component is there, or can never be.
    async fn pull(self: Arc<Self>, plugin: Plugin, turn: u64) {
        let Some(source) = plugin.spec.source.only_oci() else { return };
        let mut wait = PULL_RETRY.0;
        loop {
            let error = match self.components.obtain(source, &plugin.spec, None).await {
                Ok(component) => return self.take(plugin, Some(component), turn).await,
                Err(error) => error,
            };
            let again = error.reason() == "SourceUnavailable";
            warn!(
                plugin = plugin.metadata.name,
                error = format!("{:#}", anyhow::Error::from(error)),
                "the network plugin cannot be pulled; the one before goes on"
            );
            if !again {
                return;
            }
            // A registry does not tell when it is back, hence the timer.
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(PULL_RETRY.1);
        }
    }

    async fn take(self: &Arc<Self>, plugin: Plugin, component: Option<Bytes>, turn: u64) {
        let name = plugin.metadata.name.clone();
        let network = self.clone();
        let swapped = tokio::task::spawn_blocking(move || {
            let _one_at_a_time = network.swapping.lock();
            if network.turn.load(Ordering::SeqCst) != turn {
                return Ok(None);
            }
            network.swap(&plugin.metadata.name, &plugin.spec, component)
        });
        match swapped.await {
            Ok(Ok(Some(digest))) => info!(plugin = name, digest, "network plugin swapped"),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => warn!(
                plugin = name,
                error = format!("{error:#}"),
                "the network plugin cannot be loaded; the one before goes on"
            ),
            Err(error) => warn!(plugin = name, %error, "loading the network plugin failed"),
        }
    }

    /// The new digest, or `None` when nothing about it is new.
    fn swap(&self, name: &str, spec: &PluginSpec, pulled: Option<Bytes>) -> Result<Option<String>> {
        let wasm = match pulled {
            Some(pulled) => pulled,
            None => {
                let own = component(spec)?;
                if spec.source.embedded.is_none() {
                    self.components.check_own(spec, &own)?;
                }
                own
            }
        };
        let config = spec.config.clone().unwrap_or(Value::Null);
        let plugin = CniPlugin::load(
            &self.cache_dir,
            &self.compiler,
            name,
            &wasm,
            spec.digest.as_deref(),
            &config,
            &spec.budgets,
        )?;
        let next = Active { plugin, config, budgets: spec.budgets.clone() };
        if next.same_as(&self.active.load()) {
            return Ok(None);
        }
        let digest = next.plugin.digest().to_string();
        self.active.store(Arc::new(next));
        Ok(Some(digest))
    }

    async fn ask<R: Send + 'static>(
        &self,
        call: impl FnOnce(&CniPlugin, i64) -> Result<R, cni::CniError> + Send + 'static,
    ) -> Result<R, String> {
        let active = self.active.load_full();
        let now = pintle_apiserver::Clock::now_unix_ms(&pintle_apiserver::SystemClock);
        // A call takes microseconds but may run into its deadline.
        tokio::task::spawn_blocking(move || call(&active.plugin, now))
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())
    }
}

fn component(spec: &PluginSpec) -> Result<Bytes> {
    let source = &spec.source;
    if let Some(embedded) = &source.embedded {
        return embedded::component(&embedded.name)
            .map(Bytes::from_static)
            .with_context(|| format!("this node's binary has no plugin {:?}", embedded.name));
    }
    if let Some(inline) = &source.inline {
        let decoded = STANDARD.decode(&inline.data).context("the inline component is no base64")?;
        return Ok(decoded.into());
    }
    if let Some(file) = &source.file {
        return std::fs::read(&file.path)
            .map(Bytes::from)
            .with_context(|| format!("{} cannot be read on this node", file.path));
    }
    bail!("the Plugin object names no source")
}

#[async_trait]
impl NetworkPlugin for NodeNetwork {
    async fn add(
        &self,
        node: &NodeInfo,
        sandbox: &SandboxInfo,
        reserved: &[Reservation],
    ) -> Result<AddPlan, String> {
        let (node, sandbox) = (to_node(node), to_sandbox(sandbox));
        let reserved: Vec<cni::Reservation> = reserved
            .iter()
            .map(|r| cni::Reservation { sandbox: r.sandbox.clone(), address: r.address.clone() })
            .collect();
        let result = self.ask(move |p, now| p.add(now, &node, &sandbox, &reserved)).await?;
        Ok(AddPlan {
            plan: operations(result.plan)?,
            reserve: result.reserve,
            interfaces: result
                .interfaces
                .into_iter()
                .map(|i| Interface { name: i.name, addresses: i.addresses, gateway: i.gateway })
                .collect(),
        })
    }

    async fn del(&self, node: &NodeInfo, sandbox: &SandboxInfo) -> Result<Vec<NetOp>, String> {
        let (node, sandbox) = (to_node(node), to_sandbox(sandbox));
        operations(self.ask(move |p, now| p.del(now, &node, &sandbox)).await?)
    }

    async fn check(
        &self,
        node: &NodeInfo,
        sandbox: &SandboxInfo,
        addresses: &[String],
    ) -> Result<Vec<NetOp>, String> {
        let (node, sandbox) = (to_node(node), to_sandbox(sandbox));
        let addresses = addresses.to_vec();
        operations(self.ask(move |p, now| p.check(now, &node, &sandbox, &addresses)).await?)
    }

    async fn nodes_changed(
        &self,
        node: &NodeInfo,
        before: &[Peer],
        now: &[Peer],
    ) -> Result<Vec<NetOp>, String> {
        let node = to_node(node);
        let (before, after) = (to_peers(before), to_peers(now));
        operations(self.ask(move |p, now| p.nodes_changed(now, &node, &before, &after)).await?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_changed_configuration_swaps_and_an_unchanged_spec_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let network = load(dir.path(), Compiler::InProcess, Sources::default()).unwrap();
        let swaps = |spec: Value| {
            let mut whole = json!({"role": "CNI", "source": {"embedded": {"name": DEFAULT}}});
            whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
            let spec: PluginSpec = serde_json::from_value(whole).unwrap();
            network.swap(DEFAULT, &spec, None).unwrap().is_some()
        };
        assert!(!swaps(json!({})), "it is what is embedded");
        assert!(swaps(json!({"config": {"mtu": 1400}})));
        assert!(!swaps(json!({"config": {"mtu": 1400}})));
        assert!(swaps(json!({"config": {"mtu": 1400}, "budgets": {"deadlineMilliseconds": 500}})));
        assert!(swaps(json!({})));
    }

    #[test]
    fn what_cannot_be_loaded_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let network = load(dir.path(), Compiler::InProcess, Sources::default()).unwrap();
        let check = |source: Value, expect: &str| {
            let spec = json!({"role": "CNI", "source": source});
            let spec: PluginSpec = serde_json::from_value(spec).unwrap();
            let error = format!("{:#}", network.swap("other", &spec, None).unwrap_err());
            assert!(error.contains(expect), "{error}");
        };
        check(json!({"embedded": {"name": "nothing"}}), "\"nothing\"");
        check(json!({"file": {"path": "/nonexistent.wasm"}}), "/nonexistent.wasm");
        check(json!({"inline": {"data": "%"}}), "base64");
        check(json!({}), "no source");
    }
}
