//! Decisions in a form in which equal ones are equal: JSON as values, actions
//! in an order of their own where it does not matter, texts for people shown
//! but not compared.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use crate::action::{Action, Target};
use crate::extension::Opinion;
use crate::follow::Decided;
use crate::program::admission_interface::{Request, Response, Verdict};
use crate::program::authorizer_interface::Decision as Access;
use crate::program::scheduler_interface::Decision;

/// Nodes that are shown of those on which two extensions differ.
const SHOWN_NODES: usize = 10;

/// One decision.
pub(crate) struct View {
    /// For people.
    pub shown: Value,
    /// What has to be the same.
    compared: Value,
}

impl View {
    /// All of it has to be the same.
    #[cfg(test)]
    pub fn plain(value: Value) -> Self {
        Self { shown: value.clone(), compared: value }
    }

    pub fn same_as(&self, other: &Self) -> bool {
        self.compared == other.compared
    }

    /// What a controller decided for a key.
    pub fn of_controller(decided: &Decided) -> Self {
        match decided {
            Decided::Error(message) => {
                Self { shown: json!({ "error": message }), compared: json!("error") }
            }
            Decided::Act { actions, again_after } => {
                let mut ordered: Vec<(Place, Value, Value)> = actions
                    .iter()
                    .map(|action| (Place::of(action), shown(action), compared(action)))
                    .collect();
                ordered.sort_by(|a, b| a.0.cmp(&b.0));
                let again =
                    again_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
                let (shown, compared): (Vec<Value>, Vec<Value>) =
                    ordered.into_iter().map(|(_, shown, compared)| (shown, compared)).unzip();
                Self {
                    shown: json!({ "actions": shown, "requeueAfterMilliseconds": again }),
                    compared: json!([compared, again]),
                }
            }
        }
    }

    /// What a scheduler decided for a pod.
    pub fn of_scheduler(decision: &Decision) -> Self {
        match decision {
            Decision::Bind(binding) => Self {
                shown: json!({ "bind": binding.node }),
                compared: json!(["bind", binding.node]),
            },
            Decision::Unschedulable(unschedulable) => Self {
                shown: json!({ "unschedulable": unschedulable.message }),
                compared: json!(["unschedulable"]),
            },
            Decision::Preempt(preemption) => {
                let mut victims = preemption.victims.clone();
                victims.sort();
                Self {
                    shown: json!({
                        "preempt": preemption.node,
                        "victims": victims,
                        "message": preemption.message,
                    }),
                    compared: json!(["preempt", preemption.node, victims]),
                }
            }
            Decision::Ignore(reason) => {
                Self { shown: json!({ "ignore": reason }), compared: json!(["ignore"]) }
            }
        }
    }

    /// What two versions of an extension said about a pod, as far as they
    /// differ: there are thousands of nodes. `names` are those of the nodes.
    pub fn of_extensions(names: &[String], active: &Opinion, candidate: &Opinion) -> (Self, Self) {
        let (active, candidate) = (Said::of(active, names), Said::of(candidate, names));
        let differs = |number: &usize| {
            !names[*number].is_empty() && active.on(*number) != candidate.on(*number)
        };
        let differing: Vec<usize> = (0..names.len()).filter(differs).collect();
        let view = |said: &Said| {
            let of = |number: &usize| (names[*number].clone(), said.shown(*number));
            let mut shown = json!({
                "nodes": differing.iter().take(SHOWN_NODES).map(of).collect::<Map<_, _>>(),
            });
            if differing.len() > SHOWN_NODES {
                shown["more"] = json!(differing.len() - SHOWN_NODES);
            }
            let compared: Vec<_> =
                differing.first().map(|first| said.on(*first)).into_iter().collect();
            Self { shown, compared: json!(compared) }
        };
        (view(&active), view(&candidate))
    }

    /// What an authorizer answered. Reasons are for people.
    pub fn of_authorizer(decision: &Access) -> Self {
        let (what, reason) = match decision {
            Access::Allow(reason) => ("allow", reason),
            Access::Deny(reason) => ("deny", reason),
            Access::NoOpinion(reason) => ("noOpinion", reason),
        };
        Self { shown: json!({ what: reason }), compared: json!(what) }
    }

    /// What an admission plugin answered. Patches are the same if they make the
    /// same of the object.
    pub fn of_admission(request: &Request, response: &Response) -> Self {
        let (mut shown, compared) = match &response.verdict {
            Verdict::Allow => (json!({ "allow": true }), unpatched(request)),
            Verdict::Deny(denial) => {
                let code = if denial.code == 0 { 403 } else { denial.code };
                (
                    json!({ "deny": denial.message, "code": code, "reason": denial.reason }),
                    json!(["deny", code, denial.reason]),
                )
            }
            Verdict::Patch(patch) => (json!({ "patch": value(patch) }), patched(request, patch)),
        };
        if !response.warnings.is_empty() {
            shown["warnings"] = json!(response.warnings);
        }
        Self { shown, compared }
    }
}

/// What an extension said, by node number.
struct Said<'a> {
    rejected: Vec<Option<&'a str>>,
    scores: Option<&'a [u8]>,
}

impl<'a> Said<'a> {
    fn of(opinion: &'a Opinion, names: &[String]) -> Self {
        let mut rejected = vec![None; names.len()];
        for rejection in &opinion.rejections {
            for number in &rejection.nodes {
                if let Some(reason) = rejected.get_mut(*number as usize) {
                    *reason = Some(&*rejection.reason);
                }
            }
        }
        Self { rejected, scores: opinion.scores.as_deref() }
    }

    /// What has to be the same: whether the node is rejected, and its score.
    fn on(&self, number: usize) -> (bool, Option<u8>) {
        let score = self.scores.map(|scores| scores.get(number).copied().unwrap_or(0));
        (self.rejected[number].is_some(), score)
    }

    fn shown(&self, number: usize) -> Value {
        match (self.rejected[number], self.on(number).1) {
            (Some(reason), None) => json!({ "rejected": reason }),
            (Some(reason), Some(score)) => json!({ "rejected": reason, "score": score }),
            (None, Some(score)) => json!({ "score": score }),
            (None, None) => json!({}),
        }
    }
}

fn unpatched(request: &Request) -> Value {
    json!(["allow", value(&request.json)])
}

fn patched(request: &Request, patch: &[u8]) -> Value {
    let parsed: Result<json_patch::Patch, _> = serde_json::from_slice(patch);
    let Ok(parsed) = parsed else { return json!(["patch", value(patch)]) };
    let mut object = value(&request.json);
    match json_patch::patch(&mut object, &parsed) {
        Ok(()) => json!(["allow", object]),
        Err(_) => json!(["patch", value(patch)]),
    }
}

/// JSON as a value, anything else as text.
fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}

/// Where an action stands among others. Those on one object keep their order;
/// what creates without a name, or reports, depends on no other.
#[derive(PartialEq, Eq)]
struct Place {
    sort: u8,
    kind: String,
    namespace: String,
    name: String,
    /// Only where the order of equals does not matter.
    content: String,
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |place: &Self| {
            (
                place.sort,
                place.kind.clone(),
                place.namespace.clone(),
                place.name.clone(),
                place.content.clone(),
            )
        };
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Place {
    fn of(action: &Action) -> Self {
        let on = |sort, target: &Target, content| Self {
            sort,
            kind: format!("{} {}", target.kind.group, target.kind.kind),
            namespace: target.namespace.clone(),
            name: target.name.clone(),
            content,
        };
        match action {
            Action::Update { target, .. }
            | Action::Patch { target, .. }
            | Action::Delete { target, .. } => on(0, target, String::new()),
            Action::Create { kind, namespace, object } => {
                let name = crate::fields::text(object, "metadata.name").unwrap_or_default();
                let content =
                    if name.is_empty() { value(object).to_string() } else { String::new() };
                let target = Target {
                    kind: kind.clone(),
                    namespace: namespace.clone(),
                    name: name.into_owned(),
                };
                on(0, &target, content)
            }
            Action::Event { regarding, .. } => on(1, regarding, compared(action).to_string()),
            Action::Bind { pod, namespace, .. } => Self {
                sort: 0,
                kind: " Pod".to_owned(),
                namespace: namespace.clone(),
                name: pod.clone(),
                content: String::new(),
            },
        }
    }
}

fn compared(action: &Action) -> Value {
    let mut value = shown(action);
    if let Some(event) = value.get_mut("event").and_then(Value::as_object_mut) {
        event.remove("note");
    }
    value
}

/// An action as people read it.
pub(crate) fn shown(action: &Action) -> Value {
    let on = |target: &Target| {
        json!({
            "apiVersion": target.kind.api_version(),
            "kind": target.kind.kind,
            "namespace": target.namespace,
            "name": target.name,
        })
    };
    match action {
        Action::Create { object, namespace, .. } => {
            json!({ "create": value(object), "namespace": namespace })
        }
        Action::Update { target, subresource, object } => {
            json!({ "update": on(target), "subresource": subresource, "object": value(object) })
        }
        Action::Patch { target, subresource, patch_type, body, revision } => json!({
            "patch": on(target),
            "subresource": subresource,
            "type": format!("{patch_type:?}"),
            "body": value(body),
            "revision": revision,
        }),
        Action::Delete { target, uid, revision, grace_period_seconds, propagation } => json!({
            "delete": on(target),
            "uid": uid,
            "revision": revision,
            "gracePeriodSeconds": grace_period_seconds,
            "propagation": propagation.map(|propagation| format!("{propagation:?}")),
        }),
        Action::Event { regarding, regarding_uid, event_type, reason, action, note } => json!({
            "event": {
                "regarding": on(regarding),
                "uid": regarding_uid,
                "type": event_type,
                "reason": reason,
                "action": action,
                "note": note,
            },
        }),
        Action::Bind { namespace, pod, uid, node } => {
            json!({ "bind": node, "namespace": namespace, "pod": pod, "uid": uid })
        }
    }
}

#[cfg(test)]
mod tests;
