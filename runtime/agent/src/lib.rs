//! The node agent: the kubelet's job.
//!
//! It registers its node, keeps the lease, follows the pods bound to it and makes
//! them real: network, volumes, containers; and it tells the API how they are.
//! Each pod is one task around a pure state machine. Everything that must not
//! happen twice is written down first, so that the agent can be killed at any
//! moment: containers go on without it, and its next life finds them again.
//!
//! It knows nothing of scheduling, of how addresses are chosen (a network plugin
//! plans, see [`net`]), or of how a container is run (`pintle-containers` does
//! that).
//!
//! Read [`Agent`] for the wiring, [`pod::step`] for what a pod's life is, and
//! [`pod::status`] for what others see of it.

mod agent;
pub mod client;
pub mod clock;
mod config;
mod events;
mod follow;
mod inotify;
mod link;
pub mod net;
mod node;
pub mod pod;
mod reflector;
mod stream;

pub use agent::{Agent, AgentError};
pub use client::{ApiClient, ApiError, ApiResponse, WatchBody};
pub use clock::Clock;
pub use config::AgentConfig;
pub use link::LinkClient;
pub use reflector::Lines;
pub use stream::StreamHandler;
