//! The process that supervises the containers of one pod, and what its clients share with it.
//!
//! One `pintle-shim` runs per pod. It starts containers through an OCI runtime, owns their output
//! pipes and writes the CRI log files, reports exits, and relays exec sessions. It outlives the
//! agent: an agent that comes back connects to the socket in the pod's state directory and is told
//! the state of every container.
//!
//! It knows nothing of Kubernetes, images or networks: a container is a bundle directory with a
//! `config.json` that somebody else wrote. It has no async runtime and no threads, because one runs
//! for every pod and its size counts: see [`server`] for the loop.
//!
//! Read [`protocol`] first, then [`layout::Layout`] (what lies on disk, and why a lock and not a
//! process id says that a shim lives), then [`server::Shim`].

pub mod cgroup;
pub mod layout;
pub mod log;
pub mod protocol;
pub mod runtime;
pub mod server;
pub mod sys;
