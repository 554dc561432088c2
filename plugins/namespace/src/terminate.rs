//! Emptying a namespace: pods first, then the rest, then the namespace itself.

use std::collections::BTreeMap;

use pintle_sdk::conditions;
use pintle_sdk::prelude::*;
use serde_json::{Value, json};

const FINALIZER: &str = "kubernetes";
/// Deletions in one step; the rest follows when these are seen.
const MOST_AT_ONCE: usize = 500;

/// What is left of a kind.
#[derive(Debug, Default)]
struct Remaining {
    kinds: BTreeMap<KindRef, usize>,
    finalizers: BTreeMap<String, usize>,
}

pub fn plan(
    context: &Context,
    lister: &dyn Lister,
    namespace: &Typed<Namespace>,
    json: Value,
) -> Result<Outcome, Error> {
    let mut outcome = Outcome::done();
    if !namespace.spec.finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        return Ok(outcome);
    }
    let name = &namespace.reference.name;
    let mut remaining = Remaining::default();
    let mut doomed = Vec::new();
    // What runs may still need what is mounted or referred to: pods go first.
    for pods_only in [true, false] {
        let mut query = Query::any_kind().namespace(name);
        query.kind = pods_only.then_some(POD);
        for object in lister.list(&query) {
            let AnyObject { metadata } = object.parse()?;
            *remaining.kinds.entry(object.reference.kind.clone()).or_default() += 1;
            for finalizer in &metadata.finalizers {
                *remaining.finalizers.entry(finalizer.clone()).or_default() += 1;
            }
            if !metadata.is_being_deleted() {
                doomed.push(
                    Delete::new(&object).uid(object.uid).propagation(Propagation::Background),
                );
            }
        }
        if !remaining.kinds.is_empty() {
            break;
        }
    }
    report(context, namespace, &remaining, &mut outcome);
    if remaining.kinds.is_empty() {
        // After the conditions: the update carries the revision that was seen.
        if outcome.actions.is_empty() {
            outcome.push(Update::new(namespace, &without_finalizer(json)).subresource("finalize"));
        }
        return Ok(outcome);
    }
    if doomed.len() > MOST_AT_ONCE {
        outcome.requeue_after(1);
    }
    for delete in doomed.into_iter().take(MOST_AT_ONCE) {
        outcome.push(delete);
    }
    Ok(outcome)
}

fn without_finalizer(mut namespace: Value) -> Value {
    if let Some(list) = namespace.pointer_mut("/spec/finalizers").and_then(Value::as_array_mut) {
        list.retain(|finalizer| finalizer != FINALIZER);
    }
    namespace
}

/// The conditions by which a person sees what a namespace waits for.
fn report(
    context: &Context,
    namespace: &Typed<Namespace>,
    remaining: &Remaining,
    outcome: &mut Outcome,
) {
    let now = context.now();
    let mut list = namespace.status.conditions.clone();
    let mut changed = false;
    let mut set = |r#type: &str, status: &str, reason: &str, message: String| {
        changed |=
            conditions::set(&mut list, Condition::new(r#type, status, reason, message), &now);
    };
    set(
        "NamespaceDeletionDiscoveryFailure",
        "False",
        "ResourcesDiscovered",
        "All resources successfully discovered".to_owned(),
    );
    set(
        "NamespaceDeletionGroupVersionParsingFailure",
        "False",
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed".to_owned(),
    );
    set(
        "NamespaceDeletionContentFailure",
        "False",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization".to_owned(),
    );
    if remaining.kinds.is_empty() {
        let message = "All content successfully removed".to_owned();
        set("NamespaceContentRemaining", "False", "ContentRemoved", message);
    } else {
        let kinds = remaining.kinds.iter().map(|(kind, count)| {
            format!("{}.{} has {count} resource instances", plural(&kind.kind), kind.group)
        });
        let message =
            format!("Some resources are remaining: {}", kinds.collect::<Vec<_>>().join(", "));
        set("NamespaceContentRemaining", "True", "SomeResourcesRemain", message);
    }
    if remaining.finalizers.is_empty() {
        let message = "All content-preserving finalizers finished".to_owned();
        set("NamespaceFinalizersRemaining", "False", "ContentHasNoFinalizers", message);
    } else {
        let finalizers = remaining
            .finalizers
            .iter()
            .map(|(finalizer, count)| format!("{finalizer} in {count} resource instances"));
        let message = format!(
            "Some content in the namespace has finalizers remaining: {}",
            finalizers.collect::<Vec<_>>().join(", ")
        );
        set("NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain", message);
    }
    if changed {
        let body = json!({"metadata": {"uid": namespace.uid}, "status": {"conditions": list}});
        outcome.push(Patch::merge(namespace, &body).status());
    }
}

/// `pods` for `Pod`; for the text of a condition only.
fn plural(kind: &str) -> String {
    let lower = kind.to_ascii_lowercase();
    match lower.as_bytes() {
        [.., b's'] if lower == "endpoints" => lower,
        [.., b's' | b'x'] => format!("{lower}es"),
        [.., before, b'y'] if !b"aeiou".contains(before) => {
            format!("{}ies", &lower[..lower.len() - 1])
        }
        _ => format!("{lower}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plurals() {
        let check = |kind, expect: &str| assert_eq!(plural(kind), expect);
        check("Pod", "pods");
        check("Ingress", "ingresses");
        check("NetworkPolicy", "networkpolicies");
        check("Endpoints", "endpoints");
        check("EndpointSlice", "endpointslices");
        check("Gateway", "gateways");
    }
}
