//! What a scheduler's import `extensions` is answered from.
//!
//! One trait, so that the answers may come from the extensions themselves or
//! from a record of what they said before.

use std::sync::Arc;

pub(crate) use crate::bindings::scheduler::pintle::plugin::extensions::Evaluation;

/// Answers the four functions of the import during one `schedule` call.
pub(crate) trait ExtensionAnswers: Send {
    fn numbering(&mut self) -> u64;
    fn nodes(&mut self) -> Arc<Vec<String>>;
    fn evaluate(&mut self, pod_uid: &str) -> Result<u64, AnswerError>;
    fn read(&mut self, version: u64) -> Result<Arc<Evaluation>, AnswerError>;
}

/// What a scheduler must not ask. It ends the call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error(
        "the scheduler asked what extensions say about pod uid {0:?}, which is not one of this call"
    )]
    ForeignPod(String),
    #[error("the scheduler read evaluation {0}, which `evaluate` did not return in this call")]
    UnknownVersion(u64),
}
