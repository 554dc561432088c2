//! The oracle: an evaluator of every rule that is slow and obvious, written from
//! the documented behaviour and independent of the plugin's code, must agree with
//! the plugin on many random clusters and pods.
//!
//! `PINTLE_ORACLE_SEED` and `PINTLE_ORACLE_CASES` run other cases; a failure
//! prints the seed of its case.

mod generate;
mod history;
mod model;
mod preempting;
mod rules;
mod scores;

use pintle_plugin_scheduler::{Config, Plugin};
use pintle_sdk::NoExtensions;
use pintle_sdk::prelude::*;
use pintle_sdk::scheduler::{Decision, Scheduler};

use generate::Draw;
use model::{Cluster, PodModel};

/// Rounding apart, scores are equal; a node that scores less by this is worse.
const TOLERANCE: f64 = 0.02;

/// A pod that was given a node a moment ago counts as the youngest.
pub const NOT_STARTED: u8 = 99;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The seeds of a quarter of the cases: four tests run at once.
pub fn seeds(quarter: u64) -> impl Iterator<Item = u64> {
    let first = setting("PINTLE_ORACLE_SEED", 1);
    let cases = setting("PINTLE_ORACLE_CASES", 100_000);
    (first..first + cases).filter(move |seed| seed % 4 == quarter)
}

pub fn context(seed: u64) -> Context {
    Context { now_unix_ms: 1_000_000, seed, revision: 1 }
}

pub fn plugin_of(cluster: &Cluster) -> Plugin {
    let mut plugin = Plugin::new(Config::default()).unwrap();
    plugin.sync(cluster.replay());
    plugin
}

pub fn decide(plugin: &mut Plugin, seed: u64, pod: &PodModel) -> Decision {
    plugin.schedule(&context(seed), &NoExtensions, vec![pod.object()]).remove(0)
}

/// What the plugin decided is what the rules say; the node, if there is one.
pub fn check(cluster: &Cluster, pod: &PodModel, decision: &Decision) -> Option<&'static str> {
    let fits = rules::feasible(cluster, pod);
    match decision {
        Decision::Bind { node, .. } => {
            let scores = scores::scores(cluster, pod, &fits);
            let Some((name, score)) = scores.get_key_value(node.as_str()) else {
                panic!(
                    "{node} does not fit: {:?}",
                    rules::failure(cluster, pod, &cluster.nodes[node.as_str()])
                );
            };
            let best = scores.values().fold(f64::MIN, |a, b| a.max(*b));
            assert!(*score > best - TOLERANCE, "{node} is not the best of {scores:?}");
            Some(name)
        }
        Decision::Unschedulable { message, .. } => {
            let names: Vec<&str> = fits.iter().map(|node| node.name).collect();
            assert!(fits.is_empty(), "{message}, but {names:?} fit");
            let (text, rest) = message.split_once(" preemption: ").unwrap_or((message, ""));
            assert_eq!(text, rules::message(cluster, pod));
            preempting::check_refusal(cluster, pod, rest);
            None
        }
        Decision::Preempt { node, victims, message, .. } => {
            assert!(fits.is_empty());
            assert_eq!(*message, rules::message(cluster, pod));
            preempting::check_victims(cluster, pod, node, victims);
            None
        }
        Decision::Ignore(reason) => panic!("{reason}"),
    }
}

/// Several pods in a row, each on top of the ones before.
fn agree(seed: u64) {
    let mut draw = Draw::new(seed);
    let mut cluster = draw.cluster();
    let mut plugin = plugin_of(&cluster);
    for index in 0..3 {
        let mut pod = draw.pod(format!("new{index}"));
        let decision = decide(&mut plugin, seed + index, &pod);
        if matches!(decision, Decision::Preempt { .. }) {
            check(&cluster, &pod, &decision);
            return;
        }
        pod.node = check(&cluster, &pod, &decision);
        pod.start = NOT_STARTED;
        if pod.node.is_some() {
            cluster.pods.insert(pod.name.clone(), pod);
        }
    }
}

/// Names the seed of a case that fails.
pub fn each(quarter: u64, case: impl Fn(u64) + std::panic::RefUnwindSafe) {
    for seed in seeds(quarter) {
        if let Err(panic) = std::panic::catch_unwind(|| case(seed)) {
            eprintln!("PINTLE_ORACLE_SEED={seed} PINTLE_ORACLE_CASES=1 repeats this");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn agrees_with_the_oracle_0() {
    each(0, agree);
}

#[test]
fn agrees_with_the_oracle_1() {
    each(1, agree);
}

#[test]
fn agrees_with_the_oracle_2() {
    each(2, agree);
}

#[test]
fn agrees_with_the_oracle_3() {
    each(3, agree);
}
