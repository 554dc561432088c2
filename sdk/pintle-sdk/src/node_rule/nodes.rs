//! The nodes of a rule: those that it cannot tell apart are one kind.

use std::collections::BTreeMap;
use std::rc::Rc;

/// The kind of numbers that stand for no node, or for one that cannot be read.
const ABSENT: usize = 0;

/// A node of which the rule sees more is taken for one of a kind: to compare it
/// with others would cost memory and find none.
const MOST_SEEN: usize = 512;

/// Changes that are remembered at least.
const CHANGES: usize = 1024;

pub(super) struct Nodes<N> {
    /// By number.
    kind_of: Vec<usize>,
    kinds: Vec<Kind<N>>,
    /// By what the rule can see of the node.
    by_part: BTreeMap<Rc<[u8]>, usize>,
    unused: Vec<usize>,
    /// Numbers whose kind changed, the latest last.
    changes: Vec<u32>,
    forgotten: u64,
}

pub(super) struct Kind<N> {
    node: Option<N>,
    /// Empty: it is the only one of its kind.
    part: Rc<[u8]>,
    /// In order.
    numbers: Vec<u32>,
}

impl<N> Kind<N> {
    fn new(node: Option<N>, part: Rc<[u8]>) -> Self {
        Kind { node, part, numbers: Vec::new() }
    }

    pub fn node(&self) -> Option<&N> {
        self.node.as_ref()
    }

    pub fn numbers(&self) -> &[u32] {
        &self.numbers
    }
}

impl<N> Nodes<N> {
    pub fn new() -> Self {
        Nodes {
            kind_of: Vec::new(),
            kinds: vec![Kind::new(None, Rc::default())],
            by_part: BTreeMap::new(),
            unused: Vec::new(),
            changes: Vec::new(),
            forgotten: 0,
        }
    }

    /// Numbers, in use or not.
    pub fn len(&self) -> usize {
        self.kind_of.len()
    }

    pub fn kinds(&self) -> &[Kind<N>] {
        &self.kinds
    }

    pub fn node(&self, number: u32) -> Option<&N> {
        self.kinds[self.kind_of[number as usize]].node()
    }

    /// Grows with every change that the rule can see.
    pub fn position(&self) -> u64 {
        self.forgotten + self.changes.len() as u64
    }

    /// The numbers that changed after a position; `None` when that is too far
    /// back, or to judge every kind anew is less work.
    pub fn changed_since(&self, position: u64) -> Option<&[u32]> {
        let start = usize::try_from(position.checked_sub(self.forgotten)?).ok()?;
        let changes = self.changes.get(start..)?;
        (changes.len() <= self.kinds.len()).then_some(changes)
    }

    /// `node`: what the number stands for now, and all that the rule can see of it.
    pub fn set(&mut self, number: u32, node: Option<(N, &[u8])>) {
        while self.kind_of.len() <= number as usize {
            self.kinds[ABSENT].numbers.push(self.kind_of.len() as u32);
            self.kind_of.push(ABSENT);
        }
        let kind = match node {
            None => ABSENT,
            Some((node, part)) if part.len() > MOST_SEEN => self.add(node, Rc::default()),
            Some((node, part)) => match self.by_part.get(part) {
                Some(known) => *known,
                None => self.add(node, Rc::from(part)),
            },
        };
        let before = std::mem::replace(&mut self.kind_of[number as usize], kind);
        if before == kind {
            return;
        }
        self.leave(before, number);
        let numbers = &mut self.kinds[kind].numbers;
        if let Err(place) = numbers.binary_search(&number) {
            numbers.insert(place, number);
        }
        if self.changes.len() >= self.len().max(CHANGES) {
            self.forgotten += self.changes.len() as u64;
            self.changes.clear();
        }
        self.changes.push(number);
    }

    fn add(&mut self, node: N, part: Rc<[u8]>) -> usize {
        let kind = Kind::new(Some(node), Rc::clone(&part));
        let index = match self.unused.pop() {
            Some(index) => {
                self.kinds[index] = kind;
                index
            }
            None => {
                self.kinds.push(kind);
                self.kinds.len() - 1
            }
        };
        if !part.is_empty() {
            self.by_part.insert(part, index);
        }
        index
    }

    fn leave(&mut self, index: usize, number: u32) {
        let kind = &mut self.kinds[index];
        if let Ok(place) = kind.numbers.binary_search(&number) {
            kind.numbers.remove(place);
        }
        if kind.numbers.is_empty() && index != ABSENT {
            if !kind.part.is_empty() {
                self.by_part.remove(&kind.part);
            }
            *kind = Kind::new(None, Rc::default());
            self.unused.push(index);
        }
    }
}
