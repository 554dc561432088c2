//! Answers that are kept, by what the rule can see of the pod.

use std::collections::BTreeMap;

/// Together with what they are kept by.
const MOST_BYTES: usize = 4 << 20;

pub(super) struct Answers<A> {
    by_part: BTreeMap<Box<[u8]>, Kept<A>>,
    bytes: usize,
    uses: u64,
    /// What was asked about before, as a hash at its place.
    asked: Vec<u64>,
}

/// So many questions are known again.
const ASKED: usize = 1024;

/// An answer, and the position of the nodes that it was given at.
pub(super) struct Kept<A> {
    pub answer: A,
    pub position: u64,
    bytes: usize,
    last_use: u64,
}

impl<A> Answers<A> {
    pub fn new() -> Self {
        Answers { by_part: BTreeMap::new(), bytes: 0, uses: 0, asked: vec![0; ASKED] }
    }

    pub fn get(&mut self, part: &[u8]) -> Option<&mut Kept<A>> {
        let kept = self.by_part.get_mut(part)?;
        self.uses += 1;
        kept.last_use = self.uses;
        Some(kept)
    }

    /// `bytes`: about what the answer takes. What is asked about for the first time
    /// may be so for the last time: its answer is not kept.
    pub fn keep(&mut self, part: &[u8], answer: &A, position: u64, bytes: usize)
    where
        A: Clone,
    {
        let hash = hash(part);
        if std::mem::replace(&mut self.asked[hash as usize % ASKED], hash) != hash {
            return;
        }
        let answer = answer.clone();
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

/// To tell whether something was there before; a mistake costs some bytes.
fn hash(part: &[u8]) -> u64 {
    let (words, rest) = part.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain([&last]);
    let hash = words.fold(part.len() as u64, |hash, word| {
        (hash ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    });
    crate::names::mix(hash)
}
