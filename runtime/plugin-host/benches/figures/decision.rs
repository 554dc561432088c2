//! What a decision of the default scheduler costs inside the sandbox, set
//! against the same code natively, on the same clusters and pods.

#[path = "../../../../plugins/scheduler/benches/support/native.rs"]
mod native;
#[path = "../../../../plugins/scheduler/benches/support/workload.rs"]
pub mod workload;

use std::path::Path;
use std::sync::Arc;

use pintle_plugin_host::plugin::Role;
use pintle_plugin_host::trace::model::*;
use pintle_plugin_host::trace::offline::{Component, Instance, Objects};

use workload::{Thing, Workload};

/// As many pods as the host hands over at once when it keeps calls short.
const BATCH: usize = 32;

/// A cluster that nobody can read.
pub struct Nothing;

impl Objects for Nothing {
    fn get(&self, _: &RefRecord) -> Option<ObjectRecord> {
        None
    }

    fn list(&self, _: &QueryRecord) -> Vec<ObjectRecord> {
        Vec::new()
    }
}

/// Microseconds of processor time for a decision.
#[derive(Debug, Clone, Copy)]
pub struct Decision {
    pub native: f64,
    pub component: f64,
    /// Of its calls the longest, in milliseconds: to be set against its deadline.
    pub longest_call: f64,
    /// By which the process grew while the component worked.
    pub resident_mebibytes: u64,
}

/// The scheduler, built and compiled.
pub fn scheduler() -> Component {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let built = pintle_plugin_build::build(
        &root,
        &["pintle-plugin-scheduler"],
        &root.join("target/guests"),
    )
    .expect("the scheduler builds");
    let bytes = std::fs::read(&built[0].path).expect("the component is there");
    Component::open(&bytes, Role::Scheduler).expect("the component loads")
}

pub fn measure(component: &Component, workload: &Workload) -> Decision {
    let before = resident_mebibytes();
    let mut longest_call: f64 = 0.0;
    let mut instance = component.start(b"{}").expect("the default configuration");
    for things in [&workload.nodes, &workload.bound] {
        for chunk in things.chunks(100) {
            let deltas = chunk.iter().map(|thing| DeltaRecord::Upsert(record(thing)));
            let input = Input::Sync(deltas.collect());
            let started = native::processor_time();
            let answer = ask(&mut instance, &input);
            longest_call = longest_call.max(native::processor_time() - started);
            assert!(!matches!(answer, Answer::Fault(_)), "{answer:?}");
        }
    }
    let mut elapsed = 0.0;
    let mut bound = 0;
    for (seed, pods) in workload.pending.chunks(BATCH).enumerate() {
        let context = ContextRecord { now_unix_ms: 0, seed: seed as u64, revision: 1 };
        let input = Input::Schedule { context, pods: pods.iter().map(record).collect() };
        let started = native::processor_time();
        let answer = ask(&mut instance, &input);
        let took = native::processor_time() - started;
        longest_call = longest_call.max(took);
        elapsed += took;
        let Answer::Decisions(decisions) = answer else { panic!("{answer:?}") };
        let is_bound = |decision: &&DecisionRecord| matches!(decision, DecisionRecord::Bind { .. });
        bound += decisions.iter().filter(is_bound).count();
    }
    let resident_mebibytes = resident_mebibytes().saturating_sub(before);
    let (native, bound_natively) = native::run(workload, BATCH);
    assert_eq!(bound, bound_natively, "{}: they decide alike", workload.what);
    let component = elapsed / workload.pending.len() as f64;
    Decision { native, component, longest_call: longest_call / 1e3, resident_mebibytes }
}

fn ask(instance: &mut Instance, input: &Input) -> Answer {
    instance.ask(input, Arc::new(Nothing)).expect("a scheduler has this call")
}

fn record(thing: &Thing) -> ObjectRecord {
    let kind = KindRecord { group: String::new(), version: "v1".into(), kind: thing.kind.into() };
    ObjectRecord {
        reference: RefRecord {
            kind,
            namespace: thing.namespace.to_owned(),
            name: thing.name.clone(),
        },
        uid: thing.name.clone(),
        revision: 1,
        json: Blob(thing.json.clone()),
    }
}

fn resident_mebibytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) >> 10
}
