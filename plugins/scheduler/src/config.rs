//! `spec.config`: what each profile of the scheduler weighs and checks.
//!
//! The keys of the top level hold for every name in `schedulerNames`; an entry
//! of `profiles` adds a name of its own with some of the keys changed.

use std::rc::Rc;

use serde::Deserialize;

use crate::topology::{HOSTNAME, ZONE};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Strategy {
    /// Nodes with the most room first.
    #[cfg_attr(not(feature = "most-allocated"), default)]
    LeastAllocated,
    /// Full nodes first: packs pods onto few nodes.
    #[cfg_attr(feature = "most-allocated", default)]
    MostAllocated,
    /// By the line through the points of `requestedToCapacityRatio`.
    RequestedToCapacityRatio,
}

/// Each part of a score lies between 0 and 100 before its weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Weights {
    pub resources: u32,
    pub balance: u32,
    pub node_affinity: u32,
    pub taints: u32,
    pub spread: u32,
    pub pod_affinity: u32,
    pub images: u32,
    pub extensions: u32,
}

impl Default for Weights {
    fn default() -> Self {
        Weights {
            resources: 1,
            balance: 1,
            node_affinity: 2,
            taints: 3,
            spread: 2,
            pod_affinity: 2,
            images: 1,
            extensions: 1,
        }
    }
}

impl Weights {
    fn are_sane(&self) -> bool {
        let Weights {
            resources,
            balance,
            node_affinity,
            taints,
            spread,
            pod_affinity,
            images,
            extensions,
        } = *self;
        [resources, balance, node_affinity, taints, spread, pod_affinity, images, extensions]
            .iter()
            .all(|weight| *weight <= 100)
    }
}

/// A resource that takes part in the score for how full a node is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceWeight {
    pub name: String,
    #[serde(default = "one")]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

/// A point of the line from how full a node is (0 to 100) to its score (0 to 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    pub utilization: u32,
    pub score: u32,
}

/// A topology spread constraint for pods that have none of their own; it counts
/// the pods of the same controller.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DefaultConstraint {
    pub max_skew: i32,
    pub topology_key: String,
    pub when_unsatisfiable: WhenUnsatisfiable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum WhenUnsatisfiable {
    DoNotSchedule,
    ScheduleAnyway,
}

/// A rule that a profile may leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Rule {
    NodeUnschedulable,
    TaintToleration,
    NodeAffinity,
    NodePorts,
    NodeResourcesFit,
    NodeResourcesBalancedAllocation,
    ImageLocality,
    VolumeRestrictions,
    NodeVolumeLimits,
    VolumeBinding,
    VolumeZone,
    PodTopologySpread,
    InterPodAffinity,
    DefaultPreemption,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    pub scheduler_names: Vec<String>,
    pub scoring_strategy: Strategy,
    pub resources: Vec<ResourceWeight>,
    pub requested_to_capacity_ratio: Vec<Point>,
    pub weights: Weights,
    pub disabled: Vec<Rule>,
    /// Absent: three per host and five per zone, both as a wish.
    pub default_constraints: Option<Vec<DefaultConstraint>>,
    pub hard_pod_affinity_weight: u32,
    pub profiles: Vec<Profile>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            scheduler_names: vec!["default-scheduler".to_owned()],
            scoring_strategy: Strategy::default(),
            resources: Vec::new(),
            requested_to_capacity_ratio: Vec::new(),
            weights: Weights::default(),
            disabled: Vec::new(),
            default_constraints: None,
            hard_pod_affinity_weight: 1,
            profiles: Vec::new(),
        }
    }
}

/// What is absent is as at the top level.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Profile {
    pub scheduler_name: String,
    pub scoring_strategy: Option<Strategy>,
    pub resources: Option<Vec<ResourceWeight>>,
    pub requested_to_capacity_ratio: Option<Vec<Point>>,
    pub weights: Option<Weights>,
    pub disabled: Option<Vec<Rule>>,
    pub default_constraints: Option<Vec<DefaultConstraint>>,
    pub hard_pod_affinity_weight: Option<u32>,
}

/// One profile, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Tells profiles apart.
    pub index: usize,
    pub strategy: Strategy,
    pub resources: Vec<ResourceWeight>,
    pub ratio: Vec<Point>,
    pub weights: Weights,
    pub disabled: Vec<Rule>,
    pub default_constraints: Vec<DefaultConstraint>,
    /// The default constraints are the built-in ones: nodes that lack one of
    /// the two labels are spread by the other.
    pub system_defaults: bool,
    pub hard_pod_affinity_weight: i32,
}

impl Settings {
    pub fn has(&self, rule: Rule) -> bool {
        !self.disabled.contains(&rule)
    }

    /// Cpu and memory alike, and no line of its own: what has a fast path.
    pub fn is_plain(&self) -> bool {
        let equal = |name: &str| {
            self.resources.iter().any(|resource| {
                resource.name == name && resource.weight == self.resources[0].weight
            })
        };
        self.strategy != Strategy::RequestedToCapacityRatio
            && self.resources.len() == 2
            && equal("cpu")
            && equal("memory")
    }
}

/// Every profile by the name that pods call it by.
pub type Profiles = Vec<(String, Rc<Settings>)>;

impl Config {
    pub fn profiles(self) -> Result<Profiles, String> {
        let mut profiles: Profiles = Vec::new();
        let base = Profile {
            scheduler_name: String::new(),
            scoring_strategy: Some(self.scoring_strategy),
            resources: Some(self.resources),
            requested_to_capacity_ratio: Some(self.requested_to_capacity_ratio),
            weights: Some(self.weights),
            disabled: Some(self.disabled),
            default_constraints: self.default_constraints,
            hard_pod_affinity_weight: Some(self.hard_pod_affinity_weight),
        };
        let shared = Rc::new(settings(0, &base, &base)?);
        for name in self.scheduler_names {
            profiles.push((name, Rc::clone(&shared)));
        }
        for (index, profile) in self.profiles.into_iter().enumerate() {
            let settings = Rc::new(settings(index + 1, &profile, &base)?);
            profiles.push((profile.scheduler_name, settings));
        }
        if profiles.is_empty() {
            return Err("spec.config.schedulerNames: must name at least one scheduler".to_owned());
        }
        for (index, (name, _)) in profiles.iter().enumerate() {
            if name.is_empty() {
                return Err("spec.config.profiles: each needs a schedulerName".to_owned());
            }
            if profiles[..index].iter().any(|(other, _)| other == name) {
                return Err(format!("spec.config.profiles: {name:?} is there twice"));
            }
        }
        Ok(profiles)
    }
}

fn settings(index: usize, profile: &Profile, base: &Profile) -> Result<Settings, String> {
    fn or<T: Clone + Default>(own: &Option<T>, base: &Option<T>) -> T {
        own.as_ref().or(base.as_ref()).cloned().unwrap_or_default()
    }
    let constraints = profile.default_constraints.as_ref().or(base.default_constraints.as_ref());
    let mut resources = or(&profile.resources, &base.resources);
    if resources.is_empty() {
        let resource = |name: &str| ResourceWeight { name: name.to_owned(), weight: 1 };
        resources = vec![resource("cpu"), resource("memory")];
    }
    let settings = Settings {
        index,
        strategy: or(&profile.scoring_strategy, &base.scoring_strategy),
        resources,
        ratio: or(&profile.requested_to_capacity_ratio, &base.requested_to_capacity_ratio),
        weights: or(&profile.weights, &base.weights),
        disabled: or(&profile.disabled, &base.disabled),
        system_defaults: constraints.is_none(),
        default_constraints: constraints.cloned().unwrap_or_else(system_defaults),
        hard_pod_affinity_weight: or(
            &profile.hard_pod_affinity_weight,
            &base.hard_pod_affinity_weight,
        )
        .min(101) as i32,
    };
    check(&settings)?;
    Ok(settings)
}

fn system_defaults() -> Vec<DefaultConstraint> {
    let soft = |max_skew, key: &str| DefaultConstraint {
        max_skew,
        topology_key: key.to_owned(),
        when_unsatisfiable: WhenUnsatisfiable::ScheduleAnyway,
    };
    vec![soft(3, HOSTNAME), soft(5, ZONE)]
}

fn check(settings: &Settings) -> Result<(), String> {
    let between = |what: &str, low: u32, high: u32| {
        Err(format!("spec.config.{what}: must lie between {low} and {high}"))
    };
    if !settings.weights.are_sane() {
        return between("weights: each", 0, 100);
    }
    if settings.hard_pod_affinity_weight > 100 {
        return between("hardPodAffinityWeight", 0, 100);
    }
    if !settings.resources.iter().all(|resource| (1..=100).contains(&resource.weight)) {
        return between("resources: each weight", 1, 100);
    }
    if settings.default_constraints.iter().any(|constraint| constraint.max_skew < 1) {
        return Err("spec.config.defaultConstraints: each maxSkew must be at least 1".to_owned());
    }
    let points = &settings.ratio;
    if settings.strategy == Strategy::RequestedToCapacityRatio && points.is_empty() {
        return Err(
            "spec.config.requestedToCapacityRatio: needs at least one point for this strategy"
                .to_owned(),
        );
    }
    if points.iter().any(|point| point.utilization > 100 || point.score > 10)
        || points.windows(2).any(|pair| pair[0].utilization >= pair[1].utilization)
    {
        return Err("spec.config.requestedToCapacityRatio: utilization must rise from 0 to 100, \
                    scores lie between 0 and 10"
            .to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profiles(json: &str) -> Result<Profiles, String> {
        serde_json::from_str::<Config>(json).map_err(|error| error.to_string())?.profiles()
    }

    #[test]
    fn bad_configurations_say_what_is_wrong() {
        fn check(json: &str, expect: &str) {
            let error = profiles(json).unwrap_err();
            assert!(error.contains(expect), "{json}: {error}");
        }
        check(r#"{"schedulerNames":[]}"#, "schedulerNames: must name");
        check(r#"{"weights":{"taints":101}}"#, "weights: each: must lie");
        check(r#"{"wheights":{}}"#, "unknown field `wheights`");
        check(r#"{"disabled":["Everything"]}"#, "unknown variant `Everything`");
        check(r#"{"hardPodAffinityWeight":101}"#, "hardPodAffinityWeight: must lie");
        check(r#"{"profiles":[{"scheduler":"x"}]}"#, "unknown field `scheduler`");
        check(r#"{"profiles":[{}]}"#, "needs a schedulerName");
        check(r#"{"profiles":[{"schedulerName":"default-scheduler"}]}"#, "is there twice");
        check(r#"{"scoringStrategy":"RequestedToCapacityRatio"}"#, "at least one point");
        check(
            r#"{"requestedToCapacityRatio":[{"utilization":9,"score":1},{"utilization":9,"score":2}]}"#,
            "must rise",
        );
    }

    #[test]
    fn a_profile_changes_what_it_names() {
        let profiles = profiles(
            r#"{"weights":{"spread":7},"profiles":[{"schedulerName":"packer","scoringStrategy":"MostAllocated","disabled":["ImageLocality"]}]}"#,
        )
        .unwrap();
        let (name, packer) = &profiles[1];
        assert_eq!((name.as_str(), packer.weights.spread), ("packer", 7));
        assert_eq!(packer.strategy, Strategy::MostAllocated);
        assert!(!packer.has(Rule::ImageLocality) && profiles[0].1.has(Rule::ImageLocality));
        assert!(packer.is_plain() && packer.system_defaults);
    }
}
