//! Scheduler extensions: rules that third parties add to a scheduler.
//!
//! Each is a sandbox that keeps a resident view of the nodes, and is asked about
//! one pod at a time: which nodes it must not run on, how good the others are. A
//! scheduler asks all of them at once, on its own thread, through its import
//! `extensions`; what they say is added up by weight. Answers are remembered, so
//! that pods of one template cost one call.
//!
//! Does not know: how a scheduler combines the sum with its own rules.
//!
//! Read first: [`Extensions::call`], then [`ExtensionUnit::ask`](unit::ExtensionUnit::ask).

mod absence;
mod answers;
mod bell;
mod call;
mod feed;
mod group;
mod instance;
mod joining;
mod keeper;
mod live;
mod numbering;
mod opinion;
mod panel;
mod pod;
mod recover;
mod unit;
mod view;

pub(crate) use answers::{AnswerError, Evaluation, ExtensionAnswers};
pub(crate) use call::{Heard, Postponed, Replayed};
pub(crate) use feed::{Load, News, NodeNews};
pub(crate) use group::{Extensions, Reconsider};
pub(crate) use instance::{Instance, Said, delta};
pub(crate) use joining::Present;
pub(crate) use live::{check, watches};
pub(crate) use numbering::Names;
pub(crate) use opinion::{Opinion, Stated};
pub use panel::ExtensionPanel;
pub(crate) use unit::{ExtensionUnit, Terms};
