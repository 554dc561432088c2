//! What is held back until everything that was there at the start is loaded.
//!
//! A cluster with thousands of objects gives every controller thousands of keys to
//! look at when it starts. The server answers first: nobody waits for those keys.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

type Tell = Box<dyn Fn() + Send>;

/// Opens once.
#[derive(Default)]
pub(crate) struct Opening {
    open: AtomicBool,
    waiting: Mutex<Vec<Tell>>,
}

impl Opening {
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    pub fn open(&self) {
        let waiting = {
            let mut waiting = self.waiting.lock();
            self.open.store(true, Ordering::Release);
            std::mem::take(&mut *waiting)
        };
        waiting.iter().for_each(|tell| tell());
    }

    /// Calls `tell` when it opens, at once if it has.
    pub fn when_open(&self, tell: impl Fn() + Send + 'static) {
        {
            let mut waiting = self.waiting.lock();
            if !self.is_open() {
                return waiting.push(Box::new(tell));
            }
        }
        tell();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn everybody_is_told_once() {
        let (opening, told) = (Opening::default(), Arc::new(AtomicUsize::new(0)));
        let count = || {
            let told = told.clone();
            move || {
                told.fetch_add(1, Ordering::SeqCst);
            }
        };
        opening.when_open(count());
        assert!(!opening.is_open());
        opening.open();
        opening.open();
        assert!(opening.is_open());
        assert_eq!(told.load(Ordering::SeqCst), 1);
        opening.when_open(count());
        assert_eq!(told.load(Ordering::SeqCst), 2);
    }
}
