//! A world in which an authorizer says who may do what.

use std::ops::{Deref, DerefMut};

use pintle_sdk::Object;
use pintle_sdk::authorizer::{Attributes, Authorizer, Decision, Description, RuleSet, User};
use pintle_sdk::scheduler::Delta;
use serde_json::Value;

use crate::fields::text;
use crate::subject::{self, AuthorizerSubject, Subject};
use crate::world::{ChangeKind, World};

/// A world that an authorizer knows. Dereferences to its [`World`]: what a test
/// does to the world reaches the authorizer before its next answer.
///
/// ```
/// use pintle_sdk::authorizer::*;
/// use pintle_sdk::prelude::NoConfig;
/// use pintle_sdk::Context;
/// use pintle_sdk_testing::Authorizing;
///
/// struct Readers;
///
/// impl Authorizer for Readers {
///     type Config = NoConfig;
///     fn new(_: NoConfig) -> Result<Self, String> {
///         Ok(Readers)
///     }
///     fn describe(&self) -> Description {
///         Description::new(pintle_sdk::manifest!())
///     }
///     fn authorize(&mut self, _: &Context, asked: &Attributes) -> Decision {
///         if asked.verb == "get" { Decision::allow("reads") } else { Decision::no_opinion("") }
///     }
/// }
///
/// let mut cluster = Authorizing::with::<Readers>(serde_json::json!({}));
/// let jane = User::new("jane", &[]);
/// assert!(cluster.ask(&Attributes::resource(jane, "get", "", "pods")).is_allowed());
/// ```
pub struct Authorizing {
    world: World,
    authorizer: Box<dyn AuthorizerSubject>,
    description: Description,
}

impl Deref for Authorizing {
    type Target = World;
    fn deref(&self) -> &World {
        &self.world
    }
}

impl DerefMut for Authorizing {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.world
    }
}

impl Authorizing {
    /// The authorizer `A` itself; `config` is the JSON of `spec.config`. Panics
    /// when the configuration is refused, for tests.
    pub fn with<A: Authorizer + 'static>(config: Value) -> Self {
        Authorizing::of(&subject::authorizer::<A>(), config, World::new())
    }

    /// An authorizer, whatever it is made of, which starts with `world` present.
    pub fn of(subject: &Subject<dyn AuthorizerSubject>, config: Value, world: World) -> Self {
        let authorizer = subject.start(&config);
        let description = authorizer.describe();
        let mut world = world;
        world.take_changes();
        world.announce_all();
        Authorizing { world, authorizer, description }
    }

    /// What it says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Whether the request may go on.
    pub fn ask(&mut self, attributes: &Attributes) -> Decision {
        self.feed();
        let context = self.world.context();
        self.authorizer.authorize(&context, attributes)
    }

    /// What the user may do.
    pub fn rules(&mut self, user: &User, namespace: &str) -> RuleSet {
        self.feed();
        let context = self.world.context();
        self.authorizer.rules(&context, user, namespace)
    }

    fn feed(&mut self) {
        let mut deltas = Vec::new();
        for change in self.world.take_changes() {
            if !self.description.watches.contains(&change.reference.kind) {
                continue;
            }
            let object = Object {
                uid: text(&change.object, "metadata.uid").to_owned(),
                revision: text(&change.object, "metadata.resourceVersion").parse().unwrap_or(0),
                json: change.object.to_string().into_bytes(),
                reference: change.reference,
            };
            deltas.push(match change.kind {
                ChangeKind::Deleted => Delta::Remove(object),
                _ => Delta::Upsert(object),
            });
        }
        if !deltas.is_empty() {
            self.authorizer.sync(deltas);
        }
    }
}
