//! An authorizer's candidate beside the active version: told what that is told, and
//! asked about each request that it was asked about, also where the active version
//! answered from memory.

use std::ops::ControlFlow;
use std::sync::Arc;

use pintle_api::meta::GroupVersionKind;

use super::compare::View;
use super::{Comparison, Decision};
use crate::authorizer::{self, Instance};
use crate::bindings::authorizer::AuthorizerPlugin;
use crate::follow::{AuthorizerTurn, Follower, Judged};
use crate::program::{LoadError, Program};
use crate::sandbox::Fault;
use crate::scheduler::Delta;

pub(crate) struct AuthorizerShadow {
    program: Arc<Program<AuthorizerPlugin>>,
    watches: Vec<GroupVersionKind>,
    /// None before the stream begins.
    instance: Option<Instance>,
    comparison: Arc<Comparison>,
}

impl AuthorizerShadow {
    /// `known`: what the active version is told of, and the candidate with it.
    pub fn new(
        program: Arc<Program<AuthorizerPlugin>>,
        known: &[GroupVersionKind],
        comparison: Arc<Comparison>,
    ) -> Result<Self, LoadError> {
        authorizer::check(&program)?;
        let watches = authorizer::watches(&program);
        if let Some(more) = watches.iter().find(|kind| !known.contains(kind)) {
            return Err(LoadError::Description(format!(
                "it watches {}, which the version that decides does not, so that the two cannot be \
                 compared; remove spec.rollout.shadow",
                more.kind
            )));
        }
        // Refused here rather than later, if it does not even start.
        super::first(&program)?;
        Ok(Self { program, watches, instance: None, comparison })
    }

    /// What the candidate would be told if it decided: the active version may
    /// watch more, or be granted more.
    fn concerns(&self, delta: &Delta) -> bool {
        let object = delta.object();
        self.watches.contains(object.kind())
            && self.program.grants.may_read_in(object.kind(), object.namespace())
    }

    fn take(&mut self, turn: AuthorizerTurn) -> Result<ControlFlow<()>, Fault> {
        match turn {
            AuthorizerTurn::Start(_) => {
                let sandbox = super::start(&self.program)?;
                self.instance = Some(Instance::new(self.program.clone(), sandbox));
            }
            AuthorizerTurn::Sync(deltas) => {
                let deltas: Vec<Delta> =
                    deltas.iter().filter(|delta| self.concerns(delta)).cloned().collect();
                if let Some(instance) = &mut self.instance {
                    instance.sync(&deltas)?;
                }
            }
            AuthorizerTurn::Asked(turn) => {
                if let Some(instance) = &mut self.instance {
                    return Ok(compare(instance, &self.comparison, &turn));
                }
            }
            // For people, who see the difference themselves.
            AuthorizerTurn::Rules(_) => {}
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl Follower<AuthorizerTurn> for AuthorizerShadow {
    fn turn(&mut self, turn: AuthorizerTurn) -> ControlFlow<()> {
        match self.take(turn) {
            Ok(after) => after,
            Err(fault) => self.comparison.faulted(None, &fault),
        }
    }

    fn overflowed(&mut self, lost: u64) {
        self.comparison.skipped(lost);
    }
}

fn compare(instance: &mut Instance, comparison: &Comparison, turn: &Judged) -> ControlFlow<()> {
    comparison.beside(&turn.digest);
    // Where the active version faults there is nothing to compare with.
    let Ok(active) = &turn.answered else { return ControlFlow::Continue(()) };
    let question = &turn.question;
    let object = authorizer::target(&question.attributes);
    let candidate = match instance.remembered(&question.key) {
        Some(decision) => decision.clone(),
        None => match instance.authorize(turn.context, question) {
            Ok(decision) => decision,
            Err(fault) => return comparison.faulted(Some(&object), &fault),
        },
    };
    comparison.decided(Decision {
        object: &object,
        revision: turn.context.revision,
        now_unix_ms: turn.context.now_unix_ms,
        active: View::of_authorizer(active),
        candidate: View::of_authorizer(&candidate),
    })
}
