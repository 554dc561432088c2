//! A scheduler extension's candidate beside the active version: told what that
//! is told, and asked about each pod that it was asked about, also where the
//! active version answered from memory. So fields of the pod that one of them
//! does not name, although its answer depends on them, show as divergences.

use std::ops::ControlFlow;
use std::sync::Arc;

use pintle_api::meta::GroupVersionKind;

use super::compare::View;
use super::{Comparison, Decision};
use crate::bindings::scheduler_extension::SchedulerExtensionPlugin;
use crate::extension::{self, Instance, News, Opinion, Said, Stated};
use crate::follow::{Asked, ExtensionTurn, Follower};
use crate::program::{LoadError, Program};
use crate::sandbox::Fault;
use crate::scheduler;

pub(crate) struct ExtensionShadow {
    program: Arc<Program<SchedulerExtensionPlugin>>,
    watches: Vec<GroupVersionKind>,
    /// None before the stream begins.
    instance: Option<Instance>,
    comparison: Arc<Comparison>,
}

impl ExtensionShadow {
    pub fn new(
        program: Arc<Program<SchedulerExtensionPlugin>>,
        comparison: Arc<Comparison>,
    ) -> Result<Self, LoadError> {
        extension::check(&program).map_err(LoadError::Description)?;
        // Refused here rather than later, if it does not even start.
        super::first(&program)?;
        let watches = extension::watches(&program);
        Ok(Self { program, watches, instance: None, comparison })
    }

    fn start(&mut self) -> Result<(), Fault> {
        let sandbox = super::start(&self.program)?;
        self.instance = Some(Instance::new(self.program.clone(), sandbox));
        Ok(())
    }

    /// What the candidate would be told if it decided: the active version may
    /// watch more, or be granted more.
    fn concerns(&self, news: &News) -> bool {
        let object = news.object();
        self.watches.contains(object.kind())
            && self.program.grants.may_read_in(object.kind(), object.namespace())
    }

    fn take(&mut self, turn: ExtensionTurn) -> Result<ControlFlow<()>, Fault> {
        match turn {
            ExtensionTurn::Start(_) => self.start()?,
            ExtensionTurn::SyncNodes(news) => {
                if let Some(instance) = &mut self.instance {
                    instance.sync_nodes_in_turn(&news)?;
                }
            }
            ExtensionTurn::Sync(news) => {
                let news: Vec<News> =
                    news.iter().filter(|news| self.concerns(news)).cloned().collect();
                if let Some(instance) = &mut self.instance {
                    instance.sync_in_turn(&news)?;
                }
            }
            ExtensionTurn::Asked(turn) => {
                if let Some(instance) = &mut self.instance {
                    return Ok(compare(instance, &self.comparison, &turn));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl Follower<ExtensionTurn> for ExtensionShadow {
    fn turn(&mut self, turn: ExtensionTurn) -> ControlFlow<()> {
        match self.take(turn) {
            Ok(after) => after,
            Err(fault) => self.comparison.faulted(None, &fault),
        }
    }

    fn overflowed(&mut self, lost: u64) {
        self.comparison.skipped(lost);
    }
}

fn compare(instance: &mut Instance, comparison: &Comparison, turn: &Asked) -> ControlFlow<()> {
    comparison.beside(&turn.digest);
    // Where the active version faults there is nothing to compare with.
    let Ok(active) = &turn.answered else { return ControlFlow::Continue(()) };
    let object = scheduler::target(&*turn.pod);
    // Opinions are compared by what they say and need no number.
    let state = |opinion| Arc::new(Stated { id: 0, opinion });
    let silent = Opinion::default();
    let said = match instance.ask(turn.context, &turn.pod, true, state) {
        Ok(said) => said,
        Err(fault) => return comparison.faulted(Some(&object), &fault),
    };
    let candidate = match &said {
        Said::Opinion { stated, .. } => &stated.opinion,
        Said::Nothing | Said::NotYet => &silent,
    };
    let (active, candidate) = View::of_extensions(&turn.names.names, &active.opinion, candidate);
    comparison.decided(Decision {
        object: &object,
        revision: turn.pod.revision(),
        now_unix_ms: turn.context.now_unix_ms,
        active,
        candidate,
    })
}
