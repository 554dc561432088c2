//! Requests on their way into the world: past the namespace they are for and
//! past admission.

use pintle_sdk::ObjectRef;
use pintle_sdk::action::{Action, Create, Delete};
use pintle_sdk::admission::Operations;
use pintle_sdk::types::NAMESPACE;
use serde_json::Value;

use super::Cluster;
use crate::fields::{at, text};
use crate::journal;
use crate::world::Refused;

impl Cluster {
    /// As a person would, through admission.
    pub fn submit(&mut self, action: impl Into<Action>) -> Result<(), Refused> {
        self.submit_as("a person", &action.into())
    }

    pub(super) fn submit_as(&mut self, who: &str, action: &Action) -> Result<(), Refused> {
        let result = match action {
            Action::Create(create) => self.submit_create(create),
            Action::Delete(delete) => self.submit_delete(delete, action),
            Action::Patch(_) | Action::Update(_) => self.submit_change(action),
            Action::Event(_) => self.world.apply(action),
        };
        let outcome = match &result {
            Ok(()) => String::new(),
            Err(refused) => format!("[{refused:?}] "),
        };
        self.journal.note(format!("{who}: {outcome}{}", journal::line(action)));
        result
    }

    fn submit_create(&mut self, create: &Create) -> Result<(), Refused> {
        self.check_namespace(create)?;
        let (reference, mut object) = self.world.prepared(create)?;
        object = self.admit(&reference, "", Operations::CREATE, object, None)?;
        self.world.create_prepared(reference, object).map(|_| ())
    }

    fn submit_change(&mut self, action: &Action) -> Result<(), Refused> {
        let (reference, subresource) = match action {
            Action::Patch(patch) => (&patch.reference, patch.subresource.as_str()),
            Action::Update(update) => (&update.reference, update.subresource.as_str()),
            _ => return self.world.apply(action),
        };
        let update = Operations::UPDATE;
        if !self.gates.iter().any(|gate| gate.concerns(reference, subresource, update)) {
            return self.world.apply(action);
        }
        let (reference, subresource) = (reference.clone(), subresource.to_owned());
        let (known, object) = self.world.changed_by(action)?;
        let object = self.admit(&reference, &subresource, update, object, Some(&known))?;
        self.world.change(&reference, &subresource, known, object)
    }

    fn submit_delete(&mut self, delete: &Delete, action: &Action) -> Result<(), Refused> {
        let reference = &delete.reference;
        let operation = Operations::DELETE;
        if self.gates.iter().any(|gate| gate.concerns(reference, "", operation))
            && let Some(known) = self.world.object(reference).cloned()
        {
            self.admit(reference, "", operation, Value::Null, Some(&known))?;
        }
        self.world.apply(action)
    }

    /// What the plugins make of the object; they read what watches told last.
    fn admit(
        &mut self,
        reference: &ObjectRef,
        subresource: &str,
        operation: Operations,
        object: Value,
        old: Option<&Value>,
    ) -> Result<Value, Refused> {
        let mut object = object;
        for index in 0..self.gates.len() {
            if !self.gates[index].concerns(reference, subresource, operation) {
                continue;
            }
            let context = self.world.context();
            let (gate, view) = (&self.gates[index], self.view());
            let answer = gate.pass(&context, view, operation, subresource, object, old);
            object = match answer {
                Ok(admitted) => admitted.object,
                Err(denied) => {
                    let (kind, name) = (plural(reference), &reference.name);
                    let message = format!("{kind} {name:?} is forbidden: {}", denied.message);
                    return Err(Refused::Denied { code: denied.code, message });
                }
            };
        }
        Ok(object)
    }

    /// Where namespaces are objects, nothing is made in one that is missing or on
    /// its way out.
    fn check_namespace(&self, create: &Create) -> Result<(), Refused> {
        if create.namespace.is_empty() || self.world.all(&NAMESPACE).is_empty() {
            return Ok(());
        }
        let reference = NAMESPACE.named("", create.namespace.clone());
        match self.world.object(&reference) {
            None => Err(Refused::Denied {
                code: 404,
                message: format!("namespaces {:?} not found", create.namespace),
            }),
            Some(namespace)
                if at(namespace, "metadata.deletionTimestamp").is_some()
                    || text(namespace, "status.phase") == "Terminating" =>
            {
                Err(Refused::Denied {
                    code: 403,
                    message: format!(
                        "unable to create new content in namespace {} because it is being terminated",
                        create.namespace
                    ),
                })
            }
            Some(_) => Ok(()),
        }
    }
}

/// `pods`, `replicasets.apps`: close to what the API server says; it has a table.
pub(super) fn plural(reference: &ObjectRef) -> String {
    let kind = reference.kind.kind.to_ascii_lowercase();
    let group = match &*reference.kind.group {
        "" => String::new(),
        group => format!(".{group}"),
    };
    format!("{kind}s{group}")
}
