//! Pod networking: the plugin plans, this module reserves, executes and
//! remembers. See [`PodNetwork`].

mod cni;
mod plugin;
mod reservations;

pub use cni::{NetworkError, PodNetwork, PodNetworkConfig};
pub use plugin::{AddPlan, Interface, NetworkPlugin, NodeInfo, Peer, Reservation, SandboxInfo};
