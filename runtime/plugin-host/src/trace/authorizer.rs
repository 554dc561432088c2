//! Authorizers in a trace: their calls, and the recorder that makes them as the
//! active version was told and asked.

use std::ops::ControlFlow;

use super::feed::{NICE, compare};
use super::model::{
    AccessRecord, Answer, AttributesRecord, DeltaRecord, Input, Live, NonResourceRuleRecord,
    ResourceRuleRecord, UserRecord, Why,
};
use super::record::Recorder;
use super::subject::{Subject, faulted};
use super::wire;
use super::writer::WriteError;
use crate::artifact::Digest;
use crate::authorizer::{self, sound};
use crate::bindings::authorizer::AuthorizerPlugin;
use crate::bindings::types;
use crate::follow::{AuthorizerTurn, Follower, Judged, RulesListed};
use crate::grants::Grants;
use crate::program::authorizer_interface::{Attributes, Decision, RuleSet, User};
use crate::sandbox::{Sandbox, Usage};
use crate::scheduler::Delta;

/// So many objects go into one call of the recorder.
const PER_CALL: usize = 64;

impl Subject for AuthorizerPlugin {
    const STATEFUL: bool = true;

    fn ask(sandbox: &mut Sandbox<Self>, _: &Grants, input: &Input) -> Option<(Answer, Usage)> {
        let (answer, usage) = match input {
            Input::Sync(deltas) => {
                let deltas = wire::to_deltas(deltas);
                let (result, usage) = sandbox.call(|world, store| {
                    world.pintle_plugin_authorizer().call_sync(store, &deltas)
                });
                (result.map(|()| Answer::Done), usage)
            }
            Input::Authorize { context, attributes } => {
                let (context, attributes) = (wire::to_context(context), to_attributes(attributes));
                sandbox.set_context(&context);
                let (result, usage) = sandbox.call(|world, store| {
                    world.pintle_plugin_authorizer().call_authorize(store, context, &attributes)
                });
                (result.and_then(sound).map(|decision| Answer::Access(access(decision))), usage)
            }
            Input::Rules { context, user, namespace } => {
                let (context, user) = (wire::to_context(context), to_user(user));
                sandbox.set_context(&context);
                let (result, usage) = sandbox.call(|world, store| {
                    world.pintle_plugin_authorizer().call_rules(store, context, &user, namespace)
                });
                (result.map(rules), usage)
            }
            _ => return None,
        };
        Some((answer.unwrap_or_else(|fault| faulted(&fault)), usage))
    }
}

/// Records an authorizer, whose stream of turns is complete from its start on.
pub(crate) struct AuthorizerRecorder {
    recorder: Recorder<AuthorizerPlugin>,
    why: Why,
}

impl AuthorizerRecorder {
    pub fn new(recorder: Recorder<AuthorizerPlugin>) -> Self {
        Self { recorder, why: Why::First }
    }

    fn start(&mut self) -> Result<(), WriteError> {
        self.recorder.renew(std::mem::replace(&mut self.why, Why::Fault))
    }

    fn sync(&mut self, deltas: &[Delta]) -> Result<(), WriteError> {
        for chunk in deltas.chunks(PER_CALL) {
            if !self.recorder.has_instance() {
                break;
            }
            let record = |delta: &Delta| match authorizer::delta(delta) {
                types::Delta::Upsert(object) => DeltaRecord::Upsert(wire::object(object)),
                types::Delta::Remove(object) => DeltaRecord::Remove(wire::object(object)),
            };
            let deltas = chunk.iter().map(record).collect();
            self.recorder.call(Input::Sync(deltas), None, |_| Live::NotCompared)?;
        }
        Ok(())
    }

    fn authorize(&mut self, turn: &Judged) -> Result<(), WriteError> {
        // What comes from memory is no call.
        if !turn.called {
            return Ok(());
        }
        let context = wire::context(&turn.context);
        let attributes = attributes(&turn.question.attributes);
        self.recorder.call(Input::Authorize { context, attributes }, None, |answer| {
            compare(
                answer,
                &turn.answered,
                |live| matches!(answer, Answer::Access(own) if *own == access(live.clone())),
            )
        })
    }

    fn rules(&mut self, turn: &RulesListed) -> Result<(), WriteError> {
        let context = wire::context(&turn.context);
        let (user, namespace) = (user(&turn.user), turn.namespace.clone());
        self.recorder.call(Input::Rules { context, user, namespace }, None, |answer| {
            compare(answer, &turn.answered, |live| *answer == rules(live.clone()))
        })
    }

    /// `answered`: whether the active version goes on with its view.
    fn asked(
        &mut self,
        by: &Digest,
        answered: bool,
        record: impl FnOnce(&mut Self) -> Result<(), WriteError>,
    ) -> ControlFlow<()> {
        if self.recorder.superseded(by) {
            return ControlFlow::Break(());
        }
        let made = if self.recorder.has_instance() { record(self) } else { Ok(()) };
        if !self.recorder.has_instance() && answered {
            // This one has lost its view.
            self.recorder.end("the recorder's instance faulted".to_owned());
            return ControlFlow::Break(());
        }
        self.recorder.flow(made)
    }
}

impl Follower<AuthorizerTurn> for AuthorizerRecorder {
    fn turn(&mut self, turn: AuthorizerTurn) -> ControlFlow<()> {
        match turn {
            AuthorizerTurn::Start(_) => {
                let made = self.start();
                self.recorder.flow(made)
            }
            AuthorizerTurn::Sync(deltas) => {
                let made = self.sync(&deltas);
                self.recorder.flow(made)
            }
            AuthorizerTurn::Asked(turn) => {
                self.asked(&turn.digest, turn.answered.is_ok(), |own| own.authorize(&turn))
            }
            AuthorizerTurn::Rules(turn) => {
                self.asked(&turn.digest, turn.answered.is_ok(), |own| own.rules(&turn))
            }
        }
    }

    fn nice(&self) -> i32 {
        NICE
    }

    fn overflowed(&mut self, lost: u64) {
        self.why = Why::Lost(lost);
    }
}

fn user(user: &User) -> UserRecord {
    let User { name, uid, groups, extra } = user.clone();
    UserRecord { name, uid, groups, extra }
}

fn to_user(user: &UserRecord) -> User {
    let UserRecord { name, uid, groups, extra } = user.clone();
    User { name, uid, groups, extra }
}

fn attributes(attributes: &Attributes) -> AttributesRecord {
    let Attributes {
        user: asking,
        verb,
        group,
        version,
        resource,
        subresource,
        namespace,
        name,
        path,
        required_fields,
    } = attributes.clone();
    AttributesRecord {
        user: user(&asking),
        verb,
        group,
        version,
        resource,
        subresource,
        namespace,
        name,
        path,
        required_fields,
    }
}

pub(super) fn to_attributes(attributes: &AttributesRecord) -> Attributes {
    let AttributesRecord {
        user,
        verb,
        group,
        version,
        resource,
        subresource,
        namespace,
        name,
        path,
        required_fields,
    } = attributes.clone();
    Attributes {
        user: to_user(&user),
        verb,
        group,
        version,
        resource,
        subresource,
        namespace,
        name,
        path,
        required_fields,
    }
}

fn access(decision: Decision) -> AccessRecord {
    match decision {
        Decision::Allow(reason) => AccessRecord::Allow(reason),
        Decision::Deny(reason) => AccessRecord::Deny(reason),
        Decision::NoOpinion(reason) => AccessRecord::NoOpinion(reason),
    }
}

fn rules(rules: RuleSet) -> Answer {
    Answer::Rules {
        resource_rules: rules
            .resource_rules
            .into_iter()
            .map(|rule| ResourceRuleRecord {
                verbs: rule.verbs,
                api_groups: rule.api_groups,
                resources: rule.resources,
                resource_names: rule.resource_names,
            })
            .collect(),
        non_resource_rules: rules
            .non_resource_rules
            .into_iter()
            .map(|rule| NonResourceRuleRecord {
                verbs: rule.verbs,
                non_resource_urls: rule.non_resource_urls,
            })
            .collect(),
        incomplete: rules.incomplete,
    }
}
