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
use crate::spreading::Spreading;
use crate::tally::Held;
use crate::view::View;

/// What is reused from pod to pod.
#[derive(Debug, Default)]
pub struct Totals {
    values: Vec<f32>,
    raw: Vec<f32>,
    spreading: Spreading,
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
                self.spreading.add(&mut self.values, view, shape, prepared);
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
}
