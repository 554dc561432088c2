//! Which pods of a workload go first when there are too many.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

use pintle_api::time;

use crate::lister::Typed;
use crate::types::Pod;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The pods in the order in which to delete them: unassigned before assigned,
/// pending before running, not ready before ready, cheap before dear, from
/// crowded nodes before lonely ones, young before old. Ages count in powers of
/// two, so that among pods of about one age the uid decides and no generation
/// is wiped out as a whole.
pub fn deletion_order<'a>(
    pods: &[&'a Typed<Pod>],
    per_node: &BTreeMap<String, usize>,
    now_unix_ms: i64,
) -> Vec<&'a Typed<Pod>> {
    let mut ranked: Vec<(Rank, &Typed<Pod>)> =
        pods.iter().map(|pod| (Rank::of(pod, per_node, now_unix_ms), *pod)).collect();
    ranked.sort_unstable_by(|(a, pod_a), (b, pod_b)| {
        a.cmp(b).then_with(|| pod_a.uid.cmp(&pod_b.uid))
    });
    ranked.into_iter().map(|(_, pod)| pod).collect()
}

/// Smaller goes first.
#[derive(Debug, PartialEq, Eq)]
struct Rank {
    assigned: bool,
    phase: u8,
    ready: bool,
    cost: i32,
    company: Reverse<usize>,
    ready_age: AgeClass,
    restarts: Reverse<i64>,
    age: AgeClass,
}

impl Rank {
    fn of(pod: &Typed<Pod>, per_node: &BTreeMap<String, usize>, now: i64) -> Self {
        let ready = pod.is_ready();
        let ready_since =
            pod.ready_condition().and_then(|condition| condition.last_transition_time.as_deref());
        Rank {
            assigned: !pod.spec.node_name.is_empty(),
            phase: match pod.status.phase.as_str() {
                "Pending" | "" => 0,
                "Unknown" => 1,
                _ => 2,
            },
            ready,
            cost: deletion_cost(pod),
            company: Reverse(per_node.get(&pod.spec.node_name).copied().unwrap_or(0)),
            ready_age: if ready { AgeClass::of(ready_since, now) } else { AgeClass::UNKNOWN },
            restarts: Reverse(
                pod.status
                    .container_statuses
                    .iter()
                    .map(|status| status.restart_count)
                    .max()
                    .unwrap_or(0),
            ),
            age: AgeClass::of(pod.metadata.creation_timestamp.as_deref(), now),
        }
    }

    /// Ready pods of one age class are ordered by uid, whatever follows.
    fn cmp(&self, other: &Self) -> Ordering {
        let head = |rank: &Self| {
            (rank.assigned, rank.phase, rank.ready, rank.cost, rank.company, rank.ready_age)
        };
        head(self).cmp(&head(other)).then_with(|| {
            if self.ready_age != AgeClass::UNKNOWN {
                return Ordering::Equal;
            }
            (self.restarts, self.age).cmp(&(other.restarts, other.age))
        })
    }
}

/// The power of two of an age; what has no known age goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct AgeClass(i8);

impl AgeClass {
    const UNKNOWN: AgeClass = AgeClass(-2);

    fn of(since: Option<&str>, now: i64) -> Self {
        match since.and_then(time::parse) {
            None => AgeClass::UNKNOWN,
            Some(start) => match u64::try_from(now - start) {
                Ok(age) if age > 0 => AgeClass(age.ilog2() as i8),
                _ => AgeClass(-1),
            },
        }
    }
}

/// An annotation that is not a plain 32-bit integer counts as 0.
fn deletion_cost(pod: &Pod) -> i32 {
    let text = pod.metadata.annotations.get(DELETION_COST).map(String::as_str).unwrap_or("0");
    let plain =
        text == "0" || !(text.starts_with('+') || text.trim_start_matches('-').starts_with('0'));
    if plain { text.parse().unwrap_or(0) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::POD;
    use serde_json::{Value, json};

    fn pod(
        name: &str,
        node: &str,
        phase: &str,
        ready_since: Option<&str>,
        extra: Value,
    ) -> Typed<Pod> {
        let conditions = ready_since
            .map(|since| json!([{"type": "Ready", "status": "True", "lastTransitionTime": since}]))
            .unwrap_or(json!([]));
        let mut object = json!({
            "metadata": {"name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"nodeName": node},
            "status": {"phase": phase, "conditions": conditions},
        });
        for (key, value) in extra.as_object().into_iter().flatten() {
            object["metadata"][key] = value.clone();
        }
        Typed {
            reference: POD.named("default", name),
            uid: name.to_owned(),
            revision: 1,
            object: serde_json::from_value::<Pod>(object).unwrap().into(),
        }
    }

    const NOW: i64 = 1_767_312_000_000; // 2026-01-02T00:00:00Z

    fn check(pods: &[Typed<Pod>], per_node: &[(&str, usize)], expect: &[&str]) {
        let per_node = per_node.iter().map(|(node, count)| (node.to_string(), *count)).collect();
        let order = deletion_order(&pods.iter().collect::<Vec<_>>(), &per_node, NOW);
        let names: Vec<&str> = order.iter().map(|pod| pod.metadata.name.as_str()).collect();
        assert_eq!(names, expect);
    }

    #[test]
    fn the_least_useful_pod_goes_first() {
        let ready = Some("2026-01-01T00:00:10Z");
        check(
            &[
                pod("ready", "n1", "Running", ready, json!({})),
                pod("running", "n1", "Running", None, json!({})),
                pod("pending", "n1", "Pending", None, json!({})),
                pod("unassigned", "", "Pending", None, json!({})),
            ],
            &[],
            &["unassigned", "pending", "running", "ready"],
        );
    }

    #[test]
    fn cost_then_crowding_then_youth() {
        let ready = Some("2026-01-01T00:00:10Z");
        let cost = |cost: &str| json!({"annotations": {DELETION_COST: cost}});
        check(
            &[
                pod("dear", "n1", "Running", ready, cost("10")),
                pod("cheap", "n1", "Running", ready, cost("-5")),
                pod("plain", "n1", "Running", ready, cost("what")),
            ],
            &[],
            &["cheap", "plain", "dear"],
        );
        check(
            &[
                pod("lonely", "n1", "Running", ready, json!({})),
                pod("crowded", "n2", "Running", ready, json!({})),
            ],
            &[("n1", 1), ("n2", 3)],
            &["crowded", "lonely"],
        );
        check(
            &[
                pod("old", "n1", "Running", Some("2026-01-01T00:00:00Z"), json!({})),
                pod("young", "n1", "Running", Some("2026-01-01T23:59:00Z"), json!({})),
            ],
            &[],
            &["young", "old"],
        );
    }
}
