//! What scheduler extensions say, from their numbers of nodes to slots.
//!
//! The numbering is mapped once, and an evaluation once per version: pods of one
//! template usually share theirs. Nobody has a say: one call, no work.

use std::collections::BTreeMap;
use std::rc::Rc;

use pintle_sdk::Extensions;

use crate::view::{Slot, View};

/// So many evaluations are remembered.
const MOST_VERSIONS: usize = 64;

/// Extensions' scores lie between 0 and this.
pub const FULL_SCORE: f32 = 10_000.0;

#[derive(Debug, Default)]
pub struct Extended {
    /// Numbers of nodes and the view's slots as of the mapping.
    seen: Option<(u64, u64)>,
    slots: Vec<Option<Slot>>,
    versions: BTreeMap<u64, Rc<Opinion>>,
}

/// One evaluation, by slot.
#[derive(Debug, Default, PartialEq)]
pub struct Opinion {
    pub rejections: Vec<(Rc<str>, Vec<Slot>)>,
    /// 0 to 10000; empty when nobody scores.
    pub scores: Vec<f32>,
}

impl Extended {
    /// `None`: no extension has a say in this pod.
    pub fn opinion(
        &mut self,
        extensions: &dyn Extensions,
        view: &View,
        uid: &str,
    ) -> Option<(u64, Rc<Opinion>)> {
        let version = extensions.evaluate(uid);
        if version == 0 {
            return None;
        }
        let seen = Some((extensions.numbering(), view.node_changes()));
        if self.seen != seen {
            let names = extensions.nodes();
            self.slots = names.iter().map(|name| view.find(name)).collect();
            self.versions.clear();
            self.seen = seen;
        }
        if let Some(known) = self.versions.get(&version) {
            return Some((version, Rc::clone(known)));
        }
        if self.versions.len() >= MOST_VERSIONS {
            self.versions.pop_first();
        }
        let opinion = Rc::new(self.read(extensions, view, version));
        self.versions.insert(version, Rc::clone(&opinion));
        Some((version, opinion))
    }

    fn read(&self, extensions: &dyn Extensions, view: &View, version: u64) -> Opinion {
        let evaluation = extensions.read(version);
        let slot = |number: usize| self.slots.get(number).copied().flatten();
        let rejections = evaluation.rejections.into_iter().map(|rejection| {
            let slots = rejection.nodes.iter().filter_map(|&number| slot(number as usize));
            (Rc::from(rejection.reason), slots.collect())
        });
        let rejections = rejections.collect();
        let mut scores = Vec::new();
        if !evaluation.scores.is_empty() {
            scores.resize(view.len(), 0.0);
            for (number, &score) in evaluation.scores.iter().enumerate() {
                if let Some(slot) = slot(number) {
                    scores[slot] = f32::from(score).min(FULL_SCORE);
                }
            }
        }
        Opinion { rejections, scores }
    }
}
