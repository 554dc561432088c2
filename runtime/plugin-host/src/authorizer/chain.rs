//! All authorizers in the order they are asked. One that allows or denies ends
//! the question. One that gives no answer has no opinion, or refuses, as its
//! failure policy says; so where all of them fail, nobody has allowed anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::asking::NoAnswer;
use super::request::{self, AccessRequest, AccessUser, Key, Question, RuleSet, Verdict};
use super::unit::{AuthorizerUnit, Terms};
use crate::cluster::Cluster;
use crate::events::Hub;
use crate::members::{self, Member as _, Members};
use crate::plugin::FailurePolicy;
use crate::program::authorizer_interface::Decision;

/// So long a request waits until authorizers have been shown what was committed
/// before it. The stream takes microseconds; a server that cannot keep up answers
/// from what it knows.
const LONGEST_WAIT: Duration = Duration::from_millis(200);

pub struct AuthorizerChain {
    members: Members<Member>,
    cluster: Arc<dyn Cluster>,
    hub: Arc<Hub>,
}

/// An authorizer that there is to be.
#[derive(Clone)]
enum Member {
    Present(Arc<AuthorizerUnit>),
    /// No version of it could be loaded. Nobody knows what it would have said.
    Absent {
        name: Arc<str>,
        terms: Terms,
        cause: Arc<str>,
    },
}

impl members::Member for Member {
    fn name(&self) -> &str {
        match self {
            Self::Present(unit) => &unit.name,
            Self::Absent { name, .. } => name,
        }
    }

    fn priority(&self) -> i32 {
        match self {
            Self::Present(unit) => unit.priority(),
            Self::Absent { terms, .. } => terms.priority,
        }
    }

    fn is_present(&self) -> bool {
        matches!(self, Self::Present(_))
    }
}

impl AuthorizerChain {
    pub(crate) fn new(cluster: Arc<dyn Cluster>, hub: Arc<Hub>) -> Self {
        Self { members: Members::default(), cluster, hub }
    }

    pub(crate) fn put(&self, unit: Arc<AuthorizerUnit>) {
        self.members.put(&Member::Present(unit));
    }

    /// There is to be one, and it could not be loaded.
    pub(crate) fn put_absent(&self, name: &Arc<str>, terms: Terms, cause: &str) {
        self.members.put(&Member::Absent { name: name.clone(), terms, cause: cause.into() });
    }

    pub(crate) fn remove(&self, name: &str) {
        self.members.remove(name);
    }

    /// Whether one of that name is to be asked.
    pub fn has(&self, name: &str) -> bool {
        self.members.load().iter().any(|member| member.name() == name)
    }

    /// Asks one after the other.
    pub async fn authorize(&self, request: &AccessRequest<'_>) -> Verdict {
        let members = self.members.load_full();
        if members.is_empty() {
            return Verdict::NoOpinion(String::new());
        }
        self.up_to_date().await;
        let key = Key::of(request);
        // Made for the first who has to think about it.
        let mut question: Option<Arc<Question>> = None;
        let (mut reasons, mut unanswered) = (Vec::new(), false);
        for member in members.iter() {
            let answer = match member {
                Member::Present(unit) => match unit.remembered(&key) {
                    Some(decision) => Ok(decision),
                    None => {
                        let question = question
                            .get_or_insert_with(|| Arc::new(Question::new(request, key.clone())));
                        ask(unit, question).await
                    }
                },
                Member::Absent { terms, cause, .. } => {
                    Err(NoAnswer { cause: cause.to_string(), policy: terms.failure_policy })
                }
            };
            match answer {
                Ok(Decision::Allow(reason)) => return Verdict::Allow(reason),
                Ok(Decision::Deny(reason)) => return Verdict::Deny(reason),
                Ok(Decision::NoOpinion(reason)) => reasons.push(reason),
                Err(no_answer) => {
                    let reason = broken(member.name(), &no_answer.cause);
                    if no_answer.policy == FailurePolicy::Fail {
                        return Verdict::Deny(reason);
                    }
                    reasons.push(reason);
                    unanswered = true;
                }
            }
        }
        reasons.retain(|reason| !reason.is_empty());
        let reasons = reasons.join("; ");
        if unanswered { Verdict::NoAnswer(reasons) } else { Verdict::NoOpinion(reasons) }
    }

    /// What the user may do in a namespace, by all of them.
    pub async fn rules(&self, user: &AccessUser<'_>, namespace: &str) -> RuleSet {
        let members = self.members.load_full();
        let user = request::user(user);
        self.up_to_date().await;
        let mut rules = RuleSet::default();
        for member in members.iter() {
            let unit = match member {
                Member::Present(unit) => unit.clone(),
                Member::Absent { name, cause, .. } => {
                    rules.incomplete.push(broken(name, cause));
                    continue;
                }
            };
            let (user, namespace) = (user.clone(), namespace.to_owned());
            let answer = tokio::task::spawn_blocking(move || unit.rules(&user, &namespace)).await;
            match answer {
                Ok(Ok(answer)) => rules.add(answer),
                Ok(Err(no_answer)) => {
                    rules.incomplete.push(broken(member.name(), &no_answer.cause));
                }
                Err(error) => rules.incomplete.push(broken(member.name(), &error.to_string())),
            }
        }
        rules
    }

    /// Somebody who was told that a role is gone must not find it in force.
    async fn up_to_date(&self) {
        let revision = self.cluster.revision();
        if !self.hub.reached(revision, LONGEST_WAIT).await {
            tracing::warn!(revision, "authorizers answer although events are late");
        }
    }
}

async fn ask(unit: &Arc<AuthorizerUnit>, question: &Arc<Question>) -> Result<Decision, NoAnswer> {
    while let Some(until) = unit.in_debt_until(Instant::now()) {
        tokio::time::sleep_until(until.into()).await;
    }
    if let Some(answer) = unit.authorize_quickly(question) {
        return answer;
    }
    let (asked, question) = (unit.clone(), question.clone());
    match tokio::task::spawn_blocking(move || asked.authorize(&question)).await {
        Ok(answer) => answer,
        Err(error) => Err(NoAnswer { cause: error.to_string(), policy: FailurePolicy::Fail }),
    }
}

fn broken(name: &str, cause: &str) -> String {
    format!("authorizer plugin {name:?} gave no answer: {cause}")
}
