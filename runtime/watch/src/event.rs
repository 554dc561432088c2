//! What happened to one object at one revision.

use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};
use pintle_storage::Revision;

use crate::object::Object;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Added,
    Modified,
    Deleted,
}

impl EventKind {
    /// As in the API's watch events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }

    /// One line of a watch response.
    pub fn encode(self, object: &Object) -> Bytes {
        let bytes = &object.bytes;
        let mut line = BytesMut::with_capacity(bytes.len() + 32);
        line.put_slice(b"{\"type\":\"");
        line.put_slice(self.as_str().as_bytes());
        line.put_slice(b"\",\"object\":");
        line.put_slice(bytes);
        line.put_slice(b"}\n");
        line.freeze()
    }
}

/// One change, shared by everyone who sees it.
#[derive(Debug)]
pub struct Event {
    pub revision: Revision,
    pub kind: EventKind,
    /// For a deletion: the last state, with the deletion's revision in its bytes.
    pub object: Arc<Object>,
    /// The state before; `None` for an addition.
    pub previous: Option<Arc<Object>>,
    json: OnceLock<Bytes>,
    left: OnceLock<Arc<Object>>,
}

impl Event {
    pub(crate) fn put(object: Arc<Object>, previous: Option<Arc<Object>>) -> Self {
        let kind = if previous.is_some() { EventKind::Modified } else { EventKind::Added };
        Self::new(kind, object, previous)
    }

    pub(crate) fn delete(last: Arc<Object>, revision: Revision) -> Self {
        Self::new(EventKind::Deleted, Arc::new(last.at_revision(revision)), Some(last))
    }

    fn new(kind: EventKind, object: Arc<Object>, previous: Option<Arc<Object>>) -> Self {
        let (json, left) = (OnceLock::new(), OnceLock::new());
        Self { revision: object.revision, kind, object, previous, json, left }
    }

    /// The event as a watcher of the objects for which `matches` holds sees it: an object
    /// that starts matching is added; one that stops matching is deleted, in the state in
    /// which it matched, at this event's revision. `None` when it does not concern them.
    pub fn for_selector(
        &self,
        matches: impl Fn(&Object) -> bool,
    ) -> Option<(EventKind, &Arc<Object>)> {
        let before = self.previous.as_deref().is_some_and(&matches);
        let after = self.kind != EventKind::Deleted && matches(&self.object);
        match (before, after) {
            (false, false) => None,
            (false, true) => Some((EventKind::Added, &self.object)),
            (true, true) => Some((EventKind::Modified, &self.object)),
            (true, false) if self.kind == EventKind::Deleted => {
                Some((EventKind::Deleted, &self.object))
            }
            (true, false) => {
                let previous = self.previous.as_ref()?;
                let left = self.left.get_or_init(|| Arc::new(previous.at_revision(self.revision)));
                Some((EventKind::Deleted, left))
            }
        }
    }

    /// The event as one line of a watch response, encoded once for all watchers.
    pub fn json(&self) -> Bytes {
        self.json.get_or_init(|| self.kind.encode(&self.object)).clone()
    }

    /// What it adds to the ring: its state, and the line that watchers make it encode.
    pub(crate) fn cost_bytes(&self) -> usize {
        2 * self.object.bytes.len() + 512
    }
}
