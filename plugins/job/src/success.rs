//! When a job has succeeded (`spec.completions`, `spec.successPolicy`, KEP-3998).

use pintle_sdk::prelude::*;
use serde_json::Value;

use crate::indexes::{self, Indexes};
use crate::tally::{Tally, is_indexed};

/// Reason and message of the condition, once the job has succeeded.
pub fn reached(job: &Job, policy: &Value, tally: &Tally<'_>) -> Option<(&'static str, String)> {
    if is_indexed(job)
        && let Some(index) = first_rule(policy, job, &tally.completed_indexes)
    {
        return Some(("SuccessPolicy", format!("Matched rules at index {index}")));
    }
    let succeeded = tally.succeeded_in_all(job);
    let done = match job.spec.completions {
        // A work queue is empty when one pod says so and the others have ended.
        None => succeeded > 0 && tally.active.is_empty(),
        Some(completions) => succeeded >= completions && tally.active.is_empty(),
    };
    done.then(|| ("CompletionsReached", "Reached expected number of succeeded pods".to_owned()))
}

fn first_rule(policy: &Value, job: &Job, completed: &Indexes) -> Option<usize> {
    let completions = job.spec.completions.unwrap_or(0);
    policy["rules"].as_array()?.iter().position(|rule| {
        let count = rule["succeededCount"].as_i64();
        match rule["succeededIndexes"].as_str() {
            Some(text) => {
                let wanted = indexes::parse(text, completions);
                let reached = wanted.intersection(completed).count() as i64;
                reached >= count.unwrap_or(wanted.len() as i64)
            }
            None => count.is_some_and(|count| completed.len() as i64 >= count),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_look_at_indexes_and_counts() {
        fn check(rule: Value, completed: &[i64], expect: Option<usize>) {
            let job: Job = serde_json::from_value(json!({"spec": {"completions": 10}})).unwrap();
            let completed = completed.iter().copied().collect();
            assert_eq!(first_rule(&json!({"rules": [rule]}), &job, &completed), expect);
        }
        check(json!({"succeededIndexes": "0-2"}), &[0, 1], None);
        check(json!({"succeededIndexes": "0-2"}), &[0, 1, 2], Some(0));
        check(json!({"succeededIndexes": "0-2", "succeededCount": 1}), &[1], Some(0));
        check(json!({"succeededCount": 2}), &[5, 7], Some(0));
        check(json!({"succeededCount": 3}), &[5, 7], None);
    }
}
