//! Pulls on behalf of plugins, in the background: nobody who loads or decides
//! waits for a registry. Whoever asks gets the component, or is told that it is
//! on its way or why it does not come; when that changes the plugin is looked
//! at again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use pintle_api::meta::GroupVersionKind;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::{Components, FetchError};
use crate::artifact::Digest;
use crate::cluster::Cluster;
use crate::plugin::{OciSource, PluginSpec, SecretReference};
use crate::program::LoadError;

/// How long to wait after the first failure, twice as long after each next one,
/// and how long at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retries {
    pub first: Duration,
    pub last: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), last: Duration::from_secs(300) }
    }
}

/// Objects need not be written with every piece that arrives.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

const DOCKER_CONFIG_TYPE: &str = "kubernetes.io/dockerconfigjson";
const DOCKER_CONFIG_KEY: &str = ".dockerconfigjson";

/// At once; each may hold a whole component in memory.
const MOST_PULLS: usize = 4;

type Bell = Box<dyn Fn(&str) + Send + Sync>;

pub(crate) struct Supply {
    components: Arc<Components>,
    cluster: Arc<dyn Cluster>,
    /// By plugin.
    pulls: Mutex<BTreeMap<String, Pull>>,
    /// Told the plugin whose component came, or does not come.
    look_again: Bell,
    /// Told the plugin whose component has come further.
    stir: Bell,
    retries: Retries,
    turns: Semaphore,
}

struct Pull {
    source: OciSource,
    state: PullState,
    task: Option<AbortHandle>,
}

impl Drop for Pull {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

#[derive(Clone)]
enum PullState {
    Underway {
        received: u64,
        total: u64,
    },
    Failed(FetchError),
    /// The artifact of that digest is kept.
    Arrived(Digest),
}

impl Supply {
    pub fn new(
        components: Components,
        cluster: Arc<dyn Cluster>,
        look_again: Bell,
        stir: Bell,
        retries: Retries,
    ) -> Arc<Self> {
        Arc::new(Self {
            components: Arc::new(components),
            cluster,
            pulls: Mutex::default(),
            look_again,
            stir,
            retries,
            turns: Semaphore::new(MOST_PULLS),
        })
    }

    pub fn components(&self) -> &Components {
        &self.components
    }

    /// The component of an OCI source. Needs a thread of a tokio runtime that
    /// may block, for files alone.
    pub fn get(
        self: &Arc<Self>,
        plugin: &str,
        source: &OciSource,
        spec: &PluginSpec,
    ) -> Result<Bytes, LoadError> {
        let state = {
            let pulls = self.pulls.lock();
            pulls.get(plugin).filter(|pull| pull.source == *source).map(|pull| pull.state.clone())
        };
        match state {
            Some(PullState::Underway { .. }) => Err(LoadError::Pulling),
            Some(PullState::Failed(error)) => Err(error.into()),
            Some(PullState::Arrived(manifest)) => {
                // Asked for once more, it is to be looked for anew.
                self.forget(plugin);
                self.components.arrived(&manifest, spec)
            }
            None => {
                self.forget(plugin);
                if let Some(component) = self.components.kept(source, spec)? {
                    return Ok(component);
                }
                self.begin(plugin, source);
                Err(LoadError::Pulling)
            }
        }
    }

    /// The plugin wants nothing more from a registry.
    pub fn forget(&self, plugin: &str) {
        self.pulls.lock().remove(plugin);
    }

    /// For the status of a plugin whose component is on its way.
    pub fn progress(&self, plugin: &str) -> Option<String> {
        let pulls = self.pulls.lock();
        let pull = pulls.get(plugin)?;
        let PullState::Underway { received, total } = pull.state else { return None };
        let reference = &pull.source.reference;
        Some(match total {
            0 => format!("pulling {reference}"),
            _ => format!("pulling {reference}: {} of {} KiB", received >> 10, total.div_ceil(1024)),
        })
    }

    fn begin(self: &Arc<Self>, plugin: &str, source: &OciSource) {
        let mut pulls = self.pulls.lock();
        let (supply, name, wanted) = (self.clone(), plugin.to_owned(), source.clone());
        let task = tokio::spawn(async move { supply.pull(&name, &wanted).await });
        let state = PullState::Underway { received: 0, total: 0 };
        let pull = Pull { source: source.clone(), state, task: Some(task.abort_handle()) };
        pulls.insert(plugin.to_owned(), pull);
    }

    /// Until the component is there, or can never be.
    async fn pull(self: &Arc<Self>, plugin: &str, source: &OciSource) {
        let mut wait = self.retries.first;
        loop {
            let error = match self.pull_once(plugin, source).await {
                Ok(manifest) => {
                    return self.change(plugin, source, PullState::Arrived(manifest));
                }
                Err(error) => error,
            };
            tracing::warn!(plugin, reference = source.reference, %error, "a plugin's component cannot be pulled");
            let again = matches!(error, FetchError::Unavailable(_));
            self.change(plugin, source, PullState::Failed(error));
            if !again {
                return;
            }
            // A registry does not tell when it is back, hence the timer.
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(self.retries.last);
        }
    }

    async fn pull_once(
        self: &Arc<Self>,
        plugin: &str,
        source: &OciSource,
    ) -> Result<Digest, FetchError> {
        // Never closed, hence never an error.
        let _turn = self.turns.acquire().await;
        let login = source.pull_secret.as_ref().map(|secret| self.login(secret)).transpose()?;
        let said = Mutex::new(None::<Instant>);
        let progress = |received: u64, total: u64| {
            let mut said = said.lock();
            if said.is_some_and(|at| at.elapsed() < PROGRESS_EVERY) && received < total {
                return;
            }
            *said = Some(Instant::now());
            let mut pulls = self.pulls.lock();
            if let Some(pull) = pulls.get_mut(plugin).filter(|pull| pull.source == *source)
                // A failure stays to be seen until the next attempt has succeeded.
                && let PullState::Underway { .. } = pull.state
            {
                pull.state = PullState::Underway { received, total };
                drop(pulls);
                (self.stir)(plugin);
            }
        };
        self.components.fetch(source, login.as_deref(), &progress).await
    }

    /// Rings when that is news, unless something else is wanted by now.
    fn change(&self, plugin: &str, source: &OciSource, state: PullState) {
        {
            let mut pulls = self.pulls.lock();
            let Some(pull) = pulls.get_mut(plugin).filter(|pull| pull.source == *source) else {
                return;
            };
            if let (PullState::Failed(before), PullState::Failed(now)) = (&pull.state, &state)
                && before == now
            {
                return;
            }
            if let PullState::Arrived(_) = state {
                // The task ends by itself, after this.
                pull.task = None;
            }
            pull.state = state;
        }
        (self.look_again)(plugin);
    }

    /// The docker configuration in a Secret.
    fn login(&self, secret: &SecretReference) -> Result<Vec<u8>, FetchError> {
        use base64::Engine as _;
        let named = format!("the pull secret {}/{}", secret.namespace, secret.name);
        let unavailable = |problem: &str| FetchError::Unavailable(format!("{named} {problem}"));
        let kind = GroupVersionKind::new("", "v1", "Secret");
        let object = self
            .cluster
            .get(&kind, &secret.namespace, &secret.name)
            .ok_or_else(|| unavailable("does not exist"))?;
        let object: Value =
            serde_json::from_slice(object.json()).map_err(|_| unavailable("cannot be read"))?;
        if object["type"] != DOCKER_CONFIG_TYPE {
            return Err(unavailable("is not of type kubernetes.io/dockerconfigjson"));
        }
        let data = object["data"][DOCKER_CONFIG_KEY]
            .as_str()
            .ok_or_else(|| unavailable("has no key .dockerconfigjson"))?;
        base64::engine::general_purpose::STANDARD
            .decode(data)
            .map_err(|_| unavailable("is not base64"))
    }
}

#[cfg(test)]
mod tests;
