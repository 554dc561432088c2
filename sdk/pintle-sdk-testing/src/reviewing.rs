//! A world whose writes an admission plugin sees.

use std::ops::{Deref, DerefMut};

use pintle_sdk::admission::{Admission, Operations, User};
use serde_json::Value;

use crate::gate::{Admitted, Denied, Gate};
use crate::subject::{self, AdmissionSubject, Subject};
use crate::world::World;

/// Passes requests through a plugin as the server does: the mutating phase if
/// one of its rules fits, its patch applied, then the validating phase.
/// Dereferences to the [`World`] that the plugin's lister reads.
///
/// ```
/// use pintle_sdk::admission::*;
/// use pintle_sdk::prelude::{CONFIG_MAP, ConfigMap, NoConfig};
/// use pintle_sdk::{Context, Lister};
/// use pintle_sdk_testing::Reviewing;
/// use pintle_sdk_testing::objects::config_map;
///
/// struct NoEmptyMaps;
///
/// impl Admission for NoEmptyMaps {
///     type Config = NoConfig;
///     fn new(_: NoConfig) -> Result<Self, String> {
///         Ok(NoEmptyMaps)
///     }
///     fn describe(&self) -> Description {
///         Description::new(pintle_sdk::manifest!())
///             .validating(Rule::on(CONFIG_MAP, Operations::CREATE))
///     }
///     fn review(&self, _: &Context, _: &dyn Lister, request: &Request) -> Response {
///         match request.object::<ConfigMap>() {
///             Ok(map) if map.data.is_empty() => Response::deny("data: must not be empty"),
///             _ => Response::allow(),
///         }
///     }
/// }
///
/// let mut reviewing = Reviewing::with::<NoEmptyMaps>(serde_json::json!({}));
/// assert!(reviewing.create(config_map("m").data("a", "b")).is_ok());
/// assert_eq!(reviewing.create(config_map("m")).unwrap_err().message, "data: must not be empty");
/// ```
pub struct Reviewing {
    world: World,
    gate: Gate,
}

impl Deref for Reviewing {
    type Target = World;
    fn deref(&self) -> &World {
        &self.world
    }
}

impl DerefMut for Reviewing {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.world
    }
}

impl Reviewing {
    /// The plugin `A` itself; `config` is the JSON of `spec.config`. Panics when
    /// the configuration is refused, for tests.
    pub fn with<A: Admission + 'static>(config: Value) -> Self {
        Reviewing::of(&subject::admission::<A>(), config, World::new())
    }

    /// A plugin, whatever it is made of, whose lister reads `world`.
    pub fn of(subject: &Subject<dyn AdmissionSubject>, config: Value, world: World) -> Self {
        Reviewing { world, gate: Gate::of(subject, config) }
    }

    /// Who asks from now on.
    pub fn user(&mut self, name: &str, groups: &[&str]) {
        self.gate.user = User {
            name: name.to_owned(),
            uid: String::new(),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
        };
    }

    /// A request to create this object. Nothing is stored.
    pub fn create(&mut self, object: impl Into<Value>) -> Result<Admitted, Denied> {
        self.pass(Operations::CREATE, "", object.into(), None)
    }

    /// A request to replace `old`.
    pub fn update(
        &mut self,
        old: impl Into<Value>,
        object: impl Into<Value>,
    ) -> Result<Admitted, Denied> {
        self.pass(Operations::UPDATE, "", object.into(), Some(old.into()))
    }

    /// A request to replace a part of `old`, such as its `status`.
    pub fn update_subresource(
        &mut self,
        subresource: &str,
        old: impl Into<Value>,
        object: impl Into<Value>,
    ) -> Result<Admitted, Denied> {
        self.pass(Operations::UPDATE, subresource, object.into(), Some(old.into()))
    }

    /// A request to delete `old`.
    pub fn delete(&mut self, old: impl Into<Value>) -> Result<Admitted, Denied> {
        self.pass(Operations::DELETE, "", Value::Null, Some(old.into()))
    }

    fn pass(
        &mut self,
        operation: Operations,
        subresource: &str,
        object: Value,
        old: Option<Value>,
    ) -> Result<Admitted, Denied> {
        let context = self.world.context();
        self.gate.pass(&context, &self.world, operation, subresource, object, old.as_ref())
    }
}
