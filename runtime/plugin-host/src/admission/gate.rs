//! So many requests at a time and no more. Requests wait for their turn on
//! their own threads: a turn is a call of at most a few milliseconds.

use parking_lot::{Condvar, Mutex};

pub(crate) struct Gate {
    free: Mutex<u32>,
    freed: Condvar,
}

/// Given back when it is dropped.
pub(crate) struct Turn<'a>(&'a Gate);

impl Gate {
    /// A gate that lets nobody in would hold every request for ever.
    pub fn new(places: u32) -> Self {
        Self { free: Mutex::new(places.max(1)), freed: Condvar::new() }
    }

    pub fn enter(&self) -> Turn<'_> {
        let mut free = self.free.lock();
        self.freed.wait_while(&mut free, |free| *free == 0);
        *free -= 1;
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.free.lock() += 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn never_more_at_a_time_than_there_are_places() {
        fn check(places: u32, expect: u32) {
            let gate = Gate::new(places);
            let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        for _ in 0..200 {
                            let _turn = gate.enter();
                            let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                            most.fetch_max(now, Ordering::SeqCst);
                            std::thread::yield_now();
                            inside.fetch_sub(1, Ordering::SeqCst);
                        }
                    });
                }
            });
            assert!(most.into_inner() <= expect, "{places}");
        }
        check(0, 1);
        check(1, 1);
        check(3, 3);
    }
}
