//! The workloads, natively.

use pintle_plugin_scheduler::{Config, Plugin};
use pintle_sdk::prelude::*;
use pintle_sdk::scheduler::{Decision, Delta, Scheduler};
use pintle_sdk::{Context, KindRef, NoExtensions, Object};

use super::workload::{Thing, Workload};

fn object(thing: &Thing) -> Object {
    let kind = if thing.kind == "Pod" { POD } else { NODE };
    let kind: KindRef = kind;
    Object {
        reference: kind.named(thing.namespace, thing.name.clone()),
        uid: thing.name.clone(),
        revision: 1,
        json: thing.json.clone(),
    }
}

/// Of this thread, in microseconds: what others do on the machine does not count.
pub fn processor_time() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|number| number.parse::<f64>().ok());
    nanoseconds.unwrap_or_default() / 1e3
}

/// Microseconds for a decision, and how many pods got a node.
pub fn run(workload: &Workload, batch: usize) -> (f64, usize) {
    let mut plugin = Plugin::new(Config::default()).expect("the default configuration");
    for things in [&workload.nodes, &workload.bound] {
        plugin.sync(things.iter().map(|thing| Delta::Upsert(object(thing))).collect());
    }
    let mut bound = 0;
    let mut elapsed = 0.0;
    for (seed, pods) in workload.pending.chunks(batch).enumerate() {
        let pods = pods.iter().map(object).collect();
        let context = Context { now_unix_ms: 0, seed: seed as u64, revision: 1 };
        let started = processor_time();
        let decisions = plugin.schedule(&context, &NoExtensions, pods);
        elapsed += processor_time() - started;
        let is_bound = |decision: &&Decision| matches!(decision, Decision::Bind { .. });
        bound += decisions.iter().filter(is_bound).count();
    }
    (elapsed / workload.pending.len() as f64, bound)
}
