//! The controllers and the scheduler that a cluster runs by default, together in
//! one deterministic world: random people make, change and delete workloads,
//! nodes come and go, pods fail, actions meet conflicts, and the host ends
//! between any two of them.
//!
//! For: what no suite of one plugin can show, that they come to rest together
//! and where they then stand. Not for: the API server's rules, real time, real
//! containers. A failure names its seed; the same seed plays the same history.
//!
//! Read first: [`Simulation::run`], then [`goals::check`].

pub mod goals;
pub mod people;
pub mod site;

use pintle_sdk::names::Random;
use pintle_sdk_testing::Cluster;
use serde_json::json;

/// Faults per history.
const FAULTS: usize = 20;
/// What people do in one history.
const DEEDS: usize = 25;
/// Rounds of controllers, scheduler and nodes within which everything rests.
const MOST_ROUNDS: usize = 400;

pub struct Simulation {
    pub seed: u64,
    cluster: Cluster,
    random: Random,
}

impl Simulation {
    pub fn new(seed: u64) -> Self {
        let none = || json!({});
        let cluster = Cluster::new()
            .with::<pintle_plugin_deployment::Plugin>(none())
            .with::<pintle_plugin_replicaset::Plugin>(none())
            .with::<pintle_plugin_replicationcontroller::Plugin>(none())
            .with::<pintle_plugin_statefulset::Plugin>(none())
            .with::<pintle_plugin_daemonset::Plugin>(none())
            .with::<pintle_plugin_job::Plugin>(none())
            .with::<pintle_plugin_disruption::Plugin>(none())
            .with::<pintle_plugin_endpoints::Plugin>(none())
            .with::<pintle_plugin_endpointslice::Plugin>(none())
            .with::<pintle_plugin_pod_gc::Plugin>(none())
            .with::<pintle_plugin_garbage_collector::Plugin>(none())
            .with_faults(seed, FAULTS);
        Simulation { seed, cluster, random: Random::new(seed) }
    }

    /// Plays one history to its end and checks where everything stands.
    pub fn run(mut self) {
        let nodes = 2 + self.number(3);
        for number in 0..nodes {
            site::add_node(&mut self.cluster, number);
        }
        for _ in 0..DEEDS {
            let deed = self.number(people::DEEDS);
            people::act(&mut self.cluster, deed, &mut self.random);
            // Sometimes people are faster than everybody else.
            for _ in 0..self.number(4) {
                self.round(true);
            }
        }
        self.come_to_rest();
        goals::check(&self.cluster, self.seed);
        let again = self.cluster.restart().actions;
        assert!(again.is_empty(), "seed {}: at rest somebody still wants {again:#?}", self.seed);
    }

    fn number(&mut self, below: usize) -> usize {
        (self.random.next_u64() % below as u64) as usize
    }

    /// Everybody does what is to be done now; returns whether anything was.
    fn round(&mut self, with_accidents: bool) -> bool {
        let decided = !self.cluster.settle_within(20_000).actions.is_empty();
        site::bind_claims(&mut self.cluster);
        let bound = site::schedule(&mut self.cluster);
        let accidents = if with_accidents { Some(&mut self.random) } else { None };
        let moved = site::run_pods(&mut self.cluster, accidents);
        decided || bound || moved
    }

    fn come_to_rest(&mut self) {
        let mut quiet = 0;
        for _ in 0..MOST_ROUNDS {
            // Back-offs and grace periods pass.
            self.cluster.advance(30_000);
            if self.round(false) {
                quiet = 0;
            } else {
                quiet += 1;
            }
            if quiet == 30 {
                return;
            }
        }
        panic!("seed {}: does not come to rest", self.seed);
    }
}
