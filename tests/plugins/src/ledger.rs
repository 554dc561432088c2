//! What came of each unit of work, as a watch shows it from before the first one
//! until everything is judged: so what is done twice shows also much later, and
//! also when one of the two is gone again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::api::Api;

/// Unit of work -> what was made of it, by something unique such as a uid.
pub type Products = BTreeMap<String, BTreeSet<String>>;

/// The unit and its product, if this event of a watch (type, object) shows one.
pub type Sees = fn(&str, &Value) -> Option<(String, String)>;

#[derive(Default)]
struct Known {
    products: Products,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    known: Mutex<Known>,
    news: Condvar,
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct Ledger {
    shared: Arc<Shared>,
    cut: Option<Box<dyn FnOnce() + Send>>,
    thread: Option<JoinHandle<()>>,
}

impl Ledger {
    pub fn follow(api: Api, path: String, sees: Sees) -> Self {
        let shared = Arc::new(Shared::default());
        let cut = Box::new(api.cutter());
        let thread = std::thread::spawn({
            let shared = shared.clone();
            move || {
                api.watch(&path, |kind, object| {
                    if let Some((unit, product)) = sees(kind, object) {
                        shared.known().products.entry(unit).or_default().insert(product);
                        shared.news.notify_all();
                    }
                    false
                });
                shared.known().ended = true;
                shared.news.notify_all();
            }
        });
        Self { shared, cut: Some(cut), thread: Some(thread) }
    }

    pub fn products(&self) -> Products {
        self.shared.known().products.clone()
    }

    /// Until `check` holds; false if it does not within `patience`.
    pub fn wait(&self, patience: Duration, check: impl Fn(&Products) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        let mut known = self.shared.known();
        loop {
            if check(&known.products) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || known.ended {
                return false;
            }
            let woken = self.shared.news.wait_timeout(known, left);
            known = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A watch that has ended sees nothing twice.
    pub fn is_complete(&self) -> bool {
        !self.shared.known().ended
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if let Some(cut) = self.cut.take() {
            cut();
        }
        // A watch that panicked has said so.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
