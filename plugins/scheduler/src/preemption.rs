//! Which pods of lower priority have to go so that a pod fits.

use std::cmp::Reverse;
use std::rc::Rc;

use crate::filter::static_failure;
use crate::neighbours::Mask;
use crate::shape::{HostPort, Shape};
use crate::view::{ABSENT, Placed, Slot, View};

/// Enough candidates to choose well; a search over all nodes of a large
/// cluster would gain nothing.
const MOST_CANDIDATES: usize = 100;

#[derive(Debug, PartialEq, Eq)]
pub enum Preemption {
    /// Room comes without preempting anyone: pods there are already leaving.
    Wait,
    Victims {
        slot: Slot,
        pods: Vec<Rc<str>>,
    },
    None,
}

pub fn find(
    view: &View,
    shape: &Shape,
    mask: Option<&Mask>,
    priority: i32,
    start: Slot,
) -> Preemption {
    let mut candidates = Vec::new();
    for offset in 0..view.len() {
        let slot = (start + offset) % view.len();
        // What keeps pods apart or together is not solved by victims here.
        let open = mask.is_none_or(|mask| mask[slot].is_none());
        match open.then(|| on_node(view, shape, priority, slot)).flatten() {
            None => {}
            Some(victims) if victims.is_empty() => return Preemption::Wait,
            Some(victims) => candidates.push((slot, victims)),
        }
        if candidates.len() == MOST_CANDIDATES {
            break;
        }
    }
    let best = candidates.into_iter().min_by_key(|(slot, victims)| {
        let highest = victims.iter().map(|(_, pod)| pod.priority).max();
        let sum: i64 =
            victims.iter().map(|(_, pod)| i64::from(pod.priority) - i64::from(i32::MIN)).sum();
        let oldest = victims
            .iter()
            .filter(|(_, pod)| Some(pod.priority) == highest)
            .map(|(_, pod)| &pod.start_time)
            .min();
        (highest, sum, victims.len(), Reverse(oldest.cloned()), view.names[*slot].clone())
    });
    match best {
        Some((slot, victims)) => {
            let pods = victims.into_iter().map(|(uid, _)| Rc::clone(uid)).collect();
            Preemption::Victims { slot, pods }
        }
        None => Preemption::None,
    }
}

/// The fewest, least important victims on one node; empty when pods that are
/// leaving anyway are enough; `None` when nothing helps.
fn on_node<'a>(
    view: &'a View,
    shape: &Shape,
    priority: i32,
    slot: Slot,
) -> Option<Vec<(&'a Rc<str>, &'a Placed)>> {
    if view.class[slot] == ABSENT || static_failure(view, shape, slot).is_some() {
        return None;
    }
    let mut room = Room::of(view, slot);
    let mut lower = Vec::new();
    for uid in &view.pods_on[slot] {
        let Some(pod) = view.pod(uid) else { continue };
        if pod.terminating {
            room.give(&pod.shape);
        } else if pod.priority < priority {
            lower.push((uid, pod));
        }
    }
    if room.fits(shape) {
        return Some(Vec::new());
    }
    for (_, pod) in &lower {
        room.give(&pod.shape);
    }
    if lower.is_empty() || !room.fits(shape) {
        return None;
    }
    // Spare the important ones first, then the old ones.
    lower.sort_unstable_by(|(uid_a, a), (uid_b, b)| {
        (Reverse(a.priority), &a.start_time, uid_a).cmp(&(
            Reverse(b.priority),
            &b.start_time,
            uid_b,
        ))
    });
    lower.retain(|(_, pod)| {
        room.take(&pod.shape);
        let spared = room.fits(shape);
        if !spared {
            room.give(&pod.shape);
        }
        !spared
    });
    Some(lower)
}

/// What one node would have left.
struct Room {
    milli_cpu: i64,
    memory: i64,
    ephemeral_storage: i64,
    pods: i64,
    extended: Vec<(String, i64)>,
    ports: Vec<HostPort>,
}

impl Room {
    fn of(view: &View, slot: Slot) -> Self {
        Room {
            milli_cpu: view.free_milli_cpu[slot],
            memory: view.free_memory[slot],
            ephemeral_storage: view.free_ephemeral_storage[slot],
            pods: view.free_pods[slot],
            extended: view
                .free_extended
                .iter()
                .map(|(name, free)| (name.clone(), free[slot]))
                .collect(),
            ports: view.ports[slot].clone(),
        }
    }

    fn change(&mut self, shape: &Shape, sign: i64) {
        let requests = &shape.requests;
        self.milli_cpu += sign * requests.milli_cpu;
        self.memory += sign * requests.memory;
        self.ephemeral_storage += sign * requests.ephemeral_storage;
        self.pods += sign;
        for (name, free) in &mut self.extended {
            let request = requests.extended.iter().find(|(wanted, _)| wanted == name);
            *free += sign * request.map_or(0, |(_, amount)| *amount);
        }
    }

    fn give(&mut self, shape: &Shape) {
        self.change(shape, 1);
        for port in &shape.ports {
            if let Some(index) = self.ports.iter().position(|taken| taken == port) {
                self.ports.swap_remove(index);
            }
        }
    }

    fn take(&mut self, shape: &Shape) {
        self.change(shape, -1);
        self.ports.extend(shape.ports.iter().cloned());
    }

    fn fits(&self, shape: &Shape) -> bool {
        let requests = &shape.requests;
        let enough = |request: i64, free: i64| request == 0 || request <= free;
        self.pods >= 1
            && enough(requests.milli_cpu, self.milli_cpu)
            && enough(requests.memory, self.memory)
            && enough(requests.ephemeral_storage, self.ephemeral_storage)
            && requests.extended.iter().all(|(name, amount)| {
                self.extended.iter().any(|(known, free)| known == name && amount <= free)
            })
            && !shape
                .ports
                .iter()
                .any(|wanted| self.ports.iter().any(|taken| wanted.conflicts(taken)))
    }
}
