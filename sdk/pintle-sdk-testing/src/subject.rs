//! What a test runs against: the plugin's own type, or the component that was
//! built from it. A test is written once, for a [`Subject`], and run for each.

use std::fmt;
use std::rc::Rc;

use pintle_sdk::extension::Rejection;
use pintle_sdk::node_rule::NodeTable;
use pintle_sdk::scheduler::{Decision, Delta};
use pintle_sdk::scheduler_extension::{self, NumberedNode};
use pintle_sdk::{Admission, Context, Controller, Error, Extensions, Object, Outcome, Scheduler};
use pintle_sdk::{
    Authorizer, NodeRule, SchedulerExtension, admission, authorizer, controller, scheduler,
};
use serde_json::Value;

use crate::world::World;

/// A controller, whatever it is made of.
pub trait ControllerSubject {
    /// As [`Controller::describe`].
    fn describe(&self) -> controller::Description;
    /// As [`Controller::reconcile`]; reads see `world`.
    fn reconcile(
        &self,
        context: &Context,
        world: &World,
        request: &controller::Request,
    ) -> Result<Outcome, Error>;
}

/// A scheduler, whatever it is made of.
pub trait SchedulerSubject {
    /// As [`Scheduler::describe`].
    fn describe(&self) -> scheduler::Description;
    /// As [`Scheduler::sync`].
    fn sync(&mut self, deltas: Vec<Delta>);
    /// As [`Scheduler::schedule`].
    fn schedule(
        &mut self,
        context: &Context,
        extensions: &dyn Extensions,
        pods: Vec<Object>,
    ) -> Vec<Decision>;
    /// As [`Scheduler::forget`].
    fn forget(&mut self, pod_uids: Vec<String>);
}

/// An admission plugin, whatever it is made of.
pub trait AdmissionSubject {
    /// As [`Admission::describe`].
    fn describe(&self) -> admission::Description;
    /// As [`Admission::review`]; reads see `world`.
    fn review(
        &self,
        context: &Context,
        world: &World,
        request: &admission::Request,
    ) -> admission::Response;
}

/// A scheduler extension, whatever it is made of.
pub trait ExtensionSubject {
    /// As [`SchedulerExtension::describe`].
    fn describe(&self) -> scheduler_extension::Description;
    /// As [`SchedulerExtension::sync_nodes`].
    fn sync_nodes(&mut self, nodes: Vec<NumberedNode>);
    /// As [`SchedulerExtension::sync`].
    fn sync(&mut self, deltas: Vec<Delta>);
    /// As [`SchedulerExtension::filter`].
    fn filter(&mut self, context: &Context, pod: &Object) -> Vec<Rejection>;
    /// As [`SchedulerExtension::score`].
    fn score(&mut self, context: &Context, pod: &Object) -> Vec<u8>;
}

/// An authorizer, whatever it is made of.
pub trait AuthorizerSubject {
    /// As [`Authorizer::describe`].
    fn describe(&self) -> authorizer::Description;
    /// As [`Authorizer::sync`].
    fn sync(&mut self, deltas: Vec<Delta>);
    /// As [`Authorizer::authorize`].
    fn authorize(
        &mut self,
        context: &Context,
        attributes: &authorizer::Attributes,
    ) -> authorizer::Decision;
    /// As [`Authorizer::rules`].
    fn rules(
        &mut self,
        context: &Context,
        user: &authorizer::User,
        namespace: &str,
    ) -> authorizer::RuleSet;
}

type Start<R> = dyn Fn(&Value) -> Result<Box<R>, String>;

/// Makes instances of one plugin, each with its own configuration.
pub struct Subject<R: ?Sized> {
    name: String,
    start: Rc<Start<R>>,
}

impl<R: ?Sized> Clone for Subject<R> {
    fn clone(&self) -> Self {
        Subject { name: self.name.clone(), start: self.start.clone() }
    }
}

impl<R: ?Sized> fmt::Debug for Subject<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl<R: ?Sized> Subject<R> {
    /// `start` is given the JSON of `spec.config`.
    pub fn new(
        name: impl Into<String>,
        start: impl Fn(&Value) -> Result<Box<R>, String> + 'static,
    ) -> Self {
        Subject { name: name.into(), start: Rc::new(start) }
    }

    /// What it is, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A fresh instance; the error is what the plugin says of its configuration.
    pub fn try_start(&self, config: &Value) -> Result<Box<R>, String> {
        (self.start)(config)
    }

    /// A fresh instance. Panics when the configuration is refused, for tests.
    pub fn start(&self, config: &Value) -> Box<R> {
        match self.try_start(config) {
            Ok(instance) => instance,
            Err(error) => panic!("{} refuses its configuration: {error}", self.name),
        }
    }
}

struct Native<T>(T);

/// The type `C` itself, without wasm.
pub fn controller<C: Controller + 'static>() -> Subject<dyn ControllerSubject> {
    Subject::new(std::any::type_name::<C>(), |config| {
        Ok(Box::new(Native(C::new(read(config)?)?)) as Box<dyn ControllerSubject>)
    })
}

/// The type `S` itself, without wasm.
pub fn scheduler<S: Scheduler + 'static>() -> Subject<dyn SchedulerSubject> {
    Subject::new(std::any::type_name::<S>(), |config| {
        Ok(Box::new(Native(S::new(read(config)?)?)) as Box<dyn SchedulerSubject>)
    })
}

/// The type `A` itself, without wasm.
pub fn admission<A: Admission + 'static>() -> Subject<dyn AdmissionSubject> {
    Subject::new(std::any::type_name::<A>(), |config| {
        Ok(Box::new(Native(A::new(read(config)?)?)) as Box<dyn AdmissionSubject>)
    })
}

/// The type `E` itself, without wasm.
pub fn extension<E: SchedulerExtension + 'static>() -> Subject<dyn ExtensionSubject> {
    Subject::new(std::any::type_name::<E>(), |config| {
        Ok(Box::new(Native(E::new(read(config)?)?)) as Box<dyn ExtensionSubject>)
    })
}

/// The type `A` itself, without wasm.
pub fn authorizer<A: Authorizer + 'static>() -> Subject<dyn AuthorizerSubject> {
    Subject::new(std::any::type_name::<A>(), |config| {
        Ok(Box::new(Native(A::new(read(config)?)?)) as Box<dyn AuthorizerSubject>)
    })
}

/// The rule `R` itself, without wasm.
pub fn node_rule<R: NodeRule + 'static>() -> Subject<dyn ExtensionSubject> {
    extension::<NodeTable<R>>()
}

/// As the glue of a component reads it.
fn read<T: pintle_sdk::serde::de::DeserializeOwned>(config: &Value) -> Result<T, String> {
    pintle_sdk::config::parse(config.to_string().as_bytes())
}

impl<C: Controller> ControllerSubject for Native<C> {
    fn describe(&self) -> controller::Description {
        self.0.describe()
    }

    fn reconcile(
        &self,
        context: &Context,
        world: &World,
        request: &controller::Request,
    ) -> Result<Outcome, Error> {
        self.0.reconcile(context, world, request)
    }
}

impl<S: Scheduler> SchedulerSubject for Native<S> {
    fn describe(&self) -> scheduler::Description {
        self.0.describe()
    }

    fn sync(&mut self, deltas: Vec<Delta>) {
        self.0.sync(deltas);
    }

    fn schedule(
        &mut self,
        context: &Context,
        extensions: &dyn Extensions,
        pods: Vec<Object>,
    ) -> Vec<Decision> {
        self.0.schedule(context, extensions, pods)
    }

    fn forget(&mut self, pod_uids: Vec<String>) {
        self.0.forget(pod_uids);
    }
}

impl<A: Admission> AdmissionSubject for Native<A> {
    fn describe(&self) -> admission::Description {
        self.0.describe()
    }

    fn review(
        &self,
        context: &Context,
        world: &World,
        request: &admission::Request,
    ) -> admission::Response {
        self.0.review(context, world, request)
    }
}

impl<E: SchedulerExtension> ExtensionSubject for Native<E> {
    fn describe(&self) -> scheduler_extension::Description {
        self.0.describe()
    }

    fn sync_nodes(&mut self, nodes: Vec<NumberedNode>) {
        self.0.sync_nodes(nodes);
    }

    fn sync(&mut self, deltas: Vec<Delta>) {
        self.0.sync(deltas);
    }

    fn filter(&mut self, context: &Context, pod: &Object) -> Vec<Rejection> {
        self.0.filter(context, pod)
    }

    fn score(&mut self, context: &Context, pod: &Object) -> Vec<u8> {
        self.0.score(context, pod)
    }
}

impl<A: Authorizer> AuthorizerSubject for Native<A> {
    fn describe(&self) -> authorizer::Description {
        self.0.describe()
    }

    fn sync(&mut self, deltas: Vec<Delta>) {
        self.0.sync(deltas);
    }

    fn authorize(
        &mut self,
        context: &Context,
        attributes: &authorizer::Attributes,
    ) -> authorizer::Decision {
        self.0.authorize(context, attributes)
    }

    fn rules(
        &mut self,
        context: &Context,
        user: &authorizer::User,
        namespace: &str,
    ) -> authorizer::RuleSet {
        self.0.rules(context, user, namespace)
    }
}
