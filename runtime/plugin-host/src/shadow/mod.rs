//! Shadows: a candidate decides beside the active version, on the same input,
//! and is only compared.
//!
//! For: counting agreements and divergences, remembering the latest of these
//! for people, and saying when the candidate has proved itself or has not.
//!
//! Does not know what follows from that: the manager swaps, waits or refuses.

mod admission;
mod authorizer;
mod compare;
mod controller;
mod extension;
mod scheduler;

use std::collections::VecDeque;
use std::ops::ControlFlow;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::action::Target;
use crate::artifact::Digest;
use crate::budget::Budgets;
use crate::plugin::{AfterShadow, ShadowSpec, ShadowStatus};
use crate::program::{LoadError, Program, World};
use crate::sandbox::{Fault, Sandbox};

pub(crate) use admission::AdmissionShadow;
pub(crate) use authorizer::AuthorizerShadow;
pub(crate) use controller::ControllerShadow;
pub(crate) use extension::ExtensionShadow;
pub(crate) use scheduler::SchedulerShadow;

/// Divergences that are kept for people.
const KEPT: usize = 64;

/// A shadow gets the processor last; deadlines count its own time, but a call
/// that never gets any has to end as well.
const MAX_STARVATION: u32 = 1000;

/// What became of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Running,
    /// Enough decisions were compared, and few enough differ.
    Passed,
    /// It cannot pass any more.
    Failed {
        reason: &'static str,
        message: String,
    },
}

/// The comparison of a candidate with what decides.
pub(crate) struct Comparison {
    pub candidate: Digest,
    spec: ShadowSpec,
    state: Mutex<State>,
    /// Counts have moved.
    counted: Box<dyn Fn() + Send + Sync>,
    /// The outcome is no longer `Running`.
    over: Box<dyn Fn() + Send + Sync>,
}

struct State {
    /// What the candidate is compared with.
    active: Option<Digest>,
    status: ShadowStatus,
    items: VecDeque<Value>,
    outcome: Outcome,
}

/// What was decided, and by what it shall be known.
pub(crate) struct Decision<'a> {
    pub object: &'a Target,
    pub revision: u64,
    pub now_unix_ms: i64,
    /// Of the active version.
    pub active: compare::View,
    pub candidate: compare::View,
}

impl Comparison {
    pub fn new(
        candidate: Digest,
        spec: ShadowSpec,
        counted: Box<dyn Fn() + Send + Sync>,
        over: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        let status = ShadowStatus { digest: candidate.to_string(), ..ShadowStatus::default() };
        let state =
            State { active: None, status, items: VecDeque::new(), outcome: Outcome::Running };
        Self { candidate, spec, state: Mutex::new(state), counted, over }
    }

    pub fn status(&self) -> ShadowStatus {
        self.state.lock().status.clone()
    }

    pub fn outcome(&self) -> Outcome {
        self.state.lock().outcome.clone()
    }

    /// What follows when it passes.
    pub fn then(&self) -> AfterShadow {
        self.spec.then
    }

    /// For people.
    pub fn divergences(&self, plugin: &str) -> Value {
        let state = self.state.lock();
        let status = &state.status;
        json!({
            "plugin": plugin,
            "active": state.active.as_ref().map_or("", Digest::as_str),
            "candidate": status.digest,
            "decisions": status.decisions,
            "agreements": status.agreements,
            "divergences": status.divergences,
            "skipped": status.skipped,
            "items": state.items,
        })
    }

    /// The turns that follow are those of this version. Another one than
    /// before: what was counted says nothing about it.
    pub(crate) fn beside(&self, active: &Digest) {
        let mut state = self.state.lock();
        if state.active.as_ref() == Some(active) {
            return;
        }
        if state.active.is_some() && state.outcome == Outcome::Running {
            let digest = std::mem::take(&mut state.status.digest);
            state.status = ShadowStatus { digest, ..ShadowStatus::default() };
            state.items.clear();
        }
        state.active = Some(active.clone());
    }

    /// Both have decided. Breaks when nothing is left to find out.
    pub(crate) fn decided(&self, decision: Decision<'_>) -> ControlFlow<()> {
        let mut state = self.state.lock();
        if state.outcome != Outcome::Running {
            return ControlFlow::Break(());
        }
        state.status.decisions += 1;
        if decision.active.same_as(&decision.candidate) {
            state.status.agreements += 1;
        } else {
            state.status.divergences += 1;
            if state.items.len() == KEPT {
                state.items.pop_front();
            }
            state.items.push_back(item(decision));
        }
        state.outcome = self.judge(&state.status);
        self.after(state)
    }

    /// The candidate gave no answer where the active version did.
    pub(crate) fn faulted(&self, object: Option<&Target>, fault: &Fault) -> ControlFlow<()> {
        let mut state = self.state.lock();
        if state.outcome == Outcome::Running {
            let on = object.map_or_else(String::new, |object| format!(" on {object}"));
            state.outcome = Outcome::Failed {
                reason: fault.reason(),
                message: format!("as a shadow{on} {fault}"),
            };
        }
        self.after(state)
    }

    pub(crate) fn skipped(&self, decisions: u64) {
        self.state.lock().status.skipped += decisions;
        (self.counted)();
    }

    fn after(&self, state: parking_lot::MutexGuard<'_, State>) -> ControlFlow<()> {
        let running = state.outcome == Outcome::Running;
        drop(state);
        (self.counted)();
        if running {
            return ControlFlow::Continue(());
        }
        (self.over)();
        ControlFlow::Break(())
    }

    /// Over as soon as it is certain.
    fn judge(&self, status: &ShadowStatus) -> Outcome {
        let planned = self.spec.decisions.max(1);
        let percent = self.spec.max_divergence_percent.clamp(0.0, 100.0);
        // Of hundreds of decisions, percents with fractions: exact enough.
        let allowed = (planned as f64 * percent / 100.0).floor() as u64;
        if status.divergences > allowed {
            return Outcome::Failed {
                reason: "Diverged",
                message: format!(
                    "{} of {} decisions differ, more than {percent} % of {planned}",
                    status.divergences, status.decisions
                ),
            };
        }
        if status.decisions >= planned { Outcome::Passed } else { Outcome::Running }
    }
}

fn item(decision: Decision<'_>) -> Value {
    let object = decision.object;
    json!({
        "input": {
            "kind": object.kind.kind,
            "namespace": object.namespace,
            "name": object.name,
            "revision": decision.revision,
        },
        "at": pintle_api::time::format_seconds(decision.now_unix_ms),
        "active": decision.active.shown,
        "candidate": decision.candidate.shown,
    })
}

/// An instance that is only compared: with the budgets of its own work, but
/// not of the time it waits for the processor.
pub(crate) fn start<W: World>(program: &Program<W>) -> Result<Sandbox<W>, Fault> {
    program.start_with(|surroundings| {
        let budgets = surroundings.budgets;
        surroundings.budgets = Budgets { max_starvation: MAX_STARVATION, ..budgets };
    })
}

/// The same, for a candidate that is looked at for the first time.
pub(crate) fn first<W: World>(program: &Program<W>) -> Result<Sandbox<W>, LoadError> {
    start(program).map_err(LoadError::Start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pintle_api::meta::GroupVersionKind;

    fn comparison(decisions: u64, percent: f64) -> Comparison {
        let spec =
            ShadowSpec { decisions, max_divergence_percent: percent, then: AfterShadow::Promote };
        let silent = || Box::new(|| {});
        Comparison::new(Digest::of(b"candidate"), spec, silent(), silent())
    }

    fn decide(comparison: &Comparison, same: bool) -> Outcome {
        let object = Target {
            kind: GroupVersionKind::new("", "v1", "Pod"),
            namespace: "n".into(),
            name: "a".into(),
        };
        let view = |node: &str| compare::View::plain(json!({ "bind": node }));
        let _ = comparison.decided(Decision {
            object: &object,
            revision: 7,
            now_unix_ms: 0,
            active: view("a"),
            candidate: view(if same { "a" } else { "b" }),
        });
        comparison.outcome()
    }

    #[test]
    fn the_outcome_is_known_as_soon_as_it_is_certain() {
        // Of so many decisions at most so many percent; those that differ are `x`.
        fn check(decisions: u64, percent: f64, history: &str, expect: &str) {
            let comparison = comparison(decisions, percent);
            let mut outcome = Outcome::Running;
            for (index, letter) in history.chars().enumerate() {
                assert_eq!(outcome, Outcome::Running, "{history} is over at {index}");
                outcome = decide(&comparison, letter != 'x');
            }
            let found = match &outcome {
                Outcome::Running => "running",
                Outcome::Passed => "passed",
                Outcome::Failed { reason, .. } => reason,
            };
            assert_eq!(found, expect, "{history}");
        }
        check(3, 0.0, "..", "running");
        check(3, 0.0, "...", "passed");
        check(3, 0.0, ".x", "Diverged");
        check(10, 10.0, "x........", "running");
        check(10, 10.0, "x.........", "passed");
        check(10, 10.0, "xx", "Diverged");
        check(10, 19.9, "x.x", "Diverged");
        check(4, 50.0, "x.x.", "passed");
        check(2, 100.0, "xx", "passed");
    }

    #[test]
    fn another_active_version_begins_the_comparison_anew_and_old_items_give_way() {
        let comparison = comparison(1000, 100.0);
        comparison.beside(&Digest::of(b"one"));
        for _ in 0..KEPT + 5 {
            decide(&comparison, false);
        }
        comparison.skipped(3);
        let shown = comparison.divergences("scheduler");
        assert_eq!(shown["items"].as_array().unwrap().len(), KEPT);
        assert_eq!(shown["divergences"], KEPT + 5);
        assert_eq!(shown["skipped"], 3);
        assert_eq!(shown["items"][0]["active"], json!({ "bind": "a" }));
        assert_eq!(shown["items"][0]["input"]["revision"], 7);
        comparison.beside(&Digest::of(b"one"));
        assert_eq!(comparison.status().divergences, KEPT as u64 + 5);
        comparison.beside(&Digest::of(b"two"));
        assert_eq!(comparison.status().decisions, 0);
    }
}
