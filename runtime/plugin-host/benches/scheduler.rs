//! What a decision of the default scheduler costs inside the sandbox, set
//! against the same code natively, on the same clusters and pods.

#[path = "../../../plugins/scheduler/benches/support/native.rs"]
mod native;
#[path = "../../../plugins/scheduler/benches/support/workload.rs"]
mod workload;

use std::path::Path;
use std::sync::Arc;

use pintle_plugin_host::plugin::Role;
use pintle_plugin_host::trace::model::*;
use pintle_plugin_host::trace::offline::{Component, Instance, Objects};

use workload::{Thing, Workload};

/// As many pods as the host hands over at once when it keeps calls short.
const BATCH: usize = 32;
const PODS: usize = 4000;

struct Nothing;

impl Objects for Nothing {
    fn get(&self, _: &RefRecord) -> Option<ObjectRecord> {
        None
    }

    fn list(&self, _: &QueryRecord) -> Vec<ObjectRecord> {
        Vec::new()
    }
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

fn ask(instance: &mut Instance, input: &Input) -> Answer {
    instance.ask(input, Arc::new(Nothing)).expect("a scheduler has this call")
}

/// Microseconds for a decision, pods with a node, and resident memory in MiB.
fn run(component: &Component, workload: &Workload) -> (f64, usize, u64) {
    let before = resident_mebibytes();
    let mut instance = component.start(b"{}").expect("the default configuration");
    for things in [&workload.nodes, &workload.bound] {
        for chunk in things.chunks(100) {
            let deltas = chunk.iter().map(|thing| DeltaRecord::Upsert(record(thing)));
            let answer = ask(&mut instance, &Input::Sync(deltas.collect()));
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
        elapsed += native::processor_time() - started;
        let Answer::Decisions(decisions) = answer else { panic!("{answer:?}") };
        let is_bound = |decision: &&DecisionRecord| matches!(decision, DecisionRecord::Bind { .. });
        bound += decisions.iter().filter(is_bound).count();
    }
    let grown = resident_mebibytes().saturating_sub(before);
    (elapsed / workload.pending.len() as f64, bound, grown)
}

fn resident_mebibytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) >> 10
}

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let built = pintle_plugin_build::build(
        &root,
        &["pintle-plugin-scheduler"],
        &root.join("target/guests"),
    )
    .expect("the scheduler builds");
    let bytes = std::fs::read(&built[0].path).expect("the component is there");
    let component = Component::open(&bytes, Role::Scheduler).expect("the component loads");
    println!(
        "{:<52} {:>9} {:>9} {:>6} {:>9}",
        "a decision", "native", "component", "ratio", "memory"
    );
    for workload in workload::all(PODS) {
        let (inside, bound, memory) = run(&component, &workload);
        let (native, bound_natively) = native::run(&workload, BATCH);
        assert_eq!(bound, bound_natively, "{}: they decide alike", workload.what);
        println!(
            "{:<52} {native:>6.1} µs {inside:>6.1} µs {:>6.2} {memory:>5} MiB",
            workload.what,
            inside / native
        );
    }
}
