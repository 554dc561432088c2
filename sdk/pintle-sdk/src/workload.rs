//! What controllers of pods share: claiming pods by owner and selector, making
//! them from a template, and telling whether they are available.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::action::Outcome;
use crate::context::Context;
use crate::controller::{Change, Description, Enqueue, Watch};
use crate::error::Error;
use crate::lister::{Lister, METADATA, Query, Typed};
use crate::object::KindRef;
use crate::owners;
use crate::remembered::Remembered;
use crate::selector::LabelSelector;
use crate::types::{POD, Pod};

/// Changes of a pod that every controller of pods has to know of.
const SEEN: &[&str] = &[
    "metadata.labels",
    "metadata.ownerReferences",
    "metadata.deletionTimestamp",
    "status.phase",
    "status.conditions",
];

impl Description {
    /// Watches the pods that objects of this kind own, and those that their
    /// selector, the label map or label selector at the path, comes to match. `fields` matter
    /// besides the usual ones.
    pub fn watch_pods_of(self, kind: KindRef, selector: &str, fields: &[&str]) -> Self {
        let seen: Vec<&str> = SEEN.iter().chain(fields).copied().collect();
        let selected = Enqueue::SelectedBy(kind.clone(), selector.to_owned());
        let pod = || Watch::of(crate::types::POD);
        self.watch(pod().when_changed(&seen).enqueue(Enqueue::ControllerOwner(kind))).watch(
            pod()
                .on(Change::ADDED.or(Change::MODIFIED))
                .when_changed(&["metadata.labels", "metadata.ownerReferences"])
                .enqueue(selected),
        )
    }
}

/// What controllers look at in the pods they have, besides the metadata. Most of a
/// pod is its containers, which were theirs to begin with.
const CLAIMED: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "status.phase",
    "status.reason",
    "status.conditions",
    "status.startTime",
    "status.containerStatuses",
];

/// Pods that `owner` owns, without their containers, and those that the selector matches although it does
/// not own them. An empty selector matches nothing.
pub fn candidates<T>(
    known: &Remembered<Typed<Pod>>,
    lister: &dyn Lister,
    owner: &Typed<T>,
    selector: &LabelSelector,
) -> Result<Vec<Typed<Pod>>, Error> {
    let namespace = &owner.reference.namespace;
    let owned = Query::of(POD).namespace(namespace).owned_by(&*owner.uid);
    let mut pods = known.read(lister, &owned.clone().fields(METADATA).fields(CLAIMED))?;
    if selector.is_empty() {
        return Ok(pods);
    }
    let matching = Query::of(POD).namespace(namespace).selector(selector);
    // Mostly there are no strangers, which takes no names to see.
    if lister.count(&matching) == lister.count(&owned.selector(selector)) {
        return Ok(pods);
    }
    let owned: BTreeSet<String> = pods.iter().map(|pod| pod.uid.clone()).collect();
    for stranger in lister.list(&matching.metadata_only()) {
        if !owned.contains(&stranger.uid) {
            pods.extend(lister.read::<Pod>(namespace, &stranger.reference.name)?);
        }
    }
    Ok(pods)
}

/// Adopts pods without controller that match and that `may_adopt` lets through,
/// releases own ones that match no longer; returns the own ones. An owner that
/// is being deleted does neither.
pub fn claim<T>(
    owner: &Typed<T>,
    selector: &LabelSelector,
    owner_is_going: bool,
    pods: Vec<Typed<Pod>>,
    may_adopt: impl Fn(&Pod) -> bool,
    outcome: &mut Outcome,
) -> Vec<Typed<Pod>> {
    let mut own = Vec::with_capacity(pods.len());
    for pod in pods {
        let matches = selector.matches(&pod.metadata.labels);
        match pod.metadata.controller() {
            Some(controller) if controller.uid == owner.uid => {
                if matches {
                    own.push(pod);
                } else if !owner_is_going && !pod.metadata.is_being_deleted() {
                    outcome.push(owners::release(&pod, &owner.uid));
                }
            }
            Some(_) => {}
            None => {
                let may_have = matches && !owner_is_going && !pod.metadata.is_being_deleted();
                if may_have && may_adopt(&pod) {
                    outcome.push(owners::adopt(&pod, owner));
                    own.push(pod);
                }
            }
        }
    }
    own
}

/// A new pod, owned by `owner`, as JSON: the template's labels, annotations,
/// finalizers and spec. The caller names it. What is of the wrong shape is left
/// out: the API server says what the pod lacks.
pub fn pod_from_template<T>(owner: &Typed<T>, template: &Value) -> Value {
    let mut metadata = json!({
        "namespace": owner.reference.namespace,
        "ownerReferences": [owners::controller_reference(owner)],
    });
    for field in ["labels", "annotations", "finalizers"] {
        let value = &template["metadata"][field];
        if value.is_object() || (value.is_array() && field == "finalizers") {
            metadata[field] = value.clone();
        }
    }
    let spec = match &template["spec"] {
        spec @ Value::Object(_) => spec.clone(),
        _ => json!({}),
    };
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

/// Whether a pod can be relied upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// Its condition `Ready` is not true.
    NotReady,
    /// It has to stay ready for so many milliseconds more.
    ReadyFor(u64),
    /// It has been ready for long enough.
    Available,
}

impl Availability {
    /// Of a pod that counts as available once it has been ready for so many seconds.
    pub fn of(context: &Context, pod: &Pod, min_ready_seconds: i64) -> Self {
        let Some(ready) = pod.ready_condition().filter(|condition| condition.is_true()) else {
            return Availability::NotReady;
        };
        if min_ready_seconds <= 0 {
            return Availability::Available;
        }
        let wanted = min_ready_seconds.saturating_mul(1000);
        let elapsed = context.since(ready.last_transition_time.as_deref()).unwrap_or(0);
        match u64::try_from(wanted - elapsed).unwrap_or(0) {
            0 => Availability::Available,
            wait => Availability::ReadyFor(wait),
        }
    }

    /// Available or on the way to it.
    pub fn is_ready(self) -> bool {
        self != Availability::NotReady
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_after_being_ready_for_long_enough() {
        fn check(now: i64, min_ready_seconds: i64, expect: Availability) {
            let ready = json!({"status": {"conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:00:10Z"}]}});
            let pod: Pod = serde_json::from_value(ready).unwrap();
            let context = Context { now_unix_ms: now, ..Context::default() };
            assert_eq!(Availability::of(&context, &pod, min_ready_seconds), expect);
        }
        check(10_000, 0, Availability::Available);
        check(10_000, 5, Availability::ReadyFor(5000));
        check(14_999, 5, Availability::ReadyFor(1));
        check(15_000, 5, Availability::Available);
        let context = Context::default();
        assert_eq!(Availability::of(&context, &Pod::default(), 0), Availability::NotReady);
    }
}
