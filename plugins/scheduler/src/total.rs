//! The whole score of every node for one pod: what [`crate::score`] keeps, and
//! what depends on other nodes and pods: taints and preferences measured against
//! the best node, spreading, company that is liked or disliked, and extensions.

use crate::config::Rule;
use crate::extensions::{FULL_SCORE, Opinion};
use crate::neighbours::{Mask, Prepared, Spread};
use crate::score::{INFEASIBLE, Scores};
use crate::shape::Shape;
use crate::tally::Held;
use crate::topology::{HOSTNAME, NONE};
use crate::view::View;

/// What is reused from pod to pod.
#[derive(Debug, Default)]
pub struct Totals {
    values: Vec<f32>,
    raw: Vec<f32>,
}

/// How a raw column becomes 0 to 100.
enum Scale {
    /// As it is, out of this.
    Of(f32),
    /// The highest gets 100.
    Highest,
    /// 0 gets 100, the highest gets 0.
    Reverse,
    /// The lowest gets 0, the highest 100.
    Range,
}

/// Does anything but the kept scores matter for this pod?
pub fn is_simple(
    scores: &Scores,
    shape: &Shape,
    mask: Option<&Mask>,
    prepared: Option<&Prepared>,
    opinion: Option<&Opinion>,
) -> bool {
    mask.is_none()
        && prepared.is_none()
        && opinion.is_none()
        && scores.preferred().is_empty()
        && !has_unwelcome(scores, shape)
}

fn has_unwelcome(scores: &Scores, shape: &Shape) -> bool {
    shape.settings.has(Rule::TaintToleration) && scores.unwelcome().iter().any(|taints| *taints > 0)
}

impl Totals {
    pub fn compute(
        &mut self,
        view: &View,
        shape: &Shape,
        scores: &Scores,
        mask: Option<&Mask>,
        prepared: Option<&Prepared>,
        opinion: Option<&Opinion>,
    ) -> &[f32] {
        self.values.clear();
        self.values.extend_from_slice(scores.values());
        if let Some(mask) = mask {
            for (value, &code) in self.values.iter_mut().zip(mask.codes()) {
                *value = if code == 0 { *value } else { INFEASIBLE };
            }
        }
        let weights = &shape.settings.weights;
        if has_unwelcome(scores, shape) {
            let unwelcome = scores.unwelcome();
            self.raw.clear();
            self.raw.extend(view.class.iter().map(|&class| unwelcome[class as usize] as f32));
            self.add(weights.taints, Scale::Reverse);
        }
        if !scores.preferred().is_empty() && shape.settings.has(Rule::NodeAffinity) {
            self.raw.clear();
            self.raw.extend_from_slice(scores.preferred());
            self.add(weights.node_affinity, Scale::Highest);
        }
        if let Some(prepared) = prepared {
            if self.like_company(view, shape, prepared) {
                self.add(weights.pod_affinity, Scale::Range);
            }
            if !prepared.soft.is_empty() {
                self.spread(view, shape, prepared);
            }
        }
        if let Some(opinion) = opinion.filter(|opinion| !opinion.scores.is_empty()) {
            self.raw.clear();
            self.raw.extend_from_slice(&opinion.scores);
            self.raw.resize(self.values.len(), 0.0);
            self.add(weights.extensions, Scale::Of(FULL_SCORE));
        }
        &self.values
    }

    /// Adds the raw column, scaled over the nodes that are left.
    fn add(&mut self, weight: u32, scale: Scale) {
        let (mut low, mut high) = (f32::MAX, f32::MIN);
        for (&value, &raw) in self.values.iter().zip(&self.raw) {
            let feasible = value > INFEASIBLE;
            low = if feasible && raw < low { raw } else { low };
            high = if feasible && raw > high { raw } else { high };
        }
        let full = 100.0 * weight as f32;
        let (factor, base) = match scale {
            Scale::Of(most) => (full / most, 0.0),
            Scale::Highest if high > 0.0 => (full / high, 0.0),
            Scale::Reverse if high > 0.0 => (-full / high, full),
            Scale::Range if high > low => (full / (high - low), -low * full / (high - low)),
            Scale::Highest | Scale::Reverse | Scale::Range => return,
        };
        for (value, &raw) in self.values.iter_mut().zip(&self.raw) {
            let with = *value + (raw * factor + base);
            *value = if *value > INFEASIBLE { with.max(0.0) } else { INFEASIBLE };
        }
    }

    /// The raw column of preferred affinity, the pod's own and that of running
    /// pods; false when nobody cares.
    fn like_company(&mut self, view: &View, shape: &Shape, prepared: &Prepared) -> bool {
        let tallies = &view.tallies;
        let own = prepared.prefer.iter().map(|&(weight, id)| (weight, tallies.get(id)));
        let felt = tallies.felt_by(shape).filter_map(|(held, tally)| match held {
            Held::Preferring(weight) => Some((weight, tally)),
            Held::Near => Some((shape.settings.hard_pod_affinity_weight, tally)),
            Held::Away => None,
        });
        let heard: Vec<_> =
            own.chain(felt).filter(|(weight, tally)| *weight != 0 && tally.sum > 0).collect();
        if heard.is_empty() || !shape.settings.has(Rule::InterPodAffinity) {
            return false;
        }
        self.raw.clear();
        self.raw.resize(self.values.len(), 0.0);
        for (weight, tally) in heard {
            let domains = &tallies.topologies.get(tally.topology).domain;
            for (raw, &domain) in self.raw.iter_mut().zip(domains) {
                let count = tally.counts.get(domain as usize).copied().unwrap_or(0);
                *raw += (weight * count) as f32;
            }
        }
        true
    }

    /// Adds the wish to spread: few pods of the sort in the node's domains.
    fn spread(&mut self, view: &View, shape: &Shape, prepared: &Prepared) {
        let rules = &shape.rules;
        let by_default = rules.soft_by_default;
        if by_default && self.has_no_siblings(view, shape) {
            return;
        }
        let spreads = Spread::all(view, shape, &rules.soft, &prepared.soft, by_default);
        let lacks = |slot: usize| {
            !by_default && spreads.iter().any(|spread| spread.topology.domain[slot] == NONE)
        };
        let ignored: Vec<bool> =
            match spreads.iter().all(|spread| spread.topology.labelled == view.nodes()) {
                true => Vec::new(),
                false => (0..self.values.len()).map(lacks).collect(),
            };
        let is_ignored = |slot: usize| ignored.get(slot).copied().unwrap_or(false);
        self.raw.clear();
        self.raw.resize(self.values.len(), 0.0);
        for spread in &spreads {
            let weight = self.topology_weight(spread, &is_ignored);
            let skew = (spread.constraint.max_skew - 1) as f32;
            let table: Vec<f32> =
                spread.counts.iter().map(|&count| count as f32 * weight + skew).collect();
            for (raw, &domain) in self.raw.iter_mut().zip(&spread.topology.domain) {
                *raw += table.get(domain as usize).copied().unwrap_or(0.0);
            }
        }
        let (mut low, mut high) = (f32::MAX, 0.0f32);
        for (slot, (raw, &value)) in self.raw.iter_mut().zip(&self.values).enumerate() {
            *raw = round(*raw);
            if value > INFEASIBLE && !is_ignored(slot) {
                low = if *raw < low { *raw } else { low };
                high = if *raw > high { *raw } else { high };
            }
        }
        let full = 100.0 * shape.settings.weights.spread as f32;
        let factor = if high > 0.0 { full / high } else { 0.0 };
        let most = if high > 0.0 { high + low } else { 0.0 };
        let constant = if high > 0.0 { 0.0 } else { full };
        for (slot, (value, &raw)) in self.values.iter_mut().zip(&self.raw).enumerate() {
            if *value > INFEASIBLE && !is_ignored(slot) {
                *value += constant + (most - raw) * factor;
            }
        }
    }

    /// The first pod of a set: every node is as good, if all have the labels.
    fn has_no_siblings(&self, view: &View, shape: &Shape) -> bool {
        let group = shape.group.as_deref().and_then(|group| view.tallies.group(group));
        group.is_none()
            && shape.rules.soft.iter().all(|constraint| {
                let topologies = &view.tallies.topologies;
                topologies.find(&constraint.topology_key).is_some_and(|id| {
                    let labelled = topologies.get(id).labelled;
                    labelled == view.nodes() || labelled == 0
                })
            })
    }

    /// Few large domains must not drown many small ones: the logarithm of how
    /// many there are among the nodes that are left.
    fn topology_weight(&self, spread: &Spread<'_>, is_ignored: &impl Fn(usize) -> bool) -> f32 {
        let left = self
            .values
            .iter()
            .enumerate()
            .filter(|(slot, value)| **value > INFEASIBLE && !is_ignored(*slot));
        let size = match spread.constraint.topology_key == HOSTNAME {
            true => left.count(),
            false => {
                let mut seen = vec![false; spread.topology.len()];
                let mut nowhere = false;
                for (slot, _) in left {
                    match spread.topology.domain[slot] {
                        NONE => nowhere = true,
                        domain => seen[domain as usize] = true,
                    }
                }
                seen.iter().filter(|seen| **seen).count() + usize::from(nowhere)
            }
        };
        ((size + 2) as f64).ln() as f32
    }
}

/// To the nearest whole number, halves upwards; for numbers that are not negative.
fn round(number: f32) -> f32 {
    (number + 0.5) as i32 as f32
}
