//! One place in the chain of admission plugins: a plugin that answers, or one that
//! there is to be and of which no version could be loaded.

use std::sync::Arc;

use super::request::Operation;
use super::rules::{covers, remembered};
use super::unit::{AdmissionUnit, Terms};
use crate::bindings::types::KindRef;
use crate::members;
use crate::plugin::{FailurePolicy, ReviewRule};
use crate::program::admission_interface::{Phase, Rule};

#[derive(Clone)]
pub(super) enum Member {
    Present(Arc<AdmissionUnit>),
    /// Nobody knows what it would have said.
    Absent {
        name: Arc<str>,
        terms: Terms,
        absent: Arc<Absent>,
    },
}

/// What is known of a plugin without a component.
pub(crate) struct Absent {
    rules: Vec<Rule>,
    cause: String,
}

impl Absent {
    /// `reviews` are the rules of the latest version that was there.
    pub fn new(reviews: &[ReviewRule], cause: String) -> Self {
        Self { rules: reviews.iter().map(remembered).collect(), cause }
    }

    pub(super) fn cause(&self) -> String {
        format!("no version of it could be loaded: {}", self.cause)
    }
}

impl members::Member for Member {
    fn name(&self) -> &str {
        match self {
            Self::Present(unit) => &unit.name,
            Self::Absent { name, .. } => name,
        }
    }

    fn priority(&self) -> i32 {
        self.terms().priority
    }

    fn is_present(&self) -> bool {
        matches!(self, Self::Present(_))
    }
}

impl Member {
    fn terms(&self) -> &Terms {
        match self {
            Self::Present(unit) => &unit.terms,
            Self::Absent { terms, .. } => terms,
        }
    }

    pub fn failure_policy(&self) -> FailurePolicy {
        self.terms().failure_policy
    }

    /// Whether such requests are to be seen by it in this phase. One that cannot
    /// be asked stands in the way at the end of all changes.
    pub fn wants(
        &self,
        phase: Phase,
        kind: &KindRef,
        subresource: &str,
        operation: Operation,
    ) -> bool {
        match self {
            Self::Present(unit) => unit.wants(phase, kind, subresource, operation),
            Self::Absent { absent, .. } => {
                phase == Phase::Validating
                    && absent.rules.iter().any(|rule| covers(rule, kind, subresource, operation))
            }
        }
    }
}
