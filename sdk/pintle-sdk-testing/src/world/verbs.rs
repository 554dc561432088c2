//! What the API server does with a write, as far as plugins can tell: names and
//! uids, revisions, generations, subresources, finalizers, grace periods. Does
//! not know kinds beyond the two whose deletion takes several steps.

use pintle_sdk::ObjectRef;
use pintle_sdk::action::{Action, Create, Delete, Patch, PatchType, Propagation, Update};
use pintle_sdk::api::time;
use pintle_sdk::names::Random;
use serde_json::{Value, json};

use super::{Refused, World};
use crate::fields::{at, merge_patch, text};
use crate::shelf::revision_of;

impl World {
    /// Performs what a plugin asks for.
    pub fn apply(&mut self, action: &Action) -> Result<(), Refused> {
        match action {
            Action::Create(create) => self.apply_create(create).map(|_| ()),
            Action::Update(update) => self.apply_update(update),
            Action::Patch(patch) => self.apply_patch(patch),
            Action::Delete(delete) => self.apply_delete(delete),
            Action::Event(event) => {
                self.events.push(event.clone());
                Ok(())
            }
        }
    }

    pub(super) fn apply_create(&mut self, create: &Create) -> Result<ObjectRef, Refused> {
        let (reference, object) = self.prepared(create)?;
        self.create_prepared(reference, object)
    }

    /// The object with its kind and its name, as admission sees it.
    pub(crate) fn prepared(&mut self, create: &Create) -> Result<(ObjectRef, Value), Refused> {
        let mut object = decode(&create.json)?;
        // The host refuses what does not say which kind it is of.
        if text(&object, "kind") != create.kind.kind {
            let found = text(&object, "kind");
            return Err(Refused::Invalid(format!(
                "a {} whose JSON says kind {found:?}",
                create.kind.kind
            )));
        }
        let generate = text(&object, "metadata.generateName").to_owned();
        if text(&object, "metadata.name").is_empty() {
            let name = self.random.get_or_insert_with(|| Random::new(1)).name(&generate);
            object["metadata"]["name"] = json!(name);
        }
        if !create.namespace.is_empty() {
            object["metadata"]["namespace"] = json!(create.namespace);
        }
        object["apiVersion"] = json!(create.kind.api_version());
        object["kind"] = json!(create.kind.kind);
        let reference = create.kind.named(create.namespace.clone(), text(&object, "metadata.name"));
        Ok((reference, object))
    }

    pub(crate) fn create_prepared(
        &mut self,
        reference: ObjectRef,
        mut object: Value,
    ) -> Result<ObjectRef, Refused> {
        if self.shelf.contains(&reference) {
            return Err(Refused::AlreadyExists(reference));
        }
        let uid = format!("uid-{}", self.revision + 1);
        let now = self.now();
        let metadata = &mut object["metadata"];
        metadata["uid"] = json!(uid);
        metadata["creationTimestamp"] = json!(now);
        metadata["generation"] = json!(1);
        if &*reference.kind.kind == "Namespace" {
            object["spec"]["finalizers"] = json!(["kubernetes"]);
            object["status"]["phase"] = json!("Active");
        }
        self.store(reference.clone(), object);
        Ok(reference)
    }

    fn existing(&self, reference: &ObjectRef, revision: Option<u64>) -> Result<&Value, Refused> {
        let object =
            self.shelf.get(reference).ok_or_else(|| Refused::NotFound(reference.clone()))?;
        match revision {
            Some(wanted) if wanted != revision_of(object) => {
                Err(Refused::Conflict(reference.clone()))
            }
            _ => Ok(object),
        }
    }

    /// The object before and after a patch or an update, as admission sees it.
    pub(crate) fn changed_by(&self, action: &Action) -> Result<(Value, Value), Refused> {
        match action {
            Action::Update(update) => self.updated(update),
            Action::Patch(patch) => self.patched(patch),
            _ => Err(Refused::Invalid("it changes no object".to_owned())),
        }
    }

    fn apply_update(&mut self, update: &Update) -> Result<(), Refused> {
        let (known, object) = self.updated(update)?;
        self.change(&update.reference, &update.subresource, known, object)
    }

    fn updated(&self, update: &Update) -> Result<(Value, Value), Refused> {
        let object = decode(&update.json)?;
        let revision = text(&object, "metadata.resourceVersion").parse().ok();
        Ok((self.existing(&update.reference, revision)?.clone(), object))
    }

    fn apply_patch(&mut self, patch: &Patch) -> Result<(), Refused> {
        let (known, object) = self.patched(patch)?;
        self.change(&patch.reference, &patch.subresource, known, object)
    }

    fn patched(&self, patch: &Patch) -> Result<(Value, Value), Refused> {
        let known = self.existing(&patch.reference, patch.revision)?.clone();
        let body = decode(&patch.body)?;
        let mut object = known.clone();
        match patch.patch_type {
            PatchType::Merge => merge_patch(&mut object, &body),
            PatchType::Json => {
                let operations: json_patch::Patch = serde_json::from_value(body)
                    .map_err(|error| Refused::Invalid(error.to_string()))?;
                json_patch::patch(&mut object, &operations)
                    .map_err(|error| Refused::Invalid(error.to_string()))?;
            }
            PatchType::Strategic => {
                return Err(Refused::Invalid("strategic patches need a schema".to_owned()));
            }
        }
        Ok((known, object))
    }

    /// Stores the part of `object` that the subresource may change.
    pub(crate) fn change(
        &mut self,
        reference: &ObjectRef,
        subresource: &str,
        known: Value,
        object: Value,
    ) -> Result<(), Refused> {
        if at(&object, "metadata.uid") != at(&known, "metadata.uid") {
            return Err(Refused::Conflict(reference.clone()));
        }
        let mut next = match subresource {
            "" => {
                let mut next = object;
                // The status belongs to its subresource, for kinds that have one.
                next["status"] = known["status"].clone();
                next
            }
            "scale" => {
                let mut next = known.clone();
                next["spec"]["replicas"] = object["spec"]["replicas"].clone();
                next
            }
            "finalize" => {
                let mut next = known.clone();
                next["spec"]["finalizers"] = object["spec"]["finalizers"].clone();
                next
            }
            "approval" => {
                let mut next = known.clone();
                next["status"]["conditions"] = object["status"]["conditions"].clone();
                next
            }
            // The server makes a certificate; here it is only seen that one was made.
            "signature" => {
                let mut next = known.clone();
                next["status"]["certificate"] = json!("c2lnbmVk");
                next
            }
            part => {
                let mut next = known.clone();
                next[part] = object[part].clone();
                next
            }
        };
        next["metadata"]["resourceVersion"] = known["metadata"]["resourceVersion"].clone();
        strip_nulls(&mut next);
        if next == known {
            return Ok(());
        }
        if next["spec"] != known["spec"] {
            let generation = known["metadata"]["generation"].as_i64().unwrap_or(0);
            next["metadata"]["generation"] = json!(generation + 1);
        }
        if is_released(&next) {
            self.store(reference.clone(), next);
            self.remove(reference);
        } else {
            self.store(reference.clone(), next);
        }
        Ok(())
    }

    fn apply_delete(&mut self, delete: &Delete) -> Result<(), Refused> {
        let reference = &delete.reference;
        let known = self.existing(reference, delete.revision)?.clone();
        if delete.uid.as_deref().is_some_and(|uid| uid != text(&known, "metadata.uid")) {
            return Err(Refused::Conflict(reference.clone()));
        }
        let mut next = known.clone();
        let mut finalizers: Vec<Value> = match at(&known, "metadata.finalizers") {
            Some(Value::Array(list)) => list.clone(),
            _ => Vec::new(),
        };
        let by_propagation = match delete.propagation {
            Some(Propagation::Foreground) => Some(json!("foregroundDeletion")),
            Some(Propagation::Orphan) => Some(json!("orphan")),
            _ => None,
        };
        finalizers.extend(by_propagation.filter(|wanted| !finalizers.contains(wanted)));
        // A pod on a node ends there first.
        let grace = match (&*reference.kind.kind, delete.grace_period_seconds) {
            ("Pod", None) if !text(&known, "spec.nodeName").is_empty() => 30,
            ("Pod", Some(seconds)) if !text(&known, "spec.nodeName").is_empty() => seconds,
            _ => 0,
        };
        if &*reference.kind.kind == "Namespace" {
            next["status"]["phase"] = json!("Terminating");
        }
        if !finalizers.is_empty() {
            next["metadata"]["finalizers"] = json!(finalizers);
        }
        if at(&known, "metadata.deletionTimestamp").is_none() {
            next["metadata"]["deletionTimestamp"] =
                json!(time::format_seconds(self.now_unix_ms + grace * 1000));
            next["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        } else if grace == 0 {
            next["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        }
        if is_released(&next) {
            self.remove(reference);
        } else if next != known {
            self.store(reference.clone(), next);
        }
        Ok(())
    }
}

/// Is nothing left that an object on its way out waits for?
fn is_released(object: &Value) -> bool {
    let empty = |path| at(object, path).and_then(Value::as_array).is_none_or(Vec::is_empty);
    let namespace_held = text(object, "kind") == "Namespace" && !empty("spec.finalizers");
    let in_grace =
        at(object, "metadata.deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0) > 0;
    at(object, "metadata.deletionTimestamp").is_some()
        && empty("metadata.finalizers")
        && !namespace_held
        && !in_grace
}

fn decode(json: &[u8]) -> Result<Value, Refused> {
    serde_json::from_slice(json).map_err(|error| Refused::Invalid(error.to_string()))
}

/// `a.b = null` by indexing leaves a null behind where there was nothing.
fn strip_nulls(object: &mut Value) {
    if let Value::Object(fields) = object {
        fields.retain(|_, value| !value.is_null());
        fields.values_mut().for_each(strip_nulls);
    }
}
