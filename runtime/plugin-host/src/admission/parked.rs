//! Requests that a plugin trips over again and again: it is not asked about
//! the same content any more, and the request is refused at once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::convert;
use crate::fields;
use crate::program::admission_interface::Request;
use crate::sandbox::Fault;

/// More are not remembered: clients could make any number.
const MAX_PARKED: usize = 256;

#[derive(Default)]
pub(crate) struct ParkedRequests {
    /// Read with every request, hence without a lock.
    any: AtomicBool,
    /// By the object, as far as it has a name.
    requests: Mutex<BTreeMap<String, Parked>>,
}

#[derive(Clone)]
pub(crate) struct Parked {
    pub id: String,
    /// For the person who asked.
    pub message: String,
}

impl ParkedRequests {
    /// What is known of the object of the request, and whether the request has
    /// another content than the parked one, which is parked no longer then.
    pub fn look_up(&self, request: &Request) -> Option<(Parked, bool)> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let (key, id) = (key(request), id(request));
        let mut requests = self.requests.lock();
        let parked = requests.get(&key)?.clone();
        let changed = parked.id != id;
        if changed {
            requests.remove(&key);
            self.any.store(!requests.is_empty(), Ordering::Relaxed);
        }
        Some((parked, changed))
    }

    pub fn park(&self, request: &Request, fault: &Fault) {
        let message = format!(
            "it cannot decide this object and is not asked again until the object changes: {fault}"
        );
        let mut requests = self.requests.lock();
        if requests.len() >= MAX_PARKED {
            requests.pop_first();
        }
        requests.insert(key(request), Parked { id: id(request), message });
        self.any.store(true, Ordering::Relaxed);
    }

    pub fn clear(&self) {
        self.requests.lock().clear();
        self.any.store(false, Ordering::Relaxed);
    }
}

/// Tells a request from all others with another object or another content.
pub(crate) fn id(request: &Request) -> String {
    let target = convert::target(request.ref_.clone());
    format!("{target}#{:016x}", hash(&request.json))
}

/// Empty for an object that does not exist yet.
pub(crate) fn uid(request: &Request) -> String {
    if request.old_json.is_empty() {
        return String::new();
    }
    fields::text(&request.old_json, "metadata.uid").map(Cow::into_owned).unwrap_or_default()
}

/// An object without a name is told by its content.
fn key(request: &Request) -> String {
    if request.ref_.name.is_empty() {
        return id(request);
    }
    convert::target(request.ref_.clone()).to_string()
}

fn hash(bytes: &[u8]) -> u64 {
    use std::hash::Hasher as _;
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}
