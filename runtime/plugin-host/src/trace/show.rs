//! What a trace holds, as people want to see it: JSON in which the bytes of
//! objects and patches are documents, and one line for each question.

use serde_json::{Value, json};

use super::model::{
    AccessRecord, ActionRecord, Answer, Blob, DecisionRecord, Input, KindRecord, ObjectRecord,
    QueryRecord, Question, RefRecord, RejectionRecord, VerdictRecord,
};

/// Which object a call is about.
pub(super) struct Subject {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub revision: u64,
}

/// `item`: which of several, for calls about more than one object.
pub(super) fn subject(input: &Input, item: usize) -> Subject {
    let of = |reference: &RefRecord, revision: u64| Subject {
        kind: reference.kind.kind.clone(),
        namespace: reference.namespace.clone(),
        name: reference.name.clone(),
        revision,
    };
    let object = |object: &ObjectRecord| of(&object.reference, object.revision);
    let nobody = |what: &str, name: String| Subject {
        kind: what.to_owned(),
        namespace: String::new(),
        name,
        revision: 0,
    };
    match input {
        Input::Reconcile { reference, context, .. } => of(reference, context.revision),
        Input::Review { request, context } => of(&request.reference, context.revision),
        Input::Schedule { pods, .. } => {
            pods.get(item).or(pods.first()).map_or_else(|| nobody("Pod", String::new()), object)
        }
        Input::Filter { pod, .. } | Input::Score { pod, .. } => object(pod),
        Input::Sync(deltas) => deltas.first().map_or_else(
            || nobody("deltas", String::new()),
            |delta| {
                let (super::model::DeltaRecord::Upsert(first)
                | super::model::DeltaRecord::Remove(first)) = delta;
                object(first)
            },
        ),
        Input::SyncNodes(nodes) => nodes
            .iter()
            .find_map(|node| node.node.as_ref())
            .map_or_else(|| nobody("Node", String::new()), object),
        Input::Forget(uids) => nobody("Pod", uids.first().cloned().unwrap_or_default()),
        Input::Authorize { context, attributes } => {
            let asked = crate::authorizer::target(&super::authorizer::to_attributes(attributes));
            Subject {
                kind: asked.kind.kind.clone(),
                namespace: asked.namespace,
                name: asked.name,
                revision: context.revision,
            }
        }
        Input::Rules { context, user, namespace } => Subject {
            kind: "SelfSubjectRulesReview".to_owned(),
            namespace: namespace.clone(),
            name: user.name.clone(),
            revision: context.revision,
        },
    }
}

pub(super) fn question(question: &Question) -> String {
    match question {
        Question::Get(reference) => format!("get {reference}"),
        Question::List(query) => format!("list {}", self::query(query)),
        Question::ListFields(query, fields) => {
            format!("list {} with fields {}", self::query(query), fields.join(", "))
        }
        Question::Count(query) => format!("count {}", self::query(query)),
        Question::Numbering => "the numbering of nodes".to_owned(),
        Question::Nodes => "the numbers of nodes".to_owned(),
        Question::Evaluate(uid) => format!("what extensions say about pod uid {uid}"),
        Question::Evaluation(version) => format!("evaluation {version} of the extensions"),
    }
}

fn query(query: &QueryRecord) -> String {
    let mut text = query.kind.as_ref().map_or("every kind", |kind| &kind.kind).to_owned();
    let mut add = |what: &str, value: &Option<String>| {
        if let Some(value) = value {
            text.push_str(&format!(" {what} {value}"));
        }
    };
    add("in namespace", &query.namespace);
    add("owned by uid", &query.owner_uid);
    add("with labels", &query.label_selector);
    add("where", &query.field.as_ref().map(|(path, value)| format!("{path}={value}")));
    if query.metadata_only {
        text.push_str(" (metadata only)");
    }
    if query.limit > 0 {
        text.push_str(&format!(" (at most {})", query.limit));
    }
    text
}

/// An answer without its list of items.
pub(super) fn answer(answer: &Answer) -> Value {
    match answer {
        Answer::Done => json!("done"),
        Answer::Outcome { actions, requeue_after_ms } => json!({
            "actions": actions.iter().map(action).collect::<Vec<_>>(),
            "requeueAfterMilliseconds": requeue_after_ms,
        }),
        Answer::Error(message) => json!({ "error": message }),
        Answer::Decisions(decisions) => decisions.iter().map(decision).collect(),
        Answer::Review { verdict, warnings } => {
            let mut shown = json!({ "verdict": self::verdict(verdict) });
            if !warnings.is_empty() {
                shown["warnings"] = json!(warnings);
            }
            shown
        }
        Answer::Rejections(rejections) => rejections.iter().map(rejection).collect(),
        Answer::Scores(scores) => json!({ "scores": scores }),
        Answer::Access(AccessRecord::Allow(reason)) => json!({ "allow": reason }),
        Answer::Access(AccessRecord::Deny(reason)) => json!({ "deny": reason }),
        Answer::Access(AccessRecord::NoOpinion(reason)) => json!({ "noOpinion": reason }),
        Answer::Rules { resource_rules, non_resource_rules, incomplete } => json!({
            "resourceRules": resource_rules,
            "nonResourceRules": non_resource_rules,
            "incomplete": incomplete,
        }),
        Answer::Fault(fault) => json!({ "fault": fault.reason, "message": fault.message }),
    }
}

pub(super) fn rejection(rejection: &RejectionRecord) -> Value {
    json!({ "reason": rejection.reason, "nodes": rejection.nodes })
}

pub(super) fn action(action: &ActionRecord) -> Value {
    match action {
        ActionRecord::Create { kind, namespace, json } => json!({
            "create": place(kind, namespace, ""),
            "object": document(json),
        }),
        ActionRecord::Update { reference, subresource, json } => {
            let mut shown = json!({ "update": target(reference), "object": document(json) });
            add_text(&mut shown, "subresource", subresource);
            shown
        }
        ActionRecord::Patch { reference, subresource, patch_type, body, revision } => {
            let mut shown = json!({
                "patch": target(reference),
                "type": format!("{patch_type:?}").to_lowercase(),
                "body": document(body),
            });
            add_text(&mut shown, "subresource", subresource);
            if let Some(revision) = revision {
                shown["onlyAtRevision"] = json!(revision);
            }
            shown
        }
        ActionRecord::Delete { reference, uid, revision, grace_period_seconds, propagation } => {
            let mut shown = json!({ "delete": target(reference) });
            if let Some(uid) = uid {
                shown["onlyWithUid"] = json!(uid);
            }
            if let Some(revision) = revision {
                shown["onlyAtRevision"] = json!(revision);
            }
            if let Some(seconds) = grace_period_seconds {
                shown["gracePeriodSeconds"] = json!(seconds);
            }
            if let Some(propagation) = propagation {
                shown["propagation"] = json!(format!("{propagation:?}"));
            }
            shown
        }
        ActionRecord::Event { regarding, event_type, reason, action, note, .. } => json!({
            "event": target(regarding),
            "type": event_type,
            "reason": reason,
            "action": action,
            "note": note,
        }),
        ActionRecord::Other(name, bytes) => json!({ "other": name, "bytes": bytes.0.len() }),
    }
}

pub(super) fn decision(decision: &DecisionRecord) -> Value {
    match decision {
        DecisionRecord::Bind { node, .. } => json!({ "bind": node }),
        DecisionRecord::Unschedulable { message, wake_on, .. } => json!({
            "unschedulable": message,
            "wakeOn": wake_on.iter().map(|wake| format!("{wake:?}")).collect::<Vec<_>>(),
        }),
        DecisionRecord::Preempt { node, victims, message, .. } => {
            json!({ "preempt": node, "victims": victims, "message": message })
        }
        DecisionRecord::Ignore(reason) => json!({ "ignore": reason }),
    }
}

fn verdict(verdict: &VerdictRecord) -> Value {
    match verdict {
        VerdictRecord::Allow => json!("allow"),
        VerdictRecord::Patch(patch) => json!({ "patch": document(patch) }),
        VerdictRecord::Deny { code, reason, message } => {
            json!({ "deny": message, "code": code, "reason": reason })
        }
    }
}

fn target(reference: &RefRecord) -> String {
    place(&reference.kind, &reference.namespace, &reference.name)
}

fn place(kind: &KindRecord, namespace: &str, name: &str) -> String {
    let mut text = kind.kind.clone();
    if !kind.group.is_empty() {
        text.push_str(&format!(".{}", kind.group));
    }
    match (namespace, name) {
        ("", name) => text.push_str(&format!(" {name}")),
        (namespace, "") => text.push_str(&format!(" in {namespace}")),
        (namespace, name) => text.push_str(&format!(" {namespace}/{name}")),
    }
    text.trim_end().to_owned()
}

fn add_text(value: &mut Value, field: &str, text: &str) {
    if !text.is_empty() {
        value[field] = text.into();
    }
}

/// Text, if it is no JSON after all.
fn document(bytes: &Blob) -> Value {
    serde_json::from_slice(&bytes.0)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes.0).into_owned()))
}
