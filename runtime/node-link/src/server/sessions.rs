//! The open sessions by node name, and streams towards nodes.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use tracing::debug;

use crate::LinkError;
use crate::wire::{self, Accept, NodeStream};

/// The open sessions by node name.
#[derive(Clone, Default)]
pub struct Sessions(Arc<RwLock<HashMap<String, quinn::Connection>>>);

impl Sessions {
    pub fn nodes(&self) -> Vec<String> {
        self.0.read().keys().cloned().collect()
    }

    /// Whether the node is connected, as far as this server knows.
    pub fn has(&self, node: &str) -> bool {
        self.0.read().contains_key(node)
    }

    /// Opens a stream to a node's handler. `header` says what it is for.
    pub async fn open(&self, node: &str, header: Bytes) -> Result<NodeStream, LinkError> {
        let connection = self
            .0
            .read()
            .get(node)
            .cloned()
            .ok_or_else(|| LinkError::NoSuchNode(node.to_owned()))?;
        let (mut send, mut recv) = connection.open_bi().await.map_err(LinkError::Closed)?;
        wire::write_frame(&mut send, header).await?;
        match wire::expect_frame(&mut recv).await? {
            Accept::Go => Ok(NodeStream { send, recv }),
            Accept::Refused { message } => Err(LinkError::Refused(message)),
        }
    }

    pub(super) fn insert(&self, node: &str, connection: &quinn::Connection) {
        // A node that dials again has given up the session it had.
        if let Some(old) = self.0.write().insert(node.to_owned(), connection.clone()) {
            debug!(node, old = old.stable_id(), "session replaced");
        }
    }

    /// True when the session was the node's current one.
    pub(super) fn remove(&self, node: &str, connection: &quinn::Connection) -> bool {
        let mut sessions = self.0.write();
        let current = sessions.get(node).is_some_and(|c| c.stable_id() == connection.stable_id());
        if current {
            sessions.remove(node);
        }
        current
    }
}
