//! The volume claims of a set's pods: made before the pod, kept or deleted as
//! the retention policy says (KEP-1847).

use pintle_sdk::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::identity::pod_name;

/// One entry of `spec.volumeClaimTemplates`, whole.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimTemplate(pub Value);

impl ClaimTemplate {
    fn name(&self) -> &str {
        self.0["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub fn claim_name(&self, set: &Typed<StatefulSet>, ordinal: i64) -> String {
        format!("{}-{}", self.name(), pod_name(set, ordinal))
    }
}

/// As JSON, because the typed form knows only some of their fields.
pub fn templates(object: &Object) -> Result<Vec<ClaimTemplate>, Error> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Set {
        spec: Spec,
    }
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Spec {
        volume_claim_templates: Option<Vec<Value>>,
    }
    let set: Set = object.parse()?;
    let templates = set.spec.volume_claim_templates.into_iter().flatten();
    Ok(templates.filter(|template| template["metadata"].is_object()).map(ClaimTemplate).collect())
}

/// Gives the pod the volumes of its claims, in place of any of the same name.
pub fn mount(
    spec: &mut Value,
    set: &Typed<StatefulSet>,
    templates: &[ClaimTemplate],
    ordinal: i64,
) {
    if templates.is_empty() {
        return;
    }
    let mut volumes: Vec<Value> = templates
        .iter()
        .map(|template| {
            json!({"name": template.name(),
                "persistentVolumeClaim": {"claimName": template.claim_name(set, ordinal)}})
        })
        .collect();
    if let Some(others) = spec["volumes"].as_array() {
        let replaced = |volume: &&Value| !templates.iter().any(|t| volume["name"] == t.name());
        volumes.extend(others.iter().filter(replaced).cloned());
    }
    spec["volumes"] = Value::Array(volumes);
}

/// Who deletes a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Retention {
    with_set: bool,
    with_pod: bool,
}

impl Retention {
    fn of(set: &StatefulSet) -> Self {
        let policy = set.spec.persistent_volume_claim_retention_policy.as_ref();
        Retention {
            with_set: policy.is_some_and(|policy| policy.when_deleted == "Delete"),
            with_pod: policy.is_some_and(|policy| policy.when_scaled == "Delete"),
        }
    }
}

/// Creates the claims that the pod of this number lacks. False: one of them is
/// on its way out, and the pod has to wait until it is gone.
pub fn ensure(
    lister: &dyn Lister,
    set: &Typed<StatefulSet>,
    templates: &[ClaimTemplate],
    ordinal: i64,
    outcome: &mut Outcome,
) -> Result<bool, Error> {
    let namespace = &set.reference.namespace;
    for template in templates {
        let name = template.claim_name(set, ordinal);
        if let Some(known) = lister.read::<PersistentVolumeClaim>(namespace, &name)? {
            if known.metadata.is_being_deleted() {
                return Ok(false);
            }
            continue;
        }
        outcome.push(Create::new(
            PERSISTENT_VOLUME_CLAIM,
            namespace,
            &new_claim(set, template, &name),
        ));
        let note = format!(
            "create Claim {name} Pod {} in StatefulSet {} success",
            pod_name(set, ordinal),
            set.reference.name
        );
        outcome.push(Event::normal(set, "SuccessfulCreate", note).action("Create"));
    }
    Ok(true)
}

fn new_claim(set: &Typed<StatefulSet>, template: &ClaimTemplate, name: &str) -> Value {
    let mut claim = template.0.clone();
    claim["apiVersion"] = json!("v1");
    claim["kind"] = json!("PersistentVolumeClaim");
    claim["metadata"]["name"] = json!(name);
    claim["metadata"]["namespace"] = json!(set.reference.namespace);
    if !claim["metadata"]["labels"].is_object() {
        claim["metadata"]["labels"] = json!({});
    }
    for (key, value) in set.spec.selector.match_labels.iter().flatten() {
        claim["metadata"]["labels"][key.as_str()] = json!(value);
    }
    if let Some(fields) = claim.as_object_mut() {
        fields.remove("status");
    }
    if Retention::of(set).with_set {
        claim["metadata"]["ownerReferences"] = json!([set_reference(set)]);
    }
    claim
}

fn set_reference(set: &Typed<StatefulSet>) -> Value {
    controller("apps/v1", "StatefulSet", &set.reference.name, &set.uid)
}

fn controller(api_version: &str, kind: &str, name: &str, uid: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": uid,
        "controller": true, "blockOwnerDeletion": true})
}

/// Makes the owners of a pod's claims follow the retention policy: the set, when
/// claims go with it; the pod, when it is one too many and claims go with pods.
pub fn follow_policy(
    lister: &dyn Lister,
    set: &Typed<StatefulSet>,
    templates: &[ClaimTemplate],
    pod: &Typed<Pod>,
    ordinal: i64,
    condemned: bool,
    outcome: &mut Outcome,
) -> Result<(), Error> {
    let retention = Retention::of(set);
    for template in templates {
        let name = template.claim_name(set, ordinal);
        let Some(claim) = lister.read::<PersistentVolumeClaim>(&set.reference.namespace, &name)?
        else {
            continue;
        };
        let mine = |owner: &OwnerReference| {
            (owner.kind == "StatefulSet" && owner.name == set.reference.name)
                || (owner.kind == "Pod" && owner.name == pod.reference.name)
        };
        let wanted = if claim.metadata.controller().is_some_and(|owner| !mine(owner)) {
            None // a claim that another controls is that one's to delete
        } else if retention.with_pod && condemned {
            Some(controller("v1", "Pod", &pod.reference.name, &pod.uid))
        } else {
            retention.with_set.then(|| set_reference(set))
        };
        let mut owners: Vec<Value> = claim
            .metadata
            .owner_references
            .iter()
            .filter(|owner| !mine(owner))
            .map(|owner| json!(owner))
            .collect();
        owners.extend(wanted);
        let key = |owner: &Value| {
            (owner["kind"].clone(), owner["uid"].clone(), owner["controller"].clone())
        };
        let known: Vec<Value> =
            claim.metadata.owner_references.iter().map(|owner| json!(owner)).collect();
        let same = known.len() == owners.len()
            && known.iter().all(|a| owners.iter().any(|b| key(a) == key(b)));
        if !same && !claim.metadata.is_being_deleted() {
            let owners = if owners.is_empty() { Value::Null } else { json!(owners) };
            let body = json!({"metadata": {"uid": claim.uid, "ownerReferences": owners}});
            outcome.push(Patch::merge(&claim, &body).at(claim.revision));
        }
    }
    Ok(())
}
