//! Components as OCI artifacts.
//!
//! For: packing a component the way the CNCF lays out WebAssembly in an OCI
//! artifact; pushing it to and pulling it from a registry with every digest
//! checked; signing and verifying the way cosign does with a key.
//!
//! Does not know: WebAssembly, plugins, Kubernetes, or any cluster. A component
//! is bytes; what it imports and exports is told by whoever packs it.
//!
//! Read first: [`Package`], then [`Registry`], then [`signature`].

pub mod credentials;
mod digest;
mod layout;
mod manifest;
mod package;
mod reference;
mod registry;
pub mod signature;

pub use credentials::Credentials;
pub use digest::Digest;
pub use layout::LayoutError;
pub use manifest::{ComponentInterface, Description};
pub use package::Package;
pub use reference::{Reference, ReferenceError};
pub use registry::{
    Limits, Options, PulledComponent, Registry, RegistryError, Step, SystemRootsError,
};
pub use signature::Signature;

/// Far above any sensible component (a JavaScript engine inside is 12 MB).
pub const MAX_COMPONENT_BYTES: u64 = 64 << 20;
