//! From the turns of an active version to calls of the recorder.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::model::{Answer, Blob, DecisionRecord, DeltaRecord, Input, Live, ObjectRecord, Why};
use super::record::Recorder;
use super::subject::Subject;
use super::tape::NoAnswers;
use super::wire;
use super::writer::WriteError;
use crate::artifact::Digest;
use crate::bindings::admission::AdmissionPlugin;
use crate::bindings::controller::ControllerPlugin;
use crate::bindings::scheduler::SchedulerPlugin;
use crate::cluster::ObjectHandle;
use crate::convert;
use crate::extension::Replayed;
use crate::follow::{AdmissionTurn, ControllerTurn, Decided, Follower, Scheduled, SchedulerTurn};
use crate::sandbox::Fault;
use crate::scheduler::Delta;

impl<W: Subject> Recorder<W> {
    /// True if another version decides: its calls belong into a trace of their own.
    pub(super) fn superseded(&mut self, by: &Digest) -> bool {
        if *by == self.program.digest {
            return false;
        }
        self.end(format!("another version decides now: {by}"));
        true
    }

    pub(super) fn flow(&mut self, result: Result<(), WriteError>) -> ControlFlow<()> {
        match result {
            // The same component in another configuration shows by its answers.
            Ok(()) if self.differed() && !self.is_active() => {
                self.end("another configuration decides now".to_owned());
                ControlFlow::Break(())
            }
            Ok(()) => ControlFlow::Continue(()),
            Err(WriteError::Gone) => ControlFlow::Break(()),
            Err(error) => {
                tracing::warn!(plugin = %self.program.name, %error, "a recording broke off");
                ControlFlow::Break(())
            }
        }
    }
}

/// Somebody waits for the recording; it may cost the active version a tenth of
/// a processor where all are busy.
pub(super) const NICE: i32 = 10;

/// Both ended badly in the same way, or both did not and `same` says that the
/// answers are equal.
pub(super) fn compare<T>(
    answer: &Answer,
    live: &Result<T, Fault>,
    same: impl FnOnce(&T) -> bool,
) -> Live {
    let equal = match (answer, live) {
        (Answer::Fault(fault), Err(live)) => fault.reason == live.reason(),
        (Answer::Fault(_), Ok(_)) | (_, Err(_)) => false,
        (_, Ok(live)) => same(live),
    };
    if equal { Live::Same } else { Live::Differs }
}

impl Follower<ControllerTurn> for Recorder<ControllerPlugin> {
    fn turn(&mut self, turn: ControllerTurn) -> ControlFlow<()> {
        if self.superseded(&turn.digest) {
            return ControlFlow::Break(());
        }
        let input = Input::Reconcile {
            context: wire::context(&turn.context),
            reference: wire::reference(&turn.request.ref_),
            uid: turn.request.uid.clone(),
            attempt: turn.request.attempt,
        };
        let made = self.ensure_instance().and_then(|()| {
            self.call(input, None, |answer| {
                compare(answer, &turn.decided, |decided| same_outcome(answer, decided))
            })
        });
        self.flow(made)
    }

    fn begin(&mut self, _: u64) -> ControlFlow<()> {
        let opened = self.open();
        self.flow(opened)
    }

    fn nice(&self) -> i32 {
        NICE
    }

    fn overflowed(&mut self, lost: u64) {
        // If nobody reads any more, the next turn says so.
        let _ = self.lost(lost);
    }
}

fn same_outcome(answer: &Answer, live: &Decided) -> bool {
    match (answer, live) {
        (
            Answer::Outcome { actions, requeue_after_ms },
            Decided::Act { actions: live, again_after },
        ) => {
            let again =
                again_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
            *requeue_after_ms == again
                && actions.len() == live.len()
                && actions
                    .iter()
                    .zip(live)
                    .all(|(action, live)| wire::performed(live).as_ref() == Some(action))
        }
        (Answer::Error(message), Decided::Error(live)) => message == live,
        _ => false,
    }
}

impl Follower<AdmissionTurn> for Recorder<AdmissionPlugin> {
    fn turn(&mut self, turn: AdmissionTurn) -> ControlFlow<()> {
        if self.superseded(&turn.digest) {
            return ControlFlow::Break(());
        }
        let input = Input::Review {
            context: wire::context(&turn.context),
            request: wire::request(&turn.request),
        };
        let made = self.ensure_instance().and_then(|()| {
            self.call(input, None, |answer| {
                compare(answer, &turn.answered, |live| {
                    let (verdict, warnings) = wire::review(live.clone());
                    matches!(answer, Answer::Review { verdict: own, warnings: said }
                        if *own == verdict && *said == warnings)
                })
            })
        });
        self.flow(made)
    }

    fn begin(&mut self, _: u64) -> ControlFlow<()> {
        let opened = self.open();
        self.flow(opened)
    }

    fn nice(&self) -> i32 {
        NICE
    }

    fn overflowed(&mut self, lost: u64) {
        let _ = self.lost(lost);
    }
}

/// Records a scheduler, whose stream of turns is complete from its start on.
pub(crate) struct SchedulerRecorder {
    recorder: Recorder<SchedulerPlugin>,
    /// Pods that another instance gave a node, told before the event stream did.
    told: HashMap<String, ObjectHandle>,
    why: Why,
}

impl SchedulerRecorder {
    pub fn new(recorder: Recorder<SchedulerPlugin>) -> Self {
        Self { recorder, told: HashMap::new(), why: Why::First }
    }

    fn start(&mut self) -> Result<(), WriteError> {
        self.told.clear();
        self.recorder.renew(std::mem::replace(&mut self.why, Why::Fault))
    }

    fn sync(&mut self, deltas: Vec<DeltaRecord>) -> Result<(), WriteError> {
        if deltas.is_empty() || !self.recorder.has_instance() {
            return Ok(());
        }
        self.recorder.call(Input::Sync(deltas), None, |_| Live::NotCompared)
    }

    fn assume(&mut self, assumed: &[(ObjectHandle, String)]) -> Result<(), WriteError> {
        let record = |(pod, node): &(ObjectHandle, String)| {
            let mut object = wire::object(convert::object(&**pod, false));
            object.json = Blob(crate::scheduler::with_node(pod.json(), node));
            DeltaRecord::Upsert(object)
        };
        let deltas = assumed.iter().map(record).collect();
        self.told.extend(assumed.iter().map(|(pod, _)| (pod.uid().to_owned(), pod.clone())));
        self.sync(deltas)
    }

    fn forget(&mut self, uids: &[String]) -> Result<(), WriteError> {
        let told = uids.iter().filter_map(|uid| self.told.remove(uid));
        let told = told.map(|pod| DeltaRecord::Remove(object(&pod))).collect();
        self.sync(told)?;
        if uids.is_empty() || !self.recorder.has_instance() {
            return Ok(());
        }
        self.recorder.call(Input::Forget(uids.to_vec()), None, |_| Live::NotCompared)
    }

    fn schedule(&mut self, turn: &Scheduled) -> Result<(), WriteError> {
        let input = Input::Schedule {
            context: wire::context(&turn.context),
            pods: turn.pods.iter().map(object).collect(),
        };
        let answers = Replayed::of(turn.heard.as_ref()).unwrap_or_else(|| Box::new(NoAnswers));
        self.recorder.call(input, Some(answers), |answer| {
            compare(answer, &turn.decided, |live| {
                let live: Vec<DecisionRecord> = live.iter().map(wire::decision).collect();
                matches!(answer, Answer::Decisions(own) if *own == live)
            })
        })
    }
}

fn object(object: &ObjectHandle) -> ObjectRecord {
    wire::object(convert::object(&**object, true))
}

impl Follower<SchedulerTurn> for SchedulerRecorder {
    fn turn(&mut self, turn: SchedulerTurn) -> ControlFlow<()> {
        let made = match turn {
            SchedulerTurn::Start => self.start(),
            SchedulerTurn::Sync(deltas) => {
                let record = |delta: &Delta| match delta {
                    Delta::Upsert(upserted) => DeltaRecord::Upsert(object(upserted)),
                    Delta::Remove(removed) => DeltaRecord::Remove(object(removed)),
                };
                self.sync(deltas.iter().map(record).collect())
            }
            SchedulerTurn::Assume(assumed) => self.assume(&assumed),
            SchedulerTurn::Forget(uids) => self.forget(&uids),
            SchedulerTurn::Schedule(turn) => {
                if self.recorder.superseded(&turn.digest) {
                    return ControlFlow::Break(());
                }
                let made = self.schedule(&turn);
                if !self.recorder.has_instance() && turn.decided.is_ok() {
                    // The active one goes on with its view, which this one has lost.
                    self.recorder.end("the recorder's instance faulted".to_owned());
                    return ControlFlow::Break(());
                }
                made
            }
        };
        self.recorder.flow(made)
    }

    fn nice(&self) -> i32 {
        NICE
    }

    fn overflowed(&mut self, lost: u64) {
        self.why = Why::Lost(lost);
    }
}
