//! Rules between pods that must hold: required affinity and anti-affinity, those
//! of running pods included, and topology spread constraints.
//!
//! [`prepare`] makes sure that everything is counted; [`Neighbours`] then judges
//! domains, not nodes, so that a pass over all nodes is a look-up each.

use crate::filter::Reason;
use crate::labels::Namespaces;
use crate::mask::Mask;
use crate::rules::Who;
use crate::shape::Shape;
use crate::spread::{Counted, Eligibility, Fewest, Spread, fewest};
use crate::tally::{Held, Tally, TallyId, What, contribution};
use crate::topology::{NONE, Topology};
use crate::view::{Placed, Slot, View};

/// Nodes that pods of a set are on, before they are tallied by domain.
const SMALL_SET: usize = 32;

/// What a pod's rules need, counted.
#[derive(Debug, Default)]
pub struct Prepared {
    pub hard: Vec<Counted>,
    pub soft: Vec<Counted>,
    near: Vec<TallyId>,
    away: Vec<TallyId>,
    pub prefer: Vec<(i32, TallyId)>,
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

/// A large set is tallied; a small one is gone through each time.
fn siblings(view: &View, shape: &Shape) -> Option<What> {
    let group = shape.group.as_ref()?;
    let nodes = view.tallies.group(group).map_or(0, std::collections::BTreeMap::len);
    (nodes > SMALL_SET).then(|| What::Siblings(std::rc::Rc::clone(group)))
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
            let what = match &constraint.who {
                Who::Siblings => siblings(view, shape),
                Who::Selected(selector) => Some(What::Living {
                    namespace: shape.namespace.clone(),
                    selector: selector.clone(),
                }),
            };
            let tally = match what {
                None => None,
                Some(what) => Some(match filter.is_needed(constraint) {
                    true => view.tallies.ensure_by_slot(what),
                    false => view.tallies.ensure(what, &constraint.topology_key, &view.labels),
                }),
            };
            into.push(Counted { topology, tally });
        }
    }
    prepared
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
