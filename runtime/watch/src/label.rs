//! Labels: each pair of key and value once in memory, and an index from pairs to objects.
//!
//! Most objects of a kind share most of their labels, so a pair is a pointer to the only
//! copy, and the index holds four bytes per label of an object.

use std::{
    borrow::Borrow,
    collections::{HashMap, HashSet},
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use parking_lot::Mutex;
use pintle_api::selector::{LabelSelector, Operator, Requirement};

/// One key with one value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    pub key: Arc<str>,
    pub value: Box<str>,
}

/// All labels of one object, sorted by key.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Labels(Box<[Arc<Label>]>);

impl Labels {
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|label| (*label.key).cmp(key)).ok()?;
        Some(&self.0[at].value)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Label> {
        self.0.iter().map(AsRef::as_ref)
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|label| (&label.key, &label.value))).finish()
    }
}

/// A pair to look for, without owning its text.
trait Pair {
    fn pair(&self) -> (&str, &str);
}

impl Pair for (&str, &str) {
    fn pair(&self) -> (&str, &str) {
        *self
    }
}

impl Pair for Arc<Label> {
    fn pair(&self) -> (&str, &str) {
        (&self.key, &self.value)
    }
}

impl Hash for Label {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&*self.key, &*self.value).hash(state);
    }
}

impl Hash for dyn Pair + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pair().hash(state);
    }
}

impl PartialEq for dyn Pair + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.pair() == other.pair()
    }
}

impl Eq for dyn Pair + '_ {}

impl<'a> Borrow<dyn Pair + 'a> for Arc<Label> {
    fn borrow(&self) -> &(dyn Pair + 'a) {
        self
    }
}

/// The only copies of one resource's labels.
#[derive(Debug, Default)]
pub(crate) struct Interner(Mutex<Interned>);

#[derive(Debug, Default)]
struct Interned {
    labels: HashSet<Arc<Label>>,
    keys: HashSet<Arc<str>>,
    /// When there are so many, those that nobody uses any more are let go of.
    sweep_at: usize,
}

const FEWEST_SWEPT: usize = 256;

impl Interner {
    /// Of two labels with the same key the last one counts, as in any JSON map.
    pub(crate) fn intern<'t>(&self, labels: impl Iterator<Item = (&'t str, &'t str)>) -> Labels {
        let mut interned = self.0.lock();
        let mut found: Vec<Arc<Label>> = labels.map(|pair| interned.label(pair)).collect();
        drop(interned);
        // Stable, so that of equal keys the last one stays last.
        found.sort_by(|a, b| a.key.cmp(&b.key));
        found.dedup_by(|later, kept| {
            let same = later.key == kept.key;
            if same {
                std::mem::swap(later, kept);
            }
            same
        });
        Labels(found.into_boxed_slice())
    }
}

impl Interned {
    fn label(&mut self, pair: (&str, &str)) -> Arc<Label> {
        if let Some(known) = self.labels.get(&pair as &dyn Pair) {
            return Arc::clone(known);
        }
        if self.labels.len() >= self.sweep_at.max(FEWEST_SWEPT) {
            self.labels.retain(|label| Arc::strong_count(label) > 1);
            self.keys.retain(|key| Arc::strong_count(key) > 1);
            self.sweep_at = 2 * self.labels.len();
        }
        let key = match self.keys.get(pair.0) {
            Some(key) => Arc::clone(key),
            None => {
                let key: Arc<str> = pair.0.into();
                self.keys.insert(Arc::clone(&key));
                key
            }
        };
        let label = Arc::new(Label { key, value: pair.1.into() });
        self.labels.insert(Arc::clone(&label));
        label
    }
}

/// The number of an object on its shelf, as long as it is there.
pub(crate) type Slot = u32;

/// Which objects have a label.
#[derive(Debug, Default)]
pub(crate) struct LabelIndex(HashMap<Arc<Label>, Posting>);

/// Slots in ascending order. Values that one object alone has, such as its own name, are
/// many: they need no list.
#[derive(Debug)]
enum Posting {
    One(Slot),
    Many(Vec<Slot>),
}

impl Posting {
    fn slots(&self) -> &[Slot] {
        match self {
            Self::One(slot) => std::slice::from_ref(slot),
            Self::Many(slots) => slots,
        }
    }

    fn add(&mut self, slot: Slot) {
        match self {
            Self::One(only) if *only == slot => {}
            Self::One(only) => {
                *self = Self::Many(vec![slot.min(*only), slot.max(*only)]);
            }
            Self::Many(slots) => {
                if let Err(at) = slots.binary_search(&slot) {
                    if slots.len() == slots.capacity() {
                        // A quarter more: four bytes per label are the point of this.
                        slots.reserve_exact(slots.len() / 4 + 2);
                    }
                    slots.insert(at, slot);
                }
            }
        }
    }

    /// Whether nothing is left.
    fn remove(&mut self, slot: Slot) -> bool {
        match self {
            Self::One(only) => *only == slot,
            Self::Many(slots) => {
                if let Ok(at) = slots.binary_search(&slot) {
                    slots.remove(at);
                }
                match slots.as_slice() {
                    [] => return true,
                    [only] => *self = Self::One(*only),
                    _ if slots.len() < slots.capacity() / 2 => slots.shrink_to_fit(),
                    _ => {}
                }
                false
            }
        }
    }
}

impl LabelIndex {
    /// An object's labels changed; either side is empty when it comes or goes.
    pub(crate) fn replace(&mut self, slot: Slot, before: &Labels, after: &Labels) {
        // The same pair is the same pointer.
        let has = |labels: &Labels, label: &Arc<Label>| {
            labels.0.iter().any(|other| Arc::ptr_eq(other, label))
        };
        for label in before.0.iter().filter(|label| !has(after, label)) {
            if self.0.get_mut(label).is_some_and(|posting| posting.remove(slot)) {
                self.0.remove(label);
            }
        }
        for label in after.0.iter().filter(|label| !has(before, label)) {
            match self.0.get_mut(label) {
                Some(posting) => posting.add(slot),
                None => {
                    self.0.insert(Arc::clone(label), Posting::One(slot));
                }
            }
        }
    }

    /// A superset of what a selector selects, as small as one of its requirements makes it:
    /// lists of slots without repetitions. `None` if no requirement names values.
    pub(crate) fn candidates(&self, selector: &LabelSelector) -> Option<Vec<&[Slot]>> {
        let named = |requirement: &&Requirement| {
            matches!(requirement.operator, Operator::Equals | Operator::In)
        };
        let lists = selector.requirements().iter().filter(named).map(|requirement| {
            let mut values: Vec<&str> = requirement.values.iter().map(String::as_str).collect();
            values.sort_unstable();
            values.dedup();
            let pairs = values.into_iter().map(|value| (requirement.key.as_str(), value));
            pairs.filter_map(|pair| Some(self.0.get(&pair as &dyn Pair)?.slots())).collect()
        });
        lists.min_by_key(|lists: &Vec<&[Slot]>| lists.iter().map(|list| list.len()).sum::<usize>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(interner: &Interner, text: &str) -> Labels {
        interner.intern(text.split(',').filter_map(|pair| pair.split_once('=')))
    }

    #[test]
    fn equal_pairs_are_one_and_the_last_of_a_key_counts() {
        let interner = Interner::default();
        let (a, b) = (labels(&interner, "tier=x,app=web"), labels(&interner, "app=web"));
        assert!(Arc::ptr_eq(&a.0[0], &b.0[0]));
        assert_eq!((a.get("app"), a.get("tier"), a.get("none")), (Some("web"), Some("x"), None));
        let twice = labels(&interner, "a=1,b=1,a=2,a=3");
        assert_eq!(twice, labels(&interner, "b=1,a=3"));
        assert_eq!(labels(&interner, ""), Labels::default());
    }

    #[test]
    fn what_nobody_uses_is_let_go_of() {
        let interner = Interner::default();
        let kept = labels(&interner, "app=kept");
        for n in 0..10 * FEWEST_SWEPT {
            labels(&interner, &format!("name-{n}=x,app={n}"));
        }
        let interned = interner.0.lock();
        assert!(interned.labels.len() <= 2 * FEWEST_SWEPT, "{}", interned.labels.len());
        assert!(interned.keys.len() <= 2 * FEWEST_SWEPT, "{}", interned.keys.len());
        assert!(interned.labels.contains(&("app", "kept") as &dyn Pair));
        drop(kept);
    }

    #[test]
    fn the_narrowest_requirement_gives_the_candidates() {
        let interner = Interner::default();
        let mut index = LabelIndex::default();
        let none = Labels::default();
        for slot in 0..6 {
            let one = if slot == 4 { ",only=me" } else { "" };
            let of = labels(&interner, &format!("app=web,half={}{one}", slot % 2));
            index.replace(slot, &none, &of);
        }
        let check = |selector: &str, expect: Option<&[Slot]>| {
            let selector = LabelSelector::parse(selector).unwrap();
            let mut found = index.candidates(&selector).map(|lists| lists.concat());
            if let Some(slots) = &mut found {
                slots.sort_unstable();
            }
            assert_eq!(found.as_deref(), expect, "{selector}");
        };
        check("", None);
        check("app,!x,half notin (0)", None);
        check("app=web", Some(&[0, 1, 2, 3, 4, 5]));
        check("app=web,half=1", Some(&[1, 3, 5]));
        check("half in (0,1),app=web", Some(&[0, 1, 2, 3, 4, 5]));
        check("half in (1,2)", Some(&[1, 3, 5]));
        check("half=0,only=me", Some(&[4]));
        check("half=0,only=you", Some(&[]));
    }

    #[test]
    fn an_index_follows_changes_and_becomes_empty() {
        let interner = Interner::default();
        let mut index = LabelIndex::default();
        let none = Labels::default();
        let (a, b) = (labels(&interner, "x=1,y=1"), labels(&interner, "x=2,y=1"));
        let slots = |index: &LabelIndex, pair: (&str, &str)| {
            index.0.get(&pair as &dyn Pair).map(|posting| posting.slots().to_vec())
        };
        index.replace(7, &none, &a);
        index.replace(3, &none, &a);
        index.replace(5, &none, &a);
        assert_eq!(slots(&index, ("x", "1")), Some(vec![3, 5, 7]));
        index.replace(5, &a, &b);
        assert_eq!(slots(&index, ("x", "1")), Some(vec![3, 7]));
        assert_eq!(slots(&index, ("x", "2")), Some(vec![5]));
        assert_eq!(slots(&index, ("y", "1")), Some(vec![3, 5, 7]));
        index.replace(3, &a, &none);
        index.replace(7, &a, &none);
        index.replace(5, &b, &none);
        assert!(index.0.is_empty());
    }
}
