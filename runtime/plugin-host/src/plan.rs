//! Actions that a plugin returned: checked as a whole before any is performed,
//! then performed in order, neighbours of the same sort side by side.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use crate::action::{Action, Target};
use crate::bindings::actions;
use crate::cluster::{ApplyError, Cluster, PluginIdentity};
use crate::convert;
use crate::fields;
use crate::grants::{Ask, Grants};
use crate::metrics::Metrics;
use crate::sandbox::Fault;

const MAX_ACTIONS: usize = 10_000;

/// The API server's own limit for a request body.
const MAX_ACTION_BYTES: usize = 3 << 20;

/// So many actions of one plan are on their way at a time; group commit makes
/// them share their fsync.
const CONCURRENT_ACTIONS: usize = 64;

/// Turns an outcome's actions into the host's form, or says what is wrong with
/// them. One bad action condemns all: it is the plugin that is wrong.
pub(crate) fn check(actions: Vec<actions::Action>, grants: &Grants) -> Result<Vec<Action>, Fault> {
    if actions.len() > MAX_ACTIONS {
        return Err(Fault::BadReply(format!(
            "it returned {} actions at once, more than the {MAX_ACTIONS} allowed",
            actions.len()
        )));
    }
    actions
        .into_iter()
        .map(|action| {
            let action = convert::action(action).ok_or_else(|| {
                Fault::BadReply("it returned an action that this host does not know".to_owned())
            })?;
            check_one(&action, grants)?;
            Ok(action)
        })
        .collect()
}

fn check_one(action: &Action, grants: &Grants) -> Result<(), Fault> {
    let bad = |message: String| Err(Fault::BadReply(message));
    let granted = |target: &Target, verb: &str, subresource: &str| {
        let ask = Ask { kind: &target.kind, verb, subresource, namespace: &target.namespace };
        if grants.allows(&ask) { Ok(()) } else { Err(Fault::Ungranted(ask.to_string())) }
    };
    match action {
        Action::Create { kind, namespace, object } => {
            let ask = Ask { kind, verb: "create", subresource: "", namespace };
            if !grants.allows(&ask) {
                return Err(Fault::Ungranted(ask.to_string()));
            }
            limit(object.len())?;
            // What is granted is what the envelope says, so the object must say the same.
            let inner = fields::text(object, "metadata.namespace");
            if inner.as_deref().is_some_and(|inner| inner != namespace) {
                return bad(format!(
                    "it creates a {} for namespace {namespace:?} whose metadata.namespace is {:?}",
                    kind.kind,
                    inner.unwrap_or_default()
                ));
            }
            same_kind(object, kind)
        }
        Action::Update { target, subresource, object } => {
            granted(target, "update", subresource)?;
            limit(object.len())?;
            named(target)?;
            if fields::text(object, "metadata.name").is_some_and(|name| name != target.name) {
                return bad(format!("it updates {target} with an object of another name"));
            }
            if fields::text(object, "metadata.namespace")
                .is_some_and(|namespace| namespace != target.namespace)
            {
                return bad(format!("it updates {target} with an object of another namespace"));
            }
            if subresource.is_empty() { same_kind(object, &target.kind) } else { Ok(()) }
        }
        Action::Patch { target, subresource, body, .. } => {
            granted(target, "patch", subresource)?;
            limit(body.len())?;
            named(target)
        }
        Action::Delete { target, .. } => {
            granted(target, "delete", "")?;
            named(target)
        }
        Action::Event { regarding, event_type, note, .. } => {
            if !grants.may_read_in(&regarding.kind, &regarding.namespace) {
                return Err(Fault::Ungranted(format!("an event on {regarding}")));
            }
            limit(note.len())?;
            if event_type != "Normal" && event_type != "Warning" {
                return bad(format!(
                    "it reports an event of type {event_type:?}; there are Normal and Warning"
                ));
            }
            named(regarding)
        }
        // Bindings come from schedulers' decisions, never from a list of actions.
        Action::Bind { .. } => bad("it binds a pod outside of a scheduling decision".to_owned()),
    }
}

fn limit(size: usize) -> Result<(), Fault> {
    if size <= MAX_ACTION_BYTES {
        return Ok(());
    }
    Err(Fault::BadReply(format!(
        "it returned an action of {size} bytes, more than the {MAX_ACTION_BYTES} allowed"
    )))
}

fn named(target: &Target) -> Result<(), Fault> {
    if target.name.is_empty() {
        return Err(Fault::BadReply(format!(
            "it returned an action on a {} without a name",
            target.kind.kind
        )));
    }
    Ok(())
}

fn same_kind(object: &[u8], kind: &pintle_api::meta::GroupVersionKind) -> Result<(), Fault> {
    let found = fields::text(object, "kind");
    if found.as_deref() == Some(kind.kind.as_str()) {
        return Ok(());
    }
    Err(Fault::BadReply(format!(
        "it writes a {} whose JSON says kind {:?}",
        kind.kind,
        found.unwrap_or_default()
    )))
}

/// What became of a plan.
#[derive(Debug, Default)]
pub(crate) struct Performed {
    /// The newest revision written.
    pub written: Option<u64>,
    /// The first rejection; what followed it was not tried.
    pub rejected: Option<ApplyError>,
}

/// Performs checked actions. A rejection ends the plan after the group it
/// happened in; the key is reconciled again from what is true then.
pub(crate) async fn perform(
    cluster: &Arc<dyn Cluster>,
    identity: &PluginIdentity,
    actions: Vec<Action>,
    metrics: &Metrics,
) -> Performed {
    let mut performed = Performed::default();
    let mut actions = actions.into_iter().peekable();
    while performed.rejected.is_none() && actions.peek().is_some() {
        let mut group: Vec<Action> = Vec::new();
        while let Some(next) =
            actions.next_if(|next| group.len() < CONCURRENT_ACTIONS && fits(&group, next))
        {
            group.push(next);
        }
        let mut running: FuturesUnordered<_> = group
            .into_iter()
            .map(|action| async move {
                let is_delete = matches!(action, Action::Delete { .. });
                (is_delete, cluster.apply(identity, action).await)
            })
            .collect();
        while let Some((is_delete, result)) = running.next().await {
            match result {
                Ok(applied) => {
                    metrics.actions(1);
                    performed.written = performed.written.max(Some(applied.revision));
                }
                // What is gone is deleted.
                Err(ApplyError::NotFound(_)) if is_delete => metrics.actions(1),
                // It never will be; what else is to be done does not wait for it.
                Err(ApplyError::NamespaceTerminating(_)) => {}
                Err(error) => {
                    if matches!(error, ApplyError::Conflict(_) | ApplyError::AlreadyExists(_)) {
                        metrics.conflict();
                    }
                    performed.rejected.get_or_insert(error);
                }
            }
        }
    }
    performed
}

/// Whether `next` may run beside the group: the same sort of action, on another object.
fn fits(group: &[Action], next: &Action) -> bool {
    let Some(first) = group.first() else { return true };
    if std::mem::discriminant(first) != std::mem::discriminant(next) {
        return false;
    }
    match target(next) {
        None => true,
        Some(next) => !group.iter().any(|other| target(other) == Some(next)),
    }
}

fn target(action: &Action) -> Option<&Target> {
    match action {
        Action::Update { target, .. }
        | Action::Patch { target, .. }
        | Action::Delete { target, .. } => Some(target),
        Action::Event { regarding, .. } => Some(regarding),
        Action::Create { .. } | Action::Bind { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::types;
    use crate::plugin::GrantRule;
    use crate::testing::{ENDING, Still};
    use pintle_api::meta::GroupVersionKind;

    fn grants() -> Grants {
        Grants::new(vec![GrantRule {
            api_groups: vec![String::new()],
            kinds: vec!["Pod".into()],
            verbs: vec!["get".into(), "create".into(), "delete".into(), "update/status".into()],
            namespaces: vec!["a".into()],
            reason: String::new(),
        }])
    }

    fn create(namespace: &str, json: &str) -> actions::Action {
        let kind =
            types::KindRef { group: String::new(), version: "v1".into(), kind: "Pod".into() };
        actions::Action::Create(actions::Create {
            kind,
            namespace: namespace.into(),
            json: json.into(),
        })
    }

    #[test]
    fn actions_are_refused_with_a_reason() {
        fn bad(action: actions::Action, expect: &str) {
            let fault = check(vec![action], &grants()).unwrap_err();
            assert!(fault.to_string().contains(expect), "{fault}");
        }
        assert!(check(vec![create("a", r#"{"kind":"Pod"}"#)], &grants()).is_ok());
        bad(create("b", r#"{"kind":"Pod"}"#), "create Pod in namespace b, which is not granted");
        bad(create("a", r#"{"kind":"Secret"}"#), "kind \"Secret\"");
        bad(
            create("a", r#"{"kind":"Pod","metadata":{"namespace":"b"}}"#),
            "metadata.namespace is \"b\"",
        );
        bad(create("a", &" ".repeat(MAX_ACTION_BYTES + 1)), "more than");
        bad(create("a", "nonsense"), "kind \"\"");
        bad(actions::Action::Other(("later".into(), vec![])), "does not know");
        let many = (0..=MAX_ACTIONS).map(|_| create("a", "{}")).collect();
        assert!(check(many, &grants()).unwrap_err().to_string().contains("10001 actions"));
    }

    #[tokio::test]
    async fn what_a_namespace_on_its_way_out_does_not_take_is_not_asked_for_again() {
        async fn check(namespaces: &[&str], rejected: bool) {
            let cluster: Arc<dyn Cluster> = Arc::new(Still(Vec::new()));
            let actions = namespaces.iter().map(|namespace| Action::Create {
                kind: GroupVersionKind::new("", "v1", "Pod"),
                namespace: (*namespace).to_owned(),
                object: bytes::Bytes::new(),
            });
            let metrics = Metrics::default();
            let done = perform(&cluster, &PluginIdentity::Host, actions.collect(), &metrics).await;
            assert_eq!(done.rejected.is_some(), rejected, "{namespaces:?}");
        }
        check(&[ENDING], false).await;
        check(&[ENDING, ENDING], false).await;
        check(&["other"], true).await;
        // What comes behind it is tried all the same.
        check(&[ENDING, "other"], true).await;
    }

    #[test]
    fn only_neighbours_of_one_sort_on_different_objects_go_together() {
        fn delete(name: &str) -> Action {
            let kind = GroupVersionKind::new("", "v1", "Pod");
            let target = Target { kind, namespace: "a".into(), name: name.into() };
            Action::Delete {
                target,
                uid: None,
                revision: None,
                grace_period_seconds: None,
                propagation: None,
            }
        }
        let created = Action::Create {
            kind: GroupVersionKind::new("", "v1", "Pod"),
            namespace: "a".into(),
            object: bytes::Bytes::new(),
        };
        assert!(fits(&[], &delete("x")));
        assert!(fits(&[delete("x")], &delete("y")));
        assert!(!fits(&[delete("x")], &delete("x")));
        assert!(!fits(&[delete("x")], &created));
        assert!(fits(std::slice::from_ref(&created), &created));
    }
}
