//! A host over a cluster in memory, and what its Plugin objects say.

use std::sync::Arc;

use pintle_plugin_host::{Compiler, Host, HostConfig};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::cluster::Memory;
use super::eventually_showing;

pub struct Running {
    pub memory: Arc<Memory>,
    pub host: Arc<Host>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    directory: tempfile::TempDir,
}

impl Running {
    pub async fn start(memory: Arc<Memory>) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), memory).await
    }

    async fn start_in(directory: tempfile::TempDir, memory: Arc<Memory>) -> Self {
        let config = HostConfig {
            cache_directory: directory.path().join("cache"),
            compiler: Compiler::InProcess,
            embedded: Vec::new(),
            sources: Default::default(),
        };
        let host = Host::new(config, memory.clone()).unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn({
            let (host, shutdown) = (host.clone(), shutdown.clone());
            async move { host.run(shutdown).await }
        });
        host.ready().await;
        Self { memory, host, shutdown, task, directory }
    }

    /// Another life of the server, over the same cluster and cache.
    pub async fn restart(self) -> Self {
        self.shutdown.cancel();
        self.task.await.unwrap();
        drop(self.host);
        Self::start_in(self.directory, self.memory).await
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }

    /// Changes fields of a plugin's spec as a merge patch does; returns the
    /// generation of the spec.
    pub fn change(&self, plugin: &str, spec: Value) -> Value {
        self.memory.merge("Plugin", "", plugin, json!({ "spec": spec }));
        let plugin = self.memory.value("Plugin", "", plugin).unwrap();
        plugin["metadata"]["generation"].clone()
    }

    pub async fn status(&self, plugin: &str, what: &str, check: impl Fn(&Value) -> bool) -> Value {
        eventually_showing(what, || {
            let found = self.memory.value("Plugin", "", plugin);
            let status = found.map(|plugin| plugin["status"].clone()).unwrap_or_default();
            if check(&status) { Ok(status) } else { Err(status.to_string()) }
        })
        .await
    }

    /// The status, once it is that of this generation and phase.
    pub async fn phase(&self, plugin: &str, generation: &Value, phase: &str) -> Value {
        self.status(plugin, phase, |status| {
            status["observedGeneration"] == *generation && status["phase"] == phase
        })
        .await
    }

    pub async fn all_bound(&self, count: usize) {
        eventually_showing("all bound", || {
            let bound = self.memory.count_bound();
            if bound == count {
                return Ok(());
            }
            let plugins = self.memory.values("Plugin");
            let told: Vec<String> = plugins.iter().map(|it| it["status"].to_string()).collect();
            Err(format!("{bound}; {told:?}"))
        })
        .await;
    }
}
