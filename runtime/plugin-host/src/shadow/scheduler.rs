//! A scheduler's candidate beside the active version. Its view is fed as the
//! active's is; where its decisions differ it is told what was decided instead
//! and asked again for the rest of the batch, so that one divergence is one,
//! whatever would have followed from it.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::compare::View;
use super::{Comparison, Decision};
use crate::bindings::scheduler::SchedulerPlugin;
use crate::cluster::ObjectHandle;
use crate::extension::Replayed;
use crate::follow::{Follower, Scheduled, SchedulerTurn};
use crate::program::scheduler_interface::Decision as Answer;
use crate::program::{LoadError, Program};
use crate::sandbox::Fault;
use crate::scheduler::{self, Instance};

pub(crate) struct SchedulerShadow {
    program: Arc<Program<SchedulerPlugin>>,
    /// None before the stream begins.
    instance: Option<Instance>,
    comparison: Arc<Comparison>,
}

/// Why a turn did not end as it should.
enum Ended {
    /// The comparison is over.
    Over,
    Faulted(Fault),
}

impl From<Fault> for Ended {
    fn from(fault: Fault) -> Self {
        Self::Faulted(fault)
    }
}

impl SchedulerShadow {
    pub fn new(
        program: Arc<Program<SchedulerPlugin>>,
        comparison: Arc<Comparison>,
    ) -> Result<Self, LoadError> {
        scheduler::check(&program).map_err(LoadError::Description)?;
        // Refused here rather than later, if it does not even start.
        super::first(&program)?;
        Ok(Self { program, instance: None, comparison })
    }

    fn take(&mut self, turn: SchedulerTurn) -> Result<(), Ended> {
        if let SchedulerTurn::Start = turn {
            let sandbox = super::start(&self.program)?;
            self.instance = Some(Instance::new(self.program.clone(), sandbox));
            return Ok(());
        }
        let Some(instance) = &mut self.instance else { return Ok(()) };
        match turn {
            SchedulerTurn::Start => {}
            SchedulerTurn::Sync(deltas) => instance.sync(&deltas)?,
            SchedulerTurn::Assume(assumed) => instance.assume(&assumed)?,
            SchedulerTurn::Forget(uids) => instance.forget(&uids)?,
            SchedulerTurn::Schedule(turn) => compare(instance, &self.comparison, &turn)?,
        }
        Ok(())
    }
}

impl Follower<SchedulerTurn> for SchedulerShadow {
    fn turn(&mut self, turn: SchedulerTurn) -> ControlFlow<()> {
        match self.take(turn) {
            Ok(()) => ControlFlow::Continue(()),
            Err(Ended::Over) => ControlFlow::Break(()),
            Err(Ended::Faulted(fault)) => self.comparison.faulted(None, &fault),
        }
    }

    fn overflowed(&mut self, lost: u64) {
        self.comparison.skipped(lost);
    }
}

fn compare(
    instance: &mut Instance,
    comparison: &Comparison,
    turn: &Scheduled,
) -> Result<(), Ended> {
    comparison.beside(&turn.digest);
    // Where the active version faults there is nothing to compare with.
    let Ok(decided) = &turn.decided else { return Ok(()) };
    let mut rest: &[ObjectHandle] = &turn.pods;
    let mut decided: &[Answer] = decided;
    while !rest.is_empty() {
        instance.sandbox.set_answers(Replayed::of(turn.heard.as_ref()));
        let answers = instance.schedule(turn.context, rest)?;
        instance.sandbox.set_answers(None);
        let mut differs = None;
        for (index, (pod, (active, candidate))) in
            rest.iter().zip(decided.iter().zip(&answers)).enumerate()
        {
            let views = (View::of_scheduler(active), View::of_scheduler(candidate));
            let same = views.0.same_as(&views.1);
            let over = comparison.decided(Decision {
                object: &scheduler::target(&**pod),
                revision: pod.revision(),
                now_unix_ms: turn.context.now_unix_ms,
                active: views.0,
                candidate: views.1,
            });
            if over.is_break() {
                return Err(Ended::Over);
            }
            if !same {
                differs = Some(index);
                break;
            }
        }
        let Some(index) = differs else { return Ok(()) };
        correct(instance, &rest[index..], &decided[index], &answers[index..])?;
        rest = &rest[index + 1..];
        decided = &decided[index + 1..];
    }
    Ok(())
}

/// Takes back what the candidate assumed from the first difference on, and
/// makes the active's decision the truth.
fn correct(
    instance: &mut Instance,
    pods: &[ObjectHandle],
    active: &Answer,
    candidate: &[Answer],
) -> Result<(), Fault> {
    let bound: Vec<String> = candidate
        .iter()
        .filter_map(|answer| match answer {
            Answer::Bind(binding) => Some(binding.pod_uid.clone()),
            _ => None,
        })
        .collect();
    instance.forget(&bound)?;
    if let (Answer::Bind(binding), Some(pod)) = (active, pods.first()) {
        instance.assume(&[(pod.clone(), binding.node.clone())])?;
    }
    Ok(())
}
