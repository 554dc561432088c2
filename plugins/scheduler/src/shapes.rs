//! Shapes that were seen, remembered by what they were made from, with the scores
//! that were computed for them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use pintle_sdk::prelude::Toleration;
use pintle_sdk::reading::Raw;

use crate::config::Settings;
use crate::pod::RawPod;
use crate::report::Report;
use crate::requests::Requests;
use crate::score::Scores;
use crate::shape::{self, Shape};

/// Shapes that are remembered; the ones unused for longest go first.
const MOST_SHAPES: usize = 1024;
/// Of these, the ones with a score per node (20 KB each at 5000 nodes).
const MOST_SCORED: usize = 128;

#[derive(Default)]
pub struct Shapes {
    by_key: BTreeMap<Vec<u8>, Entered>,
    scored: BTreeMap<u64, Known>,
    /// Many templates ask for the same; quantities take longer to read than all else.
    requests: BTreeMap<Vec<u8>, Requests>,
    tolerations: BTreeMap<Box<[u8]>, Rc<[Toleration]>>,
    uses: u64,
    serials: u64,
}

pub struct Entered {
    pub shape: Rc<Shape>,
    last_use: u64,
}

/// What was computed for a shape.
#[derive(Default)]
pub struct Known {
    pub scores: Scores,
    /// Why it fitted nowhere, and when.
    report: Option<(Stamp, Report)>,
    last_use: u64,
}

/// When a report was written; the same stamp would give the same report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub position: u64,
    pub volumes: u64,
    pub tallies: u64,
    pub opinion: u64,
}

impl Known {
    pub fn report(&mut self, stamp: Stamp, make: impl FnOnce() -> Report) -> Report {
        match &self.report {
            Some((at, report)) if *at == stamp => report.clone(),
            _ => {
                let report = make();
                self.report = Some((stamp, report.clone()));
                report
            }
        }
    }
}

impl Shapes {
    /// The shape of a pod.
    pub fn get(
        &mut self,
        pod: &RawPod<'_>,
        settings: &Rc<Settings>,
    ) -> Result<&Entered, serde_json::Error> {
        self.uses += 1;
        let key = pod.key(settings.index);
        if self.by_key.len() >= MOST_SHAPES && !self.by_key.contains_key(&key) {
            let middle = middle(self.by_key.values().map(|entered| entered.last_use));
            self.by_key.retain(|_, entered| entered.last_use > middle);
        }
        let entered = match self.by_key.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let requests = Requests::key(pod);
                if self.requests.len() >= MOST_SHAPES {
                    self.requests.clear();
                }
                let requests = self.requests.entry(requests);
                let requests = requests.or_insert_with(|| Requests::of(pod)).clone();
                let tolerations = known_tolerations(&mut self.tolerations, pod)?;
                let shape = Shape::of(pod, requests, tolerations, self.serials, settings)?;
                let shape = Rc::new(shape);
                self.serials += 1;
                entry.insert(Entered { shape, last_use: 0 })
            }
        };
        entered.last_use = self.uses;
        Ok(entered)
    }

    /// What was computed for a shape, or room for it.
    pub fn scored(&mut self, shape: &Shape) -> &mut Known {
        if self.scored.len() >= MOST_SCORED && !self.scored.contains_key(&shape.serial) {
            let middle = middle(self.scored.values().map(|known| known.last_use));
            self.scored.retain(|_, known| known.last_use > middle);
        }
        let known = self.scored.entry(shape.serial).or_default();
        known.last_use = self.uses;
        known
    }
}

fn known_tolerations(
    known: &mut BTreeMap<Box<[u8]>, Rc<[Toleration]>>,
    pod: &RawPod<'_>,
) -> Result<Rc<[Toleration]>, serde_json::Error> {
    let text = pod.spec.tolerations.map_or(b"".as_slice(), Raw::json);
    if let Some(tolerations) = known.get(text) {
        return Ok(Rc::clone(tolerations));
    }
    let tolerations = shape::tolerations(pod)?;
    if known.len() >= MOST_SHAPES {
        known.clear();
    }
    known.insert(text.into(), Rc::clone(&tolerations));
    Ok(tolerations)
}

/// Half of them were used later than this.
fn middle(uses: impl Iterator<Item = u64>) -> u64 {
    let uses: BTreeSet<u64> = uses.collect();
    uses.iter().nth(uses.len() / 2).copied().unwrap_or(0)
}
