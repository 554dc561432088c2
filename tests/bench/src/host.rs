//! The plugin host by itself: calls, decisions, instances, runaways.

use anyhow::Result;
use pintle_plugin_host::plugin::Role;

use crate::figures::decision::{self, Decision, workload};
use crate::figures::{authorizer, extension, instance, microseconds, middle, runaway};
use crate::report::{Report, ms};
use crate::support::guests;

/// Pods that a decision is measured on, and how often.
const PODS: usize = 4000;
const ROUNDS: usize = 3;

/// Roles, and bindings, that a request is decided by.
const ROLES: usize = 1000;

pub fn run(report: &mut Report, nodes: usize) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let cache = directory.path().join("cache");

    let few = 100.min(nodes);
    let asked = [few, nodes].map(|nodes| extension::asked(&cache, nodes));
    let both = |of: fn(&extension::Asked) -> f64| {
        format!("{:.1} / {:.1} µs", of(&asked[0]), of(&asked[1]))
    };
    for (pod, found, reach) in [
        ("a template of its own", both(|asked| asked.fresh), "≤ 5 µs"),
        ("a known template", both(|asked| asked.known), "≤ 5 µs"),
        ("any, rule without the SDK", both(|asked| asked.bare), "–"),
    ] {
        report.row(
            &format!("extension called for a pod, {few} / {nodes} resident nodes: {pod}"),
            found,
            reach,
            "peer 50 µs".into(),
        );
    }
    let batches = extension::in_batches(&cache, nodes);
    let templates = extension::TEMPLATES;
    for (what, found) in
        [("nothing changes", batches.known), ("a node before each batch", batches.nodes_change)]
    {
        report.row(
            &format!("extension per pod, {nodes} nodes, batches of {templates} templates: {what}"),
            format!("{found:.1} µs"),
            "≤ 5 µs",
            "peer 50 µs".into(),
        );
    }

    let component = decision::scheduler();
    for (what, workload) in [
        ("same template", workload::same_template(nodes, PODS)),
        ("a template per pod", workload::template_per_pod(nodes, PODS)),
    ] {
        let rounds: Vec<Decision> =
            (0..ROUNDS).map(|_| decision::measure(&component, &workload)).collect();
        let inside = middle(rounds.iter().map(|round| round.component).collect());
        let native = middle(rounds.iter().map(|round| round.native).collect());
        report.row(
            &format!("decision in wasm, {nodes} nodes, all scores, {what}"),
            format!("{inside:.1} µs, {:.2} × native", inside / native),
            "≤ 60 µs, ≤ 1.5 ×",
            format!("native {native:.1} µs; peer's wasm 3.3 × native"),
        );
    }

    if let Some(took) = authorizer::measure(ROLES) {
        report.row(
            &format!("request decided by {ROLES} roles: known / never asked"),
            format!("{:.1} / {:.1} µs", took.remembered, took.asked),
            "few µs",
            format!("decision alone, native {:.1} µs", took.native),
        );
    }

    let fresh = instance::calls(&cache).fresh;
    report.row(
        "fresh instance: made, configured, one call",
        format!("{:.1} µs", microseconds(fresh)),
        "≤ 20 µs",
        "peer 45 µs".into(),
    );
    let small = guests::scheduler();
    let default = guests::defaults().into_iter().find(|(name, _)| name == "scheduler");
    for (what, bytes) in
        [("small", small)].into_iter().chain(default.map(|(_, bytes)| ("default", bytes)))
    {
        let took = instance::loading(&cache, &bytes, Role::Scheduler);
        report.row(
            &format!("load from the cache, {what} scheduler of {} KB", bytes.len() / 1000),
            format!("{:.2} ms", microseconds(took.from_cache) / 1e3),
            "≤ 1 ms",
            format!("peer 63 ms; compiled in {}", ms(took.compile)),
        );
    }

    for stopped in runaway::measure(15) {
        let beyond = stopped.longest.saturating_sub(stopped.deadline);
        report.row(
            &format!("runaway {} stopped, deadline {}", stopped.role, ms(stopped.deadline)),
            format!(
                "p50 {}, max {}, {} beyond the deadline ({})",
                ms(stopped.median),
                ms(stopped.longest),
                ms(beyond),
                stopped.reason
            ),
            "≤ 20 ms",
            "peer 2 s".into(),
        );
    }
    Ok(())
}
