//! How well a pod fits on each node, as far as that depends on one node alone:
//! a change of one node costs one score and not five thousand. What depends on
//! other nodes and pods is added by [`crate::total`].

use crate::config::{Rule, Settings, Strategy};
use crate::filter::{class_failure, has_room};
use crate::lanes;
use crate::shape::Shape;
use crate::view::{ABSENT, Slot, View};

/// The value of a node that is out; all others are at least 0.
pub const INFEASIBLE: f32 = -1.0;

/// The scores of one shape on all nodes, kept up to date.
#[derive(Debug, Default)]
pub struct Scores {
    seen: Option<u64>,
    values: Vec<f32>,
    /// Per node class: may the pod run there, and how many taints would rather not.
    open: Vec<bool>,
    unwelcome: Vec<i32>,
    /// Per slot, for pods that choose nodes.
    admitted: Vec<bool>,
    /// Per slot, for pods with preferences: the weights met.
    preferred: Vec<f32>,
    /// Per slot, if any node has an image of the pod.
    images: Vec<f32>,
    images_seen: Option<(u64, usize)>,
}

impl Scores {
    pub fn refresh(&mut self, view: &View, shape: &Shape) {
        for class in self.open.len()..view.classes.len() {
            let rules = &view.classes[class];
            self.open.push(class != ABSENT as usize && class_failure(rules, shape).is_none());
            let soft = rules
                .taints
                .iter()
                .filter(|taint| taint.effect == "PreferNoSchedule" && !shape.tolerates(taint));
            self.unwelcome.push(soft.count() as i32);
        }
        self.refresh_images(view, shape);
        let changed = self.seen.and_then(|seen| view.changed_since(seen));
        match changed.filter(|_| self.values.len() == view.len()) {
            Some(slots) => {
                for &slot in slots {
                    self.refresh_node(view, shape, slot);
                    let value = self.scorer(view, shape).score(slot);
                    self.values[slot] = value;
                }
            }
            None => {
                if shape.is_choosy() || shape.node.has_preferences() {
                    (0..view.len()).for_each(|slot| self.refresh_node(view, shape, slot));
                }
                let mut values = std::mem::take(&mut self.values);
                values.clear();
                self.scorer(view, shape).score_all(&mut values);
                self.values = values;
            }
        }
        self.seen = Some(view.position());
    }

    fn refresh_images(&mut self, view: &View, shape: &Shape) {
        let settings = &shape.settings;
        let now = Some((view.images.epoch(), view.nodes()));
        if self.images_seen == now
            || settings.weights.images == 0
            || !settings.has(Rule::ImageLocality)
        {
            return;
        }
        self.images_seen = now;
        let scores = view.images.scores(&shape.images, view.len(), view.nodes());
        if scores != self.images {
            self.images = scores;
            self.seen = None;
        }
    }

    fn refresh_node(&mut self, view: &View, shape: &Shape, slot: Slot) {
        if shape.is_choosy() {
            self.admitted.resize(view.len(), false);
            self.admitted[slot] =
                view.is_present(slot) && shape.admits(&view.names[slot], view.labels(slot));
        }
        if shape.node.has_preferences() {
            self.preferred.resize(view.len(), 0.0);
            self.preferred[slot] =
                shape.node.preference(&view.names[slot], view.labels(slot)) as f32;
        }
    }

    fn scorer<'a>(&'a self, view: &'a View, shape: &'a Shape) -> Scorer<'a> {
        let requests = &shape.requests;
        let settings = &*shape.settings;
        let balances = settings.has(Rule::NodeResourcesBalancedAllocation)
            && (requests.milli_cpu > 0 || requests.memory > 0);
        Scorer {
            view,
            shape,
            settings,
            is_plain: settings.is_plain(),
            scores: self,
            resources: settings.weights.resources as f32,
            balance: if balances { settings.weights.balance as f32 } else { 0.0 },
            images: settings.weights.images as f32,
        }
    }

    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// For each slot, whether the pod's selector and affinity admit the node;
    /// empty when they admit all.
    pub fn admitted(&self) -> &[bool] {
        &self.admitted
    }

    /// For each slot, the weights of the preferences met; empty without any.
    pub fn preferred(&self) -> &[f32] {
        &self.preferred
    }

    /// For each class of nodes, the taints that would rather not have the pod.
    pub fn unwelcome(&self) -> &[i32] {
        &self.unwelcome
    }
}

/// The best slot. Among equals the salt decides, together with the node's name
/// and not with its slot: another instance with another history decides alike.
pub fn best(values: &[f32], names: &[u32], salt: u32) -> Option<Slot> {
    let highest = lanes::highest(values);
    (highest >= 0.0).then(|| lanes::draw(values, highest, names, salt)).flatten()
}

/// Of cpu and of memory.
type Pair = (f32, f32);

struct Scorer<'a> {
    view: &'a View,
    shape: &'a Shape,
    settings: &'a Settings,
    is_plain: bool,
    scores: &'a Scores,
    resources: f32,
    balance: f32,
    images: f32,
}

impl Scorer<'_> {
    fn score(&self, slot: Slot) -> f32 {
        let Scorer { view, shape, scores, .. } = self;
        let open = scores.open[view.class[slot] as usize];
        if !open || scores.admitted.get(slot) == Some(&false) || !has_room(view, shape, slot) {
            return INFEASIBLE;
        }
        // In the order of `score_all`, so that both give the same to the last bit.
        let usage = &view.usage;
        let mut total = match self.is_plain && !view.odd.contains(&slot) {
            true => self.of_usage()(
                (usage.cpu_share[slot], usage.memory_share[slot]),
                (usage.exact_cpu_share[slot], usage.exact_memory_share[slot]),
                (usage.per_milli_cpu[slot], usage.per_byte[slot]),
            ),
            false => self.of_odd_usage(slot),
        };
        if let Some(images) = scores.images.get(slot) {
            total += images * self.images;
        }
        total
    }

    /// The part that depends on how full the node would be: of the shares that
    /// are taken, with and without defaults, and of the share of one unit.
    #[inline(always)]
    fn of_usage(&self) -> impl Fn(Pair, Pair, Pair) -> f32 + use<> {
        let requests = &self.shape.requests;
        let scored = (requests.scored_milli_cpu as f32, requests.scored_memory as f32);
        self.of_requests(scored, self.wanted())
    }

    fn wanted(&self) -> Pair {
        let requests = &self.shape.requests;
        (requests.milli_cpu as f32, requests.memory as f32)
    }

    #[inline(always)]
    fn of_requests(&self, scored: Pair, wanted: Pair) -> impl Fn(Pair, Pair, Pair) -> f32 + use<> {
        let (resources, balance) = (50.0 * self.resources, 50.0 * self.balance);
        // Full nodes first: what is taken counts for the node, not against it.
        let (full, taken) = match self.settings.strategy {
            Strategy::MostAllocated => (2.0 * balance, resources),
            _ => (2.0 * balance + 2.0 * resources, -resources),
        };
        let at_most_one = |share: f32| if share < 1.0 { share } else { 1.0 };
        move |share, exact, per| {
            let cpu = at_most_one(share.0 + scored.0 * per.0);
            let memory = at_most_one(share.1 + scored.1 * per.1);
            let sum = cpu + memory;
            let cpu = at_most_one(exact.0 + wanted.0 * per.0);
            let memory = at_most_one(exact.1 + wanted.1 * per.1);
            // The standard deviation of two fractions is half their distance.
            let apart = (cpu - memory).abs();
            // Rounding must not make a node look as if it were out.
            let score = full + sum * taken - apart * balance;
            if score > 0.0 { score } else { 0.0 }
        }
    }

    /// The same for a node that lacks cpu or memory, and for other resources
    /// and strategies than the usual ones.
    fn of_odd_usage(&self, slot: Slot) -> f32 {
        let Scorer { view, shape, settings, .. } = self;
        let (used_cpu, used_memory) = view.usage.requested(slot);
        let requests = &shape.requests;
        let (mut sum, mut weights) = (0.0f64, 0.0f64);
        for resource in &settings.resources {
            let name = resource.name.as_str();
            let capacity = view.capacity[slot].of(name);
            let wanted = match name {
                "cpu" => used_cpu + requests.scored_milli_cpu,
                "memory" => used_memory + requests.scored_memory,
                "ephemeral-storage" => {
                    capacity - view.free_ephemeral_storage[slot] + requests.ephemeral_storage
                }
                other => {
                    let request = requests.extended.iter().find(|(known, _)| known == other);
                    let Some((_, request)) = request else { continue };
                    let free = view.free_extended.get(other).map_or(0, |free| free[slot]);
                    capacity - free + request
                }
            };
            if capacity <= 0 {
                continue;
            }
            let share = (wanted as f64 / capacity as f64).clamp(0.0, 1.0);
            let score = match settings.strategy {
                Strategy::LeastAllocated => 100.0 * (1.0 - share),
                Strategy::MostAllocated => 100.0 * share,
                Strategy::RequestedToCapacityRatio => on_line(settings, 100.0 * share),
            };
            let counts = settings.strategy != Strategy::RequestedToCapacityRatio || score > 0.0;
            if counts {
                sum += score * f64::from(resource.weight);
                weights += f64::from(resource.weight);
            }
        }
        let resources = if weights > 0.0 { sum / weights } else { 0.0 };
        let capacity = &view.capacity[slot];
        let share = |free: i64, request: i64, capacity: i64| {
            ((capacity - free + request) as f64 / capacity as f64).clamp(0.0, 1.0)
        };
        let balance = match capacity.milli_cpu > 0 && capacity.memory > 0 {
            true => {
                let cpu = share(view.free_milli_cpu[slot], requests.milli_cpu, capacity.milli_cpu);
                let memory = share(view.free_memory[slot], requests.memory, capacity.memory);
                100.0 - (cpu - memory).abs() * 50.0
            }
            false => 100.0,
        };
        (resources * f64::from(self.resources) + balance * f64::from(self.balance)) as f32
    }

    /// Every slot. The usual pod asks for nothing but cpu, memory and storage:
    /// one pass over the columns, without branches and without anything looked up.
    fn score_all(&self, values: &mut Vec<f32>) {
        let Scorer { view, shape, scores, .. } = self;
        let requests = &shape.requests;
        let usual = !shape.is_choosy()
            && shape.ports.is_empty()
            && requests.extended.is_empty()
            && self.is_plain
            && self.settings.has(Rule::NodeResourcesFit);
        if !usual {
            values.extend((0..view.len()).map(|slot| self.score(slot)));
            return;
        }
        let usage = &view.usage;
        let count = view.len();
        let class = &view.class[..count];
        let cpu_share = &usage.cpu_share[..count];
        let memory_share = &usage.memory_share[..count];
        let exact_cpu = &usage.exact_cpu_share[..count];
        let exact_memory = &usage.exact_memory_share[..count];
        let per_cpu = &usage.per_milli_cpu[..count];
        let per_byte = &usage.per_byte[..count];
        // Zeroed memory costs less than what is written twice.
        *values = vec![0.0; count];
        let values = &mut values[..count];
        if usage.is_exact() && requests.are_exact() {
            // The same from fewer columns.
            let wanted = self.wanted();
            let of_usage = self.of_requests(wanted, wanted);
            for slot in 0..count {
                let share = (exact_cpu[slot], exact_memory[slot]);
                values[slot] = of_usage(share, share, (per_cpu[slot], per_byte[slot]));
            }
        } else {
            let of_usage = self.of_usage();
            for slot in 0..count {
                values[slot] = of_usage(
                    (cpu_share[slot], memory_share[slot]),
                    (exact_cpu[slot], exact_memory[slot]),
                    (per_cpu[slot], per_byte[slot]),
                );
            }
        }
        lanes::close(values, &view.free_pods, 1);
        // What is not asked for is not checked.
        for (free, needed) in [
            (&view.free_milli_cpu, requests.milli_cpu),
            (&view.free_memory, requests.memory),
            (&view.free_ephemeral_storage, requests.ephemeral_storage),
        ] {
            if needed != 0 {
                lanes::close(values, free, needed);
            }
        }
        // Slots without a node have no room for a pod: only closed classes matter.
        if scores.open[1..].contains(&false) {
            for (value, &class) in values.iter_mut().zip(class) {
                *value = if scores.open[class as usize] { *value } else { INFEASIBLE };
            }
        }
        if !scores.images.is_empty() {
            for (value, images) in values.iter_mut().zip(&scores.images) {
                if *value > INFEASIBLE {
                    *value += images * self.images;
                }
            }
        }
        for &slot in &view.odd {
            values[slot] = self.score(slot);
        }
    }
}

/// The score at a utilization, on the line through the configured points.
fn on_line(settings: &Settings, utilization: f64) -> f64 {
    let at = |point: &crate::config::Point| {
        (f64::from(point.utilization), 10.0 * f64::from(point.score))
    };
    let mut before: Option<(f64, f64)> = None;
    for (x, y) in settings.ratio.iter().map(at) {
        if utilization <= x {
            return match before {
                Some((x0, y0)) => y0 + (y - y0) * (utilization - x0) / (x - x0),
                None => y,
            };
        }
        before = Some((x, y));
    }
    before.map_or(0.0, |(_, y)| y)
}
