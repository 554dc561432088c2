//! A controller's candidate beside the active version.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::compare::View;
use super::{Comparison, Decision};
use crate::bindings::controller::ControllerPlugin;
use crate::controller;
use crate::convert;
use crate::follow::{ControllerTurn, Follower};
use crate::program::{LoadError, Program};
use crate::sandbox::{Fault, Sandbox};

pub(crate) struct ControllerShadow {
    program: Arc<Program<ControllerPlugin>>,
    sandbox: Sandbox<ControllerPlugin>,
    comparison: Arc<Comparison>,
}

impl ControllerShadow {
    pub fn new(
        program: Arc<Program<ControllerPlugin>>,
        comparison: Arc<Comparison>,
    ) -> Result<Self, LoadError> {
        controller::check(&program)?;
        let sandbox = super::first(&program)?;
        Ok(Self { program, sandbox, comparison })
    }
}

impl Follower<ControllerTurn> for ControllerShadow {
    fn turn(&mut self, turn: ControllerTurn) -> ControlFlow<()> {
        self.comparison.beside(&turn.digest);
        // Where the active version faults there is nothing to compare with.
        let Ok(active) = &turn.decided else { return ControlFlow::Continue(()) };
        let object = convert::target(turn.request.ref_.clone());
        let decided =
            controller::reconcile(&self.program, &mut self.sandbox, &turn.request, turn.context);
        match decided {
            Ok(candidate) => self.comparison.decided(Decision {
                object: &object,
                revision: turn.context.revision,
                now_unix_ms: turn.context.now_unix_ms,
                active: View::of_controller(active),
                candidate: View::of_controller(&candidate),
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
