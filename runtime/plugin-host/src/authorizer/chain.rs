//! All authorizers in the order they are asked. One that allows or denies ends
//! the question. One that gives no answer has no opinion, or refuses, as its
//! failure policy says; so where all of them fail, nobody has allowed anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::request::{self, AccessRequest, AccessUser, Question, RuleSet, Verdict};
use super::unit::{AuthorizerUnit, NoAnswer};
use crate::cluster::Cluster;
use crate::events::Hub;
use crate::plugin::FailurePolicy;
use crate::program::authorizer_interface::Decision;

/// So long a request waits until authorizers have been shown what was committed
/// before it. The stream takes microseconds; a server that cannot keep up answers
/// from what it knows.
const LONGEST_WAIT: Duration = Duration::from_millis(200);

pub struct AuthorizerChain {
    units: ArcSwap<Vec<Arc<AuthorizerUnit>>>,
    cluster: Arc<dyn Cluster>,
    hub: Arc<Hub>,
}

impl AuthorizerChain {
    pub(crate) fn new(cluster: Arc<dyn Cluster>, hub: Arc<Hub>) -> Self {
        Self { units: ArcSwap::default(), cluster, hub }
    }

    /// Puts a unit where its priority and name say, in place of its namesake.
    pub(crate) fn put(&self, unit: Arc<AuthorizerUnit>) {
        self.units.rcu(|units| {
            let mut units: Vec<_> =
                units.iter().filter(|other| other.name != unit.name).cloned().collect();
            units.push(unit.clone());
            units.sort_by(|a, b| (a.priority(), &a.name).cmp(&(b.priority(), &b.name)));
            units
        });
    }

    pub(crate) fn remove(&self, name: &str) {
        self.units.rcu(|units| {
            units.iter().filter(|unit| &*unit.name != name).cloned().collect::<Vec<_>>()
        });
    }

    /// Asks one after the other.
    pub async fn authorize(&self, request: &AccessRequest<'_>) -> Verdict {
        let units = self.units.load_full();
        if units.is_empty() {
            return Verdict::NoOpinion(String::new());
        }
        let question = Arc::new(Question::new(request));
        self.up_to_date().await;
        let mut reasons = Vec::new();
        for unit in units.iter() {
            match ask(unit, &question).await {
                Ok(Decision::Allow(reason)) => return Verdict::Allow(reason),
                Ok(Decision::Deny(reason)) => return Verdict::Deny(reason),
                Ok(Decision::NoOpinion(reason)) => reasons.push(reason),
                Err(no_answer) => {
                    let reason = broken(unit, &no_answer.cause);
                    if no_answer.policy == FailurePolicy::Fail {
                        return Verdict::Deny(reason);
                    }
                    reasons.push(reason);
                }
            }
        }
        reasons.retain(|reason| !reason.is_empty());
        Verdict::NoOpinion(reasons.join("; "))
    }

    /// What the user may do in a namespace, by all of them.
    pub async fn rules(&self, user: &AccessUser<'_>, namespace: &str) -> RuleSet {
        let units = self.units.load_full();
        let user = request::user(user);
        self.up_to_date().await;
        let mut rules = RuleSet::default();
        for unit in units.iter() {
            let (asked, user, namespace) = (unit.clone(), user.clone(), namespace.to_owned());
            let answer = tokio::task::spawn_blocking(move || asked.rules(&user, &namespace)).await;
            match answer {
                Ok(Ok(answer)) => rules.add(answer),
                Ok(Err(no_answer)) => rules.incomplete.push(broken(unit, &no_answer.cause)),
                Err(error) => rules.incomplete.push(broken(unit, &error.to_string())),
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

fn broken(unit: &AuthorizerUnit, cause: &str) -> String {
    format!("authorizer plugin {:?} gave no answer: {cause}", unit.name)
}
