//! Pods that come, go and leave, nodes that move to other domains: what follows
//! for the tallies that exist.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::{Live, Tallies, bump, forget, shift};
use crate::shape::Shape;
use crate::tally::{Held, What};
use crate::view::{Labels, Slot};

impl Tallies {
    /// A pod came to a slot.
    pub fn come(&mut self, shape: &Rc<Shape>, slot: Slot, leaving: bool, labels: &[Labels]) {
        if !self.live.contains_key(&shape.serial) {
            self.mark(shape);
            if shape.rules.is_felt_by_others() {
                let epoch = self.epoch;
                self.hold(shape, labels);
                if self.epoch != epoch {
                    // All was counted anew in between, without this shape.
                    self.hold(shape, labels);
                }
            }
            for label in &shape.marks.borrow().labels {
                self.live_by_mark.entry(*label).or_default().insert(shape.serial);
            }
            let live = Live { shape: Rc::clone(shape), on: BTreeMap::new() };
            self.live.insert(shape.serial, live);
        }
        if let Some(live) = self.live.get_mut(&shape.serial) {
            let (all, out) = live.on.entry(slot).or_default();
            *all += 1;
            *out += i32::from(leaving);
        }
        self.count(shape, slot, 1, |living| !(living && leaving));
        if !leaving {
            self.count_group(shape, slot, 1);
        }
    }

    /// A pod left a slot.
    pub fn go(&mut self, shape: &Rc<Shape>, slot: Slot, leaving: bool) {
        self.count(shape, slot, -1, |living| !(living && leaving));
        if !leaving {
            self.count_group(shape, slot, -1);
        }
        let Some(live) = self.live.get_mut(&shape.serial) else { return };
        if let Some((all, out)) = live.on.get_mut(&slot) {
            *all -= 1;
            *out -= i32::from(leaving);
            if *all == 0 {
                live.on.remove(&slot);
            }
        }
        if live.on.is_empty() {
            self.live.remove(&shape.serial);
            let mut marks = shape.marks.borrow_mut();
            for label in &marks.labels {
                forget(&mut self.live_by_mark, *label, &shape.serial);
            }
            for id in std::mem::take(&mut marks.held) {
                if self.tallies.get(&id).is_some_and(|tally| tally.members == 0) {
                    self.drop_tally(id);
                }
            }
        }
    }

    /// A pod on a slot is on its way out from now on.
    pub fn leave(&mut self, shape: &Rc<Shape>, slot: Slot) {
        self.count(shape, slot, -1, |living| living);
        self.count_group(shape, slot, -1);
        let live = self.live.get_mut(&shape.serial);
        if let Some((_, out)) = live.and_then(|live| live.on.get_mut(&slot)) {
            *out += 1;
        }
    }

    fn count(&mut self, shape: &Shape, slot: Slot, sign: i32, meant: impl Fn(bool) -> bool) {
        self.mark(shape);
        let marks = shape.marks.borrow();
        let held = marks.held.iter().map(|id| (*id, 1, false));
        for (id, each, living) in marks.counted.iter().copied().chain(held) {
            if let Some(tally) = self.tallies.get_mut(&id)
                && meant(living)
            {
                self.cells -= tally.counts.cells();
                bump(tally, &self.topologies, slot, sign * each);
                self.cells += tally.counts.cells();
            }
        }
    }

    fn count_group(&mut self, shape: &Shape, slot: Slot, sign: i32) {
        let Some(group) = &shape.group else { return };
        let counts = self.groups.entry(Rc::clone(group)).or_default();
        let count = counts.entry(slot).or_default();
        *count += sign;
        if *count == 0 {
            counts.remove(&slot);
            if counts.is_empty() {
                self.groups.remove(group);
            }
        }
    }

    /// Tallies the terms of a shape, from its first pod on.
    pub(super) fn hold(&mut self, shape: &Shape, labels: &[Labels]) {
        self.mark(shape);
        let rules = &shape.rules;
        let away = rules.away.iter().map(|term| (Held::Away, term));
        let near = rules.near.iter().map(|term| (Held::Near, term));
        let prefer = rules.prefer.iter().map(|(weight, term)| (Held::Preferring(*weight), term));
        let terms = away.chain(near).chain(prefer);
        let held = terms
            .map(|(held, term)| {
                self.ensure(What::Holding(held, term.clone()), &term.topology_key, labels)
            })
            .collect();
        shape.marks.borrow_mut().held = held;
    }

    /// The labels of a node changed; `pods` are those on it, and whether each is
    /// on its way out.
    pub fn relabel(&mut self, slot: Slot, labels: &Labels, pods: &[(Rc<Shape>, bool)]) {
        let moves = self.topologies.relabel(slot, labels.get());
        if moves.is_empty() || pods.is_empty() {
            return;
        }
        for (shape, leaving) in pods {
            self.mark(shape);
            let marks = shape.marks.borrow();
            let held = marks.held.iter().map(|id| (*id, 1, false));
            for (id, each, living) in marks.counted.iter().copied().chain(held) {
                let Some(tally) = self.tallies.get_mut(&id) else { continue };
                let moved = moves.iter().find(|(topology, ..)| *topology == tally.topology);
                if let Some(&(topology, before, now)) = moved
                    && !(living && *leaving)
                {
                    let domains = self.topologies.get(topology).len();
                    self.cells -= tally.counts.cells();
                    shift(tally, before, -each, domains);
                    shift(tally, now, each, domains);
                    self.cells += tally.counts.cells();
                }
            }
        }
    }
}
