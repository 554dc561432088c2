//! Controllers: events become keys, keys are reconciled one by one, the
//! resulting actions are performed while the next key is being decided.

mod mapping;
mod queue;
mod recover;
mod selecting;
mod unit;
mod worker;

pub(crate) use unit::ControllerUnit;
pub(crate) use worker::{check, reconcile};
