//! Rules between pods that must hold: required affinity and anti-affinity, those
//! of running pods included, and topology spread constraints.
//!
//! [`prepare`] makes sure that everything is counted; [`Neighbours`] then judges
//! domains, not nodes, so that a pass over all nodes is a look-up each.

use std::borrow::Cow;

use crate::counts::Counts;
use crate::filter::{Reason, has_untolerated_taint};
use crate::labels::Namespaces;
use crate::rules::{Constraint, Who};
use crate::shape::Shape;
use crate::tally::{Held, Tally, TallyId, What, contribution};
use crate::topology::{NONE, Topology, TopologyId};
use crate::view::{Placed, Slot, View};

/// What a pod's rules need, counted.
#[derive(Debug, Default)]
pub struct Prepared {
    pub hard: Vec<Counted>,
    pub soft: Vec<Counted>,
    near: Vec<TallyId>,
    away: Vec<TallyId>,
    pub prefer: Vec<(i32, TallyId)>,
}

/// Where the pods of a spread constraint are counted.
#[derive(Debug)]
pub struct Counted {
    topology: TopologyId,
    tally: Option<TallyId>,
}

/// `None` when no rule has anything to say about this pod.
pub fn prepare(view: &mut View, shape: &Shape) -> Option<Prepared> {
    let rules = &shape.rules;
    let silent = rules.hard.is_empty() && !rules.is_felt_by_others() && !view.tallies.are_held();
    if silent && (rules.soft.is_empty() || is_first_of_its_set(view, shape)) {
        return None;
    }
    view.tallies.begin();
    loop {
        let epoch = view.tallies.epoch();
        let prepared = try_prepare(view, shape);
        // All was counted anew in between: what was found before is void.
        if view.tallies.epoch() == epoch {
            return Some(prepared);
        }
    }
}

/// Of a set without pods: by default every node is as good for spreading, if
/// all nodes have the labels or none has.
fn is_first_of_its_set(view: &View, shape: &Shape) -> bool {
    let group = shape.group.as_deref().and_then(|group| view.tallies.group(group));
    let topologies = &view.tallies.topologies;
    group.is_none()
        && shape.rules.soft_by_default
        && shape.rules.soft.iter().all(|constraint| {
            topologies.find(&constraint.topology_key).is_some_and(|id| {
                let labelled = topologies.get(id).labelled;
                labelled == view.nodes() || labelled == 0
            })
        })
}

fn try_prepare(view: &mut View, shape: &Shape) -> Prepared {
    let rules = &shape.rules;
    let mut prepared = Prepared::default();
    for term in &rules.near {
        let what = What::Near(rules.near.clone());
        prepared.near.push(view.tallies.ensure(what, &term.topology_key, &view.labels));
    }
    for term in &rules.away {
        let what = What::Near(vec![term.clone()]);
        prepared.away.push(view.tallies.ensure(what, &term.topology_key, &view.labels));
    }
    for (weight, term) in &rules.prefer {
        let what = What::Near(vec![term.clone()]);
        let id = view.tallies.ensure(what, &term.topology_key, &view.labels);
        prepared.prefer.push((*weight, id));
    }
    for (constraints, into, by_default) in [
        (&rules.hard, &mut prepared.hard, false),
        (&rules.soft, &mut prepared.soft, rules.soft_by_default),
    ] {
        for constraint in constraints {
            view.tallies.topology(&constraint.topology_key, &view.labels);
        }
        let filter = Eligibility::of(view, shape, constraints, by_default);
        for constraint in constraints {
            let topology = view.tallies.topology(&constraint.topology_key, &view.labels);
            let tally = match &constraint.who {
                Who::Siblings => None,
                Who::Selected(selector) => {
                    let what = What::Living {
                        namespace: shape.namespace.clone(),
                        selector: selector.clone(),
                    };
                    Some(match filter.is_needed(constraint) {
                        true => view.tallies.ensure_by_slot(what),
                        false => view.tallies.ensure(what, &constraint.topology_key, &view.labels),
                    })
                }
            };
            into.push(Counted { topology, tally });
        }
    }
    prepared
}

/// Which nodes count for the spread constraints of a pod.
struct Eligibility {
    choosy: bool,
    /// Per class: are its taints tolerated? Empty when all are.
    tolerated: Vec<bool>,
    /// Topologies of which a node must have the label, when some node has not.
    needed: Vec<TopologyId>,
}

impl Eligibility {
    fn of(view: &View, shape: &Shape, constraints: &[Constraint], by_default: bool) -> Self {
        let honors_taints = constraints.iter().any(|constraint| constraint.honor_taints);
        let tolerated: Vec<bool> = match honors_taints {
            true => view.classes.iter().map(|class| !has_untolerated_taint(class, shape)).collect(),
            false => Vec::new(),
        };
        let topologies = constraints.iter().filter_map(|constraint| {
            let id = view.tallies.topologies.find(&constraint.topology_key)?;
            (view.tallies.topologies.get(id).labelled < view.nodes()).then_some(id)
        });
        // With one constraint a node without its label is in no domain anyway.
        let needed = match by_default || constraints.len() < 2 {
            true => Vec::new(),
            false => topologies.collect(),
        };
        let all = tolerated.iter().all(|tolerated| *tolerated);
        Eligibility {
            choosy: !shape.node.is_everything(),
            tolerated: if all { Vec::new() } else { tolerated },
            needed,
        }
    }

    /// Do some nodes not count for this constraint?
    fn is_needed(&self, constraint: &Constraint) -> bool {
        !self.needed.is_empty()
            || (constraint.honor_affinity && self.choosy)
            || (constraint.honor_taints && !self.tolerated.is_empty())
    }

    fn nodes(&self, view: &View, shape: &Shape, constraint: &Constraint) -> Vec<bool> {
        let topologies = &view.tallies.topologies;
        let labelled =
            |slot: Slot| self.needed.iter().all(|&id| topologies.get(id).domain[slot] != NONE);
        let chosen = |slot: Slot| {
            !(self.choosy && constraint.honor_affinity)
                || shape.node.matches(&view.names[slot], view.labels(slot))
        };
        let tolerated = |slot: Slot| {
            !constraint.honor_taints
                || self.tolerated.get(view.class[slot] as usize).copied().unwrap_or(true)
        };
        (0..view.len())
            .map(|slot| view.is_present(slot) && labelled(slot) && tolerated(slot) && chosen(slot))
            .collect()
    }
}

/// The pods of one spread constraint by domain.
pub struct Spread<'a> {
    pub constraint: &'a Constraint,
    pub topology: &'a Topology,
    pub counts: Cow<'a, [i32]>,
    /// Does a domain exist for the pod? Absent: if it has nodes.
    exists: Option<Vec<bool>>,
    /// Do the pods of a slot count? Absent: they do.
    eligible: Option<Vec<bool>>,
}

impl<'a> Spread<'a> {
    /// Counts for all constraints of one sort.
    pub fn all(
        view: &'a View,
        shape: &'a Shape,
        constraints: &'a [Constraint],
        counted: &[Counted],
        by_default: bool,
    ) -> Vec<Self> {
        let filter = Eligibility::of(view, shape, constraints, by_default);
        let pairs = constraints.iter().zip(counted);
        pairs
            .map(|(constraint, counted)| Self::of(view, shape, constraint, counted, &filter))
            .collect()
    }

    fn of(
        view: &'a View,
        shape: &'a Shape,
        constraint: &'a Constraint,
        counted: &Counted,
        filter: &Eligibility,
    ) -> Self {
        let topology = view.tallies.topologies.get(counted.topology);
        let tally = counted.tally.map(|id| view.tallies.get(id));
        if !filter.is_needed(constraint) {
            let counts = match tally {
                Some(tally) => column(tally, topology),
                None => Cow::Owned(siblings(view, shape, topology, |_| true)),
            };
            return Spread { constraint, topology, counts, exists: None, eligible: None };
        }
        let eligible = filter.nodes(view, shape, constraint);
        let mut exists = vec![false; topology.len()];
        let mut counts = match tally {
            Some(_) => vec![0; topology.len()],
            None => siblings(view, shape, topology, |slot| eligible[slot]),
        };
        for (slot, _) in eligible.iter().enumerate().filter(|(_, eligible)| **eligible) {
            let domain = topology.domain[slot];
            if domain != NONE {
                exists[domain as usize] = true;
                if let Some(tally) = tally {
                    counts[domain as usize] += tally.counts.get(slot as u32);
                }
            }
        }
        let counts = Cow::Owned(counts);
        Spread { constraint, topology, counts, exists: Some(exists), eligible: Some(eligible) }
    }

    fn exists(&self, domain: usize) -> bool {
        match &self.exists {
            Some(exists) => exists[domain],
            None => !self.topology.nodes[domain].is_empty(),
        }
    }

    /// How often a pod counts here.
    fn counts_pod(&self, shape: &Shape, owner: &Shape) -> i32 {
        match &self.constraint.who {
            Who::Siblings => i32::from(shape.group == owner.group),
            Who::Selected(selector) => {
                i32::from(shape.namespace == owner.namespace && selector.matches(&shape.labels))
            }
        }
    }
}

/// A tally's counts with one for every domain.
fn column<'a>(tally: &'a Tally, topology: &Topology) -> Cow<'a, [i32]> {
    match &tally.counts {
        Counts::Many(many) if many.len() == topology.len() => Cow::Borrowed(many),
        counts => Cow::Owned(counts.column(topology.len())),
    }
}

fn siblings(
    view: &View,
    shape: &Shape,
    topology: &Topology,
    eligible: impl Fn(Slot) -> bool,
) -> Vec<i32> {
    let mut counts = vec![0; topology.len()];
    let group = shape.group.as_deref().and_then(|group| view.tallies.group(group));
    for (&slot, &count) in group.into_iter().flatten().filter(|(slot, _)| eligible(**slot)) {
        let domain = topology.domain.get(slot).copied().unwrap_or(NONE);
        if domain != NONE {
            counts[domain as usize] += count;
        }
    }
    counts
}

/// The two domains with the fewest pods.
struct Fewest {
    domain: usize,
    first: i32,
    second: i32,
    /// Too few domains: the pod would rather have new ones, so none counts as full.
    too_few: bool,
}

enum Test<'a> {
    Spread { spread: Spread<'a>, own: i32, fewest: Fewest },
    Near { tally: &'a Tally, topology: &'a Topology, is_first: bool },
    Away { tally: &'a Tally, topology: &'a Topology, reason: Reason },
}

/// The rules that must hold for one pod, ready to be asked.
pub struct Neighbours<'a> {
    shape: &'a Shape,
    namespaces: &'a Namespaces,
    tests: Vec<Test<'a>>,
    /// Pods that the required affinity is about, in all domains.
    near: i64,
}

impl<'a> Neighbours<'a> {
    pub fn of(view: &'a View, shape: &'a Shape, prepared: &Prepared) -> Self {
        let tallies = &view.tallies;
        let rules = &shape.rules;
        let mut tests = Vec::new();
        for spread in Spread::all(view, shape, &rules.hard, &prepared.hard, false) {
            let own = spread.counts_pod(shape, shape);
            let fewest = fewest(&spread);
            tests.push(Test::Spread { spread, own, fewest });
        }
        let near: Vec<&Tally> = prepared.near.iter().map(|&id| tallies.get(id)).collect();
        let found = near.iter().map(|tally| tally.sum).sum();
        // The first of a group that wants to be together may go anywhere.
        let is_first = found == 0
            && rules
                .near
                .iter()
                .all(|term| term.selects(&shape.namespace, &shape.labels, tallies.namespaces()));
        for tally in near {
            let topology = tallies.topologies.get(tally.topology);
            tests.push(Test::Near { tally, topology, is_first });
        }
        let away = prepared.away.iter().map(|&id| (tallies.get(id), Reason::AntiAffinity));
        let felt = tallies.felt_by(shape).filter(|(held, _)| *held == Held::Away);
        let felt = felt.map(|(_, tally)| (tally, Reason::ExistingAntiAffinity));
        // Nobody there to keep away from: nothing to test, but a pod that is
        // preempted elsewhere cannot change that either.
        for (tally, reason) in away.chain(felt).filter(|(tally, _)| tally.sum > 0) {
            let topology = tallies.topologies.get(tally.topology);
            tests.push(Test::Away { tally, topology, reason });
        }
        Neighbours { shape, namespaces: tallies.namespaces(), tests, near: found }
    }

    pub fn is_empty(&self) -> bool {
        self.tests.is_empty()
    }

    /// Notes for every slot the first rule that forbids it.
    pub fn apply(&self, mask: &mut Mask) {
        for test in &self.tests {
            match test {
                Test::Spread { spread, own, fewest } => {
                    let label = mask.code(Reason::SpreadLabel);
                    let skew = mask.code(Reason::Spread);
                    let least = if fewest.too_few { 0 } else { fewest.first };
                    let most = spread.constraint.max_skew + least - own;
                    let forbidden = |count: &i32| if *count > most { skew } else { 0 };
                    let table: Vec<u8> = spread.counts.iter().map(forbidden).collect();
                    mask.forbid(&spread.topology.domain, &table, label);
                }
                Test::Near { tally, topology, is_first } => {
                    let code = mask.code(Reason::Affinity);
                    let mut table = vec![if *is_first { 0 } else { code }; topology.len()];
                    tally.counts.each(|domain, _| table[domain as usize] = 0);
                    mask.forbid(&topology.domain, &table, code);
                }
                Test::Away { tally, topology, reason } => {
                    let code = mask.code(reason.clone());
                    if tally.counts.are_few() {
                        tally.counts.each(|domain, _| {
                            for &slot in &topology.nodes[domain as usize] {
                                mask.forbid_one(slot, code);
                            }
                        });
                    } else {
                        let mut table = vec![0; topology.len()];
                        tally.counts.each(|domain, _| table[domain as usize] = code);
                        mask.forbid(&topology.domain, &table, 0);
                    }
                }
            }
        }
    }

    /// Why the rules forbid a slot if these pods of it were gone.
    pub fn failure(&self, slot: Slot, gone: &[&Placed]) -> Option<Reason> {
        let count_gone = |what: &What| -> i32 {
            gone.iter().map(|pod| contribution(what, &pod.shape, self.namespaces)).sum()
        };
        for test in &self.tests {
            match test {
                Test::Spread { spread, own, fewest } => {
                    let domain = spread.topology.domain[slot];
                    if domain == NONE {
                        return Some(Reason::SpreadLabel);
                    }
                    let counted = spread.eligible.as_ref().is_none_or(|eligible| eligible[slot]);
                    let living = gone.iter().filter(|pod| counted && !pod.terminating);
                    let gone: i32 =
                        living.map(|pod| spread.counts_pod(&pod.shape, self.shape)).sum();
                    let count = spread.counts[domain as usize] - gone;
                    let others =
                        if fewest.domain == domain as usize { fewest.second } else { fewest.first };
                    let least = if fewest.too_few { 0 } else { others.min(count) };
                    if count + own - least > spread.constraint.max_skew {
                        return Some(Reason::Spread);
                    }
                }
                Test::Near { tally, topology, is_first } => {
                    let domain = topology.domain[slot];
                    let gone = count_gone(&tally.what);
                    let first =
                        *is_first || (self.near > 0 && self.near == self.near_gone(slot, gone));
                    if domain == NONE || (tally.counts.get(domain) - gone <= 0 && !first) {
                        return Some(Reason::Affinity);
                    }
                }
                Test::Away { tally, topology, reason } => {
                    let domain = topology.domain[slot];
                    if domain != NONE && tally.counts.get(domain) - count_gone(&tally.what) > 0 {
                        return Some(reason.clone());
                    }
                }
            }
        }
        None
    }

    /// How much of `near` goes with so many pods of a slot, if the pod itself
    /// would then be the first of its group; else more than there is.
    fn near_gone(&self, slot: Slot, gone: i32) -> i64 {
        let own =
            self.shape.rules.near.iter().all(|term| {
                term.selects(&self.shape.namespace, &self.shape.labels, self.namespaces)
            });
        let labelled = self.tests.iter().filter(|test| match test {
            Test::Near { topology, .. } => topology.domain[slot] != NONE,
            _ => false,
        });
        if own { labelled.count() as i64 * i64::from(gone) } else { i64::MAX }
    }
}

fn fewest(spread: &Spread<'_>) -> Fewest {
    let mut found =
        Fewest { domain: usize::MAX, first: i32::MAX, second: i32::MAX, too_few: false };
    let mut domains = 0;
    for (domain, &count) in spread.counts.iter().enumerate() {
        if !spread.exists(domain) {
            continue;
        }
        domains += 1;
        if count < found.first {
            found.second = found.first;
            (found.domain, found.first) = (domain, count);
        } else if count < found.second {
            found.second = count;
        }
    }
    found.too_few = domains == 0 || domains < spread.constraint.min_domains;
    found
}

/// Per slot: whether something forbids it, and what.
#[derive(Debug)]
pub struct Mask {
    /// 0: open.
    codes: Vec<u8>,
    reasons: Vec<Reason>,
}

impl Mask {
    pub fn open(slots: usize) -> Self {
        Mask { codes: vec![0; slots], reasons: Vec::new() }
    }

    pub fn code(&mut self, reason: Reason) -> u8 {
        let known = self.reasons.iter().position(|known| *known == reason);
        let index = known.unwrap_or_else(|| {
            // More different reasons than a person would read share the last one.
            if self.reasons.len() < 254 {
                self.reasons.push(reason);
            }
            self.reasons.len() - 1
        });
        index as u8 + 1
    }

    /// By domain; `none` is for nodes in no domain.
    fn forbid(&mut self, domains: &[u32], table: &[u8], none: u8) {
        for (code, &domain) in self.codes.iter_mut().zip(domains) {
            let found = table.get(domain as usize).copied().unwrap_or(none);
            *code = if *code == 0 { found } else { *code };
        }
    }

    pub fn forbid_one(&mut self, slot: Slot, code: u8) {
        if self.codes[slot] == 0 {
            self.codes[slot] = code;
        }
    }

    pub fn codes(&self) -> &[u8] {
        &self.codes
    }

    pub fn reason(&self, slot: Slot) -> Option<&Reason> {
        self.codes[slot].checked_sub(1).and_then(|index| self.reasons.get(usize::from(index)))
    }
}
