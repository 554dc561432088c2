//! Topologies: for a label key of nodes, which domain each node belongs to.
//!
//! A domain is a value of the key, known by a small number. Columns are made
//! when a rule first asks for a key and follow the nodes from then on.

use std::collections::BTreeMap;

use crate::labels::LabelMap;
use crate::view::Slot;

/// The domain of a node without the label.
pub const NONE: u32 = u32::MAX;

pub const HOSTNAME: &str = "kubernetes.io/hostname";
pub const ZONE: &str = "topology.kubernetes.io/zone";

/// An index into [`Topologies`].
pub type TopologyId = usize;

#[derive(Debug)]
pub struct Topology {
    key: String,
    ids: BTreeMap<Box<str>, u32>,
    values: Vec<Box<str>>,
    unused: Vec<u32>,
    /// Per slot.
    pub domain: Vec<u32>,
    /// Per domain: nodes in it. A domain without nodes does not exist.
    pub nodes: Vec<Vec<Slot>>,
    /// Nodes with the label.
    pub labelled: usize,
    /// Nodes whose domain has another number than their slot.
    crossed: usize,
}

impl Topology {
    fn new(key: &str, slots: usize) -> Self {
        Topology {
            key: key.to_owned(),
            ids: BTreeMap::new(),
            values: Vec::new(),
            unused: Vec::new(),
            domain: vec![NONE; slots],
            nodes: Vec::new(),
            labelled: 0,
            crossed: 0,
        }
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    /// Numbers of domains, in use or not.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.labelled == 0
    }

    /// Is every node a domain of its own, with the number of its slot? So it is
    /// with host names, until nodes come and go.
    pub fn is_by_slot(&self) -> bool {
        self.crossed == 0 && self.len() == self.labelled
    }

    /// Moves a node to the domain that its labels name; the domains before and now.
    fn relabel(&mut self, slot: Slot, labels: &LabelMap) -> (u32, u32) {
        let before = self.domain[slot];
        let now = labels.get(&self.key).map_or(NONE, |value| self.id(value));
        if before != now {
            let crosses = |domain: u32| usize::from(domain != NONE && domain as usize != slot);
            self.crossed = self.crossed + crosses(now) - crosses(before);
            self.domain[slot] = now;
            if now != NONE {
                self.nodes[now as usize].push(slot);
                self.labelled += 1;
            }
            if before != NONE {
                self.leave(before, slot);
            }
        }
        (before, now)
    }

    fn id(&mut self, value: &str) -> u32 {
        if let Some(&id) = self.ids.get(value) {
            return id;
        }
        let id = self.unused.pop().unwrap_or_else(|| {
            self.values.push(Box::default());
            self.nodes.push(Vec::new());
            (self.nodes.len() - 1) as u32
        });
        self.values[id as usize] = value.into();
        self.ids.insert(value.into(), id);
        id
    }

    fn leave(&mut self, domain: u32, slot: Slot) {
        self.labelled -= 1;
        let nodes = &mut self.nodes[domain as usize];
        if let Some(index) = nodes.iter().position(|other| *other == slot) {
            nodes.swap_remove(index);
        }
        if nodes.is_empty() {
            // Nothing is counted in a domain without nodes, so its number is free.
            let value = std::mem::take(&mut self.values[domain as usize]);
            self.ids.remove(&value);
            self.unused.push(domain);
        }
    }
}

/// All keys that rules have asked for.
#[derive(Debug, Default)]
pub struct Topologies {
    list: Vec<Topology>,
    by_key: BTreeMap<String, TopologyId>,
}

impl Topologies {
    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn get(&self, id: TopologyId) -> &Topology {
        &self.list[id]
    }

    pub fn find(&self, key: &str) -> Option<TopologyId> {
        self.by_key.get(key).copied()
    }

    /// A new column; `labels` gives those of every slot, absent nodes having none.
    pub fn add<'a>(
        &mut self,
        key: &str,
        labels: impl ExactSizeIterator<Item = &'a LabelMap>,
    ) -> TopologyId {
        let mut topology = Topology::new(key, labels.len());
        for (slot, labels) in labels.enumerate() {
            topology.relabel(slot, labels);
        }
        self.by_key.insert(key.to_owned(), self.list.len());
        self.list.push(topology);
        self.list.len() - 1
    }

    /// There is one more slot, without labels.
    pub fn grow(&mut self) {
        self.list.iter_mut().for_each(|topology| topology.domain.push(NONE));
    }

    /// A node's labels changed: the topologies in which it moved, with the
    /// domains before and now.
    pub fn relabel(&mut self, slot: Slot, labels: &LabelMap) -> Vec<(TopologyId, u32, u32)> {
        let moves = self.list.iter_mut().enumerate().map(|(id, topology)| {
            let (before, now) = topology.relabel(slot, labels);
            (id, before, now)
        });
        moves.filter(|(_, before, now)| before != now).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_move_between_domains_and_empty_ones_are_used_again() {
        let zone = |value: &str| LabelMap::from([(ZONE.to_owned(), value.to_owned())]);
        let mut topologies = Topologies::default();
        let labels = [zone("a"), zone("b"), LabelMap::new()];
        let id = topologies.add(ZONE, labels.iter());
        assert_eq!(topologies.get(id).domain, [0, 1, NONE]);
        assert!(topologies.get(id).is_by_slot());
        assert_eq!(topologies.relabel(0, &zone("b")), [(id, 0, 1)]);
        assert!(!topologies.get(id).is_by_slot());
        assert_eq!(topologies.get(id).nodes, [vec![], vec![1, 0]]);
        topologies.grow();
        assert_eq!(topologies.relabel(3, &zone("c")), [(id, NONE, 0)]);
        assert_eq!(topologies.get(id).labelled, 3);
        assert_eq!(topologies.relabel(3, &LabelMap::new()), [(id, 0, NONE)]);
        assert!(topologies.relabel(3, &LabelMap::new()).is_empty());
    }
}
