//! The streams of a plugin: what was decided differently, and a recording.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pintle_api::status::StatusError;
use pintle_apiserver::{
    Attributes, Authorizer, Body, Clock, ConnectRequest, Connector, Decision, User,
};
use pintle_plugin_host::Host;
use pintle_plugin_host::trace::{self, RecordError, RecordOptions, Recording};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::stopped;

/// Each costs what the plugin itself costs.
const MAX_RECORDINGS: usize = 4;

/// Between a recorder and its client. A client that is slower loses calls, not bytes.
const MAX_BYTES_IN_FLIGHT: usize = 4 << 20;

/// Between the pump and the connection, in pieces of at most 64 KiB.
const PIECES_IN_FLIGHT: usize = 4;

/// A client that takes nothing for so long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(120);

const MAX_SECONDS: u64 = 24 * 3600;

/// The host comes after the API server, which its cluster is made of.
pub struct PluginStreams {
    host: OnceLock<Arc<Host>>,
    authorizer: Arc<dyn Authorizer>,
    clock: Arc<dyn Clock>,
    stop: watch::Receiver<bool>,
    recordings: Arc<Semaphore>,
}

impl PluginStreams {
    pub fn new(
        authorizer: Arc<dyn Authorizer>,
        clock: Arc<dyn Clock>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let recordings = Arc::new(Semaphore::new(MAX_RECORDINGS));
        Self { host: OnceLock::new(), authorizer, clock, stop, recordings }
    }

    pub fn set(&self, host: Arc<Host>) {
        // Set once, by the one who wires the server together.
        let _ = self.host.set(host);
    }

    /// Who may not read all Secrets may not record them either.
    async fn may_read_secrets(&self, user: &User) -> Result<(), StatusError> {
        let mut attributes = Attributes::path(user, "list", "");
        (attributes.version, attributes.resource) = ("v1", "secrets");
        match self.authorizer.authorize(&attributes).await {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => {
                Err(attributes.forbidden(&reason))
            }
        }
    }

    async fn record(
        &self,
        host: &Arc<Host>,
        request: &ConnectRequest,
    ) -> Result<Body, StatusError> {
        let asked = Asked::of(&request.query)?;
        if asked.secrets {
            self.may_read_secrets(&request.user).await?;
        }
        let permit = self.recordings.clone().try_acquire_owned().map_err(|_| {
            StatusError::too_many_requests(
                format!("{MAX_RECORDINGS} plugins are being recorded already; end one of them"),
                10,
            )
        })?;
        let mut key = [0; 32];
        SystemRandom::new()
            .fill(&mut key)
            .map_err(|_| StatusError::internal("the system gives no random numbers"))?;
        let options = RecordOptions {
            secrets: asked.secrets,
            key,
            component: asked.component,
            now_unix_ms: self.clock.now_unix_ms(),
        };
        let (sink, pieces) = trace::channel(MAX_BYTES_IN_FLIGHT);
        let recording = {
            let (host, name) = (host.clone(), request.name.clone());
            tokio::task::spawn_blocking(move || host.record(&name, &options, sink))
                .await
                .map_err(StatusError::internal)?
                .map_err(refused)?
        };
        let (sender, body) = mpsc::channel(PIECES_IN_FLIGHT);
        let pump = Pump { pieces, sender, stop: self.stop.clone(), limit: asked.limit };
        let plugin = request.name.clone();
        tracing::info!(
            plugin,
            user = request.user.name,
            secrets = asked.secrets,
            "a plugin is being recorded"
        );
        tokio::spawn(async move {
            pump.run(recording, permit).await;
            tracing::info!(plugin, "the recording of a plugin has ended");
        });
        Ok(Body::channel(body))
    }
}

#[async_trait]
impl Connector for PluginStreams {
    async fn connect(&self, request: ConnectRequest) -> Result<Body, StatusError> {
        let host = self.host.get().ok_or_else(|| {
            StatusError::service_unavailable("the server is starting; try again in a moment")
        })?;
        match request.subresource {
            "trace" => self.record(host, &request).await,
            "divergences" => {
                let found = host.divergences(&request.name).unwrap_or_else(
                    || json!({ "plugin": request.name, "decisions": 0, "items": [] }),
                );
                Ok(Body::full(found.to_string()))
            }
            _ => Err(StatusError::no_such_resource()),
        }
    }
}

/// What a client wants recorded.
struct Asked {
    limit: Option<Duration>,
    secrets: bool,
    component: bool,
}

impl Asked {
    fn of(query: &[(String, String)]) -> Result<Self, StatusError> {
        let mut asked = Self { limit: None, secrets: false, component: true };
        for (name, value) in query {
            let invalid = |expected: &str| {
                StatusError::bad_request(format!("{name}={value}: {name} must be {expected}"))
            };
            let flag = || match value.as_str() {
                "" | "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err(invalid("true or false")),
            };
            match name.as_str() {
                "secrets" => asked.secrets = flag()?,
                "component" => asked.component = flag()?,
                "seconds" => {
                    let seconds = value.parse::<u64>().ok();
                    let seconds = seconds
                        .filter(|seconds| (1..=MAX_SECONDS).contains(seconds))
                        .ok_or_else(|| invalid("a number from 1 to 86400"))?;
                    asked.limit = Some(Duration::from_secs(seconds));
                }
                // kubectl and others add some of their own.
                _ => {}
            }
        }
        Ok(asked)
    }
}

fn refused(error: RecordError) -> StatusError {
    match error {
        RecordError::OnNodes(_) => StatusError::bad_request(error.to_string()),
        RecordError::Follow(_) => StatusError::new(409, "Conflict", error.to_string()),
    }
}

/// Carries a trace to its client, and ends the recording when time is up, the
/// client is gone or the server stops.
struct Pump {
    pieces: mpsc::Receiver<Bytes>,
    sender: mpsc::Sender<Bytes>,
    stop: watch::Receiver<bool>,
    limit: Option<Duration>,
}

impl Pump {
    async fn run(self, recording: Recording, _permit: OwnedSemaphorePermit) {
        let Self { mut pieces, sender, stop, limit } = self;
        let over = async {
            tokio::select! {
                () = passed(limit) => {}
                () = stopped(stop) => {}
                () = sender.closed() => {}
            }
        };
        let mut over = std::pin::pin!(over);
        let mut recording = Some(recording);
        loop {
            let piece = tokio::select! {
                piece = pieces.recv() => piece,
                () = &mut over, if recording.is_some() => {
                    // Waits for the call that runs; its footer is still to come.
                    let recording = recording.take();
                    drop(tokio::task::spawn_blocking(move || recording.map(Recording::stop)));
                    continue;
                }
            };
            // At the end, or nobody reads: the recorder finds its sink closed.
            let Some(piece) = piece else { return };
            let sent = tokio::time::timeout(WRITE_TIMEOUT, sender.send(piece)).await;
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    }
}

async fn passed(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}
