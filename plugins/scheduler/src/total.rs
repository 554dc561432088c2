//! The whole score of every node for one pod: what [`crate::score`] keeps, and
//! what depends on other nodes and pods: taints and preferences measured against
//! the best node, spreading, company that is liked or disliked, and extensions.

use crate::config::Rule;
use crate::extensions::{FULL_SCORE, Opinion};
use crate::lanes;
use crate::mask::Mask;
use crate::neighbours::Prepared;
use crate::score::{INFEASIBLE, Scores};
use crate::shape::Shape;
use crate::spread::Spread;
use crate::tally::Held;
use crate::topology::{HOSTNAME, NONE};
use crate::view::{Slot, View};

/// What is reused from pod to pod.
#[derive(Debug, Default)]
pub struct Totals {
    values: Vec<f32>,
    raw: Vec<f32>,
    /// The values, without the nodes that a wish does not judge.
    judged: Vec<f32>,
}

/// So many domains are passed over one by one.
const FEW_DOMAINS: usize = 8;

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
        let full = 100.0 * weight as f32;
        let range = match scale {
            Scale::Of(_) => Some((0.0, 0.0)),
            Scale::Highest | Scale::Reverse => lanes::range(&self.values, &self.raw),
            Scale::Range => self.any_range(),
        };
        let Some((low, high)) = range else { return };
        let (factor, base) = match scale {
            Scale::Of(most) => (full / most, 0.0),
            Scale::Highest if high > 0.0 => (full / high, 0.0),
            Scale::Reverse if high > 0.0 => (-full / high, full),
            Scale::Range if high > low => (full / (high - low), -low * full / (high - low)),
            Scale::Highest | Scale::Reverse | Scale::Range => return,
        };
        for (value, &raw) in self.values.iter_mut().zip(&self.raw) {
            let with = *value + (raw * factor + base);
            let with = if with > 0.0 { with } else { 0.0 };
            *value = if *value > INFEASIBLE { with } else { INFEASIBLE };
        }
    }

    /// As [`lanes::range`], of a column that may be negative.
    fn any_range(&self) -> Option<(f32, f32)> {
        let left = self.values.iter().zip(&self.raw).filter(|(value, _)| **value > INFEASIBLE);
        left.map(|(_, raw)| (*raw, *raw)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
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
            let topology = tallies.topologies.get(tally.topology);
            tally.counts.each(|domain, count| {
                for &slot in &topology.nodes[domain as usize] {
                    self.raw[slot] += (weight * count) as f32;
                }
            });
        }
        true
    }

    /// Adds the wish to spread: few pods of the sort in the node's domains.
    fn spread(&mut self, view: &View, shape: &Shape, prepared: &Prepared) {
        let rules = &shape.rules;
        let by_default = rules.soft_by_default;
        let spreads = Spread::all(view, shape, &rules.soft, &prepared.soft, by_default);
        // Nodes without a label that the pod's own constraints name get nothing.
        let ignored =
            |slot: usize| spreads.iter().any(|spread| spread.topology.domain[slot] == NONE);
        let complete = spreads.iter().all(|spread| spread.topology.labelled == view.nodes());
        self.judged.clear();
        self.judged.extend_from_slice(&self.values);
        if !by_default && !complete {
            for (slot, value) in self.judged.iter_mut().enumerate() {
                *value = if ignored(slot) { INFEASIBLE } else { *value };
            }
        }
        let left = lanes::count(&self.judged);
        self.raw.clear();
        self.raw.resize(self.values.len(), 0.0);
        for spread in &spreads {
            let is_host = spread.constraint.topology_key == HOSTNAME;
            let size = if is_host { left } else { self.domains_left(spread) };
            let weight = ((size + 2) as f64).ln() as f32;
            self.add_counts(view, spread, weight);
        }
        for raw in &mut self.raw {
            *raw = round(*raw);
        }
        let Some((low, high)) = lanes::range(&self.judged, &self.raw) else { return };
        let full = 100.0 * shape.settings.weights.spread as f32;
        let (factor, most, constant) = match high > 0.0 {
            true => (full / high, high + low, 0.0),
            false => (0.0, 0.0, full),
        };
        let columns = self.values.iter_mut().zip(&self.judged).zip(&self.raw);
        for ((value, &judged), &raw) in columns {
            let with = *value + (constant + (most - raw) * factor);
            *value = if judged > INFEASIBLE { with } else { *value };
        }
    }

    /// Adds `count * weight + maxSkew - 1` of each node's domain.
    fn add_counts(&mut self, view: &View, spread: &Spread<'_>, weight: f32) {
        let skew = (spread.constraint.max_skew - 1) as f32;
        let topology = spread.topology;
        let domains = &topology.domain;
        if topology.len() <= FEW_DOMAINS {
            // A pass per domain has no look-up and is done in vectors.
            for (domain, &count) in spread.counts.iter().enumerate() {
                let amount = count as f32 * weight + skew;
                for (raw, &own) in self.raw.iter_mut().zip(domains) {
                    *raw += if own == domain as u32 { amount } else { 0.0 };
                }
            }
            return;
        }
        if topology.is_by_slot() {
            let columns = self.raw.iter_mut().zip(spread.counts.iter());
            columns.for_each(|(raw, &count)| *raw += count as f32 * weight + skew);
            return;
        }
        let counted = spread.counts.iter().filter(|count| **count != 0).count();
        if counted * 4 > topology.len() {
            let amount = |count: &i32| *count as f32 * weight + skew;
            let table: Vec<f32> = spread.counts.iter().map(amount).collect();
            for (raw, &domain) in self.raw.iter_mut().zip(domains) {
                *raw += table.get(domain as usize).copied().unwrap_or(0.0);
            }
            return;
        }
        if topology.labelled == view.nodes() {
            self.raw.iter_mut().for_each(|raw| *raw += skew);
        } else {
            for (raw, &domain) in self.raw.iter_mut().zip(domains) {
                *raw += if domain == NONE { 0.0 } else { skew };
            }
        }
        for (domain, &count) in spread.counts.iter().enumerate().filter(|(_, count)| **count != 0) {
            for &slot in &topology.nodes[domain] {
                self.raw[slot] += count as f32 * weight;
            }
        }
    }

    /// Values of the key among the nodes that are left; its absence is one.
    fn domains_left(&self, spread: &Spread<'_>) -> usize {
        let topology = spread.topology;
        let left = |slot: &Slot| self.judged[*slot] > INFEASIBLE;
        let domains = topology.nodes.iter().filter(|nodes| nodes.iter().any(left)).count();
        let mut labels = topology.domain.iter().zip(&self.judged);
        let nowhere = topology.labelled < topology.domain.len()
            && labels.any(|(domain, value)| *domain == NONE && *value > INFEASIBLE);
        domains + usize::from(nowhere)
    }
}

/// To the nearest whole number, halves upwards; for numbers that are not negative.
fn round(number: f32) -> f32 {
    (number + 0.5) as i32 as f32
}
