//! Topology spread constraints: how many pods each domain has, and which domains
//! there are for a pod.

use std::borrow::Cow;

use crate::counts::Counts;
use crate::filter::has_untolerated_taint;
use crate::rules::{Constraint, Who};
use crate::shape::Shape;
use crate::tally::{Tally, TallyId};
use crate::topology::{NONE, Topology, TopologyId};
use crate::view::{Slot, View};

/// Where the pods of a spread constraint are counted.
#[derive(Debug)]
pub struct Counted {
    pub topology: TopologyId,
    pub tally: Option<TallyId>,
}

/// Which nodes count for the spread constraints of a pod.
pub(crate) struct Eligibility {
    choosy: bool,
    /// Per class: are its taints tolerated? Empty when all are.
    tolerated: Vec<bool>,
    /// Topologies of which a node must have the label, when some node has not.
    needed: Vec<TopologyId>,
}

impl Eligibility {
    pub(crate) fn of(
        view: &View,
        shape: &Shape,
        constraints: &[Constraint],
        by_default: bool,
    ) -> Self {
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
    pub(crate) fn is_needed(&self, constraint: &Constraint) -> bool {
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
    pub(crate) eligible: Option<Vec<bool>>,
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
    pub(crate) fn counts_pod(&self, shape: &Shape, owner: &Shape) -> i32 {
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
pub struct Fewest {
    pub domain: usize,
    pub first: i32,
    pub second: i32,
    /// Too few domains: the pod would rather have new ones, so none counts as full.
    pub too_few: bool,
}

pub fn fewest(spread: &Spread<'_>) -> Fewest {
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
