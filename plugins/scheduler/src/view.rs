//! The resident view: nodes as columns, one slot per node, and the pods on them.
//!
//! Every change of a slot is noted in a log, so that scores that were computed
//! earlier know which slots to compute again.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use pintle_sdk::prelude::Taint;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::requests::Amounts;
use crate::shape::{HostPort, Shape};

/// An index into every column.
pub type Slot = usize;

/// The class of slots without a Node object.
pub const ABSENT: u32 = 0;

/// What nodes have in common with many others; filtered once per shape.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeClass {
    pub unschedulable: bool,
    pub taints: Vec<Taint>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capacity {
    pub milli_cpu: i64,
    pub memory: i64,
    pub ephemeral_storage: i64,
    pub pods: i64,
    pub extended: BTreeMap<String, i64>,
}

/// A pod that takes room on a node.
#[derive(Debug, Clone)]
pub struct Placed {
    pub slot: Slot,
    pub shape: Rc<Shape>,
    pub priority: i32,
    pub start_time: String,
    /// On its way out; the room will be free soon.
    pub terminating: bool,
    pub state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The cluster says so.
    Bound,
    /// Decided here and not confirmed yet.
    Assumed,
    /// Waits there for preempted pods to leave; a claim until this moment.
    Nominated { until_unix_ms: i64 },
}

#[derive(Debug, Default)]
pub struct View {
    slots: BTreeMap<String, Slot>,
    unused: Vec<Slot>,
    pub names: Vec<String>,
    labels: Vec<Labels>,
    pub class: Vec<u32>,
    pub classes: Vec<NodeClass>,
    pub capacity: Vec<Rc<Capacity>>,
    // What is left of the capacity; negative on an overfull node.
    pub free_milli_cpu: Vec<i64>,
    pub free_memory: Vec<i64>,
    pub free_ephemeral_storage: Vec<i64>,
    pub free_pods: Vec<i64>,
    pub free_extended: BTreeMap<String, Vec<i64>>,
    // For scoring: what is taken, with defaults for pods that request nothing,
    // and the reciprocal of the capacity.
    pub scored_milli_cpu: Vec<f64>,
    pub scored_memory: Vec<f64>,
    pub per_milli_cpu: Vec<f64>,
    pub per_memory: Vec<f64>,
    pub ports: Vec<Vec<HostPort>>,
    pub pods_on: Vec<Vec<Rc<str>>>,
    pods: BTreeMap<Rc<str>, Placed>,
    groups: BTreeMap<Rc<str>, BTreeMap<Slot, u32>>,
    priorities: BTreeMap<i32, usize>,
    /// Pods whose anti-affinity keeps others away.
    repelling: usize,
    /// Nodes of one make have the same text; it is read once.
    capacities: BTreeMap<String, Rc<Capacity>>,
    changes: Vec<Slot>,
    forgotten_changes: u64,
    nodes: usize,
}

/// Labels as text until a pod asks for them: most pods do not.
#[derive(Debug, Default)]
struct Labels {
    text: Box<str>,
    map: OnceCell<BTreeMap<String, String>>,
}

/// A node, with everything that is the same for many nodes as raw text.
#[derive(Deserialize)]
struct NodeObject<'a> {
    #[serde(borrow, default)]
    metadata: NodeMeta<'a>,
    #[serde(borrow, default)]
    spec: NodeSpec<'a>,
    #[serde(borrow, default)]
    status: NodeStatus<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NodeMeta<'a> {
    #[serde(borrow)]
    labels: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NodeSpec<'a> {
    unschedulable: Option<bool>,
    #[serde(borrow)]
    taints: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NodeStatus<'a> {
    #[serde(borrow)]
    allocatable: Option<&'a RawValue>,
    #[serde(borrow)]
    capacity: Option<&'a RawValue>,
}

/// So many different capacities are remembered.
const MOST_CAPACITIES: usize = 256;

impl View {
    pub fn new() -> Self {
        View { classes: vec![NodeClass::default()], ..View::default() }
    }

    /// Slots, used or not.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes == 0
    }

    /// Node objects.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    pub fn pod(&self, uid: &str) -> Option<&Placed> {
        self.pods.get(uid)
    }

    pub fn pods(&self) -> impl Iterator<Item = (&Rc<str>, &Placed)> {
        self.pods.iter()
    }

    pub fn has_repelling_pods(&self) -> bool {
        self.repelling > 0
    }

    pub fn lowest_priority(&self) -> Option<i32> {
        self.priorities.keys().next().copied()
    }

    /// How many pods of a group each slot has.
    pub fn group(&self, group: &str) -> Option<&BTreeMap<Slot, u32>> {
        self.groups.get(group)
    }

    /// Grows with every change of a slot.
    pub fn position(&self) -> u64 {
        self.forgotten_changes + self.changes.len() as u64
    }

    /// The slots that changed after a position; `None` when that is too far back
    /// and everything must be taken for changed.
    pub fn changed_since(&self, position: u64) -> Option<&[Slot]> {
        let start = usize::try_from(position.checked_sub(self.forgotten_changes)?).ok()?;
        let changes = self.changes.get(start..)?;
        (changes.len() <= self.len() / 2).then_some(changes)
    }

    fn note(&mut self, slot: Slot) {
        // Longer than anyone would catch up with one by one.
        if self.changes.len() > self.len().max(1024) {
            self.forgotten_changes += self.changes.len() as u64;
            self.changes.clear();
        }
        self.changes.push(slot);
    }

    pub fn upsert_node(&mut self, name: &str, json: &[u8]) -> Result<(), serde_json::Error> {
        let node: NodeObject<'_> = serde_json::from_slice(json)?;
        let taints: Option<Vec<Taint>> = match node.spec.taints {
            Some(taints) => serde_json::from_str(taints.get())?,
            None => None,
        };
        let untimed = |taint| Taint { time_added: None, ..taint };
        let class = NodeClass {
            unschedulable: node.spec.unschedulable.unwrap_or(false),
            taints: taints.into_iter().flatten().map(untimed).collect(),
        };
        let capacity = self.capacity_of(node.status.allocatable.or(node.status.capacity))?;
        let labels = node.metadata.labels.map(RawValue::get).unwrap_or("null");
        let slot = self.slot(name);
        let class = self.class_of(class);
        if self.class[slot] == class
            && self.capacity[slot] == capacity
            && *self.labels[slot].text == *labels
        {
            return Ok(()); // a heartbeat
        }
        self.nodes += usize::from(self.class[slot] == ABSENT);
        self.class[slot] = class;
        self.labels[slot] = Labels { text: labels.into(), map: OnceCell::new() };
        self.set_capacity(slot, capacity);
        self.note(slot);
        Ok(())
    }

    pub fn remove_node(&mut self, name: &str) {
        let Some(&slot) = self.slots.get(name) else { return };
        if self.class[slot] != ABSENT {
            self.nodes -= 1;
            self.class[slot] = ABSENT;
            self.note(slot);
        }
        self.release_if_unused(slot);
    }

    fn release_if_unused(&mut self, slot: Slot) {
        if self.class[slot] == ABSENT && self.pods_on[slot].is_empty() {
            self.slots.remove(&self.names[slot]);
            self.names[slot].clear();
            self.labels[slot] = Labels::default();
            self.set_capacity(slot, Rc::default());
            self.unused.push(slot);
        }
    }

    /// The slot of a node; a new, absent one when there is none.
    pub fn slot(&mut self, name: &str) -> Slot {
        if let Some(&slot) = self.slots.get(name) {
            return slot;
        }
        let slot = self.unused.pop().unwrap_or_else(|| self.grow());
        self.names[slot] = name.to_owned();
        self.slots.insert(name.to_owned(), slot);
        slot
    }

    fn grow(&mut self) -> Slot {
        self.names.push(String::new());
        self.labels.push(Labels::default());
        self.class.push(ABSENT);
        self.capacity.push(Rc::default());
        for column in [
            &mut self.free_milli_cpu,
            &mut self.free_memory,
            &mut self.free_ephemeral_storage,
            &mut self.free_pods,
        ] {
            column.push(0);
        }
        for column in [
            &mut self.scored_milli_cpu,
            &mut self.scored_memory,
            &mut self.per_milli_cpu,
            &mut self.per_memory,
        ] {
            column.push(0.0);
        }
        for column in self.free_extended.values_mut() {
            column.push(0);
        }
        self.ports.push(Vec::new());
        self.pods_on.push(Vec::new());
        self.names.len() - 1
    }

    /// Labels that cannot be read match nothing; the API lets none through.
    pub fn labels(&self, slot: Slot) -> &BTreeMap<String, String> {
        let labels = &self.labels[slot];
        labels.map.get_or_init(|| {
            serde_json::from_str::<Option<_>>(&labels.text).ok().flatten().unwrap_or_default()
        })
    }

    fn capacity_of(&mut self, text: Option<&RawValue>) -> Result<Rc<Capacity>, serde_json::Error> {
        let Some(text) = text.map(RawValue::get) else { return Ok(Rc::default()) };
        if let Some(known) = self.capacities.get(text) {
            return Ok(Rc::clone(known));
        }
        if self.capacities.len() >= MOST_CAPACITIES {
            self.capacities.clear();
        }
        let capacity = Rc::new(Capacity::of(Some(&serde_json::from_str(text)?)));
        self.capacities.insert(text.to_owned(), Rc::clone(&capacity));
        Ok(capacity)
    }

    fn class_of(&mut self, class: NodeClass) -> u32 {
        // Few classes exist; the first one stands for absent nodes.
        let known = self.classes.iter().skip(1).position(|known| *known == class);
        let index = known.map_or(self.classes.len(), |index| index + 1);
        if known.is_none() {
            self.classes.push(class);
        }
        index as u32
    }

    fn set_capacity(&mut self, slot: Slot, capacity: Rc<Capacity>) {
        let known = std::mem::take(&mut self.capacity[slot]);
        self.free_milli_cpu[slot] += capacity.milli_cpu - known.milli_cpu;
        self.free_memory[slot] += capacity.memory - known.memory;
        self.free_ephemeral_storage[slot] += capacity.ephemeral_storage - known.ephemeral_storage;
        self.free_pods[slot] += capacity.pods - known.pods;
        for (name, amount) in &known.extended {
            self.extended(name)[slot] -= amount;
        }
        for (name, amount) in &capacity.extended {
            self.extended(name)[slot] += amount;
        }
        // A node without capacity counts as full.
        let reciprocal = |amount: i64| if amount > 0 { 1.0 / amount as f64 } else { f64::MAX };
        self.per_milli_cpu[slot] = reciprocal(capacity.milli_cpu);
        self.per_memory[slot] = reciprocal(capacity.memory);
        self.capacity[slot] = capacity;
    }

    fn extended(&mut self, name: &str) -> &mut Vec<i64> {
        if !self.free_extended.contains_key(name) {
            self.free_extended.insert(name.to_owned(), vec![0; self.names.len()]);
        }
        self.free_extended.get_mut(name).expect("inserted above")
    }

    /// Puts a pod on a slot, or replaces what is known of it.
    pub fn place(&mut self, uid: &str, pod: Placed) {
        if let Some(known) = self.pods.get_mut(uid) {
            if known.slot == pod.slot
                && known.priority == pod.priority
                && same_room(&known.shape, &pod.shape)
            {
                *known = Placed { shape: Rc::clone(&known.shape), ..pod };
                return; // confirmed
            }
            let left = known.slot;
            self.lift(uid);
            if left != pod.slot {
                self.release_if_unused(left);
            }
        }
        let uid: Rc<str> = Rc::from(uid);
        self.take(&pod, 1);
        self.ports[pod.slot].extend(pod.shape.ports.iter().cloned());
        self.pods_on[pod.slot].push(Rc::clone(&uid));
        if let Some(group) = &pod.shape.group {
            *self.groups.entry(Rc::clone(group)).or_default().entry(pod.slot).or_default() += 1;
        }
        *self.priorities.entry(pod.priority).or_default() += 1;
        self.repelling += usize::from(pod.shape.rules.repels());
        self.note(pod.slot);
        self.pods.insert(uid, pod);
    }

    /// Takes a pod off its slot and returns it.
    pub fn unplace(&mut self, uid: &str) -> Option<Placed> {
        let pod = self.lift(uid)?;
        self.release_if_unused(pod.slot);
        Some(pod)
    }

    fn lift(&mut self, uid: &str) -> Option<Placed> {
        let pod = self.pods.remove(uid)?;
        let slot = pod.slot;
        self.take(&pod, -1);
        for port in &pod.shape.ports {
            if let Some(index) = self.ports[slot].iter().position(|taken| taken == port) {
                self.ports[slot].swap_remove(index);
            }
        }
        self.pods_on[slot].retain(|other| &**other != uid);
        if let Some(group) = &pod.shape.group {
            decrement(&mut self.groups, group, slot);
        }
        self.repelling -= usize::from(pod.shape.rules.repels());
        if let Some(count) = self.priorities.get_mut(&pod.priority) {
            *count -= 1;
            if *count == 0 {
                self.priorities.remove(&pod.priority);
            }
        }
        self.note(slot);
        Some(pod)
    }

    pub fn set_terminating(&mut self, uid: &str) {
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.terminating = true;
        }
    }

    /// `sign` 1 takes room, -1 gives it back.
    fn take(&mut self, pod: &Placed, sign: i64) {
        let requests = &pod.shape.requests;
        let slot = pod.slot;
        self.free_milli_cpu[slot] -= sign * requests.milli_cpu;
        self.free_memory[slot] -= sign * requests.memory;
        self.free_ephemeral_storage[slot] -= sign * requests.ephemeral_storage;
        self.free_pods[slot] -= sign;
        self.scored_milli_cpu[slot] += (sign * requests.scored_milli_cpu) as f64;
        self.scored_memory[slot] += (sign * requests.scored_memory) as f64;
        for (name, amount) in &requests.extended {
            self.extended(name)[slot] -= sign * amount;
        }
    }
}

fn decrement(groups: &mut BTreeMap<Rc<str>, BTreeMap<Slot, u32>>, group: &Rc<str>, slot: Slot) {
    let Some(counts) = groups.get_mut(group) else { return };
    if let Some(count) = counts.get_mut(&slot) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&slot);
        }
    }
    if counts.is_empty() {
        groups.remove(group);
    }
}

/// Do two shapes take the same from a node?
fn same_room(a: &Rc<Shape>, b: &Rc<Shape>) -> bool {
    Rc::ptr_eq(a, b)
        || (a.requests == b.requests
            && a.ports == b.ports
            && a.group == b.group
            && a.labels == b.labels
            && a.rules == b.rules)
}

impl Capacity {
    fn of(allocatable: Option<&serde_json::Value>) -> Self {
        let mut amounts = Amounts::from_json(allocatable);
        let mut take = |name: &str| amounts.0.remove(name).unwrap_or(0);
        Capacity {
            milli_cpu: take("cpu"),
            memory: take("memory"),
            ephemeral_storage: take("ephemeral-storage"),
            pods: take("pods"),
            extended: amounts.0,
        }
    }
}
