//! The async client of one pod's shim.

mod connection;
mod events;
mod exec;
mod lifecycle;
mod lost;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pintle_shim::layout::{Layout, make_private_dir, write_json};
use pintle_shim::protocol::{
    ContainerState, CreateRequest, Exit, Fault, FaultCode, FrameError, Op, Phase,
};

use crate::spec::{self, ContainerSpec, ExecSpec, SandboxSpec};
use connection::Connection;
pub use events::{ContainerEvent, Events};
pub use exec::{ExecExit, ExecResize, ExecStream, TerminalSize};
pub use lifecycle::discover;

/// How long a shim may take to answer; one that takes longer is stopped or stuck.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A live pod: a handle on its shim. Dropping every clone closes the connection and leaves the
/// containers running.
#[derive(Debug, Clone)]
pub struct Sandbox {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    spec: SandboxSpec,
    layout: Layout,
    connection: Connection,
}

/// What [`Sandbox::reconnect`] found in a state directory.
#[derive(Debug)]
pub struct Found {
    /// What the pod was created with.
    pub spec: SandboxSpec,
    /// The pod's shim, when it lives. When it does not, everything it left has been ended and
    /// removed, except the records: see [`Sandbox::forget`].
    pub live: Option<Sandbox>,
    /// Every container, of a lost shim too.
    pub records: Vec<ContainerState>,
}

impl Sandbox {
    /// Creates the pod's cgroup and starts its shim. What a lost shim left in the same directory
    /// is ended and removed first.
    pub async fn create(spec: SandboxSpec) -> Result<Sandbox, SandboxError> {
        spec.check()?;
        let spec = blocking(move || lifecycle::launch(&spec).map(|()| spec)).await?;
        Self::attach_to(spec).await
    }

    /// Finds a pod again after a restart of the caller.
    pub async fn reconnect(state_dir: &Path) -> Result<Found, SandboxError> {
        let layout = Layout::new(state_dir);
        let spec = lifecycle::read_intent(&layout)?;
        let deadline = tokio::time::Instant::now() + CONNECT_TIMEOUT;
        loop {
            let (again, pod) = (layout.clone(), spec.clone());
            if let Some(records) = blocking(move || lost::recover(&again, &pod)).await? {
                return Ok(Found { spec, live: None, records });
            }
            match Self::attach_to(spec.clone()).await {
                Ok(sandbox) => {
                    let records = sandbox.containers();
                    return Ok(Found { spec, live: Some(sandbox), records });
                }
                // The lock is held but nobody answers: a shim that is just ending, or one that is
                // just starting. Neither can be waited for except by looking again, and both are
                // over within milliseconds.
                Err(SandboxError::Connect { source, .. })
                    if tokio::time::Instant::now() < deadline
                        && matches!(
                            source.kind(),
                            io::ErrorKind::ConnectionRefused
                                | io::ErrorKind::ConnectionReset
                                | io::ErrorKind::NotFound
                                | io::ErrorKind::BrokenPipe
                                | io::ErrorKind::UnexpectedEof
                        ) =>
                {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes the state directory of a pod whose shim is gone, once its records are used up.
    pub async fn forget(state_dir: &Path) -> Result<(), SandboxError> {
        let layout = Layout::new(state_dir);
        blocking(move || lifecycle::forget(&layout)).await
    }

    async fn attach_to(spec: SandboxSpec) -> Result<Sandbox, SandboxError> {
        let layout = Layout::new(&spec.state_dir);
        let connection =
            match tokio::time::timeout(CONNECT_TIMEOUT, Connection::open(&layout)).await {
                Ok(connection) => connection?,
                Err(_) => {
                    return Err(SandboxError::Connect {
                        dir: spec.state_dir,
                        source: io::ErrorKind::TimedOut.into(),
                    });
                }
            };
        Ok(Sandbox { inner: Arc::new(Inner { spec, layout, connection }) })
    }

    pub fn spec(&self) -> &SandboxSpec {
        &self.inner.spec
    }

    /// The shim's process id.
    pub fn shim_pid(&self) -> u32 {
        self.inner.connection.shim_pid()
    }

    /// Writes the container's bundle and registers it. Nothing runs yet.
    pub async fn create_container(&self, spec: ContainerSpec) -> Result<(), SandboxError> {
        spec.check()?;
        let inner = self.inner.clone();
        let request = blocking(move || {
            let bundle = inner.layout.bundle(&spec.name, spec.attempt);
            let context = spec::Context {
                sandbox: &inner.spec,
                shim_pid: inner.connection.shim_pid(),
                shm: lifecycle::shm_dir(&inner.layout),
                hierarchies: lifecycle::hierarchies()?,
            };
            let config = spec::config_json(&spec, &context)?;
            make_private_dir(&bundle.dir)
                .and_then(|()| write_json(&bundle.config(), &config, false))
                .map_err(|source| SandboxError::io("write the bundle", &bundle.dir, source))?;
            Ok(CreateRequest {
                id: format!("{}-{}-{}", inner.spec.id, spec.name, spec.attempt),
                cgroup: spec::cgroup_path(&inner.spec, &spec.name, spec.attempt),
                name: spec.name,
                attempt: spec.attempt,
                tty: spec.tty,
                stdin: spec.stdin,
                log_path: spec.log_path.map(|path| path.to_string_lossy().into_owned()),
                log_limits: spec.log_limits,
            })
        })
        .await?;
        self.inner.connection.request(Op::Create(request)).await
    }

    /// Runs the container's process; returns when it runs.
    pub async fn start(&self, name: &str) -> Result<(), SandboxError> {
        self.inner.connection.request(Op::Start { name: name.into() }).await
    }

    /// Sends a signal to the container's first process; SIGKILL reaches all of them.
    pub async fn kill(&self, name: &str, signal: i32) -> Result<(), SandboxError> {
        self.inner
            .connection
            .request(Op::Kill { name: name.into(), signal, all: signal == libc::SIGKILL })
            .await
    }

    /// Sends the container's stop signal, and SIGKILL when it is still running after `grace`.
    /// Returns how it ended. A container that never ran is reported as an error.
    pub async fn stop(&self, name: &str, grace: Duration) -> Result<Exit, SandboxError> {
        let signal = self.stop_signal(name).await?;
        self.stop_with(name, signal, grace).await
    }

    /// [`stop`](Self::stop) with a signal of the caller's choice.
    pub async fn stop_with(
        &self,
        name: &str,
        signal: i32,
        grace: Duration,
    ) -> Result<Exit, SandboxError> {
        if !grace.is_zero() {
            match self.kill(name, signal).await {
                Err(error) if error.code() == Some(FaultCode::WrongPhase) => {}
                result => result?,
            }
            if let Ok(exit) = tokio::time::timeout(grace, self.wait(name)).await {
                return exit;
            }
        }
        match self.kill(name, libc::SIGKILL).await {
            Err(error) if error.code() == Some(FaultCode::WrongPhase) => {}
            result => result?,
        }
        self.wait(name).await
    }

    /// How the container ended, as soon as it has; at once an error when it was never started.
    pub async fn wait(&self, name: &str) -> Result<Exit, SandboxError> {
        let mut states = self.inner.connection.states();
        loop {
            {
                let states = states.borrow_and_update();
                let state = states.get(name).ok_or_else(|| SandboxError::NotFound(name.into()))?;
                match (&state.exit, state.phase) {
                    (Some(exit), _) => return Ok(exit.clone()),
                    (None, Phase::Created) => return Err(SandboxError::NotStarted(name.into())),
                    _ => {}
                }
            }
            states.changed().await.map_err(|_| SandboxError::ShimLost)?;
        }
    }

    /// Removes a container that has exited or never ran.
    pub async fn delete(&self, name: &str) -> Result<(), SandboxError> {
        self.inner.connection.request(Op::Delete { name: name.into() }).await
    }

    /// Runs one more process in a running container. Ends with the stream: dropping it kills the
    /// process.
    pub async fn exec(&self, name: &str, spec: ExecSpec) -> Result<ExecStream, SandboxError> {
        let state = self.state(name).ok_or_else(|| SandboxError::NotFound(name.into()))?;
        let bundle = self.inner.layout.bundle(name, state.attempt);
        let process = blocking(move || {
            spec::process_json(&bundle.config(), &spec).map(|process| (process, spec))
        })
        .await?;
        exec::exec(&self.inner.layout, name, process.0, process.1).await
    }

    /// Joins the container's output from now on, and its input when it has one.
    pub async fn attach(&self, name: &str) -> Result<ExecStream, SandboxError> {
        exec::attach(&self.inner.layout, name).await
    }

    /// Every container as last reported.
    pub fn containers(&self) -> Vec<ContainerState> {
        self.inner.connection.states().borrow().values().cloned().collect()
    }

    pub fn state(&self, name: &str) -> Option<ContainerState> {
        self.inner.connection.states().borrow().get(name).cloned()
    }

    /// What happens to the containers, what has already happened first. Ends when the shim does.
    pub fn events(&self) -> Events {
        Events::new(self.inner.connection.states())
    }

    /// Ends the shim and removes the pod's cgroup, mounts and state directory. Refused while
    /// there are containers.
    pub async fn shutdown(&self) -> Result<(), SandboxError> {
        match self.inner.connection.request(Op::Shutdown).await {
            Ok(()) | Err(SandboxError::ShimLost) => {}
            Err(error) => return Err(error),
        }
        let inner = self.inner.clone();
        blocking(move || lifecycle::remove(&inner.layout, &inner.spec)).await
    }

    async fn stop_signal(&self, name: &str) -> Result<i32, SandboxError> {
        let state = self.state(name).ok_or_else(|| SandboxError::NotFound(name.into()))?;
        let bundle = self.inner.layout.bundle(name, state.attempt);
        blocking(move || spec::stop_signal(&bundle.config())).await
    }
}

/// Runs file system and process work where blocking is allowed.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SandboxError> + Send + 'static,
) -> Result<T, SandboxError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(SandboxError::Interrupted),
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("invalid {field}: {reason}")]
    Invalid { field: &'static str, reason: String },
    #[error("cannot {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("no pod is recorded in {}", .0.display())]
    NoIntent(PathBuf),
    #[error("a shim already runs for {}; reconnect to it instead", .0.display())]
    AlreadyRunning(PathBuf),
    #[error("cannot start {}: {message}", binary.display())]
    Launch { binary: PathBuf, message: String },
    #[error("cannot connect to the shim in {}", dir.display())]
    Connect {
        dir: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "shim speaks protocol version {theirs}, this program {ours}; keep the pod and update it when it restarts"
    )]
    Version { ours: u32, theirs: u32 },
    #[error("the shim is gone; reconnect to learn how its containers ended")]
    ShimLost,
    #[error("no container {0:?} in the pod")]
    NotFound(String),
    #[error("container {0:?} was never started")]
    NotStarted(String),
    #[error("shim refused")]
    Refused(#[source] Fault),
    #[error("request cannot be sent to the shim")]
    Frame(#[source] FrameError),
    #[error("{runtime} failed to remove {id}: {message}")]
    Cleanup { runtime: String, id: String, message: String },
    #[error("interrupted: the async runtime is shutting down")]
    Interrupted,
}

impl SandboxError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        SandboxError::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        SandboxError::Invalid { field, reason: reason.into() }
    }

    /// Why the shim refused, when it did.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            SandboxError::Refused(fault) => Some(fault),
            _ => None,
        }
    }

    pub fn code(&self) -> Option<FaultCode> {
        self.fault().map(|fault| fault.code)
    }
}
