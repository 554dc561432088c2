//! Schedulers: a resident view of the cluster fed by deltas, batches of pending
//! pods decided against it, bindings performed while the next batch is decided.

mod announce;
mod decisions;
mod feed;
mod inbox;
mod instance;
mod joining;
mod live;
mod pending;
mod perform;
mod pod;
mod recover;
mod unit;
mod worker;

pub(crate) use decisions::check as check_decisions;
pub(crate) use decisions::target;
pub(crate) use feed::{Delta, Feed};
pub(crate) use instance::{Instance, with_node};
pub(crate) use live::check;
pub(crate) use unit::SchedulerUnit;
