//! The Kubernetes HTTP API over the store and the watch bus.
//!
//! For: turning requests into verbs on objects and objects into answers, for
//! every kind of the registry alike; TLS, client certificates and the rules of
//! who may do what; the cluster's certificate authority.
//!
//! Does not know: any controller, scheduler or admission policy (those are
//! behind [`admission::Admission`] and [`authz::Authorizer`]), how a node is
//! reached ([`nodes::NodeProxy`]), what a kind's own streams say ([`Connector`]),
//! or how bytes become durable (the `Store`).
//!
//! Read first: [`ApiServer`], then [`verbs::Verbs`], the same operations
//! without HTTP.

pub mod admission;
pub mod authz;
pub mod body;
mod bootstrap;
pub mod clock;
mod connect;
mod encode;
mod facts;
mod http;
pub mod lifecycle;
mod metrics;
pub mod nodes;
pub mod pki;
mod present;
mod server;
pub mod user;
pub mod verbs;

use std::sync::Arc;
use std::time::Duration;

use pintle_api::kinds::{Registry, Resource};
use pintle_api::status::{StatusCause, StatusError};
use pintle_storage::{Revision, Store};
use pintle_watch::Bus;
use tokio::sync::{Semaphore, watch};

pub use admission::{Admission, AdmissionRequest, AdmissionResponse, AdmitAll, Operation};
pub use authz::{
    Attributes, Authorizer, Decision, NonResourceRule, ResourceRule, RuleSet, StaticAuthorizer,
};
pub use body::Body;
pub use clock::{Clock, SystemClock};
pub use connect::{ConnectRequest, Connector, NoConnections};
pub use encode::MAX_OBJECT_BYTES;
pub use facts::BusFacts;
pub use nodes::{NoNodes, NodeProxy, NodeRequest, NodeStream};
pub use user::User;
pub use verbs::{
    DeleteOptions, Deleted, Patch, Preconditions, Propagation, Verbs, WriteOptions, Written,
};

/// How long a request waits for a revision that the server does not have yet.
const FUTURE_WAIT: Duration = Duration::from_secs(3);

/// What `/version` says.
#[derive(Debug, Clone)]
pub struct VersionInfo {
    pub major: String,
    pub minor: String,
    /// `v1.35.0+pintle.0.1.0`
    pub git_version: String,
    pub git_commit: String,
    pub git_tree_state: String,
    pub build_date: String,
    pub compiler: String,
    /// `linux/amd64`
    pub platform: String,
}

impl VersionInfo {
    /// The Kubernetes version that this server implements, as built here.
    pub fn of(pintle_version: &str, git_commit: &str, build_date: &str) -> VersionInfo {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        VersionInfo {
            major: "1".to_string(),
            minor: "35".to_string(),
            git_version: format!("v1.35.0+pintle.{pintle_version}"),
            git_commit: git_commit.to_string(),
            git_tree_state: "clean".to_string(),
            build_date: build_date.to_string(),
            compiler: "rustc".to_string(),
            platform: format!("{}/{architecture}", std::env::consts::OS),
        }
    }
}

/// What a server is made of.
pub struct Parts {
    pub store: Arc<dyn Store>,
    pub bus: Bus,
    pub registry: &'static Registry,
    pub admission: Arc<dyn Admission>,
    pub authorizer: Arc<dyn Authorizer>,
    pub nodes: Arc<dyn NodeProxy>,
    pub connector: Arc<dyn Connector>,
    pub clock: Arc<dyn Clock>,
    pub info: VersionInfo,
    /// `host:port` as clients reach it, for discovery.
    pub address: String,
}

/// The API server.
pub struct ApiServer {
    store: Arc<dyn Store>,
    bus: Bus,
    registry: &'static Registry,
    admission: Arc<dyn Admission>,
    authorizer: Arc<dyn Authorizer>,
    nodes: Arc<dyn NodeProxy>,
    connector: Arc<dyn Connector>,
    clock: Arc<dyn Clock>,
    info: VersionInfo,
    verbs: Verbs,
    documents: http::Documents,
    closing: watch::Sender<bool>,
    metrics: metrics::Metrics,
    /// Room for request bodies.
    bodies: Semaphore,
}

impl ApiServer {
    pub fn new(parts: Parts) -> Arc<ApiServer> {
        let Parts {
            store,
            bus,
            registry,
            admission,
            authorizer,
            nodes,
            connector,
            clock,
            info,
            address,
        } = parts;
        let verbs =
            Verbs::new(store.clone(), bus.clone(), registry, admission.clone(), clock.clone());
        let documents = http::Documents::new(registry, &address);
        let (closing, _) = watch::channel(false);
        Arc::new(ApiServer {
            store,
            bus,
            registry,
            admission,
            authorizer,
            nodes,
            connector,
            clock,
            info,
            verbs,
            documents,
            closing,
            metrics: metrics::Metrics::default(),
            bodies: http::body_budget(),
        })
    }

    /// The same operations, typed and without HTTP.
    pub fn verbs(&self) -> &Verbs {
        &self.verbs
    }

    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Ends all watches and followed logs, and fails `/readyz`.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    fn now_ms(&self) -> i64 {
        self.clock.now_unix_ms()
    }

    fn storage_row(&self, resource: &'static Resource) -> &'static Resource {
        self.registry.get(resource.storage_id)
    }

    /// Waits a little for a revision from the future; it may have come from
    /// another server.
    async fn wait_for(&self, revision: Revision) -> Result<(), StatusError> {
        if revision <= self.bus.revision() {
            return Ok(());
        }
        self.bus
            .wait_for(revision, FUTURE_WAIT)
            .await
            .map_err(|current| too_large(revision, current))
    }
}

/// A revision from the future. Client libraries know it by its cause, and list
/// again without a revision.
fn too_large(requested: Revision, current: Revision) -> StatusError {
    let text = format!("Too large resource version: {requested}, current: {current}");
    let mut error = StatusError::timeout(&text, 1);
    if let Some(details) = &mut error.0.details {
        details.causes.push(StatusCause {
            reason: "ResourceVersionTooLarge".to_string(),
            message: "Too large resource version".to_string(),
            ..StatusCause::default()
        });
    }
    error
}

/// Completes when a flag has been raised, or can be raised no more. Hides the
/// guard that the channel hands out, which must not be held across an await.
async fn raised(flag: &mut watch::Receiver<bool>) {
    let _ = flag.wait_for(|raised| *raised).await;
}
