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
    let sources = Sources { fetcher: fetcher.clone(), verifier: fetcher, public_keys: Vec::new() };
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
