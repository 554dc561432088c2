//! Tallies: how many pods of a sort each domain of a topology has.
//!
//! A rule between pods never looks at pods. What it needs is counted once, when
//! it is first asked for, and kept up to date with every pod that comes, goes or
//! whose node moves to another domain. A [`crate::shape::Shape`] remembers which
//! tallies count its pods, so that placing a pod costs no matching either.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::labels::{Namespaces, PodTerm, Selector};
use crate::shape::Shape;
use crate::topology::{NONE, Topologies, TopologyId};
use crate::view::{Labels, Slot};

pub type TallyId = u32;

/// The topology in which every slot is a domain of its own.
pub const SLOTS: TopologyId = usize::MAX;

/// Counters that are kept without being needed by a pod that runs, together;
/// those unused for longest go first.
const MOST_CELLS: usize = 8 << 20;
/// Keys that rules ask for before those that are not needed any more are dropped.
const MOST_TOPOLOGIES: usize = 256;

/// A sort of pods.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Those that all of these terms select.
    Near(Vec<PodTerm>),
    /// Those of a namespace that are selected and not on their way out.
    Living { namespace: String, selector: Selector },
    /// Those that have this term themselves.
    Holding(Held, PodTerm),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    Away,
    Near,
    Preferring(i32),
}

#[derive(Debug)]
pub struct Tally {
    pub what: Rc<What>,
    pub topology: TopologyId,
    /// Per domain; what lies beyond the end is 0.
    pub counts: Vec<i32>,
    /// In all domains together.
    pub sum: i64,
    /// With those on nodes that are in no domain.
    members: i64,
    last_use: u64,
}

/// What a shape remembers about tallies.
#[derive(Debug, Default)]
pub struct Marks {
    epoch: u64,
    checked: TallyId,
    /// Tallies that count pods of the shape, how often each, and whether only
    /// while they are not on their way out.
    counted: Vec<(TallyId, i32, bool)>,
    /// Tallies of pods whose term selects pods of the shape.
    felt: Vec<TallyId>,
}

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
        let cells = match topology {
            SLOTS => 0,
            topology => self.topologies.get(topology).len(),
        };
        let mut tally = Tally {
            what,
            topology,
            counts: vec![0; cells],
            sum: 0,
            members: 0,
            last_use: self.uses,
        };
        // A term that pods hold is tallied before the first of them is placed.
        if matches!(*tally.what, What::Holding(..)) {
            self.held += 1;
        } else {
            let living = tally.is_of_the_living();
            for live in self.live.values() {
                let each = contribution(&tally.what, &live.shape, &self.namespaces);
                if each == 0 {
                    continue;
                }
                for (&slot, &(all, leaving)) in &live.on {
                    let count = if living { all - leaving } else { all };
                    bump(&mut tally, &self.topologies, slot, each * count);
                }
            }
        }
        self.cells += tally.counts.len();
        self.tallies.insert(id, tally);
        self.ids.insert(key, id);
        id
    }

    fn make_room(&mut self) {
        if self.cells < MOST_CELLS {
            return;
        }
        let pinned = self.pinned;
        let spare =
            |tally: &Tally| tally.last_use <= pinned && !matches!(*tally.what, What::Holding(..));
        let mut uses: Vec<u64> = self
            .tallies
            .values()
            .filter(|tally| spare(tally))
            .map(|tally| tally.last_use)
            .collect();
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
        if let Some(tally) = self.tallies.remove(&id) {
            self.cells = self.cells.saturating_sub(tally.counts.len());
            self.held -= usize::from(matches!(*tally.what, What::Holding(..)));
            self.ids.remove(&(tally.what, tally.topology));
        }
    }

    /// Which tallies concern a shape, all that exist by now considered.
    fn mark(&self, shape: &Shape) {
        let mut marks = shape.marks.borrow_mut();
        if marks.epoch != self.epoch {
            *marks = Marks { epoch: self.epoch, ..Marks::default() };
        }
        if marks.checked == self.next {
            return;
        }
        marks.counted.retain(|(id, ..)| self.tallies.contains_key(id));
        marks.felt.retain(|id| self.tallies.contains_key(id));
        for (&id, tally) in self.tallies.range(marks.checked..) {
            let each = contribution(&tally.what, shape, &self.namespaces);
            if each != 0 {
                marks.counted.push((id, each, tally.is_of_the_living()));
            }
            if let What::Holding(_, term) = &*tally.what
                && term.selects(&shape.namespace, &shape.labels, &self.namespaces)
            {
                marks.felt.push(id);
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

    /// A pod came to a slot.
    pub fn come(&mut self, shape: &Rc<Shape>, slot: Slot, leaving: bool, labels: &[Labels]) {
        if !self.live.contains_key(&shape.serial) {
            if shape.rules.is_felt_by_others() {
                let epoch = self.epoch;
                self.hold(shape, labels);
                if self.epoch != epoch {
                    // All was counted anew in between, without this shape.
                    self.hold(shape, labels);
                }
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
            let marks = shape.marks.borrow();
            let unused: Vec<TallyId> = marks
                .counted
                .iter()
                .map(|(id, ..)| *id)
                .filter(|id| {
                    self.tallies.get(id).is_some_and(|tally| {
                        tally.members == 0 && matches!(*tally.what, What::Holding(..))
                    })
                })
                .collect();
            drop(marks);
            unused.into_iter().for_each(|id| self.drop_tally(id));
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
        for &(id, each, living) in &shape.marks.borrow().counted {
            if let Some(tally) = self.tallies.get_mut(&id)
                && meant(living)
            {
                self.cells -= tally.counts.len();
                bump(tally, &self.topologies, slot, sign * each);
                self.cells += tally.counts.len();
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
    fn hold(&mut self, shape: &Shape, labels: &[Labels]) {
        let rules = &shape.rules;
        let away = rules.away.iter().map(|term| (Held::Away, term));
        let near = rules.near.iter().map(|term| (Held::Near, term));
        let prefer = rules.prefer.iter().map(|(weight, term)| (Held::Preferring(*weight), term));
        for (held, term) in away.chain(near).chain(prefer) {
            self.ensure(What::Holding(held, term.clone()), &term.topology_key, labels);
        }
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
            for &(id, each, living) in &shape.marks.borrow().counted {
                let Some(tally) = self.tallies.get_mut(&id) else { continue };
                let moved = moves.iter().find(|(topology, ..)| *topology == tally.topology);
                if let Some(&(_, before, now)) = moved
                    && !(living && *leaving)
                {
                    self.cells -= tally.counts.len();
                    shift(tally, before, -each);
                    shift(tally, now, each);
                    self.cells += tally.counts.len();
                }
            }
        }
    }

    /// Labels of a namespace; all that depends on such labels is counted anew.
    pub fn set_namespace(&mut self, name: &str, map: crate::labels::LabelMap, labels: &[Labels]) {
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
        let asks = |what: &What| match what {
            What::Near(terms) => terms.iter().any(PodTerm::asks_namespaces),
            What::Living { .. } => false,
            What::Holding(_, term) => term.asks_namespaces(),
        };
        if self.tallies.values().any(|tally| asks(&tally.what)) {
            self.reset(labels);
        }
    }

    /// Forgets every count but those that running pods' terms need.
    fn reset(&mut self, labels: &[Labels]) {
        self.epoch += 1;
        self.tallies.clear();
        self.ids.clear();
        self.held = 0;
        self.cells = 0;
        self.topologies = Topologies::default();
        let shapes: Vec<Rc<Shape>> =
            self.live.values().map(|live| Rc::clone(&live.shape)).collect();
        let felt = |shape: &&Rc<Shape>| shape.rules.is_felt_by_others();
        for shape in shapes.iter().filter(felt) {
            // The limit is for what nobody needs any more.
            self.most_topologies = usize::MAX;
            self.hold(shape, labels);
        }
        self.most_topologies = 0;
        for shape in &shapes {
            self.mark(shape);
            let Some(live) = self.live.get(&shape.serial) else { continue };
            for &(id, each, living) in &shape.marks.borrow().counted {
                let Some(tally) = self.tallies.get_mut(&id) else { continue };
                for (&slot, &(all, leaving)) in &live.on {
                    let count = if living { all - leaving } else { all };
                    bump(tally, &self.topologies, slot, each * count);
                }
            }
        }
        self.cells = self.tallies.values().map(|tally| tally.counts.len()).sum();
    }
}

impl Tally {
    fn is_of_the_living(&self) -> bool {
        matches!(*self.what, What::Living { .. })
    }
}

/// How often a pod of this shape counts.
pub fn contribution(what: &What, shape: &Shape, namespaces: &Namespaces) -> i32 {
    match what {
        What::Near(terms) => i32::from(
            terms.iter().all(|term| term.selects(&shape.namespace, &shape.labels, namespaces)),
        ),
        What::Living { namespace, selector } => {
            i32::from(*namespace == shape.namespace && selector.matches(&shape.labels))
        }
        What::Holding(held, term) => {
            let rules = &shape.rules;
            let count = match held {
                Held::Away => rules.away.iter().filter(|own| *own == term).count(),
                Held::Near => rules.near.iter().filter(|own| *own == term).count(),
                Held::Preferring(weight) => {
                    rules.prefer.iter().filter(|(own, of)| own == weight && of == term).count()
                }
            };
            count as i32
        }
    }
}

fn bump(tally: &mut Tally, topologies: &Topologies, slot: Slot, count: i32) {
    tally.members += i64::from(count);
    let domain = match tally.topology {
        SLOTS => slot as u32,
        topology => topologies.get(topology).domain.get(slot).copied().unwrap_or(NONE),
    };
    shift(tally, domain, count);
}

fn shift(tally: &mut Tally, domain: u32, count: i32) {
    if domain == NONE {
        return;
    }
    let domain = domain as usize;
    if tally.counts.len() <= domain {
        tally.counts.resize(domain + 1, 0);
    }
    tally.counts[domain] += count;
    tally.sum += i64::from(count);
}
