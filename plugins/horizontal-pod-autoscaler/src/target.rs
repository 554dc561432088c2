//! The workload that is scaled.

use std::collections::BTreeMap;

use pintle_sdk::prelude::*;
use serde::Deserialize;
use serde_json::Value;

pub const REPLICATION_CONTROLLER: KindRef = KindRef::new("", "v1", "ReplicationController");

/// Its scale.
#[derive(Debug, Clone)]
pub struct Target {
    pub reference: ObjectRef,
    pub wanted: i64,
    pub current: i64,
    pub selector: LabelSelector,
}

/// Why there is none, in words.
pub fn read(lister: &dyn Lister, hpa: &Typed<HorizontalPodAutoscaler>) -> Result<Target, String> {
    let named = &hpa.spec.scale_target_ref;
    let kind = KindRef::parse(&named.api_version, &named.kind);
    let known = [DEPLOYMENT, REPLICA_SET, STATEFUL_SET, REPLICATION_CONTROLLER];
    if !known.contains(&kind) {
        return Err(format!("no matches for kind {:?} in group {:?}", named.kind, kind.group));
    }
    let reference = kind.named(hpa.reference.namespace.as_str(), named.name.as_str());
    let Some(object) = lister.get(&reference) else {
        return Err(format!("{} {:?} not found", plural(&kind), named.name));
    };
    let whole: Value = object.parse().map_err(|error| error.to_string())?;
    let number = |part: &str| whole[part]["replicas"].as_i64();
    let selector = &whole["spec"]["selector"];
    let selector = if kind == REPLICATION_CONTROLLER {
        let labels = BTreeMap::<String, String>::deserialize(selector).unwrap_or_default();
        LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }
    } else {
        LabelSelector::deserialize(selector).unwrap_or_default()
    };
    if selector.is_empty() {
        return Err("selector is required".to_owned());
    }
    let wanted = number("spec").unwrap_or(1);
    Ok(Target { reference, wanted, current: number("status").unwrap_or(0), selector })
}

impl Target {
    /// `app=web,tier in (a,b)`.
    pub fn selector_text(&self) -> String {
        let labels = self.selector.match_labels.iter().flatten();
        let labels = labels.map(|(key, value)| format!("{key}={value}"));
        let expressions = self.selector.match_expressions.iter().flatten().map(|requirement| {
            let values = requirement.values.iter().flatten().cloned().collect::<Vec<_>>().join(",");
            let key = &requirement.key;
            match requirement.operator.as_str() {
                "In" => format!("{key} in ({values})"),
                "NotIn" => format!("{key} notin ({values})"),
                "DoesNotExist" => format!("!{key}"),
                _ => key.clone(),
            }
        });
        labels.chain(expressions).collect::<Vec<_>>().join(",")
    }
}

/// All autoscalers, this one among them, whose workloads select one of these pods,
/// as `{name namespace}`; none when it is the only one. Two would undo each other's work.
pub fn rivals(
    lister: &dyn Lister,
    hpa: &Typed<HorizontalPodAutoscaler>,
    pods: &[Typed<Pod>],
) -> Result<Vec<String>, Error> {
    let namespace = &hpa.reference.namespace;
    let all = Query::any_kind().namespace(namespace).fields(&["spec.scaleTargetRef"]);
    let all = lister.read_all::<HorizontalPodAutoscaler>(all)?;
    let mut names = Vec::new();
    for other in all.iter().filter(|other| other.uid != hpa.uid) {
        let Ok(target) = read(lister, other) else { continue };
        if pods.iter().any(|pod| target.selector.matches(&pod.metadata.labels)) {
            names.push(format!("{{{} {namespace}}}", other.reference.name));
        }
    }
    if !names.is_empty() {
        names.push(format!("{{{} {namespace}}}", hpa.reference.name));
        names.sort();
    }
    Ok(names)
}

/// `deployments.apps`.
fn plural(kind: &KindRef) -> String {
    let name = format!("{}s", kind.kind.to_lowercase());
    if kind.group.is_empty() { name } else { format!("{name}.{}", kind.group) }
}
