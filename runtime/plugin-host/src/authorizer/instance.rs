//! One instance of an authorizer, what it was told, and what it has answered
//! at that view. Used by the version that decides and by its shadow.

use std::collections::HashMap;
use std::sync::Arc;

use super::request::{Key, Question};
use crate::bindings::authorizer::AuthorizerPlugin;
use crate::bindings::types::{self, Context};
use crate::convert;
use crate::program::Program;
use crate::program::authorizer_interface::{Decision, RuleSet, User};
use crate::sandbox::{Fault, Sandbox, Usage};
use crate::scheduler::Delta;

/// So many objects cross in one call, and so many bytes of them: any of them
/// stays far below its budgets.
const MOST_PER_CALL: usize = 250;
const MOST_BYTES_PER_CALL: usize = 64 << 10;

/// Answers that are kept.
const MOST_ANSWERS: usize = 8192;

const LONGEST_REASON_BYTES: usize = 1024;

pub(crate) struct Instance {
    pub program: Arc<Program<AuthorizerPlugin>>,
    sandbox: Sandbox<AuthorizerPlugin>,
    /// At the present view.
    answers: HashMap<Key, Decision>,
}

impl Instance {
    pub fn new(
        program: Arc<Program<AuthorizerPlugin>>,
        sandbox: Sandbox<AuthorizerPlugin>,
    ) -> Self {
        Self { program, sandbox, answers: HashMap::new() }
    }

    pub fn sync(&mut self, deltas: &[Delta]) -> Result<(), Fault> {
        self.answers.clear();
        let mut deltas = deltas.iter().peekable();
        while deltas.peek().is_some() {
            let (mut objects, mut bytes) = (0, 0);
            let chunk: Vec<types::Delta> = std::iter::from_fn(|| {
                deltas.next_if(|next| {
                    let fits = objects < MOST_PER_CALL && bytes < MOST_BYTES_PER_CALL;
                    objects += 1;
                    bytes += next.object().json().len();
                    fits
                })
            })
            .map(delta)
            .collect();
            let (result, usage) = self
                .sandbox
                .call(|world, store| world.pintle_plugin_authorizer().call_sync(store, &chunk));
            self.count(&usage);
            result?;
        }
        Ok(())
    }

    /// What it has said before, if nothing has happened since.
    pub fn remembered(&self, key: &Key) -> Option<&Decision> {
        self.answers.get(key)
    }

    pub fn authorize(&mut self, context: Context, question: &Question) -> Result<Decision, Fault> {
        self.sandbox.set_context(&context);
        let (result, usage) = self.sandbox.call(|world, store| {
            world.pintle_plugin_authorizer().call_authorize(store, context, &question.attributes)
        });
        self.count(&usage);
        let decision = sound(result?)?;
        if self.answers.len() >= MOST_ANSWERS {
            self.answers.clear();
        }
        self.answers.insert(question.key.clone(), decision.clone());
        Ok(decision)
    }

    pub fn rules(
        &mut self,
        context: Context,
        user: &User,
        namespace: &str,
    ) -> Result<RuleSet, Fault> {
        self.sandbox.set_context(&context);
        let (result, usage) = self.sandbox.call(|world, store| {
            world.pintle_plugin_authorizer().call_rules(store, context, user, namespace)
        });
        self.count(&usage);
        result
    }

    fn count(&self, usage: &Usage) {
        self.program.metrics.call(usage);
    }
}

/// An answer that nobody could use is a fault.
pub(crate) fn sound(decision: Decision) -> Result<Decision, Fault> {
    let (Decision::Allow(reason) | Decision::Deny(reason) | Decision::NoOpinion(reason)) =
        &decision;
    if reason.len() > LONGEST_REASON_BYTES {
        return Err(Fault::BadReply(format!(
            "it gave a reason of {} bytes, more than the {LONGEST_REASON_BYTES} allowed",
            reason.len()
        )));
    }
    Ok(decision)
}

/// As it crosses into an instance.
pub(crate) fn delta(delta: &Delta) -> types::Delta {
    match delta {
        Delta::Upsert(object) => types::Delta::Upsert(convert::object(&**object, true)),
        Delta::Remove(object) => types::Delta::Remove(convert::object(&**object, true)),
    }
}
