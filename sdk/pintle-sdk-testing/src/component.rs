//! The component that was built from a plugin as the subject of the same tests
//! (feature `component`): in the sandbox, under the budgets and with the checks
//! of answers that a server has. A call that faults panics with the reason.
//!
//! ```no_run
//! use pintle_sdk_testing::{component, properties, World};
//! use serde_json::json;
//!
//! let plugin = component::controller("target/my-plugin.wasm").unwrap();
//! properties::is_deterministic(&plugin, &json!({}), &World::new());
//! ```

mod convert;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use pintle_plugin_host::plugin::Role;
use pintle_plugin_host::trace::model::{
    Answer, Input, ObjectRecord, QueryRecord, RefRecord, RejectionRecord,
};
use pintle_plugin_host::trace::offline::{Component, Description, Instance, Objects, OfflineError};
use pintle_sdk::extension::Rejection;
use pintle_sdk::scheduler::{Decision, Delta};
use pintle_sdk::scheduler_extension::{self, NumberedNode};
use pintle_sdk::{Context, Error, Extensions, Lister, Object, Outcome};
use pintle_sdk::{admission, controller, scheduler};
use serde_json::Value;

use crate::subject::{
    AdmissionSubject, ControllerSubject, ExtensionSubject, SchedulerSubject, Subject,
};
use crate::world::World;

/// Why a file cannot be tested.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// It cannot be read.
    #[error("{path}: cannot be read; build it first")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It is no component of this role.
    #[error("{path}: cannot be used")]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: OfflineError,
    },
}

/// A controller's component.
pub fn controller(
    path: impl AsRef<Path>,
) -> Result<Subject<dyn ControllerSubject>, ComponentError> {
    subject(path.as_ref(), Role::Controller, |asked| Box::new(asked) as Box<dyn ControllerSubject>)
}

/// A scheduler's component. It hears no extensions.
pub fn scheduler(path: impl AsRef<Path>) -> Result<Subject<dyn SchedulerSubject>, ComponentError> {
    subject(path.as_ref(), Role::Scheduler, |asked| Box::new(asked) as Box<dyn SchedulerSubject>)
}

/// An admission plugin's component.
pub fn admission(path: impl AsRef<Path>) -> Result<Subject<dyn AdmissionSubject>, ComponentError> {
    subject(path.as_ref(), Role::Admission, |asked| Box::new(asked) as Box<dyn AdmissionSubject>)
}

/// A scheduler extension's component.
pub fn extension(path: impl AsRef<Path>) -> Result<Subject<dyn ExtensionSubject>, ComponentError> {
    let wrap = |asked| Box::new(asked) as Box<dyn ExtensionSubject>;
    subject(path.as_ref(), Role::SchedulerExtension, wrap)
}

fn subject<R: ?Sized + 'static>(
    path: &Path,
    role: Role,
    wrap: fn(Asked) -> Box<R>,
) -> Result<Subject<R>, ComponentError> {
    let bytes = std::fs::read(path)
        .map_err(|source| ComponentError::Read { path: path.to_owned(), source })?;
    let component = Component::open(&bytes, role)
        .map_err(|source| ComponentError::Open { path: path.to_owned(), source })?;
    let component = Rc::new(component);
    Ok(Subject::new(path.display().to_string(), move |config: &Value| {
        let started = component.start(config.to_string().as_bytes());
        started.map(|instance| wrap(Asked(RefCell::new(instance)))).map_err(|error| chain(&error))
    }))
}

/// As the server words it in a plugin's status.
fn chain(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    // What the plugin itself says is the whole message, natively too.
    text.strip_prefix("the plugin refuses its configuration: ").unwrap_or(&text).to_owned()
}

struct Asked(RefCell<Instance>);

/// A world for the threads and lifetimes of the host.
struct Frozen(World);

impl Objects for Frozen {
    fn get(&self, reference: &RefRecord) -> Option<ObjectRecord> {
        Lister::get(&self.0, &convert::reference_in(reference)).map(convert::object_out)
    }

    fn list(&self, query: &QueryRecord) -> Vec<ObjectRecord> {
        let query = pintle_sdk::lister::Query { metadata_only: false, ..convert::query_in(query) };
        self.0.list(&query).into_iter().map(convert::object_out).collect()
    }
}

impl Asked {
    fn ask(&self, input: Input, world: &World) -> Answer {
        let answer = self.0.borrow_mut().ask(&input, Arc::new(Frozen(world.view())));
        match answer {
            Some(Answer::Fault(fault)) => {
                panic!("{}: {}: {}", input.export(), fault.reason, fault.message)
            }
            Some(answer) => answer,
            None => panic!("the role has no call of {}", input.export()),
        }
    }
}

impl ControllerSubject for Asked {
    fn describe(&self) -> controller::Description {
        match &self.0.borrow().description {
            Description::Controller(description) => convert::controller_description(description),
            other => panic!("not a controller: {other:?}"),
        }
    }

    fn reconcile(
        &self,
        context: &Context,
        world: &World,
        request: &controller::Request,
    ) -> Result<Outcome, Error> {
        let input = Input::Reconcile {
            context: convert::context_out(context),
            reference: convert::reference_out(&request.reference),
            uid: request.uid.clone(),
            attempt: request.attempt,
        };
        match self.ask(input, world) {
            Answer::Outcome { actions, requeue_after_ms } => {
                let actions = actions.into_iter().map(convert::action_in).collect();
                Ok(Outcome { actions, requeue_after_ms })
            }
            Answer::Error(message) => Err(Error::retry(message)),
            other => panic!("not an answer to reconcile: {other:?}"),
        }
    }
}

impl SchedulerSubject for Asked {
    fn describe(&self) -> scheduler::Description {
        match &self.0.borrow().description {
            Description::Scheduler(description) => convert::scheduler_description(description),
            other => panic!("not a scheduler: {other:?}"),
        }
    }

    fn sync(&mut self, deltas: Vec<Delta>) {
        let deltas = deltas.into_iter().map(convert::delta_out).collect();
        self.ask(Input::Sync(deltas), &World::new());
    }

    fn schedule(
        &mut self,
        context: &Context,
        _: &dyn Extensions,
        pods: Vec<Object>,
    ) -> Vec<Decision> {
        let input = Input::Schedule {
            context: convert::context_out(context),
            pods: pods.into_iter().map(convert::object_out).collect(),
        };
        match self.ask(input, &World::new()) {
            Answer::Decisions(decisions) => {
                decisions.into_iter().map(convert::decision_in).collect()
            }
            other => panic!("not an answer to schedule: {other:?}"),
        }
    }

    fn forget(&mut self, pod_uids: Vec<String>) {
        self.ask(Input::Forget(pod_uids), &World::new());
    }
}

impl AdmissionSubject for Asked {
    fn describe(&self) -> admission::Description {
        match &self.0.borrow().description {
            Description::Admission(description) => convert::admission_description(description),
            other => panic!("not an admission plugin: {other:?}"),
        }
    }

    fn review(
        &self,
        context: &Context,
        world: &World,
        request: &admission::Request,
    ) -> admission::Response {
        let input = Input::Review {
            context: convert::context_out(context),
            request: convert::request_out(request),
        };
        match self.ask(input, world) {
            Answer::Review { verdict, warnings } => {
                admission::Response { verdict: convert::verdict_in(verdict), warnings }
            }
            other => panic!("not an answer to review: {other:?}"),
        }
    }
}

impl ExtensionSubject for Asked {
    fn describe(&self) -> scheduler_extension::Description {
        match &self.0.borrow().description {
            Description::SchedulerExtension(description) => {
                convert::extension_description(description)
            }
            other => panic!("not a scheduler extension: {other:?}"),
        }
    }

    fn sync_nodes(&mut self, nodes: Vec<NumberedNode>) {
        let nodes = nodes.into_iter().map(convert::node_out).collect();
        self.ask(Input::SyncNodes(nodes), &World::new());
    }

    fn sync(&mut self, deltas: Vec<Delta>) {
        let deltas = deltas.into_iter().map(convert::delta_out).collect();
        self.ask(Input::Sync(deltas), &World::new());
    }

    fn filter(&mut self, context: &Context, pod: &Object) -> Vec<Rejection> {
        let (context, pod) = (convert::context_out(context), convert::object_out(pod.clone()));
        match self.ask(Input::Filter { context, pod }, &World::new()) {
            Answer::Rejections(rejections) => {
                let rejection =
                    |one: RejectionRecord| Rejection { reason: one.reason, nodes: one.nodes };
                rejections.into_iter().map(rejection).collect()
            }
            other => panic!("not an answer to filter: {other:?}"),
        }
    }

    fn score(&mut self, context: &Context, pod: &Object) -> Vec<u8> {
        let (context, pod) = (convert::context_out(context), convert::object_out(pod.clone()));
        match self.ask(Input::Score { context, pod }, &World::new()) {
            Answer::Scores(scores) => scores,
            other => panic!("not an answer to score: {other:?}"),
        }
    }
}
