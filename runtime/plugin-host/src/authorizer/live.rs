//! One version of an authorizer with its instance, the feed that keeps the
//! instance's view up to date, and what it has answered at that view.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pintle_api::meta::GroupVersionKind;

use super::request::Question;
use crate::bindings::authorizer::AuthorizerPlugin;
use crate::bindings::types::{self, Context};
use crate::cluster::{Cluster, EventBatch, ListQuery, ObjectHandle};
use crate::convert;
use crate::events::{Hub, Sink, Subscription};
use crate::grants::Grants;
use crate::program::authorizer_interface::{Decision, RuleSet, User};
use crate::program::{LoadError, Program};
use crate::sandbox::{Fault, Sandbox, Usage};
use crate::scheduler::{Delta, Feed};
use crate::supervise::Version;

/// So many objects cross in one call, and so many bytes of them: any of them
/// stays far below its budgets.
const MOST_PER_CALL: usize = 250;
const MOST_BYTES_PER_CALL: usize = 64 << 10;

/// A feed that nobody drains, because nothing is asked, ends here; the next
/// question begins with a list.
const LONGEST_FEED: usize = 20_000;

/// Answers that are kept.
const MOST_ANSWERS: usize = 8192;

const LONGEST_REASON_BYTES: usize = 1024;

/// The events that concern the instance, until it is told.
struct Intake {
    feed: Feed,
    kinds: Vec<GroupVersionKind>,
    grants: Arc<Grants>,
    /// Something is missing in the feed.
    broken: AtomicBool,
}

impl Intake {
    fn takes(&self, object: &ObjectHandle) -> bool {
        self.kinds.contains(object.kind())
            && self.grants.may_read_in(object.kind(), object.namespace())
    }
}

impl Sink for Intake {
    fn observe(&self, batch: &EventBatch) {
        if self.broken.load(Ordering::Acquire) {
            return;
        }
        for event in batch.events.iter().filter(|event| self.takes(&event.object)) {
            self.feed.push(event);
        }
        if self.feed.len() > LONGEST_FEED {
            self.broken.store(true, Ordering::Release);
            self.feed.take_all();
        }
    }

    fn resync(&self, _: u64) {
        self.broken.store(true, Ordering::Release);
        self.feed.take_all();
    }
}

pub(super) struct Live {
    pub program: Arc<Program<AuthorizerPlugin>>,
    sandbox: Sandbox<AuthorizerPlugin>,
    intake: Arc<Intake>,
    _subscription: Subscription,
    /// At the present view.
    answers: HashMap<String, Decision>,
}

impl Live {
    /// A fresh instance that knows the present cluster. Its feed is registered
    /// first, so that nothing falls between the lists and the events.
    pub fn start(
        program: Arc<Program<AuthorizerPlugin>>,
        cluster: &dyn Cluster,
        hub: &Arc<Hub>,
    ) -> Result<Self, LoadError> {
        let watches: Vec<GroupVersionKind> =
            program.description.watches.iter().cloned().map(convert::kind).collect();
        for kind in &watches {
            if !program.grants.may_watch(Some(kind)) {
                return Err(LoadError::Description(format!(
                    "the authorizer is not granted to watch {}",
                    kind.kind
                )));
            }
        }
        let sandbox = program.start().map_err(LoadError::Start)?;
        let intake = Arc::new(Intake {
            feed: Feed::default(),
            kinds: watches.clone(),
            grants: program.grants.clone(),
            broken: AtomicBool::new(false),
        });
        let (subscription, _) = hub.add(intake.clone());
        let mut live =
            Self { program, sandbox, intake, _subscription: subscription, answers: HashMap::new() };
        for kind in &watches {
            let listing =
                cluster.list(&ListQuery { kind: Some(kind.clone()), ..ListQuery::default() });
            live.intake.feed.listed(kind, listing.revision);
            let objects = listing.objects.into_iter().filter(|object| live.intake.takes(object));
            let deltas: Vec<Delta> = objects.map(Delta::Upsert).collect();
            live.tell(deltas).map_err(LoadError::Start)?;
        }
        live.catch_up().map_err(LoadError::Start)?;
        Ok(live)
    }

    pub fn version(&self) -> Version {
        Version::of(&self.program)
    }

    /// Its view cannot be brought up to date: another instance has to begin anew.
    pub fn is_broken(&self) -> bool {
        self.intake.broken.load(Ordering::Acquire)
    }

    /// How many changes it has to be told before it can answer.
    pub fn behind(&self) -> usize {
        self.intake.feed.len()
    }

    /// Tells it everything that has happened; whether anything has.
    pub fn catch_up(&mut self) -> Result<bool, Fault> {
        let mut told = false;
        loop {
            let deltas = self.intake.feed.take(MOST_PER_CALL);
            if deltas.is_empty() {
                return Ok(told);
            }
            told = true;
            self.tell(deltas)?;
        }
    }

    fn tell(&mut self, deltas: Vec<Delta>) -> Result<(), Fault> {
        self.answers.clear();
        let mut deltas = deltas.into_iter().peekable();
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
            .map(|delta| match delta {
                Delta::Upsert(object) => types::Delta::Upsert(convert::object(&*object, true)),
                Delta::Remove(object) => types::Delta::Remove(convert::object(&*object, true)),
            })
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
    pub fn remembered(&self, question: &Question) -> Option<Decision> {
        self.answers.get(&question.key).cloned()
    }

    pub fn authorize(&mut self, context: Context, question: &Question) -> Result<Decision, Fault> {
        self.sandbox.set_context(&context);
        let (result, usage) = self.sandbox.call(|world, store| {
            world.pintle_plugin_authorizer().call_authorize(store, context, &question.attributes)
        });
        self.count(&usage);
        let decision = result?;
        let (Decision::Allow(reason) | Decision::Deny(reason) | Decision::NoOpinion(reason)) =
            &decision;
        if reason.len() > LONGEST_REASON_BYTES {
            return Err(Fault::BadReply(format!(
                "it gave a reason of {} bytes, more than the {LONGEST_REASON_BYTES} allowed",
                reason.len()
            )));
        }
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
