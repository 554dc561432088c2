//! What every plugin of a role has to hold, checked on its compiled component in
//! the host's own sandbox: over a small cluster in which every kind is there,
//! and over the same cluster with every field of every object spoiled in turn.
//!
//! - It describes itself well: its name, kinds that exist, reasons for its needs,
//!   and the right to watch what it watches.
//! - The same question has the same answer: asked again, and of a fresh instance.
//! - It never faults, whatever the objects look like. The host's checks of answers
//!   apply, so that every action is granted and every reply is valid.
//! - It looks for nothing that it is not granted, and a controller is woken by
//!   whatever it lists.
//! - It says what it is there to say: a suite in which it stays silent proves nothing.
//!
//! Read first: [`run`].

pub mod garbage;
pub mod inputs;
mod judge;
pub mod world;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pintle_plugin_host::plugin::Role;
use pintle_plugin_host::trace::model::{Answer, Input};
use pintle_plugin_host::trace::offline::{Component, Instance};
use pintle_sdk_testing::World;
use serde_json::Value;

/// One plugin in the table of its role.
pub struct Case {
    pub plugin: &'static str,
    pub role: Role,
    pub config: fn() -> Value,
    /// Among its answers over the common cluster, as [`judge`] names them.
    pub says: &'static [&'static str],
    /// Kinds that it lists without being woken by them, on purpose.
    pub unwatched: &'static [&'static str],
    /// It is the only instance and goes by what it was asked before.
    pub remembers: bool,
}

/// What was done, for people.
pub struct Report {
    pub calls: usize,
    pub said: BTreeSet<String>,
}

/// Calls of one instance, in order, each with the cluster that it reads.
pub type Script = Vec<(Input, World)>;

/// Panics with the first thing that is wrong.
pub fn run(case: &Case, component: &Component, world: &World) -> Report {
    let config = (case.config)().to_string();
    let start = || {
        let started = component.start(config.as_bytes());
        started.unwrap_or_else(|error| panic!("{} does not start: {error}", case.plugin))
    };
    let description = start().description;
    judge::description(case, &description);
    judge::same(case, &format!("{description:?}"), &format!("{:?}", start().description));

    let mut report = Report { calls: 0, said: BTreeSet::new() };
    let present = inputs::present(&description, world);
    let first = play(case, &mut start(), &present, &mut report);
    for (_, answer) in &first {
        report.said.extend(judge::tags(answer));
    }
    for says in case.says {
        assert!(
            report.said.contains(*says),
            "{} never says {says:?}: {:?}",
            case.plugin,
            report.said
        );
    }
    judge::same(case, &first, &play(case, &mut start(), &present, &mut report));
    if inputs::is_stateless(&description) && !case.remembers {
        let mut used = start();
        for ((input, world), (_, expected)) in present.iter().zip(&first) {
            let one = [(input.clone(), world.clone())];
            for instance in [&mut start(), &mut used] {
                let answers = play(case, instance, &one, &mut report);
                judge::same(case, expected, &answers[0].1);
            }
        }
    }
    spoiled(case, &start, &description, world, &mut report);
    report
}

/// Every field of every object that it looks at, in turn.
fn spoiled(
    case: &Case,
    start: &dyn Fn() -> Instance,
    description: &pintle_plugin_host::trace::offline::Description,
    world: &World,
    report: &mut Report,
) {
    let stateless = inputs::is_stateless(description);
    let mut instance = start();
    for (reference, object) in world.snapshot() {
        if !inputs::looks_at(description, &reference.kind) {
            continue;
        }
        for mutant in garbage::mutants(&object) {
            let script = inputs::about(description, world, &reference, mutant.clone());
            if !stateless {
                instance = start();
            }
            let played = catch_unwind(AssertUnwindSafe(|| {
                play(case, &mut instance, &script, report);
            }));
            if let Err(panic) = played {
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                panic!("{text}\nwith {mutant}");
            }
        }
    }
}

/// Makes the calls; a fault ends the test.
fn play(
    case: &Case,
    instance: &mut Instance,
    script: &[(Input, World)],
    report: &mut Report,
) -> Vec<(String, Answer)> {
    let mut answers = Vec::with_capacity(script.len());
    for (input, world) in script {
        let answer = instance.ask(input, world::frozen(world));
        let answer = answer.unwrap_or_else(|| panic!("{} has no {}", case.plugin, input.export()));
        judge::answer(case, &instance.description, input, &answer, &instance.looked());
        report.calls += 1;
        answers.push((inputs::title(input), answer));
    }
    answers
}
