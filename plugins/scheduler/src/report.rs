//! The text that tells a person why a pod fits nowhere.

use std::collections::BTreeMap;

use pintle_sdk::scheduler::Wake;

use crate::config::Rule;
use crate::filter::{Failure, Reason, class_failure, failure, has_room};
use crate::mask::Mask;
use crate::shape::{HostPort, Shape};
use crate::view::{Slot, View};

/// Why a shape fits on no node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub nodes: usize,
    /// Nodes that could do if pods left.
    pub resolvable: usize,
    pub text: String,
    pub wake_on: Wake,
}

impl Report {
    pub fn of(view: &View, shape: &Shape, mask: Option<&Mask>) -> Self {
        if view.is_empty() {
            return Report {
                nodes: 0,
                resolvable: 0,
                text: "no nodes available to schedule pods".to_owned(),
                wake_on: Wake { node_changed: true, ..Wake::default() },
            };
        }
        let mut wake_on = Wake { node_changed: true, ..Wake::default() };
        let tally = Failures::of(view, shape, mask);
        for reason in tally.counts.keys() {
            wake_for(reason, &mut wake_on);
        }
        let Failures { counts, resolvable } = tally;
        // A pod that comes may be the one that a rule waits for.
        if !shape.rules.near.is_empty() || !shape.rules.hard.is_empty() {
            wake_on.pod_added = true;
            wake_on.pod_removed = true;
        }
        // So may a namespace that gets other labels.
        wake_on.other_changed |= shape.rules.is_felt_by_others() || !shape.claims.is_empty();
        let counts = counts.into_iter().map(|(reason, count)| format!("{count} {reason}"));
        Report {
            nodes: view.nodes(),
            resolvable,
            text: available(view.nodes(), counts.collect()),
            wake_on,
        }
    }

    /// For something about the pod that no node can help with.
    pub fn of_pod(view: &View, why: &str) -> Self {
        let nodes = view.nodes();
        Report {
            nodes,
            resolvable: 0,
            text: match nodes {
                0 => "no nodes available to schedule pods".to_owned(),
                nodes => format!("0/{nodes} nodes are available: {why}."),
            },
            wake_on: Wake { node_changed: nodes == 0, other_changed: true, ..Wake::default() },
        }
    }

    /// With what came of the attempt to preempt.
    pub fn with_preemption(&self, outcome: &str) -> String {
        if self.nodes == 0 {
            self.text.clone()
        } else {
            format!("{} preemption: {outcome}", self.text)
        }
    }

    /// No node is left with these victims gone: `tried` are the reasons of the
    /// nodes where that might have helped, with how many nodes have each.
    pub fn no_victims(&self, tried: &BTreeMap<String, usize>) -> String {
        let mut counts: Vec<String> =
            tried.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        if self.nodes > self.resolvable {
            let rest = self.nodes - self.resolvable;
            counts.push(format!("{rest} Preemption is not helpful for scheduling"));
        }
        available(self.nodes, counts)
    }
}

/// How many nodes have each reason.
struct Failures {
    counts: BTreeMap<Reason, usize>,
    resolvable: usize,
}

impl Failures {
    /// Nodes that fail alike are told by a number first and put into words once:
    /// there may be fifty thousand.
    fn of(view: &View, shape: &Shape, mask: Option<&Mask>) -> Self {
        let classes: Vec<Option<Reason>> =
            view.classes.iter().map(|class| class_failure(class, shape)).collect();
        let mut by_class = vec![0usize; classes.len()];
        let mut by_code = [0usize; 256];
        let mut found = Failures { counts: BTreeMap::new(), resolvable: 0 };
        // By what is short: how many nodes, and one of them.
        let mut short: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
        for slot in (0..view.len()).filter(|&slot| view.is_present(slot)) {
            let class = view.class[slot] as usize;
            if shape.leaves_out(&view.names[slot]) {
                found.note(Some(Reason::NotNamed.into()), 1);
            } else if classes[class].is_some() {
                by_class[class] += 1;
            } else if has_room(view, shape, slot)
                && shape.admits(&view.names[slot], view.labels(slot))
            {
                by_code[mask.map_or(0, |mask| usize::from(mask.codes()[slot]))] += 1;
            } else {
                let (count, _) = short.entry(shortage(view, shape, slot)).or_insert((0, slot));
                *count += 1;
            }
        }
        for (reason, count) in classes.into_iter().zip(by_class) {
            found.note(reason.map(Failure::from), count);
        }
        for (_, (count, slot)) in short {
            found.note(failure(view, shape, slot), count);
        }
        if let Some(mask) = mask {
            for (code, count) in by_code.into_iter().enumerate().skip(1) {
                found.note(mask.reason_of(code as u8).cloned().map(Failure::from), count);
            }
        }
        found
    }

    fn note(&mut self, failure: Option<Failure>, count: usize) {
        let Some(failure) = failure.filter(|_| count > 0) else { return };
        self.resolvable += if failure.resolvable { count } else { 0 };
        for reason in failure.reasons {
            *self.counts.entry(reason).or_default() += count;
        }
    }
}

/// Equal for nodes that fail for the same reasons: a bit for each thing that is
/// short now, and one for each that would be short on the empty node.
fn shortage(view: &View, shape: &Shape, slot: Slot) -> u64 {
    if !shape.admits(&view.names[slot], view.labels(slot)) {
        return u64::MAX;
    }
    let taken = &view.ports[slot];
    let clash = |wanted: &HostPort| taken.iter().any(|taken| wanted.conflicts(taken));
    if shape.settings.has(Rule::NodePorts) && shape.ports.iter().any(clash) {
        return u64::MAX - 1;
    }
    let (requests, capacity) = (&shape.requests, &view.capacity[slot]);
    let mut bits = u64::from(view.free_pods[slot] < 1) | u64::from(capacity.pods < 1) << 1;
    let mut place = 2;
    let mut check = |request: i64, free: i64, capacity: i64| {
        let is_short = request > 0 && request > free;
        bits |=
            u64::from(is_short) << place | u64::from(is_short && request > capacity) << (place + 1);
        // More than thirty sorts of resources share the last place.
        place = (place + 2).min(60);
    };
    check(requests.milli_cpu, view.free_milli_cpu[slot], capacity.milli_cpu);
    check(requests.memory, view.free_memory[slot], capacity.memory);
    let storage = view.free_ephemeral_storage[slot];
    check(requests.ephemeral_storage, storage, capacity.ephemeral_storage);
    for (name, request) in &requests.extended {
        let free = view.free_extended.get(name).map_or(0, |free| free[slot]);
        check(*request, free, capacity.of(name));
    }
    bits
}

/// What may make this reason go away.
fn wake_for(reason: &Reason, wake_on: &mut Wake) {
    match reason {
        Reason::NotNamed
        | Reason::Unschedulable
        | Reason::Taint
        | Reason::NodeAffinity
        | Reason::SpreadLabel => {}
        Reason::NodePorts
        | Reason::TooManyPods
        | Reason::Insufficient(_)
        | Reason::AntiAffinity
        | Reason::ExistingAntiAffinity => wake_on.pod_removed = true,
        // A pod that goes leaves the volume that was promised to its claim.
        Reason::ClaimInUse | Reason::VolumeLimit | Reason::NoVolumeToBind => {
            wake_on.pod_removed = true;
            wake_on.other_changed = true;
        }
        Reason::VolumeGone | Reason::VolumeAffinity | Reason::VolumeZone => {
            wake_on.other_changed = true;
        }
        Reason::Spread => {
            wake_on.pod_removed = true;
            wake_on.pod_added = true;
        }
        Reason::Affinity => wake_on.pod_added = true,
        // What a third party's rule looks at is not known here.
        Reason::Extension(_) => {
            *wake_on =
                Wake { node_changed: true, pod_removed: true, pod_added: true, other_changed: true }
        }
    }
}

fn available(nodes: usize, mut counts: Vec<String>) -> String {
    counts.sort_unstable();
    if counts.is_empty() {
        return format!("0/{nodes} nodes are available:");
    }
    format!("0/{nodes} nodes are available: {}.", counts.join(", "))
}
