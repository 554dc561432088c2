//! A guest's heap. Small pieces are kept by size and handed out again, which takes
//! a few instructions; every one of a guest's is metered, and a decision takes
//! dozens of strings and lists. Large pieces come from the heap of the compiler's
//! library.
//!
//! By hand, because what crates and the library offer for wasm merges neighbours
//! when a piece is given back, which is most of what an allocation costs there.
//! A plugin that wants another heap takes the SDK without its feature `heap`.
//!
//! Does not give small pieces back: an instance whose small pieces were many once
//! has them for its next call.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;

/// Sizes are rounded up to this, and so is where pieces begin.
const STEP: usize = 16;
/// Larger pieces are not kept.
const LARGEST: usize = 1024;
/// Taken at once, to cut pieces from.
const STRETCH: usize = 32 << 10;

pub(crate) struct Heap(UnsafeCell<Pieces>);

struct Pieces {
    /// By size: pieces that were returned, each of which begins with the next.
    free: [*mut Next; LARGEST / STEP],
    /// What is left of the last stretch.
    rest: *mut u8,
    left: usize,
}

struct Next(*mut Next);

// SAFETY: an instance has one thread; natively it is used by tests, one heap each.
unsafe impl Sync for Heap {}

/// Which pieces do for a layout; `None` for large ones.
fn class(layout: Layout) -> Option<usize> {
    let is_small = layout.size() <= LARGEST && layout.align() <= STEP;
    is_small.then(|| layout.size().saturating_sub(1) / STEP)
}

impl Heap {
    pub(crate) const fn new() -> Self {
        let free = [ptr::null_mut(); LARGEST / STEP];
        Heap(UnsafeCell::new(Pieces { free, rest: ptr::null_mut(), left: 0 }))
    }
}

impl Pieces {
    fn take(&mut self, class: usize) -> *mut u8 {
        let piece = self.free[class];
        if piece.is_null() {
            return self.cut((class + 1) * STEP);
        }
        // SAFETY: what is in the list was put there by `put`.
        self.free[class] = unsafe { (*piece).0 };
        piece.cast()
    }

    /// # Safety
    /// The piece was taken for the same class, and nobody uses it any more.
    unsafe fn put(&mut self, piece: *mut u8, class: usize) {
        let piece = piece.cast::<Next>();
        // SAFETY: it is large enough and begins at a multiple of `STEP`.
        unsafe { piece.write(Next(self.free[class])) };
        self.free[class] = piece;
    }

    #[cold]
    fn cut(&mut self, size: usize) -> *mut u8 {
        if self.left < size {
            let Ok(layout) = Layout::from_size_align(STRETCH, STEP) else {
                return ptr::null_mut();
            };
            // SAFETY: the layout is not empty.
            let stretch = unsafe { System.alloc(layout) };
            if stretch.is_null() {
                return stretch;
            }
            (self.rest, self.left) = (stretch, STRETCH);
        }
        let piece = self.rest;
        // SAFETY: so much is left.
        self.rest = unsafe { piece.add(size) };
        self.left -= size;
        piece
    }
}

// SAFETY: pieces do not overlap, have the layout's alignment and at least its size,
// and stay where they are until they are returned; large ones are the system's.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match class(layout) {
            // SAFETY: one thread, and no call within a call.
            Some(class) => unsafe { (*self.0.get()).take(class) },
            // SAFETY: the caller's promise.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        match class(layout) {
            // SAFETY: as above; equal layouts are of one class.
            Some(class) => unsafe { (*self.0.get()).put(piece, class) },
            // SAFETY: the caller's promise.
            None => unsafe { System.dealloc(piece, layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if class(layout).is_none() {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // SAFETY: the caller's promise.
        let piece = unsafe { self.alloc(layout) };
        if !piece.is_null() {
            // SAFETY: it has this size.
            unsafe { piece.write_bytes(0, layout.size()) };
        }
        piece
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        let larger = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (class(layout), class(larger)) {
            (Some(now), Some(then)) if now == then => piece,
            // SAFETY: the caller's promise.
            (None, None) => unsafe { System.realloc(piece, layout, size) },
            _ => {
                // SAFETY: the caller's promise.
                let moved = unsafe { self.alloc(larger) };
                if !moved.is_null() {
                    // SAFETY: both have so many bytes and do not overlap.
                    unsafe { moved.copy_from_nonoverlapping(piece, size.min(layout.size())) };
                    // SAFETY: it is not used any more.
                    unsafe { self.dealloc(piece, layout) };
                }
                moved
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A piece, filled with a byte of its own.
    struct Held(*mut u8, Layout, u8);

    impl Held {
        fn is_intact(&self) -> bool {
            // SAFETY: it has this size and was written to.
            let bytes = unsafe { std::slice::from_raw_parts(self.0, self.1.size()) };
            bytes.iter().all(|byte| *byte == self.2)
        }
    }

    fn size() -> impl Strategy<Value = usize> {
        prop_oneof![1usize..40, 1usize..1100, 1usize..5000]
    }

    proptest! {
        #[test]
        fn pieces_never_overlap_and_keep_what_is_in_them(
            steps in proptest::collection::vec((any::<u8>(), size(), 0u32..6, any::<prop::sample::Index>()), 1..200)
        ) {
            let heap = Heap::new();
            let mut held: Vec<Held> = Vec::new();
            for (action, size, align, which) in steps {
                let fill = action;
                match action % 4 {
                    0 | 1 => {
                        let layout = Layout::from_size_align(size, 1 << align).unwrap();
                        // SAFETY: the layout is not empty.
                        let piece = unsafe { if action % 4 == 0 { heap.alloc(layout) } else { heap.alloc_zeroed(layout) } };
                        prop_assert_eq!(piece as usize % layout.align(), 0);
                        let new = Held(piece, layout, 0);
                        prop_assert!(action % 4 == 0 || new.is_intact());
                        // SAFETY: it has this size.
                        unsafe { piece.write_bytes(fill, layout.size()) };
                        held.push(Held(piece, layout, fill));
                    }
                    2 if !held.is_empty() => {
                        let Held(piece, layout, _) = held.swap_remove(which.index(held.len()));
                        // SAFETY: it was taken with this layout.
                        unsafe { heap.dealloc(piece, layout) };
                    }
                    3 if !held.is_empty() => {
                        let Held(piece, layout, old) = held.swap_remove(which.index(held.len()));
                        // SAFETY: it was taken with this layout; the size is not 0.
                        let moved = unsafe { heap.realloc(piece, layout, size) };
                        let layout = Layout::from_size_align(size, layout.align()).unwrap();
                        // SAFETY: at least one byte was kept.
                        let first = unsafe { moved.read() };
                        prop_assert_eq!(first, old);
                        // SAFETY: it has this size.
                        unsafe { moved.write_bytes(fill, size) };
                        held.push(Held(moved, layout, fill));
                    }
                    _ => {}
                }
                prop_assert!(held.iter().all(Held::is_intact));
            }
            for Held(piece, layout, _) in held {
                // SAFETY: it was taken with this layout.
                unsafe { heap.dealloc(piece, layout) };
            }
        }
    }
}
