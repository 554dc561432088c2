//! How well a pod fits on each node. A score depends on one node alone, so that
//! a change of one node costs one score and not five thousand.

use serde::Deserialize;

use crate::filter::{class_failure, has_room};
use crate::shape::Shape;
use crate::view::{ABSENT, Slot, View};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Strategy {
    /// Nodes with the most room first.
    #[cfg_attr(not(feature = "most-allocated"), default)]
    LeastAllocated,
    /// Full nodes first: packs pods onto few nodes.
    #[cfg_attr(feature = "most-allocated", default)]
    MostAllocated,
}

/// Each part of a score lies between 0 and 100 before its weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Weights {
    pub resources: u32,
    pub balance: u32,
    pub node_affinity: u32,
    pub taints: u32,
    pub spread: u32,
}

impl Default for Weights {
    fn default() -> Self {
        Weights { resources: 1, balance: 1, node_affinity: 2, taints: 3, spread: 2 }
    }
}

impl Weights {
    pub fn check(&self) -> Result<(), String> {
        let all = [self.resources, self.balance, self.node_affinity, self.taints, self.spread];
        match all.iter().all(|weight| *weight <= 100) {
            true => Ok(()),
            false => Err("spec.config.weights: each must lie between 0 and 100".to_owned()),
        }
    }
}

/// Fractions of a point that still count; keeps scores integers.
const RESOLUTION: f64 = 256.0;
const INFEASIBLE: i32 = -1;

/// The scores of one shape on all nodes, kept up to date.
#[derive(Debug, Default)]
pub struct Scores {
    seen: Option<u64>,
    values: Vec<i32>,
    /// Per node class: the taint part, or negative when the class is out.
    classes: Vec<f64>,
}

impl Scores {
    pub fn refresh(&mut self, view: &View, shape: &Shape, strategy: Strategy, weights: Weights) {
        for class in self.classes.len()..view.classes.len() {
            self.classes.push(class_score(view, shape, class));
        }
        let group = shape.group.as_deref().and_then(|group| view.group(group));
        let changed = self.seen.and_then(|seen| view.changed_since(seen));
        let scorer = Scorer { view, shape, strategy, weights, classes: &self.classes };
        match changed.filter(|_| self.values.len() == view.len()) {
            Some(slots) => {
                for &slot in slots {
                    let company = group.and_then(|counts| counts.get(&slot)).copied().unwrap_or(0);
                    self.values[slot] = scorer.score(slot, company);
                }
            }
            None => {
                self.values.clear();
                scorer.score_all(&mut self.values);
                for (&slot, &company) in group.into_iter().flatten() {
                    self.values[slot] = scorer.score(slot, company);
                }
            }
        }
        self.seen = Some(view.position());
    }

    /// The best slot; among equals the first at or after `start`.
    pub fn best(&self, start: Slot) -> Option<Slot> {
        let (head, tail) = self.values.split_at(start.min(self.values.len()));
        let (mut best, mut best_value) = (None, INFEASIBLE);
        for (offset, values) in [(head.len(), tail), (0, head)] {
            for (index, &value) in values.iter().enumerate() {
                if value > best_value {
                    (best, best_value) = (Some(offset + index), value);
                }
            }
        }
        best
    }

    /// The same among the slots that a mask leaves open.
    pub fn best_of(&self, start: Slot, is_open: impl Fn(Slot) -> bool) -> Option<Slot> {
        let count = self.values.len();
        let order = (0..count)
            .map(|offset| (start + offset) % count)
            .filter(|&slot| self.values[slot] > INFEASIBLE);
        order
            .filter(|&slot| is_open(slot))
            .reduce(|best, slot| if self.values[slot] > self.values[best] { slot } else { best })
    }

    pub fn value(&self, slot: Slot) -> i32 {
        self.values[slot]
    }
}

fn class_score(view: &View, shape: &Shape, class: usize) -> f64 {
    let class_ = &view.classes[class];
    if class == ABSENT as usize || class_failure(class_, shape).is_some() {
        return -1.0;
    }
    let soft = class_
        .taints
        .iter()
        .filter(|taint| taint.effect == "PreferNoSchedule" && !shape.tolerates(taint));
    100.0 / (1 + soft.count()) as f64
}

struct Scorer<'a> {
    view: &'a View,
    shape: &'a Shape,
    strategy: Strategy,
    weights: Weights,
    classes: &'a [f64],
}

impl Scorer<'_> {
    /// `company`: pods of the same group on the node.
    #[inline]
    fn score(&self, slot: Slot, company: u32) -> i32 {
        let Scorer { view, shape, weights, .. } = self;
        let taints = self.classes[view.class[slot] as usize];
        if taints < 0.0 || !has_room(view, shape, slot) {
            return INFEASIBLE;
        }
        // In the order of `score_all`, so that both give the same to the last bit.
        let spread = 100.0 / f64::from(1 + company) * f64::from(weights.spread);
        let mut total = taints * f64::from(weights.taints) + spread;
        if !shape.node.is_everything() && !shape.node.matches(&view.names[slot], view.labels(slot))
        {
            return INFEASIBLE;
        }
        total += self.of_usage(
            view.scored_milli_cpu[slot],
            view.per_milli_cpu[slot],
            view.scored_memory[slot],
            view.per_memory[slot],
        );
        if shape.node.has_preferences() {
            let share = shape.node.preference(&view.names[slot], view.labels(slot));
            total += 100.0 * share * f64::from(weights.node_affinity);
        }
        (total * RESOLUTION) as i32
    }

    /// The part that depends on how full the node would be.
    #[inline(always)]
    fn of_usage(&self, milli_cpu: f64, per_milli_cpu: f64, memory: f64, per_memory: f64) -> f64 {
        let requests = &self.shape.requests;
        let cpu = ((milli_cpu + requests.scored_milli_cpu as f64) * per_milli_cpu).min(1.0);
        let memory = ((memory + requests.scored_memory as f64) * per_memory).min(1.0);
        let resources = match self.strategy {
            Strategy::LeastAllocated => (2.0 - cpu - memory) * 50.0,
            Strategy::MostAllocated => (cpu + memory) * 50.0,
        };
        // The standard deviation of two fractions is half their distance.
        let balance = 100.0 - (cpu - memory).abs() * 50.0;
        resources * f64::from(self.weights.resources) + balance * f64::from(self.weights.balance)
    }

    /// Every slot, as if no node had a pod of the group. The usual pod asks for
    /// nothing but cpu, memory and storage: one pass over the columns, without
    /// branches and without anything looked up.
    fn score_all(&self, values: &mut Vec<i32>) {
        let Scorer { view, shape, weights, .. } = self;
        let requests = &shape.requests;
        let any_node = shape.node.is_everything() && !shape.node.has_preferences();
        if !any_node || !shape.ports.is_empty() || !requests.extended.is_empty() {
            values.extend((0..view.len()).map(|slot| self.score(slot, 0)));
            return;
        }
        // What is not asked for is not checked.
        let needed = |request: i64| if request == 0 { i64::MIN } else { request };
        let (cpu, memory, storage) = (
            needed(requests.milli_cpu),
            needed(requests.memory),
            needed(requests.ephemeral_storage),
        );
        let spread = 100.0 * f64::from(weights.spread);
        let taints: Vec<f64> =
            self.classes.iter().map(|taints| taints * f64::from(weights.taints) + spread).collect();
        let room = view
            .free_milli_cpu
            .iter()
            .zip(&view.free_memory)
            .zip(&view.free_ephemeral_storage)
            .zip(&view.free_pods);
        let usage = view
            .scored_milli_cpu
            .iter()
            .zip(&view.per_milli_cpu)
            .zip(&view.scored_memory)
            .zip(&view.per_memory);
        values.extend(view.class.iter().zip(room).zip(usage).map(
            |(
                (&class, (((&free_cpu, &free_memory), &free_storage), &free_pods)),
                (((&used_cpu, &per_cpu), &used_memory), &per_memory),
            )| {
                let fits = (free_pods >= 1)
                    & (cpu <= free_cpu)
                    & (memory <= free_memory)
                    & (storage <= free_storage);
                let fits = fits & (self.classes[class as usize] >= 0.0);
                let total = taints[class as usize]
                    + self.of_usage(used_cpu, per_cpu, used_memory, per_memory);
                if fits { (total * RESOLUTION) as i32 } else { INFEASIBLE }
            },
        ));
    }
}
