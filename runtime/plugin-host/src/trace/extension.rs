//! Scheduler extensions in a trace: their calls, and the recorder that makes
//! them as the active version was told and asked.

use std::ops::ControlFlow;

use super::feed::{NICE, compare};
use super::model::{Answer, DeltaRecord, Input, Live, NumberedNodeRecord, RejectionRecord, Why};
use super::record::Recorder;
use super::subject::{Subject, faulted};
use super::wire;
use super::writer::WriteError;
use crate::bindings::scheduler_extension::SchedulerExtensionPlugin;
use crate::bindings::types;
use crate::convert;
use crate::extension::{self, Load, News, NodeNews, Stated};
use crate::follow::{Asked, ExtensionTurn, Follower};
use crate::grants::Grants;
use crate::program::extension_interface::{Ability, NumberedNode, Rejection};
use crate::sandbox::{Sandbox, Usage};

/// So many objects go into one call of the recorder, and no more bytes than the
/// host puts into one.
const PER_CALL: usize = 64;

/// Whether scores and numbers make sense is for those to see who gave the
/// numbers out.
impl Subject for SchedulerExtensionPlugin {
    const STATEFUL: bool = true;

    fn ask(sandbox: &mut Sandbox<Self>, _: &Grants, input: &Input) -> Option<(Answer, Usage)> {
        let (answer, usage) = match input {
            Input::SyncNodes(nodes) => {
                let nodes: Vec<NumberedNode> = nodes
                    .iter()
                    .map(|one| NumberedNode {
                        number: one.number,
                        node: one.node.as_ref().map(wire::to_object),
                    })
                    .collect();
                let (result, usage) = sandbox.call(|world, store| {
                    world.pintle_plugin_scheduler_extension().call_sync_nodes(store, &nodes)
                });
                (result.map(|()| Answer::Done), usage)
            }
            Input::Sync(deltas) => {
                let deltas = wire::to_deltas(deltas);
                let (result, usage) = sandbox.call(|world, store| {
                    world.pintle_plugin_scheduler_extension().call_sync(store, &deltas)
                });
                (result.map(|()| Answer::Done), usage)
            }
            Input::Filter { context, pod } => {
                let (context, pod) = (wire::to_context(context), wire::to_object(pod));
                sandbox.set_context(&context);
                let (result, usage) = sandbox.call(|world, store| {
                    world.pintle_plugin_scheduler_extension().call_filter(store, context, &pod)
                });
                let answer = result.map(|rejections| {
                    let record =
                        |one: Rejection| RejectionRecord { reason: one.reason, nodes: one.nodes };
                    Answer::Rejections(rejections.into_iter().map(record).collect())
                });
                (answer, usage)
            }
            Input::Score { context, pod } => {
                let (context, pod) = (wire::to_context(context), wire::to_object(pod));
                sandbox.set_context(&context);
                let (result, usage) = sandbox.call(|world, store| {
                    world.pintle_plugin_scheduler_extension().call_score(store, context, &pod)
                });
                (result.map(Answer::Scores), usage)
            }
            _ => return None,
        };
        Some((answer.unwrap_or_else(|fault| faulted(&fault)), usage))
    }
}

/// Records an extension, whose stream of turns is complete from its start on.
pub(crate) struct ExtensionRecorder {
    recorder: Recorder<SchedulerExtensionPlugin>,
    why: Why,
    /// One more than the highest number that was told.
    numbers: usize,
}

impl ExtensionRecorder {
    pub fn new(recorder: Recorder<SchedulerExtensionPlugin>) -> Self {
        Self { recorder, why: Why::First, numbers: 0 }
    }

    fn start(&mut self) -> Result<(), WriteError> {
        self.numbers = 0;
        self.recorder.renew(std::mem::replace(&mut self.why, Why::Fault))
    }

    fn sync_nodes(&mut self, mut news: &[NodeNews]) -> Result<(), WriteError> {
        while !news.is_empty() && self.recorder.has_instance() {
            let mut load = Load::new(PER_CALL);
            let first = news.iter().take_while(|news| load.takes(news.node.as_ref())).count();
            let (now, later) = news.split_at(first);
            let mut nodes = Vec::with_capacity(now.len());
            for NodeNews { number, gone, node } in now {
                self.numbers = self.numbers.max(*number as usize + 1);
                if *gone {
                    nodes.push(NumberedNodeRecord { number: *number, node: None });
                }
                if let Some(node) = node {
                    let node = Some(wire::object(convert::object(&**node, true)));
                    nodes.push(NumberedNodeRecord { number: *number, node });
                }
            }
            self.recorder.call(Input::SyncNodes(nodes), None, |_| Live::NotCompared)?;
            news = later;
        }
        Ok(())
    }

    fn sync(&mut self, mut news: &[News]) -> Result<(), WriteError> {
        while !news.is_empty() && self.recorder.has_instance() {
            let mut load = Load::new(PER_CALL);
            let first = news.iter().take_while(|news| load.takes(Some(news.object()))).count();
            let (now, later) = news.split_at(first);
            let record = |news: &News| match extension::delta(news) {
                types::Delta::Upsert(object) => DeltaRecord::Upsert(wire::object(object)),
                types::Delta::Remove(object) => DeltaRecord::Remove(wire::object(object)),
            };
            let deltas = now.iter().map(record).collect();
            self.recorder.call(Input::Sync(deltas), None, |_| Live::NotCompared)?;
            news = later;
        }
        Ok(())
    }

    /// Those functions that the host calls, in its order.
    fn ask(&mut self, turn: &Asked) -> Result<(), WriteError> {
        let abilities = self.recorder.program.description.abilities;
        let context = wire::context(&turn.context);
        let pod = wire::object(convert::object(&*turn.pod, true));
        if abilities.contains(Ability::FILTER) {
            let input = Input::Filter { context, pod: pod.clone() };
            self.recorder.call(input, None, |answer| live(answer, turn, 0))?;
        }
        if abilities.contains(Ability::SCORE) && self.recorder.has_instance() {
            let (input, numbers) = (Input::Score { context, pod }, self.numbers);
            self.recorder.call(input, None, |answer| live(answer, turn, numbers))?;
        }
        Ok(())
    }
}

/// How an answer compares with the part of the opinion that it stands for.
fn live(answer: &Answer, turn: &Asked, numbers: usize) -> Live {
    match (answer, &turn.answered) {
        // Of the other function, or found fault with by who gave the numbers out.
        (Answer::Rejections(_) | Answer::Scores(_), Err(_)) => Live::NotCompared,
        (_, answered) => compare(answer, answered, |stated| is_said(answer, stated, numbers)),
    }
}

fn is_said(answer: &Answer, live: &Stated, numbers: usize) -> bool {
    match answer {
        Answer::Rejections(rejections) => {
            let own = rejections.iter().filter(|rejection| !rejection.nodes.is_empty());
            own.map(|rejection| (&rejection.reason, &rejection.nodes)).eq(live
                .opinion
                .rejections
                .iter()
                .map(|live| (&live.reason, &live.nodes)))
        }
        Answer::Scores(scores) => {
            live.opinion.scores.as_deref() == Some(&scores[..scores.len().min(numbers)])
        }
        _ => false,
    }
}

impl Follower<ExtensionTurn> for ExtensionRecorder {
    fn turn(&mut self, turn: ExtensionTurn) -> ControlFlow<()> {
        let made = match turn {
            ExtensionTurn::Start(_) => self.start(),
            ExtensionTurn::SyncNodes(news) => self.sync_nodes(&news),
            ExtensionTurn::Sync(news) => self.sync(&news),
            ExtensionTurn::Asked(turn) => {
                if self.recorder.superseded(&turn.digest) {
                    return ControlFlow::Break(());
                }
                // What comes from memory is no call.
                let made = if turn.called && self.recorder.has_instance() {
                    self.ask(&turn)
                } else {
                    Ok(())
                };
                if !self.recorder.has_instance() && turn.answered.is_ok() {
                    // The active one goes on with its view, which this one has lost.
                    self.recorder.end("the recorder's instance faulted".to_owned());
                    return ControlFlow::Break(());
                }
                made
            }
        };
        self.recorder.flow(made)
    }

    fn nice(&self) -> i32 {
        NICE
    }

    fn overflowed(&mut self, lost: u64) {
        self.why = Why::Lost(lost);
    }
}
