//! Answers that are kept, by what the rule can see of the pod.

use std::collections::BTreeMap;

/// Together with what they are kept by.
const MOST_BYTES: usize = 4 << 20;

pub(super) struct Answers<A> {
    by_part: BTreeMap<Box<[u8]>, Kept<A>>,
    bytes: usize,
    uses: u64,
}

/// An answer, and the position of the nodes that it was given at.
pub(super) struct Kept<A> {
    pub answer: A,
    pub position: u64,
    bytes: usize,
    last_use: u64,
}

impl<A> Answers<A> {
    pub fn new() -> Self {
        Answers { by_part: BTreeMap::new(), bytes: 0, uses: 0 }
    }

    pub fn get(&mut self, part: &[u8]) -> Option<&mut Kept<A>> {
        let kept = self.by_part.get_mut(part)?;
        self.uses += 1;
        kept.last_use = self.uses;
        Some(kept)
    }

    /// `bytes`: about what the answer takes.
    pub fn keep(&mut self, part: &[u8], answer: A, position: u64, bytes: usize) {
        let bytes = bytes + part.len();
        if self.bytes + bytes > MOST_BYTES {
            self.forget_half();
        }
        self.uses += 1;
        self.bytes += bytes;
        let kept = Kept { answer, position, bytes, last_use: self.uses };
        if let Some(before) = self.by_part.insert(part.into(), kept) {
            self.bytes -= before.bytes;
        }
    }

    /// Those that were not used for longest go.
    fn forget_half(&mut self) {
        let mut uses: Vec<u64> = self.by_part.values().map(|kept| kept.last_use).collect();
        uses.sort_unstable();
        let middle = uses.get(uses.len() / 2).copied().unwrap_or(0);
        self.by_part.retain(|_, kept| kept.last_use > middle);
        self.bytes = self.by_part.values().map(|kept| kept.bytes).sum();
    }
}
