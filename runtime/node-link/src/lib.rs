//! QUIC sessions between servers and nodes.
//!
//! The node dials the server. A session is one QUIC connection with mutual TLS:
//! a control stream that opens it, one bidirectional stream per request or watch
//! (opened by the node), and streams that the server opens towards the node for
//! logs and exec. A node without a certificate can do one thing only: join with
//! a [`JoinToken`].
//!
//! This crate carries opaque bytes. It knows nothing of Kubernetes, of what a
//! path means or of what a node may ask; [`NodeService`] on the server and
//! [`NodeHandler`] on the node decide that. It is the only user of quinn.
//!
//! Read [`Server`] and [`Link`] first, then `wire.rs` for what is on the wire.

mod client;
mod error;
mod identity;
mod join;
mod reset;
mod server;
mod tls;
mod token;
mod wire;

pub use client::{Link, LinkConfig, LinkState, NodeHandler, Response, ServeStream};
pub use error::{LinkError, TokenError};
pub use identity::NodeIdentity;
pub use join::join;
pub use server::{
    BodyStream, JoinRequest, NodeService, Peer, Refusal, Reply, Server, ServerIdentity, Sessions,
    listen,
};
pub use token::JoinToken;
pub use wire::{NodeStream, Request};

/// Application protocol of an authenticated session and of a join.
pub const ALPN: &[u8] = b"pintle-node/1";

/// Largest frame either side accepts. Larger bodies are cut into several frames.
pub const MAX_FRAME_BYTES: usize = 4 << 20;
