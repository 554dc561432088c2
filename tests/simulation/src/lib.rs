//! The plugins that a cluster runs by default, together in one deterministic
//! world: random people make, change and delete what a cluster holds, nodes come
//! and go and fall silent, pods fail, and everything happens to the host that may
//! happen to one.
//!
//! For: what no suite of one plugin can show, that they come to rest together
//! and where they then stand. Not for: the API server's rules, real time, real
//! containers. A failure names its seed; the same seed plays the same history,
//! natively and with the components.
//!
//! Read first: [`Simulation::run`], then [`goals::check`].

pub mod cast;
pub mod goals;
pub mod objects;
pub mod people;
pub mod site;
pub mod tables;
pub mod threads;

use std::collections::BTreeMap;

use pintle_sdk::names::Random;
use pintle_sdk::prelude::*;
use pintle_sdk_testing::{Cluster, World};
use serde_json::json;

pub use cast::Cast;
use people::Person;
use site::Site;

/// Faults per history.
const FAULTS: usize = 25;
/// What people do in one history.
const DEEDS: usize = 30;
/// What people do at the end of a history that breaks off.
const UNANSWERED: usize = 12;
/// Rounds of controllers, scheduler and nodes within which everything rests.
const MOST_ROUNDS: usize = 400;
/// Reconciles within which nothing is queued any more.
const MOST_RECONCILES: usize = 20_000;
/// Back-offs, grace periods and stabilization windows end within this.
const LONGEST_WAIT_MS: i64 = 15 * 60_000;
const STEP_MS: i64 = 30_000;

/// How a history went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Played {
    /// Stands for all that happened.
    pub hash: u64,
    pub reconciles: usize,
}

pub struct Simulation {
    seed: u64,
    pub cluster: Cluster,
    site: Site,
    random: Random,
    reconciles: usize,
    /// Pods per quota, to see it grow.
    counted: BTreeMap<ObjectRef, i64>,
}

impl Simulation {
    pub fn new(cast: &Cast, seed: u64) -> Self {
        Simulation {
            seed,
            cluster: cast.cluster().with_all_faults(seed, FAULTS),
            site: Site::default(),
            random: Random::new(seed),
            reconciles: 0,
            counted: BTreeMap::new(),
        }
    }

    /// Every line of the history is kept.
    pub fn keep_history(mut self) -> Self {
        self.cluster = self.cluster.keep_history();
        self
    }

    /// What a history left when it broke off: much is still to be done.
    pub fn in_the_middle(mut self) -> World {
        self.live(DEEDS);
        for _ in 0..UNANSWERED {
            let person = Person { cluster: &mut self.cluster, site: &mut self.site };
            person.act(&mut self.random);
            self.site.run(&mut self.cluster, Some(&mut self.random));
        }
        World::clone(&self.cluster)
    }

    fn live(&mut self, deeds: usize) {
        objects::furnish(&mut self.cluster);
        for number in 0..2 + self.number(3) {
            self.site.add_node(&mut self.cluster, number);
        }
        for _ in 0..deeds {
            let person = Person { cluster: &mut self.cluster, site: &mut self.site };
            person.act(&mut self.random);
            // Sometimes people are faster than everybody else.
            for _ in 0..self.number(4) {
                self.round(true);
            }
        }
    }

    /// Plays one history to its end and checks where everything stands.
    pub fn run(&mut self) -> Played {
        self.live(DEEDS);
        people::calm_down(&mut self.cluster, &mut self.site);
        self.come_to_rest();
        self.cluster.end_faults();
        goals::check(&self.cluster);
        let again = self.cluster.restart();
        // What a quota forbids is tried for ever, with longer and longer breaks.
        assert!(again.performed == 0, "at rest somebody still does {:#?}", again.actions);
        Played { hash: self.cluster.history_hash(), reconciles: self.reconciles }
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    fn number(&mut self, below: usize) -> usize {
        (self.random.next_u64() % below as u64) as usize
    }

    /// Everybody does what is to be done now; returns whether anything was.
    fn round(&mut self, with_accidents: bool) -> bool {
        let run = self.cluster.settle_within(MOST_RECONCILES);
        self.reconciles += run.reconciles;
        let bound = self.cluster.schedule();
        let accidents = if with_accidents { Some(&mut self.random) } else { None };
        let moved = self.site.run(&mut self.cluster, accidents);
        self.check_quotas();
        run.performed > 0 || bound || moved
    }

    /// Time passes until for a long while nobody does anything.
    fn come_to_rest(&mut self) {
        let mut quiet_ms = 0;
        for _ in 0..MOST_ROUNDS {
            let run = self.cluster.advance(STEP_MS);
            self.reconciles += run.reconciles;
            let waited = run.performed > 0;
            if self.round(false) || waited {
                quiet_ms = 0;
            } else {
                quiet_ms += STEP_MS;
            }
            if quiet_ms >= LONGEST_WAIT_MS {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    /// Nothing is let through beyond a quota, whatever is used already.
    fn check_quotas(&mut self) {
        let mut now = BTreeMap::new();
        for quota in self.cluster.all(&objects::RESOURCE_QUOTA) {
            let namespace = quota["metadata"]["namespace"].as_str().unwrap_or_default();
            let reference = objects::RESOURCE_QUOTA
                .named(namespace, quota["metadata"]["uid"].as_str().unwrap_or_default());
            let hard: i64 = quota["spec"]["hard"]["pods"]
                .as_str()
                .and_then(|text| text.parse().ok())
                .unwrap_or(i64::MAX);
            let used = goals::live_pods(&self.cluster, namespace);
            // At its creation a quota may already be below what is used.
            let before = self.counted.get(&reference).copied().unwrap_or(i64::MAX);
            assert!(used <= hard.max(before), "{namespace}: {used} pods, {hard} allowed");
            now.insert(reference, used);
        }
        self.counted = now;
    }
}

/// The condition that people put on the things they make.
pub(crate) fn labels(kind: &str, name: &str) -> serde_json::Value {
    json!({"app": name, "kind": kind})
}
