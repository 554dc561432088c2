//! Which pods of lower priority have to go so that a pod fits.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::extensions::Opinion;
use crate::filter::{Failure, Room, failure};
use crate::mask::Mask;
use crate::neighbours::Neighbours;
use crate::shape::Shape;
use crate::view::{Placed, Slot, State, View};
use crate::volumes::plan::Plan;

/// Enough candidates to choose well: a tenth of the nodes, but at least and at
/// most so many. More would gain nothing and take longer than a call may.
const CANDIDATES: std::ops::RangeInclusive<usize> = 100..=500;

#[derive(Debug, PartialEq, Eq)]
pub enum Preemption {
    /// Room comes without preempting anyone: pods there are already leaving.
    Wait,
    Victims {
        slot: Slot,
        pods: Vec<Rc<str>>,
    },
    /// Reasons of the nodes that were tried, with how many have each.
    None(BTreeMap<String, usize>),
}

/// Everything there is to know of the pod that wants in.
pub struct Preemptor<'a> {
    pub view: &'a View,
    pub shape: &'a Shape,
    pub priority: i32,
    pub mask: Option<&'a Mask>,
    pub plan: Option<&'a Plan<'a>>,
    pub neighbours: Option<&'a Neighbours<'a>>,
    pub opinion: Option<&'a Opinion>,
}

type Victim<'a> = (&'a Rc<str>, &'a Placed);

struct Candidate<'a> {
    slot: Slot,
    victims: Vec<Victim<'a>>,
    /// Victims whose leaving breaks a disruption budget.
    violations: usize,
}

impl<'a> Preemptor<'a> {
    /// Among the nodes in the order of their names, from one that the salt draws.
    pub fn find(&self, salt: u32) -> Preemption {
        let view = self.view;
        let mut slots: Vec<Slot> = view.by_name().collect();
        let first = salt as usize % slots.len().max(1);
        slots.rotate_left(first);
        let mut candidates: Vec<Candidate<'_>> = Vec::new();
        let mut tried = BTreeMap::new();
        let enough = (view.nodes() / 10).clamp(*CANDIDATES.start(), *CANDIDATES.end());
        let mut harmless = 0;
        for slot in slots {
            if !self.may_help(slot) {
                continue;
            }
            match self.on_node(slot) {
                Ok(candidate) if candidate.victims.is_empty() => return Preemption::Wait,
                Ok(candidate) => {
                    harmless += usize::from(candidate.violations == 0);
                    candidates.push(candidate);
                }
                Err(Some(failure)) => {
                    for reason in failure.reasons {
                        *tried.entry(reason.to_string()).or_insert(0) += 1;
                    }
                }
                Err(None) => {
                    let text = "No preemption victims found for incoming pod".to_owned();
                    *tried.entry(text).or_insert(0) += 1;
                }
            }
            if candidates.len() >= enough && harmless > 0 {
                break;
            }
        }
        let best = candidates.into_iter().min_by_key(|candidate| {
            let victims = &candidate.victims;
            let highest = victims.iter().map(|(_, pod)| pod.priority).max();
            let above_lowest = |pod: &Placed| i64::from(pod.priority) - i64::from(i32::MIN);
            let sum: i64 = victims.iter().map(|(_, pod)| above_lowest(pod)).sum();
            let oldest = victims
                .iter()
                .filter(|(_, pod)| Some(pod.priority) == highest)
                .map(|(_, pod)| pod.started())
                .min();
            // Fewest broken promises, then the least important, then the youngest.
            (candidate.violations, highest, sum, victims.len(), Reverse(oldest))
        });
        match best {
            Some(Candidate { slot, victims, .. }) => Preemption::Victims {
                slot,
                pods: victims.into_iter().map(|(uid, _)| Rc::clone(uid)).collect(),
            },
            None => Preemption::None(tried),
        }
    }

    /// Is what keeps the pod from this node of the sort that may go away?
    fn may_help(&self, slot: Slot) -> bool {
        let rejected =
            |opinion: &Opinion| opinion.rejections.iter().any(|(_, slots)| slots.contains(&slot));
        if !self.view.is_present(slot) || self.opinion.is_some_and(rejected) {
            return false;
        }
        match failure(self.view, self.shape, slot) {
            Some(failure) => failure.resolvable,
            None => {
                let reason = self.mask.and_then(|mask| mask.reason(slot));
                reason.is_some_and(|reason| reason.is_resolvable())
            }
        }
    }

    /// The fewest, least important victims on one node; none when pods that are
    /// leaving anyway are enough. An error says what is still in the way, or
    /// that nobody there has a lower priority.
    fn on_node(&self, slot: Slot) -> Result<Candidate<'a>, Option<Failure>> {
        let view = self.view;
        let mut room = Room::of(view, self.shape, slot);
        let mut gone: Vec<Victim<'_>> = Vec::new();
        let mut lower: Vec<Victim<'_>> = Vec::new();
        for (uid, pod) in view.on(slot) {
            if pod.terminating {
                room.change(&pod.shape, 1);
                gone.push((uid, pod));
            } else if pod.priority < self.priority && !matches!(pod.state, State::Nominated { .. })
            {
                lower.push((uid, pod));
            }
        }
        let leaving = gone.len();
        if leaving > 0 && self.failure(slot, &room, &gone).is_none() {
            return Ok(Candidate { slot, victims: Vec::new(), violations: 0 });
        }
        if lower.is_empty() {
            return Err(None);
        }
        for (_, pod) in &lower {
            room.change(&pod.shape, 1);
        }
        gone.extend(&lower);
        if let Some(failure) = self.failure(slot, &room, &gone) {
            return Err(Some(failure));
        }
        // The important ones first, then those that run for longest.
        lower.sort_unstable_by(|(uid_a, a), (uid_b, b)| {
            let order = |pod: &Placed| Reverse(pod.priority);
            (order(a), a.started(), uid_a).cmp(&(order(b), b.started(), uid_b))
        });
        let described = lower
            .iter()
            .map(|(_, pod)| (pod.shape.namespace.as_str(), &*pod.name, &pod.shape.labels));
        let broken = view.budgets.broken_by(described);
        let (protected, others): (Vec<_>, Vec<_>) =
            lower.iter().zip(broken).partition(|(_, broken)| *broken);
        let mut violations = 0;
        let mut victims = Vec::new();
        // Spare whom a budget protects before anybody else.
        for ((uid, pod), breaks) in protected.into_iter().chain(others) {
            room.change(&pod.shape, -1);
            let place = gone.iter().position(|(other, _)| other == uid);
            let spared = place.map(|place| gone.swap_remove(place));
            if self.failure(slot, &room, &gone).is_some() {
                room.change(&pod.shape, 1);
                gone.extend(spared);
                victims.push((*uid, *pod));
                violations += usize::from(breaks);
            }
        }
        victims.sort_by_key(|(uid, pod)| (Reverse(pod.priority), pod.started(), *uid));
        Ok(Candidate { slot, victims, violations })
    }

    fn failure(&self, slot: Slot, room: &Room<'_>, gone: &[Victim<'_>]) -> Option<Failure> {
        if let Some(failure) = room.failure(self.shape) {
            return Some(failure);
        }
        let claims = self.plan.and_then(|plan| {
            let uids: Vec<Rc<str>> = gone.iter().map(|(uid, _)| Rc::clone(uid)).collect();
            plan.failure(self.view, slot, &uids)
        });
        let rules = || {
            let pods: Vec<&Placed> = gone.iter().map(|(_, pod)| *pod).collect();
            self.neighbours.and_then(|neighbours| neighbours.failure(slot, &pods))
        };
        claims.or_else(rules).map(Failure::from)
    }
}
