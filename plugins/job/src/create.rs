//! New pods of a job, and when the next may be made.

use pintle_sdk::names::Random;
use pintle_sdk::prelude::*;
use pintle_sdk::workload::pod_from_template;
use serde_json::{Value, json};

use crate::tally::{FINALIZER, INDEX, INDEX_FAILURES};

const FIRST_BACKOFF_MS: i64 = 10_000;
const LAST_BACKOFF_MS: i64 = 10 * 60_000;
/// Environment variable with the index (KEP-2214).
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";

/// Milliseconds until a pod may be made after so many failures in a row, the
/// last of which was then: ten seconds, twenty, forty, up to ten minutes.
pub fn backoff_ms(context: &Context, failures: i64, last_ms: i64) -> u64 {
    if failures <= 0 {
        return 0;
    }
    let doublings = u32::try_from(failures - 1).unwrap_or(u32::MAX).min(16);
    let wait = FIRST_BACKOFF_MS.saturating_mul(1 << doublings).min(LAST_BACKOFF_MS);
    u64::try_from(last_ms + wait - context.now_unix_ms).unwrap_or(0)
}

/// A pod of a job, tracked until it is counted.
pub fn new_pod(
    job: &Typed<Job>,
    index: Option<i64>,
    index_failures: i64,
    random: &mut Random,
) -> Value {
    let mut pod = pod_from_template(job, &job.spec.template);
    let name = &job.reference.name;
    let prefix = match index {
        None => format!("{name}-"),
        Some(index) => format!("{name}-{index}-"),
    };
    let metadata = &mut pod["metadata"];
    metadata["generateName"] = json!(prefix);
    metadata["name"] = json!(random.name(&prefix));
    let mut finalizers = metadata["finalizers"].as_array().cloned().unwrap_or_default();
    finalizers.push(json!(FINALIZER));
    metadata["finalizers"] = Value::Array(finalizers);
    let Some(index) = index else { return pod };
    for field in ["labels", "annotations"] {
        if !metadata[field].is_object() {
            metadata[field] = json!({});
        }
        metadata[field][INDEX] = json!(index.to_string());
    }
    if job.spec.backoff_limit_per_index.is_some() {
        metadata["annotations"][INDEX_FAILURES] = json!(index_failures.to_string());
    }
    pod["spec"]["hostname"] = json!(format!("{name}-{index}"));
    for list in ["containers", "initContainers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            add_variable(container);
        }
    }
    pod
}

fn add_variable(container: &mut Value) {
    if !container.is_object() {
        return; // the API server says what is wrong with it
    }
    let mut variables = container["env"].as_array().cloned().unwrap_or_default();
    if variables.iter().any(|variable| variable["name"] == INDEX_VARIABLE) {
        return;
    }
    let path = format!("metadata.annotations['{INDEX}']");
    let source = json!({"fieldRef": {"apiVersion": "v1", "fieldPath": path}});
    variables.push(json!({"name": INDEX_VARIABLE, "valueFrom": source}));
    container["env"] = Value::Array(variables);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_doubles_the_wait() {
        fn check(failures: i64, expect: u64) {
            let context = Context { now_unix_ms: 1_000_000, ..Context::default() };
            assert_eq!(backoff_ms(&context, failures, 1_000_000), expect);
        }
        check(0, 0);
        check(1, 10_000);
        check(2, 20_000);
        check(4, 80_000);
        check(60, 600_000);
    }
}
