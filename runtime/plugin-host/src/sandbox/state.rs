//! What the host keeps beside an instance, and answers to its imports with.

use std::sync::Arc;
use std::time::Instant;

use wasmtime::component::{HasSelf, Linker};

use super::clock::CallClock;
use super::limits::Limits;
use crate::artifact::Artifact;
use crate::bindings::scheduler::pintle::plugin::extensions;
use crate::bindings::{actions, changes, lister, log, types};
use crate::engine::Wasm;
use crate::extension::{Evaluation, ExtensionAnswers};
use crate::lister::{ReadError, Reads};
use crate::logging::PluginLog;
use crate::wasi::Wasi;

/// What the host keeps beside an instance.
pub(crate) struct State {
    pub(super) limits: Limits,
    pub(super) reader: Option<Arc<dyn Reads>>,
    /// The revision that reads answer at.
    pub(super) at: u64,
    pub(super) read_bytes: u64,
    pub(super) log: Arc<PluginLog>,
    /// What a scheduler is told by extensions; None: there are none.
    pub(super) answers: Option<Box<dyn ExtensionAnswers>>,
    pub(super) clock: CallClock,
    pub(crate) wasi: Option<Wasi>,
}

impl lister::Host for State {
    fn get(&mut self, reference: types::ObjectRef) -> wasmtime::Result<Option<types::Object>> {
        let found = self.reader()?.get(self.at, reference)?;
        self.carried(found.as_slice());
        Ok(found)
    }

    fn list(&mut self, query: lister::Query) -> wasmtime::Result<Vec<types::Object>> {
        let found = self.reader()?.list(self.at, query)?;
        self.carried(&found);
        Ok(found)
    }

    fn list_fields(
        &mut self,
        query: lister::Query,
        fields: Vec<String>,
    ) -> wasmtime::Result<Vec<types::Object>> {
        let found = self.reader()?.list_fields(self.at, query, &fields)?;
        self.carried(&found);
        Ok(found)
    }

    fn count(&mut self, query: lister::Query) -> wasmtime::Result<u32> {
        Ok(self.reader()?.count(self.at, query)?)
    }
}

impl changes::Host for State {
    fn list_changes(
        &mut self,
        query: lister::Query,
        fields: Vec<String>,
        since: u64,
    ) -> wasmtime::Result<changes::Changed> {
        let changed = self.reader()?.list_changes(self.at, query, &fields, since)?;
        self.carried(&changed.objects);
        let gone = |gone: &types::ObjectRef| gone.namespace.len() + gone.name.len();
        self.read_bytes += changed.gone.iter().map(gone).sum::<usize>() as u64;
        Ok(changed)
    }
}

impl log::Host for State {
    fn log(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        self.log.line(level, &message);
        Ok(())
    }
}

impl extensions::Host for State {
    fn numbering(&mut self) -> wasmtime::Result<u64> {
        Ok(self.answers.as_mut().map_or(0, |answers| answers.numbering()))
    }

    fn nodes(&mut self) -> wasmtime::Result<Vec<String>> {
        let nodes = self.answers.as_mut().map(|answers| answers.nodes());
        Ok(nodes.map(Arc::unwrap_or_clone).unwrap_or_default())
    }

    fn evaluate(&mut self, pod_uid: String) -> wasmtime::Result<u64> {
        let Some(answers) = &mut self.answers else { return Ok(0) };
        // Extensions have budgets of their own.
        let started = Instant::now();
        let version = answers.evaluate(&pod_uid);
        self.clock.excused += started.elapsed();
        Ok(version?)
    }

    fn read(&mut self, version: u64) -> wasmtime::Result<Evaluation> {
        match &mut self.answers {
            None => Ok(Evaluation { rejections: Vec::new(), scores: Vec::new() }),
            Some(answers) => Ok(Arc::unwrap_or_clone(answers.read(version)?)),
        }
    }
}

impl types::Host for State {}
impl actions::Host for State {}

impl State {
    fn reader(&self) -> Result<&dyn Reads, ReadError> {
        self.reader.as_deref().ok_or(ReadError::NoReader)
    }

    fn carried(&mut self, objects: &[types::Object]) {
        let bytes = |object: &types::Object| {
            let reference = &object.ref_;
            let kind = &reference.kind;
            let texts = [
                &kind.group,
                &kind.version,
                &kind.kind,
                &reference.namespace,
                &reference.name,
                &object.uid,
            ];
            object.json.len() + texts.iter().map(|text| text.len()).sum::<usize>()
        };
        self.read_bytes += objects.iter().map(bytes).sum::<usize>() as u64;
    }
}

/// The imports every role may have; a component's own were checked when it was loaded.
pub(crate) fn linker(wasm: &Wasm, artifact: &Artifact) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(wasm.engine());
    lister::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    changes::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    log::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    types::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    actions::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    extensions::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    if artifact.wasi {
        crate::wasi::add_to_linker(&mut linker)?;
    }
    Ok(linker)
}
