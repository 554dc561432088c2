//! What is said in place of an extension that is not asked.

use std::sync::Arc;
use std::time::Instant;

use super::instance::{Said, is_for};
use super::opinion::{Part, Stated};
use super::unit::{Outcome, Question, Seat, Shared};
use crate::plugin::FailurePolicy;

/// Why an extension is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absence {
    Failed,
    /// It has used up its share of the processors.
    InDebt,
}

impl Shared {
    /// What an extension says that must not be called before `until`: what it
    /// said of a pod like this, if nothing has happened since that it was not told.
    pub(super) fn remembered(
        &self,
        seat: &mut Seat,
        question: &Question<'_>,
        until: Instant,
    ) -> Outcome {
        let is_current = seat.up_to_date.as_ref() == Some(question.call);
        if let Some(live) = &mut seat.live
            && (is_current || live.feed.len() == 0)
        {
            let state = |opinion| self.group.state(opinion);
            match live.instance.ask(question.context, question.pod, false, state) {
                Ok(Said::Nothing) => return Outcome::Silent,
                Ok(Said::Opinion { stated, .. }) => return says(stated, seat.terms.weight),
                // It is not called, so nothing can go wrong.
                Ok(Said::NotYet) | Err(_) => {}
            }
        }
        let outcome = self.absent(seat, question, Absence::InDebt);
        if matches!(outcome, Outcome::Says(_)) {
            self.bell.announce_when_paid(until);
        }
        outcome
    }

    /// What is said in place of an extension that cannot answer.
    pub(super) fn absent(&self, seat: &mut Seat, question: &Question<'_>, why: Absence) -> Outcome {
        if seat.terms.failure_policy == FailurePolicy::Ignore
            || !is_for(&seat.program, question.pod)
        {
            return Outcome::Silent;
        }
        let version = question.names.version;
        let stated = match &seat.refusal {
            Some((at, because, stated)) if (*at, *because) == (version, why) => stated.clone(),
            _ => {
                let name = &seat.program.name;
                let reason = match why {
                    Absence::Failed => format!("extension {name} failed"),
                    Absence::InDebt => format!("extension {name} has used up its cpuMillicores"),
                };
                self.group.all_rejected(reason, question.names)
            }
        };
        seat.refusal = Some((version, why, stated.clone()));
        Outcome::Says(Part { stated, weight: 0 })
    }
}

pub(super) fn says(stated: Arc<Stated>, weight: u32) -> Outcome {
    if stated.opinion.is_empty() {
        return Outcome::Silent;
    }
    Outcome::Says(Part { stated, weight })
}
