//! An admission plugin's candidate beside the active version.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::compare::View;
use super::{Comparison, Decision};
use crate::admission;
use crate::bindings::admission::AdmissionPlugin;
use crate::convert;
use crate::follow::{AdmissionTurn, Follower};
use crate::program::{LoadError, Program};
use crate::sandbox::{Fault, Sandbox};

pub(crate) struct AdmissionShadow {
    program: Arc<Program<AdmissionPlugin>>,
    sandbox: Sandbox<AdmissionPlugin>,
    comparison: Arc<Comparison>,
}

impl AdmissionShadow {
    pub fn new(
        program: Arc<Program<AdmissionPlugin>>,
        comparison: Arc<Comparison>,
    ) -> Result<Self, LoadError> {
        let sandbox = super::first(&program)?;
        Ok(Self { program, sandbox, comparison })
    }
}

impl Follower<AdmissionTurn> for AdmissionShadow {
    fn turn(&mut self, turn: AdmissionTurn) -> ControlFlow<()> {
        self.comparison.beside(&turn.digest);
        // Where the active version faults there is nothing to compare with.
        let Ok(active) = &turn.answered else { return ControlFlow::Continue(()) };
        let object = convert::target(turn.request.ref_.clone());
        let answered =
            admission::ask(&self.program, &mut self.sandbox, turn.context, &turn.request);
        match answered {
            Ok(candidate) => self.comparison.decided(Decision {
                object: &object,
                revision: turn.context.revision,
                now_unix_ms: turn.context.now_unix_ms,
                active: View::of_admission(&turn.request, active),
                candidate: View::of_admission(&turn.request, &candidate),
            }),
            // It came to the turn too late; the trap ended the instance.
            Err(Fault::RevisionGone(_)) => match super::start(&self.program) {
                Ok(sandbox) => {
                    self.sandbox = sandbox;
                    self.comparison.skipped(1);
                    ControlFlow::Continue(())
                }
                Err(fault) => self.comparison.faulted(None, &fault),
            },
            Err(fault) => self.comparison.faulted(Some(&object), &fault),
        }
    }

    fn overflowed(&mut self, lost: u64) {
        self.comparison.skipped(lost);
    }
}
