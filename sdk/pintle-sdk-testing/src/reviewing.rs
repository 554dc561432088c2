//! A world whose writes an admission plugin sees.

use std::ops::{Deref, DerefMut};

use pintle_sdk::admission::{
    Admission, Description, Operations, Phase, Request, Rule, User, Verdict,
};
use pintle_sdk::{KindRef, ObjectRef};
use serde_json::Value;

use crate::fields::text;
use crate::subject::{self, AdmissionSubject, Subject};
use crate::world::World;

/// What came through admission.
#[derive(Debug, Clone, PartialEq)]
pub struct Admitted {
    /// The object as it would be stored.
    pub object: Value,
    /// What kubectl would show.
    pub warnings: Vec<String>,
    /// Was it changed on its way?
    pub patched: bool,
}

/// What did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// The HTTP code.
    pub code: u16,
    /// The Status reason.
    pub reason: String,
    /// For the person who asked.
    pub message: String,
}

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
    plugin: Box<dyn AdmissionSubject>,
    description: Description,
    user: User,
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
        let plugin = subject.start(&config);
        let description = plugin.describe();
        Reviewing { world, plugin, description, user: User::default() }
    }

    /// Who asks from now on.
    pub fn user(&mut self, name: &str, groups: &[&str]) {
        self.user = User {
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
        let head = old.as_ref().unwrap_or(&object);
        let kind = KindRef::parse(text(head, "apiVersion"), text(head, "kind"));
        let reference = kind.named(text(head, "metadata.namespace"), text(head, "metadata.name"));
        let mut admitted = Admitted { object, warnings: Vec::new(), patched: false };
        for phase in [Phase::Mutating, Phase::Validating] {
            let rules = match phase {
                Phase::Mutating => &self.description.mutating,
                Phase::Validating => &self.description.validating,
            };
            if !rules.iter().any(|rule| fits(rule, &reference, subresource, operation)) {
                continue;
            }
            let json = |value: &Value| match value {
                Value::Null => Vec::new(),
                value => value.to_string().into_bytes(),
            };
            let request = Request {
                reference: reference.clone(),
                subresource: subresource.to_owned(),
                operation,
                phase,
                dry_run: false,
                user: self.user.clone(),
                json: json(&admitted.object),
                old_json: old.as_ref().map(json).unwrap_or_default(),
            };
            let context = self.world.context();
            let response = self.plugin.review(&context, &self.world, &request);
            admitted.warnings.extend(response.warnings);
            match response.verdict {
                Verdict::Allow => {}
                Verdict::Patch(operations) => {
                    assert_eq!(phase, Phase::Mutating, "only the mutating phase may patch");
                    admitted.patched |= patch(&mut admitted.object, &operations);
                }
                Verdict::Deny { code, reason, message } => {
                    let code = if code == 0 { 403 } else { code };
                    let reason = if reason.is_empty() { "Forbidden".to_owned() } else { reason };
                    return Err(Denied { code, reason, message });
                }
            }
        }
        Ok(admitted)
    }
}

fn fits(rule: &Rule, reference: &ObjectRef, subresource: &str, operation: Operations) -> bool {
    let wanted = rule.operations;
    let of_operation = (operation.create && wanted.create)
        || (operation.update && wanted.update)
        || (operation.delete && wanted.delete)
        || (operation.connect && wanted.connect);
    of_operation
        && rule.kind.as_ref().is_none_or(|kind| *kind == reference.kind)
        && (rule.subresource == "*" || rule.subresource == subresource)
}

/// True if it changed something. Panics when the patch does not apply, for tests.
fn patch(object: &mut Value, operations: &[u8]) -> bool {
    let before = object.clone();
    let patch: json_patch::Patch = match serde_json::from_slice(operations) {
        Ok(patch) => patch,
        Err(error) => panic!("the verdict is no JSON patch: {error}"),
    };
    if let Err(error) = json_patch::patch(object, &patch) {
        panic!("the patch does not apply: {error}");
    }
    before != *object
}
