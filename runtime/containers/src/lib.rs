//! Images, root file systems and containers: OCI only, no Kubernetes types.
//!
//! - [`ContentStore`] keeps images by digest and imports them from OCI layouts and docker archives.
//! - [`Snapshots`] turns an image into a mounted root file system for one container attempt.
//! - [`Sandbox`] is the client of one pod's shim: it creates, starts, stops and deletes containers,
//!   runs processes in them and reports what happens to them.
//!
//! It knows nothing of pods' specs, restart policies or networks: a network namespace is a path
//! that somebody else pinned. The store's methods block and belong on a blocking thread; the
//! sandbox's are async.
//!
//! Read [`ContainerSpec`] first, then [`Sandbox`].

pub mod cgroup;
pub mod image;
mod runtime_probe;
pub mod sandbox;
pub mod snapshot;
pub mod spec;
pub mod store;
pub mod unpack;
pub mod user;

pub use image::{Image, ImageConfig, ImageRecord};
pub use pintle_shim::protocol::{ContainerState, Exit, Fault, FaultCode, LogLimits, Phase};
pub use runtime_probe::{RuntimeProbeError, probe_runtime};
pub use sandbox::{
    ContainerEvent, Events, ExecStream, Found, Sandbox, SandboxError, TerminalSize, discover,
};
pub use snapshot::{SnapshotError, Snapshots};
pub use spec::{
    Capabilities, ContainerSpec, ExecSpec, Mount, MountKind, Propagation, Resources, Rlimit,
    SandboxSpec, User,
};
pub use store::{ContentStore, ImportLimits, StoreError};
pub use user::{UserError, resolve_user};
