//! Rules between pods: required pod affinity and anti-affinity, and topology
//! spread constraints that must hold.
//!
//! These depend on every pod of the cluster, so they are worked out anew for
//! each pod that has such rules (and for pods that an existing pod's
//! anti-affinity may keep away), on top of the scores per node.

use std::collections::{BTreeMap, BTreeSet};

use pintle_sdk::selector::LabelSelector;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::filter::Reason;
use crate::shape::Shape;
use crate::view::{ABSENT, Slot, View};

type LabelMap = BTreeMap<String, String>;

/// The rules of one pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    near: Vec<Term>,
    away: Vec<Term>,
    spread: Vec<Constraint>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Term {
    label_selector: Option<LabelSelector>,
    topology_key: String,
    namespaces: Option<Vec<String>>,
    namespace_selector: Option<LabelSelector>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Constraint {
    max_skew: i64,
    min_domains: Option<i64>,
    topology_key: String,
    when_unsatisfiable: String,
    label_selector: Option<LabelSelector>,
}

impl Rules {
    pub fn read(
        affinity: Option<&RawValue>,
        spread: Option<&RawValue>,
    ) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize, Default)]
        #[serde(rename_all = "camelCase", default)]
        struct Affinity {
            pod_affinity: Option<Required>,
            pod_anti_affinity: Option<Required>,
        }
        #[derive(Deserialize, Default)]
        #[serde(rename_all = "camelCase", default)]
        struct Required {
            required_during_scheduling_ignored_during_execution: Option<Vec<Term>>,
        }
        let affinity: Option<Option<Affinity>> =
            affinity.map(|raw| serde_json::from_str(raw.get())).transpose()?;
        let affinity = affinity.flatten().unwrap_or_default();
        let terms = |required: Option<Required>| {
            required
                .and_then(|required| required.required_during_scheduling_ignored_during_execution)
                .unwrap_or_default()
        };
        let spread: Option<Option<Vec<Constraint>>> =
            spread.map(|raw| serde_json::from_str(raw.get())).transpose()?;
        let mut spread = spread.flatten().unwrap_or_default();
        spread.retain(|constraint| constraint.when_unsatisfiable == "DoNotSchedule");
        Ok(Rules {
            near: terms(affinity.pod_affinity),
            away: terms(affinity.pod_anti_affinity),
            spread,
        })
    }

    pub fn is_empty(&self) -> bool {
        self.near.is_empty() && self.away.is_empty() && self.spread.is_empty()
    }

    /// Does it keep others away?
    pub fn repels(&self) -> bool {
        !self.away.is_empty()
    }
}

impl Term {
    /// `owner` is the namespace of the pod that has the term.
    fn selects(&self, owner: &str, namespace: &str, labels: &LabelMap) -> bool {
        let listed = self.namespaces.as_deref().unwrap_or_default();
        let in_scope = match &self.namespace_selector {
            Some(selector) if selector.is_empty() => true,
            // Labels of namespaces are not known here.
            Some(_) => listed.iter().any(|known| known == namespace),
            None if listed.is_empty() => owner == namespace,
            None => listed.iter().any(|known| known == namespace),
        };
        in_scope && self.label_selector.as_ref().is_some_and(|selector| selector.matches(labels))
    }
}

/// Per slot: why the rules forbid it.
pub type Mask = Vec<Option<Reason<'static>>>;

/// `None` when no rule has anything to say about this pod.
pub fn mask(view: &View, shape: &Shape) -> Option<Mask> {
    if shape.rules.is_empty() && !view.has_repelling_pods() {
        return None;
    }
    let mut mask: Mask = vec![None; view.len()];
    for constraint in &shape.rules.spread {
        apply_spread(view, shape, constraint, &mut mask);
    }
    apply_near(view, shape, &mut mask);
    for term in &shape.rules.away {
        let taken = domains(view, &term.topology_key, |other| {
            term.selects(&shape.namespace, &other.namespace, &other.labels)
        });
        forbid(view, &term.topology_key, &taken, Reason::AntiAffinity, &mut mask);
    }
    for (_, pod) in view.pods().filter(|(_, pod)| pod.shape.rules.repels()) {
        for term in &pod.shape.rules.away {
            if term.selects(&pod.shape.namespace, &shape.namespace, &shape.labels) {
                let domain = view.labels(pod.slot).get(&term.topology_key).map(String::as_str);
                forbid(
                    view,
                    &term.topology_key,
                    &domain.into_iter().collect(),
                    Reason::ExistingAntiAffinity,
                    &mut mask,
                );
            }
        }
    }
    let says_something = !shape.rules.is_empty() || mask.iter().any(Option::is_some);
    says_something.then_some(mask)
}

/// The values of a topology key that have a pod of this sort.
fn domains<'a>(view: &'a View, key: &str, is_meant: impl Fn(&Shape) -> bool) -> BTreeSet<&'a str> {
    let pods = view.pods().filter(|(_, pod)| is_meant(&pod.shape));
    pods.filter_map(|(_, pod)| view.labels(pod.slot).get(key)).map(String::as_str).collect()
}

fn forbid(
    view: &View,
    key: &str,
    taken: &BTreeSet<&str>,
    reason: Reason<'static>,
    mask: &mut Mask,
) {
    if taken.is_empty() {
        return;
    }
    for (slot, verdict) in mask.iter_mut().enumerate().filter(|(_, verdict)| verdict.is_none()) {
        if view.labels(slot).get(key).is_some_and(|value| taken.contains(value.as_str())) {
            *verdict = Some(reason.clone());
        }
    }
}

fn apply_near(view: &View, shape: &Shape, mask: &mut Mask) {
    let near = &shape.rules.near;
    if near.is_empty() {
        return;
    }
    // One pod has to meet all terms.
    let meant = |other: &Shape| {
        near.iter().all(|term| term.selects(&shape.namespace, &other.namespace, &other.labels))
    };
    let found: Vec<BTreeSet<&str>> =
        near.iter().map(|term| domains(view, &term.topology_key, meant)).collect();
    // The first of a group that wants to be together may go anywhere.
    let first = found.iter().all(BTreeSet::is_empty) && meant(shape);
    for (slot, verdict) in mask.iter_mut().enumerate().filter(|(_, verdict)| verdict.is_none()) {
        let labels = view.labels(slot);
        let holds = near.iter().zip(&found).all(|(term, found)| {
            labels
                .get(&term.topology_key)
                .is_some_and(|value| first || found.contains(value.as_str()))
        });
        if !holds {
            *verdict = Some(Reason::Affinity);
        }
    }
}

fn apply_spread(view: &View, shape: &Shape, constraint: &Constraint, mask: &mut Mask) {
    let key = &constraint.topology_key;
    let selects = |labels: &LabelMap| {
        constraint.label_selector.as_ref().is_some_and(|selector| selector.matches(labels))
    };
    let eligible = |slot: &Slot| {
        view.class[*slot] != ABSENT && shape.node.matches(&view.names[*slot], view.labels(*slot))
    };
    // Every domain the pod could use counts, the empty ones above all.
    let mut counts: BTreeMap<&str, i64> = (0..view.len())
        .filter(eligible)
        .filter_map(|slot| view.labels(slot).get(key))
        .map(|value| (value.as_str(), 0))
        .collect();
    for (_, pod) in view.pods().filter(|(_, pod)| !pod.terminating) {
        if pod.shape.namespace == shape.namespace && selects(&pod.shape.labels) {
            let domain =
                view.labels(pod.slot).get(key).and_then(|value| counts.get_mut(value.as_str()));
            domain.into_iter().for_each(|count| *count += 1);
        }
    }
    let enough_domains = constraint.min_domains.is_none_or(|least| counts.len() as i64 >= least);
    let fewest = if enough_domains { counts.values().min().copied().unwrap_or(0) } else { 0 };
    let own = i64::from(selects(&shape.labels));
    for (slot, verdict) in mask.iter_mut().enumerate().filter(|(_, verdict)| verdict.is_none()) {
        *verdict = match view.labels(slot).get(key) {
            None => Some(Reason::SpreadLabel),
            Some(value) => {
                let count = counts.get(value.as_str()).copied().unwrap_or(0);
                (count + own - fewest > constraint.max_skew).then_some(Reason::Spread)
            }
        };
    }
}
