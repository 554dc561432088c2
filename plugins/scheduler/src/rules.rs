//! The rules of one pod about other pods: affinity, anti-affinity, and how to
//! spread. Read from the pod once, in a form that is quick to evaluate.

use pintle_sdk::reading::Raw;
use pintle_sdk::selector::LabelSelector;
use serde::Deserialize;

use crate::config::{Rule, Settings, WhenUnsatisfiable};
use crate::labels::{LabelMap, PodTerm, Selector};

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    /// Must have a pod near that all of these select.
    pub near: Vec<PodTerm>,
    /// Must have no pod near that any of these selects.
    pub away: Vec<PodTerm>,
    /// Would like (or, weight below 0, rather not like) such pods near.
    pub prefer: Vec<(i32, PodTerm)>,
    pub hard: Vec<Constraint>,
    pub soft: Vec<Constraint>,
    /// The soft constraints are the scheduler's own: a node without one of
    /// their labels is judged by the others.
    pub soft_by_default: bool,
}

/// Spread over the domains of a topology.
#[derive(Debug, Clone, PartialEq)]
pub struct Constraint {
    pub topology_key: String,
    pub max_skew: i32,
    pub min_domains: usize,
    pub who: Who,
    /// Only nodes that the pod's node affinity admits count.
    pub honor_affinity: bool,
    /// Only nodes whose taints the pod tolerates count.
    pub honor_taints: bool,
}

/// Which pods a constraint counts.
#[derive(Debug, Clone, PartialEq)]
pub enum Who {
    /// Those of the same namespace that this selects.
    Selected(Selector),
    /// Those of the same controller.
    Siblings,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawAffinity {
    pod_affinity: Option<RawTerms>,
    pod_anti_affinity: Option<RawTerms>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawTerms {
    required_during_scheduling_ignored_during_execution: Option<Vec<RawTerm>>,
    preferred_during_scheduling_ignored_during_execution: Option<Vec<RawPreference>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawPreference {
    weight: i32,
    pod_affinity_term: RawTerm,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawTerm {
    label_selector: Option<LabelSelector>,
    topology_key: String,
    namespaces: Option<Vec<String>>,
    namespace_selector: Option<LabelSelector>,
    match_label_keys: Option<Vec<String>>,
    mismatch_label_keys: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawConstraint {
    max_skew: i32,
    min_domains: Option<usize>,
    topology_key: String,
    when_unsatisfiable: String,
    label_selector: Option<LabelSelector>,
    match_label_keys: Option<Vec<String>>,
    node_affinity_policy: Option<String>,
    node_taints_policy: Option<String>,
}

impl Rules {
    /// `has_siblings`: pods of the same controller can be told.
    pub fn read(
        affinity: Option<Raw<'_>>,
        spread: Option<Raw<'_>>,
        (namespace, labels): (&str, &LabelMap),
        settings: &Settings,
        has_siblings: bool,
    ) -> Result<Self, serde_json::Error> {
        let mut rules = Rules::default();
        if settings.has(Rule::InterPodAffinity) {
            rules.read_affinity(affinity, namespace, labels)?;
        }
        if settings.has(Rule::PodTopologySpread) {
            let own: Option<Option<Vec<RawConstraint>>> = spread.map(Raw::parse).transpose()?;
            let own = own.flatten().unwrap_or_default();
            if own.is_empty() && has_siblings {
                rules.take_defaults(settings);
            }
            for raw in own {
                let into = match raw.when_unsatisfiable.as_str() {
                    "DoNotSchedule" => &mut rules.hard,
                    "ScheduleAnyway" => &mut rules.soft,
                    _ => continue,
                };
                into.push(raw.read(labels));
            }
        }
        Ok(rules)
    }

    fn read_affinity(
        &mut self,
        affinity: Option<Raw<'_>>,
        namespace: &str,
        labels: &LabelMap,
    ) -> Result<(), serde_json::Error> {
        let Some(raw) = affinity else { return Ok(()) };
        let raw: Option<RawAffinity> = raw.parse()?;
        let raw = raw.unwrap_or_default();
        let sides = [(raw.pod_affinity, 1), (raw.pod_anti_affinity, -1)];
        for (terms, sign) in sides.into_iter().filter_map(|(terms, sign)| Some((terms?, sign))) {
            let required = terms.required_during_scheduling_ignored_during_execution;
            let required = required.into_iter().flatten().map(|term| term.read(namespace, labels));
            if sign > 0 { &mut self.near } else { &mut self.away }.extend(required);
            let preferred = terms.preferred_during_scheduling_ignored_during_execution;
            self.prefer.extend(
                preferred.into_iter().flatten().filter(|preference| preference.weight != 0).map(
                    |preference| {
                        let weight = preference.weight.clamp(-100, 100);
                        (sign * weight, preference.pod_affinity_term.read(namespace, labels))
                    },
                ),
            );
        }
        Ok(())
    }

    fn take_defaults(&mut self, settings: &Settings) {
        for default in &settings.default_constraints {
            let constraint = Constraint {
                topology_key: default.topology_key.clone(),
                max_skew: default.max_skew,
                min_domains: 1,
                who: Who::Siblings,
                honor_affinity: true,
                honor_taints: false,
            };
            match default.when_unsatisfiable {
                WhenUnsatisfiable::DoNotSchedule => self.hard.push(constraint),
                WhenUnsatisfiable::ScheduleAnyway => self.soft.push(constraint),
            }
        }
        self.soft_by_default = settings.system_defaults;
    }

    /// Terms that other pods must be measured against as long as this one runs.
    pub fn is_felt_by_others(&self) -> bool {
        !(self.near.is_empty() && self.away.is_empty() && self.prefer.is_empty())
    }
}

impl RawTerm {
    fn read(self, namespace: &str, labels: &LabelMap) -> PodTerm {
        let mut namespaces = self.namespaces.unwrap_or_default();
        if namespaces.is_empty() && self.namespace_selector.is_none() {
            namespaces.push(namespace.to_owned());
        }
        namespaces.sort_unstable();
        let selector = self.label_selector.as_ref().map(|selector| {
            Selector::of(selector)
                .same(&self.match_label_keys.unwrap_or_default(), labels)
                .other(&self.mismatch_label_keys.unwrap_or_default(), labels)
        });
        PodTerm {
            topology_key: self.topology_key,
            selector,
            namespaces,
            namespace_selector: self.namespace_selector.as_ref().map(Selector::of),
        }
    }
}

impl RawConstraint {
    fn read(self, labels: &LabelMap) -> Constraint {
        let nothing = || {
            let never = r#"{"matchExpressions":[{"key":"","operator":"In","values":[]}]}"#;
            serde_json::from_str(never).unwrap_or_default()
        };
        // No selector selects no pod.
        let selector = self.label_selector.unwrap_or_else(nothing);
        let selector =
            Selector::of(&selector).same(&self.match_label_keys.unwrap_or_default(), labels);
        Constraint {
            topology_key: self.topology_key,
            max_skew: self.max_skew.max(1),
            min_domains: self.min_domains.unwrap_or(1).max(1),
            who: Who::Selected(selector),
            honor_affinity: self.node_affinity_policy.as_deref() != Some("Ignore"),
            honor_taints: self.node_taints_policy.as_deref() == Some("Honor"),
        }
    }
}
