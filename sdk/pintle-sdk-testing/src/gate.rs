//! One admission plugin in front of a world: the mutating phase if one of its
//! rules fits, its patch applied, then the validating phase.

use pintle_sdk::admission::{Description, Operations, Phase, Request, Rule, User, Verdict};
use pintle_sdk::{Context, KindRef, ObjectRef};
use serde_json::Value;

use crate::fields::text;
use crate::subject::{AdmissionSubject, Subject};
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

pub(crate) struct Gate {
    subject: Subject<dyn AdmissionSubject>,
    config: Value,
    plugin: Box<dyn AdmissionSubject>,
    description: Description,
    /// Who asks.
    pub user: User,
}

impl Gate {
    pub fn of(subject: &Subject<dyn AdmissionSubject>, config: Value) -> Self {
        let plugin = subject.start(&config);
        let description = plugin.describe();
        Gate { subject: subject.clone(), config, plugin, description, user: User::default() }
    }

    /// A fresh instance, as after a crash of the host.
    pub fn restart(&mut self) {
        self.plugin = self.subject.start(&self.config);
    }

    /// Whether the plugin wants to see such requests at all.
    pub fn concerns(
        &self,
        reference: &ObjectRef,
        subresource: &str,
        operation: Operations,
    ) -> bool {
        let rules = self.description.mutating.iter().chain(&self.description.validating);
        rules.into_iter().any(|rule| fits(rule, reference, subresource, operation))
    }

    pub fn pass(
        &self,
        context: &Context,
        world: &World,
        operation: Operations,
        subresource: &str,
        object: Value,
        old: Option<&Value>,
    ) -> Result<Admitted, Denied> {
        let head = old.unwrap_or(&object);
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
                old_json: old.map(json).unwrap_or_default(),
            };
            let response = self.plugin.review(context, world, &request);
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
