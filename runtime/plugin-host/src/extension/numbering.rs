//! Nodes by number.
//!
//! Extensions and schedulers speak of nodes in numbers, so that an answer about
//! thousands of them is a flat list. A number is small, belongs to one node as
//! long as that exists, and is used again only once every `schedule` call that
//! may still speak of the node before is over.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::feed::NodeNews;
use crate::cluster::ObjectHandle;

#[derive(Default)]
pub(crate) struct Numbering {
    /// Goes up whenever a node got or lost its number.
    version: u64,
    by_name: HashMap<String, u32>,
    nodes: Vec<Option<ObjectHandle>>,
    /// Numbers not in use, with the time on `clock` at which they were freed.
    free: BTreeMap<u32, u64>,
    /// Calls that run, by when they began on `clock`.
    running: BTreeSet<u64>,
    /// Counts calls and removals.
    clock: u64,
    names: Option<Arc<Names>>,
}

/// The names of the nodes by number, at one version of the numbering.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub version: u64,
    /// Empty for a number not in use.
    pub names: Arc<Vec<String>>,
}

/// A call that must not see a number change its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Began(u64);

impl Numbering {
    /// The number of the node, a fresh one if it is new.
    pub fn upsert(&mut self, node: &ObjectHandle) -> u32 {
        if let Some(number) = self.by_name.get(node.name()) {
            self.nodes[*number as usize] = Some(node.clone());
            return *number;
        }
        let number = self.take_free().unwrap_or_else(|| {
            self.nodes.push(None);
            // Far more nodes than a machine can hold in memory.
            u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX)
        });
        self.nodes[number as usize] = Some(node.clone());
        self.by_name.insert(node.name().to_owned(), number);
        self.moved();
        number
    }

    pub fn remove(&mut self, name: &str) -> Option<u32> {
        let number = self.by_name.remove(name)?;
        self.nodes[number as usize] = None;
        self.clock += 1;
        self.free.insert(number, self.clock);
        self.moved();
        Some(number)
    }

    /// The smallest number whose former node no running call can mean.
    fn take_free(&mut self) -> Option<u32> {
        let oldest = self.running.first().copied();
        let settled = |freed: u64| oldest.is_none_or(|oldest| oldest > freed);
        let number = *self.free.iter().find(|(_, freed)| settled(**freed))?.0;
        self.free.remove(&number);
        Some(number)
    }

    fn moved(&mut self) {
        self.version += 1;
        self.names = None;
    }

    pub fn begin(&mut self) -> Began {
        self.clock += 1;
        self.running.insert(self.clock);
        Began(self.clock)
    }

    pub fn end(&mut self, call: &Began) {
        self.running.remove(&call.0);
    }

    pub fn names(&mut self) -> Arc<Names> {
        let (nodes, version) = (&self.nodes, self.version);
        let name = |node: &Option<ObjectHandle>| {
            node.as_ref().map_or_else(String::new, |node| node.name().to_owned())
        };
        self.names
            .get_or_insert_with(|| {
                let names = Arc::new(nodes.iter().map(name).collect());
                Arc::new(Names { version, names })
            })
            .clone()
    }

    /// Every node with its number.
    pub fn present(&self) -> impl Iterator<Item = (u32, &ObjectHandle)> {
        (0..).zip(&self.nodes).filter_map(|(number, node)| Some((number, node.as_ref()?)))
    }

    /// Every number that was ever given out, with the node it stands for now.
    pub fn all(&self) -> Vec<NodeNews> {
        let news = |(number, node): (u32, &Option<ObjectHandle>)| NodeNews {
            number,
            gone: node.is_none(),
            node: node.clone(),
        };
        (0..).zip(&self.nodes).map(news).collect()
    }

    /// Names that are not among `present`.
    pub fn gone(&self, present: &[ObjectHandle]) -> Vec<String> {
        let present: std::collections::HashSet<&str> =
            present.iter().map(|node| node.name()).collect();
        let gone = |name: &&String| !present.contains(name.as_str());
        self.by_name.keys().filter(gone).cloned().collect()
    }

    /// Lets go of all nodes; numbers already told stay told.
    pub fn clear(&mut self) {
        let names: Vec<String> = self.by_name.keys().cloned().collect();
        for name in names {
            self.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::testing::object;
    use proptest::prelude::*;
    use serde_json::json;

    fn node(name: &str) -> ObjectHandle {
        object(1, json!({ "kind": "Node", "metadata": { "name": name } }))
    }

    #[test]
    fn the_smallest_free_number_is_used_again() {
        let mut numbering = Numbering::default();
        for (name, expect) in [("a", 0), ("b", 1), ("c", 2), ("a", 0)] {
            assert_eq!(numbering.upsert(&node(name)), expect, "{name}");
        }
        let before = numbering.names();
        assert_eq!(*before.names, ["a", "b", "c"]);
        assert_eq!(numbering.upsert(&node("b")), 1);
        assert!(Arc::ptr_eq(&before, &numbering.names()), "a changed node keeps its number");
        assert_eq!(numbering.remove("a"), Some(0));
        assert_eq!(numbering.remove("a"), None);
        assert_eq!(*numbering.names().names, ["", "b", "c"]);
        assert_eq!(numbering.upsert(&node("d")), 0);
        assert_eq!(numbering.upsert(&node("e")), 3);
        assert_eq!(numbering.gone(&[node("b"), node("d")]).len(), 2);
    }

    #[test]
    fn a_number_keeps_its_meaning_while_a_call_runs() {
        let mut numbering = Numbering::default();
        numbering.upsert(&node("a"));
        let call = numbering.begin();
        numbering.remove("a");
        assert_eq!(numbering.upsert(&node("b")), 1, "0 may still mean a");
        let later = numbering.begin();
        numbering.end(&call);
        assert_eq!(numbering.upsert(&node("c")), 0, "the later call never knew a");
        numbering.end(&later);
    }

    proptest! {
        #[test]
        fn numbers_are_unique_and_dense(steps in proptest::collection::vec((0u8..12, any::<bool>()), 1..80)) {
            let mut numbering = Numbering::default();
            let mut expect: BTreeMap<String, u32> = BTreeMap::new();
            let mut most = 0;
            for (index, add) in steps {
                let name = format!("n{index}");
                if add {
                    let number = numbering.upsert(&node(&name));
                    if let Some(before) = expect.insert(name, number) {
                        prop_assert_eq!(before, number);
                    }
                } else {
                    prop_assert_eq!(numbering.remove(&name), expect.remove(&name));
                }
                most = most.max(expect.len());
                let names = numbering.names();
                prop_assert!(names.names.len() <= most, "no number beyond the most there ever were");
                for (name, number) in &expect {
                    prop_assert_eq!(&names.names[*number as usize], name);
                }
                prop_assert_eq!(names.names.iter().filter(|name| !name.is_empty()).count(), expect.len());
            }
        }
    }
}
