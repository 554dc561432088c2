//! Who a pod of a set is: its number, its name, and what follows from them.

use pintle_sdk::prelude::*;
use pintle_sdk::revisions::{HASH_LABEL, Revision};
use pintle_sdk::workload::pod_from_template;
use serde_json::{Value, json};

use crate::claims::{self, ClaimTemplate};

pub const POD_NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
pub const POD_INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

pub fn pod_name(set: &Typed<StatefulSet>, ordinal: i64) -> String {
    format!("{}-{ordinal}", set.reference.name)
}

/// The number at the end of the name of a pod that belongs to the set by name.
pub fn ordinal(set: &Typed<StatefulSet>, pod: &str) -> Option<i64> {
    let digits = pod.strip_prefix(set.reference.name.as_str())?.strip_prefix('-')?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

pub fn first_ordinal(set: &StatefulSet) -> i64 {
    set.spec.ordinals.as_ref().map_or(0, |ordinals| ordinals.start)
}

/// The revision that a pod was made from.
pub fn revision_of(pod: &Pod) -> &str {
    pod.metadata.labels.get(HASH_LABEL).map_or("", String::as_str)
}

/// The pod of a number, from the template of a revision.
pub fn new_pod(
    set: &Typed<StatefulSet>,
    templates: &[ClaimTemplate],
    revision: &Revision,
    ordinal: i64,
) -> Value {
    let name = pod_name(set, ordinal);
    let mut pod = pod_from_template(set, &revision.template);
    pod["metadata"]["name"] = json!(name);
    if !pod["metadata"]["labels"].is_object() {
        pod["metadata"]["labels"] = json!({});
    }
    let labels = &mut pod["metadata"]["labels"];
    labels[HASH_LABEL] = json!(revision.name);
    labels[POD_NAME_LABEL] = json!(name);
    labels[POD_INDEX_LABEL] = json!(ordinal.to_string());
    pod["spec"]["hostname"] = json!(name);
    if !set.spec.service_name.is_empty() {
        pod["spec"]["subdomain"] = json!(set.spec.service_name);
    }
    claims::mount(&mut pod["spec"], set, templates, ordinal);
    pod
}

/// Puts back labels that tell who the pod is, if somebody took them off.
pub fn repair(set: &Typed<StatefulSet>, pod: &Typed<Pod>, ordinal: i64) -> Option<Patch> {
    let name = pod_name(set, ordinal);
    let number = ordinal.to_string();
    let labels = &pod.metadata.labels;
    let is = |key: &str, value: &str| labels.get(key).is_some_and(|known| known == value);
    if is(POD_NAME_LABEL, &name) && is(POD_INDEX_LABEL, &number) {
        return None;
    }
    let labels = json!({POD_NAME_LABEL: name, POD_INDEX_LABEL: number});
    Some(Patch::merge(pod, &json!({"metadata": {"uid": pod.uid, "labels": labels}})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_off_names() {
        fn check(pod: &str, expect: Option<i64>) {
            let set = Typed {
                reference: STATEFUL_SET.named("default", "web"),
                uid: "u".to_owned(),
                revision: 1,
                object: Default::default(),
            };
            assert_eq!(ordinal(&set, pod), expect, "{pod}");
        }
        check("web-0", Some(0));
        check("web-12", Some(12));
        check("web-", None);
        check("web-x", None);
        check("web-+1", None);
        check("other-1", None);
        check("web2-1", None);
        check("web-99999999999999999999", None);
    }
}
