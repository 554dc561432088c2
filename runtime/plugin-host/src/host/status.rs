//! What a Plugin object says of itself: composed from health and counters,
//! written when it says something new, counters at most every few seconds.

use std::time::{Duration, Instant};

use bytes::Bytes;
use pintle_api::time;
use serde_json::json;

use super::absent::consequence;
use super::slot::{Slot, SlotState};
use crate::action::{Action, PatchType, Target};
use crate::artifact::Digest;
use crate::plugin::{self, AfterShadow, ParkedInput, Phase, PluginStatus};
use crate::shadow::{Comparison, Outcome};
use crate::supervise::{Parked, Report, Standing};

/// Counters move with every call; objects need not.
pub(super) const COUNTERS_EVERY: Duration = Duration::from_secs(5);

/// Parked inputs that the status names.
const MAX_PARKED: usize = 20;

/// What to do about a slot's status.
pub(super) enum Due {
    Nothing,
    /// The counters have moved, but were written a moment ago.
    Later(Instant),
    Now {
        status: Box<PluginStatus>,
        event: Option<Box<Action>>,
    },
}

pub(super) fn target(name: &str) -> Target {
    Target { kind: plugin::kind(), namespace: String::new(), name: name.to_owned() }
}

/// Replaces the whole status: a merge would keep what is not true any more.
pub(super) fn patch(name: &str, status: &PluginStatus) -> Action {
    let body = json!([{ "op": "add", "path": "/status", "value": status }]);
    Action::Patch {
        target: target(name),
        subresource: "status".to_owned(),
        patch_type: PatchType::Json,
        body: Bytes::from(body.to_string()),
        revision: None,
    }
}

pub(super) fn due(slot: &Slot, state: &SlotState, now: Instant, now_unix_ms: i64) -> Due {
    let mut status = compose(slot, state);
    let Some(written) = &state.written else {
        status.last_transition_time = Some(time::format_seconds(now_unix_ms));
        let event = announced(slot, state, None, &status);
        return Due::Now { status: Box::new(status), event };
    };
    status.last_transition_time.clone_from(&written.last_transition_time);
    if status == *written {
        return Due::Nothing;
    }
    if story(&status) == story(written) {
        let next = state.written_at.map_or(now, |at| at + COUNTERS_EVERY);
        return if next > now {
            Due::Later(next)
        } else {
            Due::Now { status: Box::new(status), event: None }
        };
    }
    if status.phase != written.phase {
        status.last_transition_time = Some(time::format_seconds(now_unix_ms));
    }
    let event = announced(slot, state, Some(written), &status);
    Due::Now { status: Box::new(status), event }
}

/// The status without its counters.
fn story(status: &PluginStatus) -> PluginStatus {
    PluginStatus {
        calls: 0,
        p50_microseconds: 0,
        p99_microseconds: 0,
        fuel_consumed: 0,
        memory_bytes: 0,
        traps: 0,
        strikes: 0,
        strikes_total: 0,
        actions: 0,
        conflicts: 0,
        queue_depth: 0,
        shadow: None,
        ..status.clone()
    }
}

fn compose(slot: &Slot, state: &SlotState) -> PluginStatus {
    let report = slot.health.read();
    let counters = slot.metrics.read();
    let (phase, reason, message) = phase(state, &report);
    let digest = |version: &Option<crate::supervise::Version>| {
        version.as_ref().map_or_else(String::new, |version| version.digest.to_string())
    };
    let (mut active_digest, mut rolled_back_from) = (digest(&report.active), String::new());
    let mut active_config = None;
    let rolled_back = matches!(report.standing, Standing::RolledBack { .. });
    // A spec that is being loaded, could not be, or is compared, is another one than
    // was rolled back. Unless it is the one of another life of the server.
    if state.loading {
        let remembered = state.remembered.as_ref();
        let from = remembered.and_then(|remembered| remembered.rolled_back_from.as_ref());
        rolled_back_from = from.map_or_else(String::new, Digest::to_string);
    } else if let (Standing::RolledBack { from: Some(from), .. }, None, None) =
        (&report.standing, &state.load_error, &state.trial)
    {
        rolled_back_from = from.to_string();
    }
    let another = state.load_error.is_some() || rolled_back || state.trial.is_some();
    if another || state.loading {
        active_config = state
            .recipe_in_use(&report)
            .and_then(|recipe| serde_json::from_slice(&recipe.config).ok());
    }
    if let (None, Some(remembered)) = (&report.active, &state.remembered) {
        // Kept until it has been acted upon: the server may be ended before.
        active_digest = remembered.active.to_string();
        rolled_back_from =
            remembered.rolled_back_from.as_ref().map_or_else(String::new, Digest::to_string);
        active_config.clone_from(&remembered.config);
    }
    let needs = match &state.load_error {
        Some(error) if !error.needs.is_empty() => error.needs.clone(),
        _ => report.active.as_ref().map_or_else(Vec::new, |version| version.needs.clone()),
    };
    PluginStatus {
        phase,
        reason: reason.to_owned(),
        message,
        observed_generation: state.generation,
        version: report.active.as_ref().map_or_else(String::new, |version| version.version.clone()),
        active_digest,
        previous_digest: digest(&report.previous),
        rolled_back_from,
        active_config,
        needs,
        reviews: state.reviews(),
        shadow: state.comparison.as_ref().map(|comparison| comparison.status()),
        parked: report.parked.iter().take(MAX_PARKED).map(parked).collect(),
        calls: counters.calls,
        p50_microseconds: counters.p50_microseconds,
        p99_microseconds: counters.p99_microseconds,
        fuel_consumed: counters.fuel_consumed,
        memory_bytes: counters.memory_bytes,
        traps: counters.traps,
        strikes: u64::from(report.strikes),
        strikes_total: counters.strikes_total,
        actions: counters.actions,
        conflicts: counters.conflicts,
        queue_depth: counters.queue_depth,
        swaps: counters.swaps,
        rollbacks: counters.rollbacks,
        last_swap_pause_microseconds: counters.last_swap_pause_microseconds,
        last_transition_time: None,
    }
}

fn parked(parked: &Parked) -> ParkedInput {
    ParkedInput {
        object: parked.input.object.to_string(),
        strikes: parked.strikes,
        reason: parked.reason.to_owned(),
        message: parked.message.clone(),
    }
}

fn phase(state: &SlotState, report: &Report) -> (Phase, &'static str, String) {
    let suspended = state.spec.as_ref().is_some_and(|spec| spec.suspended);
    match (&state.load_error, &report.standing) {
        _ if suspended => {
            let message = format!("spec.suspended is true{}", consequence(state));
            (Phase::Suspended, "Suspended", message)
        }
        _ if state.loading => {
            (Phase::Loading, "Loading", state.pulling.clone().unwrap_or_default())
        }
        (Some(error), Standing::Failed { .. }) => {
            (Phase::Failed, error.reason, error.message.clone())
        }
        // A unit that was just started is about to be active.
        (Some(error), _) if report.active.is_some() || state.unit.is_some() => {
            let message = format!("{}; the version before goes on", error.message);
            (Phase::Rejected, error.reason, message)
        }
        (Some(error), _) => {
            let message = format!("{}{}", error.message, consequence(state));
            (Phase::Failed, error.reason, message)
        }
        (None, Standing::Failed { reason, message }) => (Phase::Failed, reason, message.clone()),
        (None, standing) => match (&state.trial, &state.comparison, standing) {
            (Some(trial), Some(comparison), _) if trial.is_joining() => {
                let message = format!("{} is shown the cluster first", comparison.candidate);
                (Phase::Loading, "Loading", message)
            }
            (Some(_), Some(comparison), _) => compared(comparison),
            (_, _, Standing::RolledBack { reason, message, .. }) => {
                (Phase::RolledBack, reason, message.clone())
            }
            _ if report.active.is_some() => match &report.last_error {
                Some((reason, message)) => (Phase::Active, reason, message.clone()),
                None => (Phase::Active, "", String::new()),
            },
            _ => (Phase::Pending, "", String::new()),
        },
    }
}

/// While a candidate waits beside what decides.
fn compared(comparison: &Comparison) -> (Phase, &'static str, String) {
    let candidate = &comparison.candidate;
    if (comparison.outcome(), comparison.then()) == (Outcome::Passed, AfterShadow::Stop) {
        let message = format!(
            "{candidate} was compared and may take over; \
             `pintle plugin promote NAME` makes it decide, `pintle plugin diff NAME` shows where it differs"
        );
        return (Phase::Shadowed, "ShadowFinished", message);
    }
    (Phase::Shadowing, "Shadowing", format!("{candidate} is compared with what decides"))
}

fn announced(
    slot: &Slot,
    state: &SlotState,
    before: Option<&PluginStatus>,
    now: &PluginStatus,
) -> Option<Box<Action>> {
    announce(slot, state, before, now).map(Box::new)
}

/// Events on an input that is left alone from now on, and on the plugin.
pub(super) fn parked_events(slot: &Slot, uid: &str, parked: &Parked) -> Vec<Action> {
    let object = &parked.input.object;
    let left_alone = "left alone until it changes or another version decides";
    let event = |regarding: Target, uid: &str, note: String| Action::Event {
        regarding,
        regarding_uid: uid.to_owned(),
        event_type: "Warning".to_owned(),
        reason: "PluginFault".to_owned(),
        action: "Supervising".to_owned(),
        note,
    };
    let note = format!("{object} is {left_alone}: {}", parked.message);
    let mut events = vec![event(target(&slot.name), uid, note)];
    if !parked.input.uid.is_empty() {
        let note = format!(
            "plugin {} cannot decide this object; it is {left_alone}: {}",
            slot.name, parked.message
        );
        events.push(event(object.clone(), &parked.input.uid, note));
    }
    events
}

/// An Event on the Plugin object, when something happened to it.
fn announce(
    slot: &Slot,
    state: &SlotState,
    before: Option<&PluginStatus>,
    now: &PluginStatus,
) -> Option<Action> {
    let same = before.is_some_and(|before| {
        before.phase == now.phase
            && before.active_digest == now.active_digest
            && before.reason == now.reason
    });
    if same {
        return None;
    }
    let (warning, reason, note) = match now.phase {
        Phase::Active if now.reason.is_empty() => {
            let swapped = before.is_some_and(|before| !before.active_digest.is_empty());
            let reason = if swapped { "Swapped" } else { "Activated" };
            (
                false,
                reason,
                format!("version {} with digest {} decides", now.version, now.active_digest),
            )
        }
        Phase::RolledBack => (true, "RolledBack", now.message.clone()),
        Phase::Rejected => (true, "Rejected", now.message.clone()),
        Phase::Failed => (true, "Failed", now.message.clone()),
        Phase::Suspended => {
            let consequence = consequence(state);
            let note = format!("the plugin was unloaded{consequence}");
            (!consequence.is_empty(), "Suspended", note)
        }
        Phase::Shadowing => (false, "Shadowing", now.message.clone()),
        Phase::Shadowed => (false, "Shadowed", now.message.clone()),
        Phase::Active | Phase::Pending | Phase::Loading => return None,
    };
    Some(Action::Event {
        regarding: target(&slot.name),
        regarding_uid: state.uid.clone(),
        event_type: if warning { "Warning" } else { "Normal" }.to_owned(),
        reason: reason.to_owned(),
        action: "Supervising".to_owned(),
        note,
    })
}
