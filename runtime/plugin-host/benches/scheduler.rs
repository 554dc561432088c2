//! What a decision of the default scheduler costs inside the sandbox, set
//! against the same code natively, on the same clusters and pods.

mod figures;
#[path = "../tests/support/mod.rs"]
mod support;

use figures::decision::{measure, scheduler, workload};

const PODS: usize = 4000;

fn main() {
    let component = scheduler();
    println!(
        "{:<52} {:>9} {:>9} {:>6} {:>9} {:>12}",
        "a decision", "native", "component", "ratio", "memory", "longest call"
    );
    for workload in workload::all(PODS) {
        let decision = measure(&component, &workload);
        println!(
            "{:<52} {:>6.1} µs {:>6.1} µs {:>6.2} {:>5} MiB {:>9.1} ms",
            workload.what,
            decision.native,
            decision.component,
            decision.component / decision.native,
            decision.resident_mebibytes,
            decision.longest_call
        );
    }
}
