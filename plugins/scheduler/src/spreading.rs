//! The wish to spread, as a score: few pods of the sort in the node's domains.
//!
//! Each constraint asks for a pass over all nodes. What nearly every pod has,
//! one constraint about host names and one about zones, is one pass together.

use crate::lanes;
use crate::neighbours::Prepared;
use crate::score::INFEASIBLE;
use crate::shape::Shape;
use crate::spread::Spread;
use crate::topology::{HOSTNAME, NONE};
use crate::view::{Slot, View};

/// So many domains are passed over one by one.
const FEW_DOMAINS: usize = 8;

/// What is reused from pod to pod.
#[derive(Debug, Default)]
pub struct Spreading {
    raw: Vec<f32>,
    /// The values, without the nodes that the wish does not judge.
    judged: Vec<f32>,
}

impl Spreading {
    /// Adds the score to the values of all nodes.
    pub fn add(&mut self, values: &mut [f32], view: &View, shape: &Shape, prepared: &Prepared) {
        let rules = &shape.rules;
        let by_default = rules.soft_by_default;
        let spreads = Spread::all(view, shape, &rules.soft, &prepared.soft, by_default);
        // Nodes without a label that the pod's own constraints name get nothing.
        let complete = spreads.iter().all(|spread| spread.topology.labelled == view.nodes());
        let all_judged = by_default || complete;
        if !all_judged {
            let ignored =
                |slot: usize| spreads.iter().any(|spread| spread.topology.domain[slot] == NONE);
            let judged = values.iter().enumerate();
            let judged =
                judged.map(|(slot, value)| if ignored(slot) { INFEASIBLE } else { *value });
            self.judged.clear();
            self.judged.extend(judged);
        }
        let judged = if all_judged { &*values } else { &*self.judged };
        let left = lanes::count(judged);
        let weighed: Vec<Weighed<'_>> =
            spreads.iter().map(|spread| Weighed::of(spread, judged, left)).collect();
        self.raw.resize(values.len(), 0.0);
        match &*weighed {
            [host, zone] | [zone, host]
                if host.is_by_slot()
                    && host.spread.counts.len() == values.len()
                    && zone.is_of_few() =>
            {
                host_and_zone(&mut self.raw, host, zone);
            }
            _ => {
                self.raw.fill(0.0);
                weighed.iter().for_each(|weighed| weighed.add_to(&mut self.raw, view));
                self.raw.iter_mut().for_each(|raw| *raw = whole(*raw + 0.5));
            }
        }
        let Some((low, high)) = lanes::range(judged, &self.raw) else { return };
        let full = 100.0 * shape.settings.weights.spread as f32;
        let (factor, most) = match high > 0.0 {
            true => (full / high, high + low),
            false => (full, 1.0),
        };
        if all_judged {
            lanes::lower(values, &self.raw, most, factor);
        } else {
            let columns = values.iter_mut().zip(&self.judged).zip(&self.raw);
            for ((value, &judged), &raw) in columns {
                let with = *value + (most - raw) * factor;
                *value = if judged > INFEASIBLE { with } else { *value };
            }
        }
    }
}

/// A constraint, and how much each pod of a domain counts.
struct Weighed<'a> {
    spread: &'a Spread<'a>,
    weight: f32,
    skew: f32,
}

impl<'a> Weighed<'a> {
    fn of(spread: &'a Spread<'a>, judged: &[f32], left: usize) -> Self {
        let is_host = spread.constraint.topology_key == HOSTNAME;
        let size = if is_host { left } else { domains_left(spread, judged) };
        let weight = ((size + 2) as f64).ln() as f32;
        Weighed { spread, weight, skew: (spread.constraint.max_skew - 1) as f32 }
    }

    fn is_by_slot(&self) -> bool {
        self.spread.topology.is_by_slot()
    }

    fn is_of_few(&self) -> bool {
        self.spread.topology.len() <= FEW_DOMAINS
    }

    fn amount(&self, count: i32) -> f32 {
        count as f32 * self.weight + self.skew
    }

    /// Adds `count * weight + maxSkew - 1` of each node's domain.
    fn add_to(&self, column: &mut [f32], view: &View) {
        let Weighed { spread, weight, skew } = *self;
        let topology = spread.topology;
        let domains = &topology.domain;
        if self.is_of_few() {
            // A pass per domain has no look-up and is done in vectors.
            for (domain, &count) in spread.counts.iter().enumerate() {
                let amount = self.amount(count);
                for (raw, &own) in column.iter_mut().zip(domains) {
                    *raw += if own == domain as u32 { amount } else { 0.0 };
                }
            }
            return;
        }
        if self.is_by_slot() {
            let columns = column.iter_mut().zip(spread.counts.iter());
            columns.for_each(|(raw, &count)| *raw += self.amount(count));
            return;
        }
        let counted = spread.counts.iter().filter(|count| **count != 0).count();
        if counted * 4 > topology.len() {
            let table: Vec<f32> = spread.counts.iter().map(|&count| self.amount(count)).collect();
            for (raw, &domain) in column.iter_mut().zip(domains) {
                *raw += table.get(domain as usize).copied().unwrap_or(0.0);
            }
            return;
        }
        if topology.labelled == view.nodes() {
            column.iter_mut().for_each(|raw| *raw += skew);
        } else {
            for (raw, &domain) in column.iter_mut().zip(domains) {
                *raw += if domain == NONE { 0.0 } else { skew };
            }
        }
        for (domain, &count) in spread.counts.iter().enumerate().filter(|(_, count)| **count != 0) {
            for &slot in &topology.nodes[domain] {
                column[slot] += count as f32 * weight;
            }
        }
    }
}

/// Both at once.
fn host_and_zone(raw: &mut [f32], host: &Weighed<'_>, zone: &Weighed<'_>) {
    // Halves are rounded upwards; a node without a zone has the host's alone.
    let without = host.skew + 0.5;
    let mut amounts = [without; FEW_DOMAINS];
    for (amount, &count) in amounts.iter_mut().zip(zone.spread.counts.iter()) {
        *amount = zone.amount(count) + without;
    }
    let (domains, counts) = (&*zone.spread.topology.domain, &*host.spread.counts);
    match amounts {
        [a, b, c, d, ..] if zone.spread.topology.len() <= 4 => {
            one_pass(raw, domains, counts, host.weight, without, [a, b, c, d]);
        }
        all => one_pass(raw, domains, counts, host.weight, without, all),
    }
}

#[inline(never)]
fn one_pass<const DOMAINS: usize>(
    raw: &mut [f32],
    domains: &[u32],
    counts: &[i32],
    weight: f32,
    without: f32,
    amounts: [f32; DOMAINS],
) {
    for ((raw, &own), &count) in raw.iter_mut().zip(domains).zip(counts) {
        let mut amount = without;
        for (domain, &of_domain) in amounts.iter().enumerate() {
            amount = if own == domain as u32 { of_domain } else { amount };
        }
        *raw = whole(count as f32 * weight + amount);
    }
}

/// Values of the key among the nodes that are left; its absence is one.
fn domains_left(spread: &Spread<'_>, judged: &[f32]) -> usize {
    let topology = spread.topology;
    let left = |slot: &Slot| judged[*slot] > INFEASIBLE;
    let domains = topology.nodes.iter().filter(|nodes| nodes.iter().any(left)).count();
    let mut labels = topology.domain.iter().zip(judged);
    let nowhere = topology.labelled < topology.domain.len()
        && labels.any(|(domain, value)| *domain == NONE && *value > INFEASIBLE);
    domains + usize::from(nowhere)
}

/// Without what is behind the point; for numbers that are not negative.
fn whole(number: f32) -> f32 {
    number as i32 as f32
}
