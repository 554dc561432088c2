//! Scheduler extensions: rules that third parties add to a scheduler.
//!
//! Does not know: how a scheduler combines the answers with its own rules.

mod answers;

pub(crate) use answers::{AnswerError, Evaluation, ExtensionAnswers};
