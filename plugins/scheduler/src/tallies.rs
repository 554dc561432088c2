//! Tallies: how many pods of a sort each domain of a topology has.
//!
//! A rule between pods never looks at pods. What it needs is counted once, when
//! it is first asked for, and kept up to date with every pod that comes, goes or
//! whose node moves to another domain. A [`Shape`] remembers which tallies count
//! its pods, so that placing a pod costs no matching either; which those are is
//! looked up by label, so that ten thousand sorts cost a shape no more than ten.

mod pods;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::counts::Counts;
use crate::labels::{LabelMap, Namespaces, mark};
use crate::shape::Shape;
use crate::tally::{Held, Marks, SLOTS, Tally, TallyId, What, contribution, sibling_mark};
use crate::topology::{NONE, Topologies, TopologyId};
use crate::view::{Labels, Slot};

/// Counters that are kept without being needed by a pod that runs, together;
/// those unused for longest go first.
const MOST_CELLS: usize = 8 << 20;
/// Keys that rules ask for before those that are not needed any more are dropped.
const MOST_TOPOLOGIES: usize = 256;

/// The pods of one shape, by slot: all, and those on their way out.
#[derive(Debug)]
struct Live {
    shape: Rc<Shape>,
    on: BTreeMap<Slot, (i32, i32)>,
}

#[derive(Debug, Default)]
pub struct Tallies {
    pub topologies: Topologies,
    namespaces: Namespaces,
    tallies: BTreeMap<TallyId, Tally>,
    ids: BTreeMap<(Rc<What>, TopologyId), TallyId>,
    /// Tallies by a label that whatever they are about has.
    by_mark: BTreeMap<u64, BTreeSet<TallyId>>,
    unmarked: BTreeSet<TallyId>,
    next: TallyId,
    /// Grows when all numbers of tallies become void.
    epoch: u64,
    uses: u64,
    /// What was asked for after this many uses is not dropped.
    pinned: u64,
    /// Tallies of terms that running pods have.
    held: usize,
    cells: usize,
    most_topologies: usize,
    live: BTreeMap<u64, Live>,
    live_by_mark: BTreeMap<u64, BTreeSet<u64>>,
    /// Pods of each controller that are not on their way out.
    groups: BTreeMap<Rc<str>, BTreeMap<Slot, i32>>,
}

impl Tallies {
    pub fn get(&self, id: TallyId) -> &Tally {
        &self.tallies[&id]
    }

    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    pub fn group(&self, group: &str) -> Option<&BTreeMap<Slot, i32>> {
        self.groups.get(group)
    }

    /// What is ensured from here on stays until the next time, unless the epoch changes.
    pub fn begin(&mut self) {
        self.pinned = self.uses;
    }

    /// Does any running pod have a term that others must be measured against?
    pub fn are_held(&self) -> bool {
        self.held > 0
    }

    /// Changes when the numbers of all tallies become void.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The tally of a sort of pods in a topology, counted now if nobody asked before.
    pub fn ensure(&mut self, what: What, key: &str, labels: &[Labels]) -> TallyId {
        let topology = self.topology(key, labels);
        self.ensure_in(what, topology)
    }

    /// By slot instead of by domain.
    pub fn ensure_by_slot(&mut self, what: What) -> TallyId {
        self.ensure_in(what, SLOTS)
    }

    pub fn topology(&mut self, key: &str, labels: &[Labels]) -> TopologyId {
        if let Some(id) = self.topologies.find(key) {
            return id;
        }
        if self.topologies.len() >= self.most_topologies.max(MOST_TOPOLOGIES) {
            self.reset(labels);
            self.most_topologies = 2 * self.topologies.len();
        }
        self.topologies.add(key, labels.iter().map(Labels::get))
    }

    fn ensure_in(&mut self, what: What, topology: TopologyId) -> TallyId {
        self.uses += 1;
        let what = Rc::new(what);
        let key = (Rc::clone(&what), topology);
        if let Some(&id) = self.ids.get(&key) {
            if let Some(tally) = self.tallies.get_mut(&id) {
                tally.last_use = self.uses;
            }
            return id;
        }
        self.make_room();
        let id = self.next;
        self.next += 1;
        let mut tally = Tally {
            what,
            topology,
            counts: Counts::default(),
            sum: 0,
            members: 0,
            last_use: self.uses,
        };
        let needs = tally.what.needs();
        // A term that pods hold is tallied before the first of them is placed.
        if tally.is_held() {
            self.held += 1;
        } else {
            match &needs {
                Some(needs) => {
                    let serials = needs.iter().filter_map(|need| self.live_by_mark.get(need));
                    let serials: BTreeSet<u64> = serials.flatten().copied().collect();
                    let live = serials.iter().filter_map(|serial| self.live.get(serial));
                    live.for_each(|live| self.recount(&mut tally, live));
                }
                None => self.live.values().for_each(|live| self.recount(&mut tally, live)),
            }
        }
        match needs {
            Some(needs) => needs.iter().for_each(|need| {
                self.by_mark.entry(*need).or_default().insert(id);
            }),
            None => {
                self.unmarked.insert(id);
            }
        }
        self.cells += tally.counts.cells();
        self.tallies.insert(id, tally);
        self.ids.insert(key, id);
        id
    }

    /// Adds the pods of a shape that are there already.
    fn recount(&self, tally: &mut Tally, live: &Live) {
        let each = contribution(&tally.what, &live.shape, &self.namespaces);
        if each == 0 {
            return;
        }
        let living = tally.is_of_the_living();
        for (&slot, &(all, leaving)) in &live.on {
            let count = if living { all - leaving } else { all };
            bump(tally, &self.topologies, slot, each * count);
        }
    }

    fn make_room(&mut self) {
        if self.cells < MOST_CELLS {
            return;
        }
        let pinned = self.pinned;
        let spare = |tally: &Tally| tally.last_use <= pinned && !tally.is_held();
        let tallies = self.tallies.values();
        let mut uses: Vec<u64> =
            tallies.filter(|tally| spare(tally)).map(|tally| tally.last_use).collect();
        uses.sort_unstable();
        let Some(&middle) = uses.get(uses.len() / 2) else { return };
        let stale: Vec<TallyId> = self
            .tallies
            .iter()
            .filter(|(_, tally)| spare(tally) && tally.last_use <= middle)
            .map(|(id, _)| *id)
            .collect();
        stale.into_iter().for_each(|id| self.drop_tally(id));
    }

    fn drop_tally(&mut self, id: TallyId) {
        let Some(tally) = self.tallies.remove(&id) else { return };
        self.cells = self.cells.saturating_sub(tally.counts.cells());
        self.held -= usize::from(tally.is_held());
        match tally.what.needs() {
            Some(needs) => needs.iter().for_each(|need| forget(&mut self.by_mark, *need, &id)),
            None => {
                self.unmarked.remove(&id);
            }
        }
        self.ids.remove(&(tally.what, tally.topology));
    }

    /// Which tallies concern a shape, all that exist by now considered.
    fn mark(&self, shape: &Shape) {
        let mut marks = shape.marks.borrow_mut();
        if marks.epoch != Some(self.epoch) {
            let group = shape.group.as_deref().map(sibling_mark);
            let labels = shape.labels.iter().map(|(key, value)| mark(key, value));
            let labels = labels.chain(group).collect();
            *marks = Marks { epoch: Some(self.epoch), labels, ..Marks::default() };
        }
        if marks.checked == self.next {
            return;
        }
        let since = marks.checked;
        let marked = marks.labels.iter().filter_map(|label| self.by_mark.get(label));
        let marked = marked.flat_map(|ids| ids.range(since..));
        let found: BTreeSet<TallyId> =
            marked.chain(self.unmarked.range(since..)).copied().collect();
        if marks.counted.len() + marks.felt.len() > 16 {
            marks.counted.retain(|(id, ..)| self.tallies.contains_key(id));
            marks.felt.retain(|id| self.tallies.contains_key(id));
        }
        for id in found {
            let Some(tally) = self.tallies.get(&id) else { continue };
            match &*tally.what {
                What::Holding(_, term) => {
                    if term.selects(&shape.namespace, &shape.labels, &self.namespaces) {
                        marks.felt.push(id);
                    }
                }
                what => {
                    let each = contribution(what, shape, &self.namespaces);
                    if each != 0 {
                        marks.counted.push((id, each, tally.is_of_the_living()));
                    }
                }
            }
        }
        marks.checked = self.next;
    }

    /// Tallies of running pods that have a term which selects this shape.
    pub fn felt_by(&self, shape: &Shape) -> impl Iterator<Item = (Held, &Tally)> {
        self.mark(shape);
        let felt = shape.marks.borrow().felt.clone();
        felt.into_iter().filter_map(|id| {
            let tally = self.tallies.get(&id)?;
            match &*tally.what {
                What::Holding(held, _) if tally.sum > 0 => Some((*held, tally)),
                _ => None,
            }
        })
    }

    /// Labels of a namespace; all that depends on such labels is counted anew.
    pub fn set_namespace(&mut self, name: &str, map: LabelMap, labels: &[Labels]) {
        if self.namespaces.set(name, map) {
            self.namespaces_changed(labels);
        }
    }

    pub fn remove_namespace(&mut self, name: &str, labels: &[Labels]) {
        if self.namespaces.remove(name) {
            self.namespaces_changed(labels);
        }
    }

    fn namespaces_changed(&mut self, labels: &[Labels]) {
        if self.tallies.values().any(|tally| tally.what.asks_namespaces()) {
            self.reset(labels);
        }
    }

    /// Forgets every count but those that running pods' terms need.
    fn reset(&mut self, labels: &[Labels]) {
        self.epoch += 1;
        self.tallies.clear();
        self.ids.clear();
        self.by_mark.clear();
        self.unmarked.clear();
        self.held = 0;
        self.cells = 0;
        self.topologies = Topologies::default();
        // The limit is for what nobody needs any more.
        self.most_topologies = usize::MAX;
        let shapes: Vec<Rc<Shape>> =
            self.live.values().map(|live| Rc::clone(&live.shape)).collect();
        for shape in shapes.iter().filter(|shape| shape.rules.is_felt_by_others()) {
            self.hold(shape, labels);
            let Some(live) = self.live.get(&shape.serial) else { continue };
            for &id in &shape.marks.borrow().held {
                let Some(tally) = self.tallies.get_mut(&id) else { continue };
                for (&slot, &(all, _)) in &live.on {
                    bump(tally, &self.topologies, slot, all);
                }
            }
        }
        self.most_topologies = 0;
        self.cells = self.tallies.values().map(|tally| tally.counts.cells()).sum();
    }
}

fn forget<T: Ord>(index: &mut BTreeMap<u64, BTreeSet<T>>, key: u64, value: &T) {
    if let Some(values) = index.get_mut(&key) {
        values.remove(value);
        if values.is_empty() {
            index.remove(&key);
        }
    }
}

fn bump(tally: &mut Tally, topologies: &Topologies, slot: Slot, count: i32) {
    tally.members += i64::from(count);
    let (domain, domains) = match tally.topology {
        SLOTS => (slot as u32, slot + 1),
        topology => {
            let topology = topologies.get(topology);
            (topology.domain.get(slot).copied().unwrap_or(NONE), topology.len())
        }
    };
    shift(tally, domain, count, domains);
}

fn shift(tally: &mut Tally, domain: u32, count: i32, domains: usize) {
    if domain != NONE {
        tally.counts.add(domain, count, domains);
        tally.sum += i64::from(count);
    }
}
