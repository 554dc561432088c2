//! ControllerRevisions: the templates that a workload had, oldest first, so that
//! pods can be told apart by template and rolled back.

use serde_json::{Value, json};

use crate::action::{Create, Delete, Outcome, Patch};
use crate::error::Error;
use crate::lister::{Lister, Typed};
use crate::names::{encode_hash, fnv1a};
use crate::object::{ObjectRef, Resource};
use crate::owners;
use crate::types::{CONTROLLER_REVISION, ControllerRevision};

/// The label of a pod that names its template's revision.
pub const HASH_LABEL: &str = "controller-revision-hash";

/// A revision that exists, or is about to.
#[derive(Debug, Clone, PartialEq)]
pub struct Revision {
    /// Its object's name; pods carry it in their label.
    pub name: String,
    /// Counts up with every change of the template.
    pub number: i64,
    /// The template.
    pub template: Value,
}

/// The revisions of one workload, as they will be after this reconcile.
#[derive(Debug, Clone)]
pub struct History {
    /// Oldest first; the last one is the present template's.
    pub revisions: Vec<Revision>,
}

impl History {
    /// Reads the history of `owner` and brings it up to date with its present
    /// template: a revision that is missing is created, one that is older and
    /// the same becomes the newest.
    pub fn update<T: Resource>(
        lister: &dyn Lister,
        owner: &Typed<T>,
        template: &Value,
        collision_count: Option<i64>,
        outcome: &mut Outcome,
    ) -> Result<Self, Error> {
        let mut known: Vec<Typed<ControllerRevision>> = lister
            .owned::<ControllerRevision>(owner)?
            .into_iter()
            .filter(|known| known.metadata.controller().is_some_and(|own| own.uid == owner.uid))
            .collect();
        known.sort_by(|a, b| {
            (a.revision_number(), &a.reference.name).cmp(&(b.revision_number(), &b.reference.name))
        });
        let mut revisions: Vec<Revision> = known
            .iter()
            .map(|known| Revision {
                name: known.reference.name.clone(),
                number: known.revision_number(),
                template: template_of(&known.object.data),
            })
            .collect();
        let newest = revisions.last().map_or(0, |last| last.number);
        match revisions.iter().rposition(|known| same(&known.template, template)) {
            Some(at) if at + 1 == revisions.len() => {}
            Some(at) => {
                let mut again = revisions.remove(at);
                again.number = newest + 1;
                outcome.push(Patch::merge(&known[at], &json!({"revision": again.number})));
                revisions.push(again);
            }
            None => {
                let (name, hash) = free_name(lister, owner, template, collision_count);
                let revision = Revision { name, number: newest + 1, template: template.clone() };
                outcome.push(create(owner, &revision, &hash));
                revisions.push(revision);
            }
        }
        Ok(History { revisions })
    }

    /// The present template's.
    pub fn newest(&self) -> &Revision {
        // `update` leaves at least the present one.
        self.revisions.last().expect("a history has at least one revision")
    }

    /// The one of this name, if it is still there.
    pub fn named(&self, name: &str) -> Option<&Revision> {
        self.revisions.iter().find(|known| known.name == name)
    }

    /// Deletes the oldest revisions beyond `limit` that `is_live` does not need.
    pub fn truncate<T>(
        &self,
        owner: &Typed<T>,
        limit: i64,
        is_live: impl Fn(&str) -> bool,
        outcome: &mut Outcome,
    ) {
        let (_, older) = self.revisions.split_last().expect("at least the present one");
        let unused: Vec<&Revision> = older.iter().filter(|known| !is_live(&known.name)).collect();
        let excess = unused.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        for revision in &unused[..excess] {
            let reference =
                CONTROLLER_REVISION.named(&owner.reference.namespace, revision.name.as_str());
            outcome.push(Delete::new(&reference));
        }
    }
}

impl Typed<ControllerRevision> {
    /// `revision` of the object; [`Typed::revision`] is the one of the cluster.
    fn revision_number(&self) -> i64 {
        self.object.revision
    }
}

/// In Kubernetes' form: a patch that puts the template into the workload.
fn data_of(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(fields) = template.as_object_mut() {
        fields.insert("$patch".to_owned(), "replace".into());
    }
    json!({"spec": {"template": template}})
}

fn template_of(data: &Value) -> Value {
    let mut template = data["spec"]["template"].clone();
    if let Some(fields) = template.as_object_mut() {
        fields.remove("$patch");
    }
    template
}

/// `null` counts as absent.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let covers = |a: &serde_json::Map<String, Value>,
                          b: &serde_json::Map<String, Value>| {
                a.iter().all(|(key, value)| same(value, b.get(key).unwrap_or(&Value::Null)))
            };
            covers(a, b) && covers(b, a)
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        _ => a == b,
    }
}

/// The name by the template's hash, and the hash. A name that an object of
/// another owner or template has is not taken.
fn free_name<T>(
    lister: &dyn Lister,
    owner: &Typed<T>,
    template: &Value,
    collision_count: Option<i64>,
) -> (String, String) {
    let mut salt = collision_count.unwrap_or(0);
    loop {
        let text = format!("{}{salt}", template);
        let hash = fnv1a(text.as_bytes());
        let hash = encode_hash((hash ^ (hash >> 32)) as u32);
        let name = format!("{}-{hash}", owner.reference.name);
        let reference: ObjectRef =
            CONTROLLER_REVISION.named(&owner.reference.namespace, name.as_str());
        if lister.get(&reference).is_none() {
            return (name, hash);
        }
        salt += 1;
    }
}

fn create<T: Resource>(owner: &Typed<T>, revision: &Revision, hash: &str) -> Create {
    let mut labels = revision.template["metadata"]["labels"].clone();
    if !labels.is_object() {
        labels = json!({});
    }
    labels["controller.kubernetes.io/hash"] = hash.into();
    let object = json!({
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": revision.name,
            "labels": labels,
            "annotations": owner.metadata().annotations,
            "ownerReferences": [owners::controller_reference(owner)],
        },
        "data": data_of(&revision.template),
        "revision": revision.number,
    });
    Create::new(CONTROLLER_REVISION, &owner.reference.namespace, &object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_survive_the_way_through_a_revision() {
        let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}});
        assert_eq!(template_of(&data_of(&template)), template);
        let mut with_null = template.clone();
        with_null["metadata"]["creationTimestamp"] = Value::Null;
        assert!(same(&template, &with_null) && same(&with_null, &template));
        with_null["spec"]["hostNetwork"] = true.into();
        assert!(!same(&template, &with_null) && !same(&with_null, &template));
    }
}
