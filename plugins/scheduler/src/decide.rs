//! One pod in, one decision out.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use pintle_sdk::names::{fnv1a, mix};
use pintle_sdk::scheduler::Decision;
use pintle_sdk::{Context, Object};

use crate::neighbours;
use crate::pod::RawPod;
use crate::preemption::{self, Preemption};
use crate::report::Report;
use crate::score::{Scores, Strategy, Weights};
use crate::shape::Shape;
use crate::view::{Placed, State, View};

/// How long a nominated pod's claim on a node stands while victims leave.
const NOMINATION_MS: i64 = 120_000;
/// Shapes that are remembered; the ones unused for longest go first.
const MOST_SHAPES: usize = 1024;
/// Of these, the ones with a score per node (20 KB each at 5000 nodes).
const MOST_SCORED: usize = 128;

pub struct Decider {
    pub view: View,
    strategy: Strategy,
    weights: Weights,
    shapes: BTreeMap<String, Known>,
    uses: u64,
    nominations: BTreeMap<String, i64>,
}

/// A shape and what was computed for it.
struct Known {
    shape: Rc<Shape>,
    scores: Option<Scores>,
    /// Why it fitted nowhere, at this position of the view.
    report: Option<(u64, Report)>,
    last_use: u64,
}

impl Decider {
    pub fn new(strategy: Strategy, weights: Weights) -> Self {
        Decider {
            view: View::new(),
            strategy,
            weights,
            shapes: BTreeMap::new(),
            uses: 0,
            nominations: BTreeMap::new(),
        }
    }

    /// A node, or a pod that is bound; other kinds do not matter here.
    pub fn upsert(&mut self, object: &Object) -> Result<(), String> {
        let name = &object.reference.name;
        match &*object.reference.kind.kind {
            "Node" => self
                .view
                .upsert_node(name, &object.json)
                .map_err(|error| format!("{}: cannot be read: {error}", object.reference)),
            "Pod" => self.upsert_pod(object),
            _ => Ok(()),
        }
    }

    pub fn remove(&mut self, object: &Object) {
        match &*object.reference.kind.kind {
            "Node" => self.view.remove_node(&object.reference.name),
            "Pod" => self.forget(&object.uid),
            _ => {}
        }
    }

    fn upsert_pod(&mut self, object: &Object) -> Result<(), String> {
        let pod = RawPod::read(object)?;
        if pod.is_finished() {
            self.forget(&object.uid);
        } else if !pod.node_name().is_empty() {
            self.nominations.remove(&object.uid);
            let shape =
                self.shape(&pod).map_err(|error| format!("{}: {error}", object.reference))?;
            let placed = Placed {
                slot: self.view.slot(pod.node_name()),
                shape,
                priority: pod.priority(),
                start_time: pod.status.start_time.as_deref().unwrap_or_default().to_owned(),
                terminating: pod.is_terminating(),
                state: State::Bound,
            };
            self.view.place(&object.uid, placed);
        }
        Ok(())
    }

    /// Releases whatever the pod takes.
    pub fn forget(&mut self, uid: &str) {
        self.nominations.remove(uid);
        self.view.unplace(uid);
    }

    /// Claims whose pod never came back.
    pub fn expire_nominations(&mut self, now_unix_ms: i64) {
        if self.nominations.is_empty() {
            return;
        }
        let expired = |until: &i64| *until <= now_unix_ms;
        let uids: Vec<String> = self
            .nominations
            .iter()
            .filter(|(_, until)| expired(until))
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in uids {
            self.forget(&uid);
        }
    }

    pub fn decide(&mut self, context: &Context, object: &Object) -> Decision {
        let pod = match RawPod::read(object) {
            Ok(pod) => pod,
            Err(error) => return Decision::Ignore(error),
        };
        let uid = &object.uid;
        let bound = self.view.pod(uid).is_some_and(|known| known.state == State::Bound);
        if bound || !pod.node_name().is_empty() {
            return Decision::Ignore("already bound".to_owned());
        }
        if pod.is_terminating() || pod.is_finished() {
            return Decision::Ignore("no longer pending".to_owned());
        }
        if pod.spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()) {
            return Decision::Ignore(
                "scheduling is blocked due to non-empty scheduling gates".to_owned(),
            );
        }
        // Asked again: what was decided before did not come about.
        self.forget(uid);
        // Pods that are alike start their search at different nodes.
        let start =
            (mix(context.seed ^ fnv1a(uid.as_bytes())) % self.view.len().max(1) as u64) as usize;
        let (strategy, weights) = (self.strategy, self.weights);
        let known = match known(&mut self.shapes, &mut self.uses, &pod) {
            Ok(known) => known,
            Err(error) => return Decision::Ignore(format!("{}: {error}", object.reference)),
        };
        let scores = known.scores.get_or_insert_default();
        scores.refresh(&self.view, &known.shape, strategy, weights);
        let placed = |slot, state| Placed {
            slot,
            shape: Rc::clone(&known.shape),
            priority: pod.priority(),
            start_time: String::new(),
            terminating: false,
            state,
        };
        let mask = neighbours::mask(&self.view, &known.shape);
        let best = match &mask {
            None => scores.best(start),
            Some(mask) => scores.best_of(start, |slot| mask[slot].is_none()),
        };
        if let Some(slot) = best {
            self.view.place(uid, placed(slot, State::Assumed));
            return Decision::Bind { pod_uid: uid.clone(), node: self.view.names[slot].clone() };
        }
        let position = self.view.position();
        let report = match known.report.take().filter(|(at, _)| *at == position) {
            Some((_, report)) => report,
            None => Report::of(&self.view, &known.shape, mask.as_ref()),
        };
        known.report = Some((position, report.clone()));
        let could_preempt =
            report.resolvable > 0 && self.view.lowest_priority() < Some(pod.priority());
        let outcome = match could_preempt && pod.may_preempt() {
            true => {
                preemption::find(&self.view, &known.shape, mask.as_ref(), pod.priority(), start)
            }
            false => Preemption::None,
        };
        let message = match outcome {
            Preemption::Victims { slot, pods } => {
                let until_unix_ms = context.now_unix_ms + NOMINATION_MS;
                let claim = placed(slot, State::Nominated { until_unix_ms });
                for victim in &pods {
                    self.view.set_terminating(victim);
                }
                self.view.place(uid, claim);
                self.nominations.insert(uid.clone(), until_unix_ms);
                return Decision::Preempt {
                    pod_uid: uid.clone(),
                    node: self.view.names[slot].clone(),
                    victims: pods.iter().map(|uid| uid.to_string()).collect(),
                    message: report.text,
                };
            }
            Preemption::Wait => {
                report.with_preemption("not eligible due to terminating pod on the nominated node.")
            }
            Preemption::None if !pod.may_preempt() => {
                report.with_preemption("not eligible due to preemptionPolicy=Never.")
            }
            Preemption::None => report.with_preemption(&report.no_victims()),
        };
        Decision::Unschedulable { pod_uid: uid.clone(), message, wake_on: report.wake_on }
    }

    fn shape(&mut self, pod: &RawPod<'_>) -> Result<Rc<Shape>, serde_json::Error> {
        known(&mut self.shapes, &mut self.uses, pod).map(|known| Rc::clone(&known.shape))
    }
}

/// The shape of a pod, remembered by what it was made from.
fn known<'a>(
    shapes: &'a mut BTreeMap<String, Known>,
    uses: &mut u64,
    pod: &RawPod<'_>,
) -> Result<&'a mut Known, serde_json::Error> {
    *uses += 1;
    let key = pod.key();
    if !shapes.contains_key(&key) {
        make_room(shapes);
    }
    let known = match shapes.entry(key) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => {
            let shape = Rc::new(Shape::of(pod)?);
            entry.insert(Known { shape, scores: None, report: None, last_use: 0 })
        }
    };
    known.last_use = *uses;
    Ok(known)
}

fn make_room(shapes: &mut BTreeMap<String, Known>) {
    if shapes.len() >= MOST_SHAPES {
        let middle = middle_use(shapes.values());
        shapes.retain(|_, known| known.last_use > middle);
    }
    let scored = shapes.values().filter(|known| known.scores.is_some());
    if scored.clone().count() >= MOST_SCORED {
        let middle = middle_use(scored);
        for known in shapes.values_mut().filter(|known| known.last_use <= middle) {
            known.scores = None;
        }
    }
}

/// Half of them were used later than this.
fn middle_use<'a>(shapes: impl Iterator<Item = &'a Known>) -> u64 {
    let mut uses = BTreeSet::new();
    for known in shapes {
        uses.insert(known.last_use);
    }
    uses.iter().nth(uses.len() / 2).copied().unwrap_or(0)
}
