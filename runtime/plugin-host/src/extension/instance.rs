//! One instance of an extension and the calls it understands, in the host's
//! terms; and what it has answered at its present view.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::feed::{Load, News, NodeNews};
use super::opinion::{Opinion, Rejection, Stated};
use super::pod::Paths;
use crate::bindings::scheduler_extension::SchedulerExtensionPlugin;
use crate::bindings::types;
use crate::cluster::ObjectHandle;
use crate::convert;
use crate::fields;
use crate::program::Program;
use crate::program::extension_interface::{Ability, NumberedNode};
use crate::sandbox::{Fault, Sandbox, Usage};
use crate::scheduler::with_node;

/// So many objects cross per call, at most and at first. In between the number
/// follows from how long the instance takes: its calls stay far below their
/// budgets, whatever language it was written in.
const MOST_PER_CALL: usize = 500;
const FIRST_PER_CALL: usize = 64;

/// A call with objects that takes longer gets fewer the next time; one that
/// takes less than a quarter gets more.
const CALL_AIM: Duration = Duration::from_millis(4);

/// Answers that are kept, in bytes: 5 KB each at 5000 nodes.
const CACHE_BYTES: usize = 16 << 20;

const SCHEDULER_NAME: &str = "spec.schedulerName";
const DEFAULT_SCHEDULER: &str = "\"default-scheduler\"";

pub(crate) struct Instance {
    pub program: Arc<Program<SchedulerExtensionPlugin>>,
    sandbox: Sandbox<SchedulerExtensionPlugin>,
    fields: Paths,
    /// Goes up with everything that is told.
    position: u64,
    per_call: usize,
    /// One more than the highest number that was told.
    numbers: usize,
    answers: HashMap<String, Kept>,
    answer_bytes: usize,
    /// The latest answer to a pod that is like no other.
    last: Option<Arc<Stated>>,
    key: String,
}

/// An answer, and the view that it was given at.
struct Kept {
    stated: Arc<Stated>,
    position: u64,
}

/// What an instance says about a pod.
pub(crate) enum Said {
    /// The pod is none of its business.
    Nothing,
    /// It would have to be called, and may not.
    NotYet,
    Opinion {
        stated: Arc<Stated>,
        /// Not from memory.
        called: bool,
    },
}

impl Instance {
    pub fn new(
        program: Arc<Program<SchedulerExtensionPlugin>>,
        sandbox: Sandbox<SchedulerExtensionPlugin>,
    ) -> Self {
        let description = &program.description;
        let mut paths = description.pod_fields.clone();
        paths.extend((!description.scheduler_names.is_empty()).then(|| SCHEDULER_NAME.to_owned()));
        Self {
            fields: Paths::new(&paths),
            program,
            sandbox,
            position: 0,
            per_call: FIRST_PER_CALL,
            numbers: 0,
            answers: HashMap::new(),
            answer_bytes: 0,
            last: None,
            key: String::new(),
        }
    }

    /// So many objects go well into one call.
    pub fn per_call(&self) -> usize {
        self.per_call
    }

    /// Goes into `sync-nodes`, in one call.
    pub fn sync_nodes(&mut self, news: &[NodeNews]) -> Result<(), Fault> {
        let mut nodes = Vec::with_capacity(news.len());
        for NodeNews { number, gone, node } in news {
            self.numbers = self.numbers.max(*number as usize + 1);
            if *gone {
                nodes.push(NumberedNode { number: *number, node: None });
            }
            if let Some(node) = node {
                let node = Some(convert::object(&**node, true));
                nodes.push(NumberedNode { number: *number, node });
            }
        }
        let (result, usage) = self.sandbox.call(|world, store| {
            world.pintle_plugin_scheduler_extension().call_sync_nodes(store, &nodes)
        });
        self.told(&usage, result)
    }

    /// Goes into `sync`, in one call.
    pub fn sync(&mut self, news: &[News]) -> Result<(), Fault> {
        let deltas: Vec<types::Delta> = news.iter().map(delta).collect();
        let (result, usage) = self.sandbox.call(|world, store| {
            world.pintle_plugin_scheduler_extension().call_sync(store, &deltas)
        });
        self.told(&usage, result)
    }

    /// The same in as many calls as this instance needs for it.
    pub fn sync_nodes_in_turn(&mut self, mut news: &[NodeNews]) -> Result<(), Fault> {
        while !news.is_empty() {
            let mut load = Load::new(self.per_call);
            let first = news.iter().take_while(|news| load.takes(news.node.as_ref())).count();
            let (now, later) = news.split_at(first);
            self.sync_nodes(now)?;
            news = later;
        }
        Ok(())
    }

    pub fn sync_in_turn(&mut self, mut news: &[News]) -> Result<(), Fault> {
        while !news.is_empty() {
            let mut load = Load::new(self.per_call);
            let first = news.iter().take_while(|news| load.takes(Some(news.object()))).count();
            let (now, later) = news.split_at(first);
            self.sync(now)?;
            news = later;
        }
        Ok(())
    }

    fn told(&mut self, usage: &Usage, result: Result<(), Fault>) -> Result<(), Fault> {
        self.program.metrics.call(usage);
        result?;
        self.position += 1;
        let dear = usage.fuel > self.program.budgets().fuel_per_call / 8;
        if usage.elapsed > CALL_AIM || dear {
            self.per_call = (self.per_call / 2).max(1);
        } else if usage.elapsed < CALL_AIM / 4 {
            self.per_call = (self.per_call * 2).min(MOST_PER_CALL);
        }
        Ok(())
    }

    /// What the instance says about the pod, from memory if it was asked about
    /// one like it since it was told something. `state` numbers new opinions;
    /// without `may_call` there is only the memory.
    pub fn ask(
        &mut self,
        context: types::Context,
        pod: &ObjectHandle,
        may_call: bool,
        state: impl Fn(Opinion) -> Arc<Stated>,
    ) -> Result<Said, Fault> {
        let program = self.program.clone();
        let description = &program.description;
        let mut found = self.fields.find(pod.json());
        if !description.scheduler_names.is_empty() {
            let name = found.pop().flatten();
            if !is_named(&description.scheduler_names, name) {
                return Ok(Said::Nothing);
            }
        }
        if found.is_empty() {
            if !may_call {
                return Ok(Said::NotYet);
            }
            let opinion = self.call(context, pod)?;
            let stated = match &self.last {
                Some(last) if last.opinion == opinion => last.clone(),
                _ => state(opinion),
            };
            self.last = Some(stated.clone());
            return Ok(Said::Opinion { stated, called: true });
        }
        self.key.clear();
        for text in found {
            self.key.push_str(text.unwrap_or_default());
            // In no JSON text.
            self.key.push('\0');
        }
        let before = self.answers.get(&self.key);
        if let Some(kept) = before.filter(|kept| kept.position == self.position) {
            return Ok(Said::Opinion { stated: kept.stated.clone(), called: false });
        }
        if !may_call {
            return Ok(Said::NotYet);
        }
        let before = before.map(|kept| kept.stated.clone());
        let opinion = self.call(context, pod)?;
        let stated = match before {
            // What was told made no difference to it.
            Some(before) if before.opinion == opinion => before,
            _ => state(opinion),
        };
        self.keep(stated.clone());
        Ok(Said::Opinion { stated, called: true })
    }

    fn keep(&mut self, stated: Arc<Stated>) {
        if self.answer_bytes > CACHE_BYTES {
            let position = self.position;
            self.answers.retain(|_, kept| kept.position == position);
            self.answer_bytes =
                self.answers.iter().map(|(key, kept)| size(key, &kept.stated)).sum();
        }
        if self.answer_bytes > CACHE_BYTES {
            self.answers.clear();
            self.answer_bytes = 0;
        }
        let (key, position) = (self.key.clone(), self.position);
        self.answer_bytes += size(&key, &stated);
        if let Some(before) = self.answers.insert(key, Kept { stated, position }) {
            let freed = size(&self.key, &before.stated);
            self.answer_bytes = self.answer_bytes.saturating_sub(freed);
        }
    }

    fn call(&mut self, context: types::Context, pod: &ObjectHandle) -> Result<Opinion, Fault> {
        let abilities = self.program.description.abilities;
        let object = convert::object(&**pod, true);
        self.sandbox.set_context(&context);
        let mut opinion = Opinion::default();
        if abilities.contains(Ability::FILTER) {
            let (result, usage) = self.sandbox.call(|world, store| {
                let extension = world.pintle_plugin_scheduler_extension();
                extension.call_filter(store, context, &object)
            });
            self.program.metrics.call(&usage);
            opinion.rejections = result?
                .into_iter()
                .filter(|rejection| !rejection.nodes.is_empty())
                .map(|rejection| Rejection { reason: rejection.reason, nodes: rejection.nodes })
                .collect();
        }
        if abilities.contains(Ability::SCORE) {
            let (result, usage) = self.sandbox.call(|world, store| {
                let extension = world.pintle_plugin_scheduler_extension();
                extension.call_score(store, context, &object)
            });
            self.program.metrics.call(&usage);
            let mut scores = result?;
            // There is nothing beyond.
            scores.truncate(self.numbers);
            opinion.scores = Some(scores);
        }
        opinion.check(self.numbers)?;
        Ok(opinion)
    }
}

/// As the contract has it.
pub(crate) fn delta(news: &News) -> types::Delta {
    match news {
        News::Upsert(object) => types::Delta::Upsert(convert::object(&**object, true)),
        News::Remove(object) => types::Delta::Remove(convert::object(&**object, true)),
        News::Assumed(pod, node) => {
            let mut object = convert::object(&**pod, false);
            object.json = with_node(pod.json(), node);
            types::Delta::Upsert(object)
        }
    }
}

fn size(key: &str, stated: &Stated) -> usize {
    let rejected: usize =
        stated.opinion.rejections.iter().map(|r| r.reason.len() + 4 * r.nodes.len()).sum();
    key.len() + rejected + stated.opinion.scores.as_ref().map_or(0, Vec::len)
}

/// Whether the extension has a say in the pod.
pub(crate) fn is_for(program: &Program<SchedulerExtensionPlugin>, pod: &ObjectHandle) -> bool {
    let names = &program.description.scheduler_names;
    names.is_empty() || is_named(names, fields::raw(pod.json(), SCHEDULER_NAME))
}

/// `name` as it stands in the pod's JSON.
fn is_named(names: &[String], name: Option<&str>) -> bool {
    let name = name.filter(|name| !matches!(*name, "\"\"" | "null")).unwrap_or(DEFAULT_SCHEDULER);
    names.iter().any(|wanted| name.get(1..name.len() - 1) == Some(wanted))
}
