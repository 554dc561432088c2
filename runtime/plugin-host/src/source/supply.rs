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
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use serde_json::json;
    use tokio::sync::mpsc;

    use super::super::{Claim, Fetched, Fetcher, Progress, Sources, Verifier};
    use super::*;
    use crate::testing::{Still, object};

    /// Away for the first so many requests; wants to know a login.
    struct Late {
        away: usize,
        asked: AtomicUsize,
        error: FetchError,
    }

    #[async_trait]
    impl Fetcher for Late {
        async fn fetch(
            &self,
            _: &OciSource,
            login: Option<&[u8]>,
            progress: Progress<'_>,
        ) -> Result<Fetched, FetchError> {
            progress(512, 2048);
            if self.asked.fetch_add(1, Ordering::SeqCst) < self.away {
                return Err(self.error.clone());
            }
            Ok(Fetched {
                component: Bytes::from(login.unwrap_or(b"no login").to_vec()),
                manifest: Digest::of(b"manifest"),
                signatures: Vec::new(),
            })
        }
    }

    impl Verifier for Late {
        fn verify(&self, _: &[String], _: Claim<'_>) -> Result<(), String> {
            Ok(())
        }
    }

    struct Bench {
        supply: Arc<Supply>,
        rings: mpsc::UnboundedReceiver<String>,
        _directory: tempfile::TempDir,
    }

    fn bench(away: usize, error: FetchError) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let fetcher = Arc::new(Late { away, asked: AtomicUsize::new(0), error });
        let sources =
            Sources { fetcher: fetcher.clone(), verifier: fetcher, public_keys: Vec::new() };
        let components = Components::new(sources, directory.path());
        let secret = object(
            1,
            json!({
                "apiVersion": "v1", "kind": "Secret", "type": DOCKER_CONFIG_TYPE,
                "metadata": {"name": "login", "namespace": "default"},
                "data": {DOCKER_CONFIG_KEY: "e30="},
            }),
        );
        let (ring, rings) = mpsc::unbounded_channel();
        let look_again = Box::new(move |plugin: &str| ring.send(plugin.to_owned()).unwrap());
        let short = Duration::from_millis(1);
        let supply = Supply::new(
            components,
            Arc::new(Still(vec![secret])),
            look_again,
            Box::new(|_| {}),
            Retries { first: short, last: 4 * short },
        );
        Bench { supply, rings, _directory: directory }
    }

    fn spec(secret: Option<&str>) -> PluginSpec {
        let reference = format!("r.example/x@{}", Digest::of(b"manifest"));
        let secret = secret.map(|name| json!({"name": name, "namespace": "default"}));
        serde_json::from_value(json!({
            "role": "Controller",
            "source": {"oci": {"reference": reference, "pullSecret": secret}},
        }))
        .unwrap()
    }

    fn get(bench: &Bench, spec: &PluginSpec) -> Result<Bytes, LoadError> {
        bench.supply.get("p", spec.source.oci.as_ref().unwrap(), spec)
    }

    #[tokio::test]
    async fn a_registry_that_comes_back_is_asked_again() {
        let away = FetchError::Unavailable("nobody answers".into());
        let mut bench = bench(4, away);
        let spec = spec(None);
        assert!(matches!(get(&bench, &spec), Err(LoadError::Pulling)));
        assert_eq!(bench.rings.recv().await.as_deref(), Some("p"));
        let error = get(&bench, &spec).unwrap_err();
        assert_eq!(
            (error.reason(), error.to_string().as_str()),
            ("SourceUnavailable", "nobody answers")
        );
        // Three more failures say nothing new.
        assert_eq!(bench.rings.recv().await.as_deref(), Some("p"));
        assert_eq!(get(&bench, &spec).unwrap(), "no login");
        assert_eq!(get(&bench, &spec).unwrap(), "no login", "it is kept");
    }

    #[tokio::test]
    async fn what_can_never_come_is_asked_for_once() {
        let wrong = FetchError::DigestMismatch("other bytes".into());
        let mut bench = bench(1, wrong);
        let spec = spec(None);
        assert!(get(&bench, &spec).is_err());
        bench.rings.recv().await;
        assert_eq!(get(&bench, &spec).unwrap_err().reason(), "DigestMismatch");
        let later = tokio::time::timeout(Duration::from_millis(50), bench.rings.recv()).await;
        assert!(later.is_err(), "nothing happens by itself");
    }

    #[tokio::test]
    async fn logins_come_from_secrets() {
        let mut with = bench(0, FetchError::Unavailable(String::new()));
        let spec_with = spec(Some("login"));
        assert!(get(&with, &spec_with).is_err());
        with.rings.recv().await;
        assert_eq!(get(&with, &spec_with).unwrap(), "{}");

        let mut without = bench(0, FetchError::Unavailable(String::new()));
        let spec_without = spec(Some("absent"));
        assert!(get(&without, &spec_without).is_err());
        without.rings.recv().await;
        let error = get(&without, &spec_without).unwrap_err().to_string();
        assert_eq!(error, "the pull secret default/absent does not exist");
    }

    #[tokio::test]
    async fn another_wish_takes_the_place_of_the_one_before() {
        let mut bench = bench(usize::MAX, FetchError::Unavailable("away".into()));
        let first = spec(None);
        assert!(get(&bench, &first).is_err());
        bench.rings.recv().await;
        let mut second = spec(None);
        second.source.oci.as_mut().unwrap().insecure = true;
        assert!(matches!(get(&bench, &second), Err(LoadError::Pulling)));
        assert!(bench.supply.progress("p").unwrap().starts_with("pulling r.example/x@"));
        bench.supply.forget("p");
        assert_eq!(bench.supply.progress("p"), None);
    }
}
