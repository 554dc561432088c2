//! One instance of a component by itself, asked call by call: what tests of
//! plugins run on. Same sandbox, budgets and checks of answers as in a server,
//! but no queue, no thread and no cluster; reads are answered by [`Objects`].

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use wasmtime::component::Component as WasmComponent;

use super::model::{Answer, Input, KindRecord, ObjectRecord, QueryRecord, RefRecord};
use super::subject::Subject;
use super::wire;
use crate::artifact::{self, Artifact, ArtifactError, Artifacts};
use crate::bindings::admission::AdmissionPlugin;
use crate::bindings::authorizer::AuthorizerPlugin;
use crate::bindings::controller::ControllerPlugin;
use crate::bindings::scheduler::SchedulerPlugin;
use crate::bindings::scheduler_extension::SchedulerExtensionPlugin;
use crate::bindings::{lister, types};
use crate::budget::Budgets;
use crate::contract;
use crate::convert;
use crate::engine::{EngineError, Wasm};
use crate::fields::Cut;
use crate::grants::Grants;
use crate::lister::{ReadError, Reads};
use crate::plugin::Role;
use crate::program::{GrantPolicy, Ingredients, LoadError, Program};

/// What components say of themselves, as the contract has it.
pub mod described {
    pub use crate::bindings::admission::exports::pintle::plugin::admission;
    pub use crate::bindings::authorizer::exports::pintle::plugin::authorizer;
    pub use crate::bindings::controller::exports::pintle::plugin::controller;
    pub use crate::bindings::scheduler::exports::pintle::plugin::scheduler;
    pub use crate::bindings::scheduler_extension::exports::pintle::plugin::scheduler_extension;
    pub use crate::bindings::types::{Grant, KindRef, Manifest};
}

/// What the lister of an instance answers from.
pub trait Objects: Send + Sync {
    fn get(&self, reference: &RefRecord) -> Option<ObjectRecord>;
    /// With whole objects, also where the query wants metadata only.
    fn list(&self, query: &QueryRecord) -> Vec<ObjectRecord>;
}

#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("role {0} cannot be asked call by call")]
    Role(Role),
}

/// A component that was compiled and checked against its role.
pub struct Component {
    wasm: Arc<Wasm>,
    artifact: Artifact,
}

#[derive(Debug, Clone)]
pub enum Description {
    Controller(described::controller::Description),
    Scheduler(described::scheduler::Description),
    Admission(described::admission::Description),
    SchedulerExtension(described::scheduler_extension::Description),
    Authorizer(described::authorizer::Description),
}

/// What a call has looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    pub kind: KindRecord,
    /// For all of them, not for one by its name.
    pub listed: bool,
    /// False: nothing is granted of this kind, so that it found nothing.
    pub granted: bool,
}

/// A running, configured instance. It is granted what its manifest asks for.
pub struct Instance {
    pub description: Description,
    reads: Arc<Swapped>,
    ask: Box<Ask>,
}

type Ask = dyn FnMut(&Input) -> Option<Answer>;

impl Component {
    /// Compiles in this process.
    pub fn open(bytes: &[u8], role: Role) -> Result<Self, OfflineError> {
        let digest = artifact::verify(bytes, None)?;
        let wasm = Wasm::new()?;
        let component = WasmComponent::new(wasm.engine(), bytes)
            .map_err(|error| ArtifactError::Compile(error.into()))?;
        let wasi = contract::check(&component, wasm.engine(), role)?;
        Ok(Self { wasm, artifact: Artifact { digest, role, wasi, component } })
    }

    /// [`Component::open`] with what was compiled before.
    pub fn open_with(
        artifacts: &Artifacts,
        bytes: &[u8],
        role: Role,
    ) -> Result<Self, OfflineError> {
        let artifact = artifacts.load(bytes, None, role)?;
        Ok(Self { wasm: artifacts.wasm().clone(), artifact })
    }

    /// An instance with this configuration, JSON.
    pub fn start(&self, config: &[u8]) -> Result<Instance, OfflineError> {
        match self.artifact.role {
            Role::Controller => self.start_as::<ControllerPlugin>(config, Description::Controller),
            Role::Scheduler => self.start_as::<SchedulerPlugin>(config, Description::Scheduler),
            Role::Admission => self.start_as::<AdmissionPlugin>(config, Description::Admission),
            Role::SchedulerExtension => {
                self.start_as::<SchedulerExtensionPlugin>(config, Description::SchedulerExtension)
            }
            Role::Authorizer => self.start_as::<AuthorizerPlugin>(config, Description::Authorizer),
            role @ Role::Cni => Err(OfflineError::Role(role)),
        }
    }

    fn start_as<W: Subject>(
        &self,
        config: &[u8],
        describe: fn(W::Description) -> Description,
    ) -> Result<Instance, OfflineError>
    where
        W::Description: Clone,
    {
        let program = Program::<W>::load(
            &self.wasm,
            &self.artifact,
            Ingredients {
                name: "component".into(),
                config: Bytes::copy_from_slice(config),
                budgets: Budgets::of_role(W::ROLE),
                grants: GrantPolicy::AsNeeded,
                cluster: None,
                metrics: Arc::default(),
            },
        )?;
        let reads = Arc::new(Swapped {
            grants: program.grants.clone(),
            objects: Mutex::default(),
            looked: Mutex::default(),
        });
        let reader: Arc<dyn Reads> = reads.clone();
        let mut sandbox = program
            .start_with(|surroundings| surroundings.reader = Some(reader))
            .map_err(LoadError::Start)?;
        let description = describe(program.description.clone());
        let grants = program.grants.clone();
        let ask =
            move |input: &Input| W::ask(&mut sandbox, &grants, input).map(|(answer, _)| answer);
        Ok(Instance { description, reads, ask: Box::new(ask) })
    }
}

impl Instance {
    /// One call, whose reads `objects` answers; None if the role has no such
    /// call. After a fault the instance answers nothing but faults.
    pub fn ask(&mut self, input: &Input, objects: Arc<dyn Objects>) -> Option<Answer> {
        self.reads.looked.lock().clear();
        *self.reads.objects.lock() = Some(objects);
        let answer = (self.ask)(input);
        *self.reads.objects.lock() = None;
        answer
    }

    /// What the latest call has looked for by kind, in order.
    pub fn looked(&self) -> Vec<Looked> {
        self.reads.looked.lock().clone()
    }
}

/// Answers from the objects of the running call.
struct Swapped {
    grants: Arc<Grants>,
    objects: Mutex<Option<Arc<dyn Objects>>>,
    looked: Mutex<Vec<Looked>>,
}

impl Swapped {
    fn note(&self, kind: &types::KindRef, namespace: &str, listed: bool) {
        let granted = self.grants.may_read_in(&convert::kind(kind.clone()), namespace);
        self.looked.lock().push(Looked { kind: wire::kind(kind), listed, granted });
    }

    fn objects(&self) -> Result<Arc<dyn Objects>, ReadError> {
        self.objects.lock().clone().ok_or(ReadError::NoReader)
    }

    fn find(&self, query: lister::Query) -> Result<Vec<types::Object>, ReadError> {
        if query.kind.is_none() && query.namespace.is_none() && query.owner_uid.is_none() {
            return Ok(Vec::new());
        }
        if let Some(kind) = &query.kind {
            self.note(kind, query.namespace.as_deref().unwrap_or_default(), true);
        }
        let limit = if query.limit == 0 { usize::MAX } else { query.limit as usize };
        // What is not granted must not count against the limit.
        let all = lister::Query { limit: 0, ..query };
        let found = self.objects()?.list(&wire::query(&all)).into_iter();
        Ok(found
            .map(|object| wire::to_object(&object))
            .filter(|object| {
                let kind = convert::kind(object.ref_.kind.clone());
                self.grants.may_read_in(&kind, &object.ref_.namespace)
            })
            .take(limit)
            .collect())
    }
}

impl Reads for Swapped {
    fn get(&self, _: u64, reference: types::ObjectRef) -> Result<Option<types::Object>, ReadError> {
        self.note(&reference.kind, &reference.namespace, false);
        let kind = convert::kind(reference.kind.clone());
        if !self.grants.may_read_in(&kind, &reference.namespace) {
            return Ok(None);
        }
        let found = self.objects()?.get(&wire::reference(&reference));
        Ok(found.map(|object| wire::to_object(&object)))
    }

    fn list(&self, _: u64, query: lister::Query) -> Result<Vec<types::Object>, ReadError> {
        let metadata_only = query.metadata_only;
        let mut found = self.find(query)?;
        if metadata_only {
            found.iter_mut().for_each(|object| object.json.clear());
        }
        Ok(found)
    }

    fn list_fields(
        &self,
        _: u64,
        query: lister::Query,
        fields: &[String],
    ) -> Result<Vec<types::Object>, ReadError> {
        let cut = Cut::new(fields);
        let mut found = self.find(query)?;
        for object in &mut found {
            object.json = cut.apply(&object.json);
        }
        Ok(found)
    }

    fn count(&self, _: u64, query: lister::Query) -> Result<u32, ReadError> {
        Ok(u32::try_from(self.find(query)?.len()).unwrap_or(u32::MAX))
    }
}
