//! Which plugins have to be looked at: names, put there by the event stream,
//! by plugins whose standing changed, and by counters that moved.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::cluster::{EventBatch, Object};
use crate::events::Sink;
use crate::plugin;

/// A set of names with a bell.
#[derive(Default)]
pub(super) struct Names {
    names: Mutex<BTreeSet<String>>,
    bell: Notify,
}

impl Names {
    pub fn add(&self, name: &str) {
        self.names.lock().insert(name.to_owned());
        self.bell.notify_one();
    }

    pub fn ring(&self) {
        self.bell.notify_one();
    }

    pub fn take(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.names.lock())
    }

    /// Whether the name was there.
    pub fn take_one(&self, name: &str) -> bool {
        self.names.lock().remove(name)
    }

    /// Waits until `take` may return something.
    pub async fn wait(&self) {
        self.bell.notified().await;
    }
}

/// The manager's place in the event stream.
pub(super) struct PluginEvents {
    pub changed: Arc<Names>,
    /// Set when everything has to be listed.
    pub relist: Arc<std::sync::atomic::AtomicBool>,
}

impl Sink for PluginEvents {
    fn observe(&self, batch: &EventBatch) {
        for event in &batch.events {
            if is_plugin(&*event.object) {
                self.changed.add(event.object.name());
            }
        }
    }

    fn resync(&self, _: u64) {
        self.relist.store(true, std::sync::atomic::Ordering::SeqCst);
        self.changed.ring();
    }
}

fn is_plugin(object: &dyn Object) -> bool {
    object.kind().kind == plugin::KIND && object.kind().group == plugin::GROUP
}
