//! The resident view: nodes as columns, one slot per node, and the pods on them.
//!
//! Every change of a slot is noted in a log, so that scores that were computed
//! earlier know which slots to compute again. Counts for rules between pods are
//! kept by [`Tallies`], images by [`Images`], claims for storage by [`Volumes`].

mod pods;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use pintle_sdk::names::{fnv1a, mix};
use pintle_sdk::reading;

use crate::budgets::Budgets;
use crate::images::Images;
use crate::labels::LabelMap;
use crate::node::{Capacity, NodeClass, RawNode};
use crate::shape::{HostPort, Shape};
use crate::tallies::Tallies;
use crate::usage::Usage;
use crate::volumes::Volumes;

pub use self::pods::{Placed, State};

/// An index into every column.
pub type Slot = usize;

/// The class of slots without a Node object.
pub const ABSENT: u32 = 0;

#[derive(Debug, Default)]
pub struct View {
    slots: BTreeMap<String, Slot>,
    unused: Vec<Slot>,
    pub names: Vec<String>,
    /// A number that depends on the name alone, for drawing lots.
    pub lots: Vec<u32>,
    pub labels: Vec<Labels>,
    pub class: Vec<u32>,
    pub classes: Vec<NodeClass>,
    pub capacity: Vec<Rc<Capacity>>,
    // What is left of the capacity; negative on an overfull node.
    pub free_milli_cpu: Vec<i64>,
    pub free_memory: Vec<i64>,
    pub free_ephemeral_storage: Vec<i64>,
    pub free_pods: Vec<i64>,
    pub free_extended: BTreeMap<String, Vec<i64>>,
    pub usage: Usage,
    /// Nodes without cpu or without memory, which are scored one by one.
    pub odd: BTreeSet<Slot>,
    pub ports: Vec<Vec<HostPort>>,
    pub pods_on: Vec<Vec<Rc<str>>>,
    pods: BTreeMap<Rc<str>, Placed>,
    priorities: BTreeMap<i32, usize>,
    pub tallies: Tallies,
    pub images: Images,
    pub volumes: Volumes,
    pub budgets: Budgets,
    /// Nodes of one make have the same text; it is read once.
    capacities: BTreeMap<Box<[u8]>, Rc<Capacity>>,
    changes: Vec<Slot>,
    forgotten_changes: u64,
    nodes: usize,
    node_changes: u64,
}

/// Read when the node comes, which many calls share, and not by the first
/// decision that needs those of all nodes.
#[derive(Debug, Default)]
pub struct Labels {
    /// Of the text, to tell a heartbeat.
    hash: u64,
    map: LabelMap,
}

impl Labels {
    /// Labels that cannot be read match nothing; the API lets none through.
    fn read(text: &[u8]) -> Self {
        let map = reading::parse::<Option<_>>(text).ok().flatten().unwrap_or_default();
        Labels { hash: fnv1a(text), map }
    }

    pub fn get(&self) -> &LabelMap {
        &self.map
    }
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

    pub fn is_present(&self, slot: Slot) -> bool {
        self.class[slot] != ABSENT
    }

    pub fn find(&self, name: &str) -> Option<Slot> {
        self.slots.get(name).copied().filter(|slot| self.is_present(*slot))
    }

    /// Slots of nodes in the order of their names.
    pub fn by_name(&self) -> impl Iterator<Item = Slot> {
        self.slots.values().copied().filter(|slot| self.is_present(*slot))
    }

    /// Grows with every change of a slot.
    pub fn position(&self) -> u64 {
        self.forgotten_changes + self.changes.len() as u64
    }

    /// Grows when a node comes, goes, or changes in itself.
    pub fn node_changes(&self) -> u64 {
        self.node_changes
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
        let node: RawNode<'_> = reading::parse(json)?;
        let class = node.class()?;
        let capacity = self.capacity_of(node.capacity())?;
        let slot = self.slot(name);
        let class = self.class_of(class);
        self.images.report(slot, node.images());
        let relabelled = self.labels[slot].hash != fnv1a(node.labels());
        if self.class[slot] == class && self.capacity[slot] == capacity && !relabelled {
            return Ok(()); // a heartbeat
        }
        self.nodes += usize::from(self.class[slot] == ABSENT);
        self.class[slot] = class;
        if relabelled {
            self.set_labels(slot, node.labels());
        }
        self.set_capacity(slot, capacity);
        self.node_changes += 1;
        self.note(slot);
        Ok(())
    }

    pub fn remove_node(&mut self, name: &str) {
        let Some(&slot) = self.slots.get(name) else { return };
        if self.is_present(slot) {
            self.nodes -= 1;
            self.node_changes += 1;
            self.class[slot] = ABSENT;
            self.images.report(slot, b"null");
            self.set_labels(slot, b"null");
            self.set_capacity(slot, Rc::default());
            self.note(slot);
        }
        self.release_if_unused(slot);
    }

    fn release_if_unused(&mut self, slot: Slot) {
        if !self.is_present(slot) && self.pods_on[slot].is_empty() {
            self.slots.remove(&self.names[slot]);
            self.names[slot].clear();
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
        self.lots[slot] = mix(fnv1a(name.as_bytes())) as u32;
        self.slots.insert(name.to_owned(), slot);
        slot
    }

    fn grow(&mut self) -> Slot {
        self.names.push(String::new());
        self.lots.push(0);
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
        for column in self.free_extended.values_mut() {
            column.push(0);
        }
        self.usage.grow();
        self.tallies.topologies.grow();
        self.ports.push(Vec::new());
        self.pods_on.push(Vec::new());
        self.names.len() - 1
    }

    pub fn labels(&self, slot: Slot) -> &LabelMap {
        self.labels[slot].get()
    }

    fn set_labels(&mut self, slot: Slot, text: &[u8]) {
        self.labels[slot] = Labels::read(text);
        if self.tallies.topologies.is_empty() {
            return;
        }
        let pods: Vec<(Rc<Shape>, bool)> =
            self.on(slot).map(|(_, pod)| (Rc::clone(&pod.shape), pod.terminating)).collect();
        self.tallies.relabel(slot, &self.labels[slot], &pods);
    }

    fn capacity_of(&mut self, text: Option<&[u8]>) -> Result<Rc<Capacity>, serde_json::Error> {
        let Some(text) = text else { return Ok(Rc::default()) };
        if let Some(known) = self.capacities.get(text) {
            return Ok(Rc::clone(known));
        }
        if self.capacities.len() >= MOST_CAPACITIES {
            self.capacities.clear();
        }
        let capacity = Rc::new(Capacity::read(text)?);
        self.capacities.insert(text.into(), Rc::clone(&capacity));
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
        let odd = self.is_present(slot) && (capacity.milli_cpu <= 0 || capacity.memory <= 0);
        if odd {
            self.odd.insert(slot)
        } else {
            self.odd.remove(&slot)
        };
        self.capacity[slot] = capacity;
        self.usage.resize(slot, &self.capacity[slot], &self.free_of(slot));
    }

    fn free_of(&self, slot: Slot) -> (i64, i64) {
        (self.free_milli_cpu[slot], self.free_memory[slot])
    }

    fn extended(&mut self, name: &str) -> &mut Vec<i64> {
        if !self.free_extended.contains_key(name) {
            self.free_extended.insert(name.to_owned(), vec![0; self.names.len()]);
        }
        self.free_extended.get_mut(name).expect("inserted above")
    }
}
