//! One tally: how many pods of a sort each domain of a topology has.

use std::rc::Rc;

use crate::counts::Counts;
use crate::labels::{Namespaces, PodTerm, Selector, mark};
use crate::shape::Shape;
use crate::topology::TopologyId;

pub type TallyId = u32;

/// The topology in which every slot is a domain of its own.
pub const SLOTS: TopologyId = usize::MAX;

/// A sort of pods.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Those that all of these terms select.
    Near(Vec<PodTerm>),
    /// Those of a namespace that are selected and not on their way out.
    Living { namespace: String, selector: Selector },
    /// Those of a controller that are not on their way out.
    Siblings(Rc<str>),
    /// Those that have this term themselves.
    Holding(Held, PodTerm),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    Away,
    Near,
    Preferring(i32),
}

#[derive(Debug)]
pub struct Tally {
    pub what: Rc<What>,
    pub topology: TopologyId,
    pub counts: Counts,
    /// In all domains together.
    pub sum: i64,
    /// With those on nodes that are in no domain.
    pub(crate) members: i64,
    pub(crate) last_use: u64,
}

/// What a shape remembers about tallies.
#[derive(Debug, Default)]
pub struct Marks {
    /// Of which epoch the rest is; none yet.
    pub(crate) epoch: Option<u64>,
    pub(crate) checked: TallyId,
    /// The shape's labels and its controller, see [`mark`].
    pub(crate) labels: Vec<u64>,
    /// Tallies that select pods of the shape, how often each counts, and whether
    /// only while they are not on their way out.
    pub(crate) counted: Vec<(TallyId, i32, bool)>,
    /// Tallies of the terms that pods of the shape have.
    pub(crate) held: Vec<TallyId>,
    /// Tallies of pods whose term selects pods of the shape.
    pub(crate) felt: Vec<TallyId>,
}

impl Tally {
    pub(crate) fn is_of_the_living(&self) -> bool {
        matches!(*self.what, What::Living { .. } | What::Siblings(_))
    }

    pub(crate) fn is_held(&self) -> bool {
        matches!(*self.what, What::Holding(..))
    }
}

impl What {
    /// Marks of which every pod has one that is selected or, for a term that
    /// pods hold, meant by it.
    pub(crate) fn needs(&self) -> Option<Vec<u64>> {
        match self {
            What::Near(terms) => terms.iter().find_map(PodTerm::needs),
            What::Living { selector, .. } => selector.needs(),
            What::Siblings(group) => Some(vec![sibling_mark(group)]),
            What::Holding(_, term) => term.needs(),
        }
    }

    pub(crate) fn asks_namespaces(&self) -> bool {
        match self {
            What::Near(terms) => terms.iter().any(PodTerm::asks_namespaces),
            What::Living { .. } | What::Siblings(_) => false,
            What::Holding(_, term) => term.asks_namespaces(),
        }
    }
}

/// As [`mark`], for the controller of a pod.
pub(crate) fn sibling_mark(group: &str) -> u64 {
    mark("", group)
}

/// How often a pod of this shape counts.
pub fn contribution(what: &What, shape: &Shape, namespaces: &Namespaces) -> i32 {
    match what {
        What::Near(terms) => i32::from(
            terms.iter().all(|term| term.selects(&shape.namespace, &shape.labels, namespaces)),
        ),
        What::Living { namespace, selector } => {
            i32::from(*namespace == shape.namespace && selector.matches(&shape.labels))
        }
        What::Siblings(group) => i32::from(shape.group.as_ref() == Some(group)),
        What::Holding(held, term) => {
            let rules = &shape.rules;
            let count = match held {
                Held::Away => rules.away.iter().filter(|own| *own == term).count(),
                Held::Near => rules.near.iter().filter(|own| *own == term).count(),
                Held::Preferring(weight) => {
                    rules.prefer.iter().filter(|(own, of)| own == weight && of == term).count()
                }
            };
            count as i32
        }
    }
}
