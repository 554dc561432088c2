//! What a decision costs natively. `cargo bench -p pintle-plugin-host --bench
//! scheduler` sets the same against the component.

#[path = "support/native.rs"]
mod native;
#[path = "support/workload.rs"]
mod workload;

fn main() {
    for workload in workload::all(4000) {
        let (each, bound) = native::run(&workload, 32);
        println!("{:<52} {each:7.1} µs, {bound} bound", workload.what);
    }
}
