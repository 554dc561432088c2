//! What a pod's failure means for its job (`spec.podFailurePolicy`, KEP-3329).

use pintle_sdk::api::time;
use pintle_sdk::prelude::*;
use serde::Deserialize;
use serde_json::Value;

/// Of a failed pod, what policies and back-off look at.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Details {
    metadata: ObjectMeta,
    status: Status,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    conditions: Option<Vec<Condition>>,
    container_statuses: Option<Vec<ContainerEnd>>,
    init_container_statuses: Option<Vec<ContainerEnd>>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct ContainerEnd {
    name: String,
    state: State,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct State {
    terminated: Option<Terminated>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Terminated {
    exit_code: i64,
    finished_at: Option<String>,
}

impl Details {
    pub fn read(lister: &dyn Lister, pod: &Typed<Pod>) -> Self {
        let whole = lister.get(&pod.reference).filter(|found| found.uid == pod.uid);
        whole.and_then(|object| object.parse().ok()).unwrap_or_default()
    }

    fn containers(&self) -> impl Iterator<Item = &ContainerEnd> {
        let lists = [&self.status.container_statuses, &self.status.init_container_statuses];
        lists.into_iter().flatten().flatten()
    }

    /// When its last container ended; when it was deleted, if none says.
    pub fn finished_ms(&self) -> Option<i64> {
        let of_containers = self
            .containers()
            .filter_map(|end| end.state.terminated.as_ref()?.finished_at.as_deref())
            .filter_map(time::parse)
            .max();
        let text = self.metadata.deletion_timestamp.as_deref();
        of_containers.or_else(|| text.and_then(time::parse)).or_else(|| {
            let conditions = self.status.conditions.as_deref().unwrap_or_default();
            time::parse(conditions.condition("Ready")?.last_transition_time.as_deref()?)
        })
    }
}

/// What follows from a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Count,
    Ignore,
    FailIndex,
    /// With the message of the condition.
    FailJob(String),
}

impl Verdict {
    /// Whether the failure counts towards the back-off limits.
    pub fn counts(&self) -> bool {
        *self != Verdict::Ignore
    }
}

/// The first rule that matches decides; without one the failure counts.
pub fn judge(job: &Job, pod: &Details) -> Verdict {
    let rules = job.spec.pod_failure_policy.as_ref().and_then(|policy| policy["rules"].as_array());
    for (index, rule) in rules.into_iter().flatten().enumerate() {
        let Some(why) = matches(rule, pod) else { continue };
        return match rule["action"].as_str().unwrap_or_default() {
            "Ignore" => Verdict::Ignore,
            "FailIndex" => Verdict::FailIndex,
            "FailJob" => {
                let action = "FailJob";
                Verdict::FailJob(format!("{why} matching {action} rule at index {index}"))
            }
            _ => Verdict::Count,
        };
    }
    Verdict::Count
}

/// Why the rule matches, in words.
fn matches(rule: &Value, pod: &Details) -> Option<String> {
    let place = format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
    if rule["onExitCodes"].is_object() {
        let codes = &rule["onExitCodes"];
        let values: Vec<i64> =
            codes["values"].as_array().into_iter().flatten().filter_map(Value::as_i64).collect();
        let wanted = codes["containerName"].as_str();
        return pod.containers().find_map(|end| {
            let code = end.state.terminated.as_ref()?.exit_code;
            let named = wanted.is_none_or(|wanted| wanted == end.name);
            // Success never matches, whatever the operator says.
            let holds = code != 0
                && match codes["operator"].as_str().unwrap_or_default() {
                    "In" => values.contains(&code),
                    "NotIn" => !values.contains(&code),
                    _ => false,
                };
            (named && holds).then(|| {
                format!("Container {} for pod {place} failed with exit code {code}", end.name)
            })
        });
    }
    let conditions = pod.status.conditions.as_deref().unwrap_or_default();
    rule["onPodConditions"].as_array().into_iter().flatten().find_map(|pattern| {
        let kind = pattern["type"].as_str().unwrap_or_default();
        let status = pattern["status"].as_str().filter(|text| !text.is_empty()).unwrap_or("True");
        let holds = conditions.condition(kind).is_some_and(|found| found.status == status);
        holds.then(|| format!("Pod {place} has condition {kind}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(rules: Value, pod: Value, expect: Verdict) {
        let job: Job =
            serde_json::from_value(json!({"spec": {"podFailurePolicy": {"rules": rules}}}))
                .unwrap();
        let pod: Details = serde_json::from_value(pod).unwrap();
        assert_eq!(judge(&job, &pod), expect, "{rules}");
    }

    #[test]
    fn the_first_matching_rule_decides() {
        let pod = json!({"metadata": {"namespace": "ns", "name": "p"}, "status": {
            "conditions": [{"type": "DisruptionTarget", "status": "True"}],
            "containerStatuses": [{"name": "main", "state": {"terminated": {"exitCode": 42}}}]}});
        check(json!([]), pod.clone(), Verdict::Count);
        let disrupted =
            json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]});
        let fatal = json!({"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}});
        check(json!([disrupted, fatal]), pod.clone(), Verdict::Ignore);
        check(
            json!([fatal, disrupted]),
            pod.clone(),
            Verdict::FailJob(
                "Container main for pod ns/p failed with exit code 42 matching FailJob rule at index 0".to_owned(),
            ),
        );
        let other =
            json!({"action": "FailIndex", "onExitCodes": {"operator": "NotIn", "values": [42]}});
        check(json!([other]), pod.clone(), Verdict::Count);
        let named = json!({"action": "FailIndex",
            "onExitCodes": {"operator": "In", "values": [42], "containerName": "side"}});
        check(json!([named]), pod, Verdict::Count);
    }
}
