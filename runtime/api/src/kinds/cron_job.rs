//! `CronJob`: jobs by the clock.

use serde_json::{Value, json};

use super::job;
use super::json::{
    age, age_cell, bool_at, child, default_str, default_to, is_set, items, name_cell, set, str_at,
    value_at,
};
use super::pod;
use super::validation::Check;
use super::{Column, Hooks, Resource, Subresource};
use crate::cron::Schedule;
use crate::selector::LabelSelector;
use crate::status::FieldError;

/// The time of a run is appended to the name, and the whole is a job's name.
const MAX_NAME: usize = 52;

pub(super) const ROW: Resource = Resource {
    group: "batch",
    kind: "CronJob",
    plural: "cronjobs",
    singular: "cronjob",
    short_names: &["cj"],
    categories: &["all"],
    subresources: &[Subresource::Status],
    columns: &[
        Column::NAME,
        Column::string("Schedule").help("The schedule in Cron format, see https://en.wikipedia.org/wiki/Cron."),
        Column::string("Timezone").help("The time zone name for the given schedule, see https://en.wikipedia.org/wiki/List_of_tz_database_time_zones."),
        Column::string("Suspend").help("This flag tells the controller to suspend subsequent executions, it does not apply to already started executions.  Defaults to false."),
        Column::integer("Active").help("A list of pointers to currently running jobs."),
        Column::string("Last Schedule").help("Information when was the last time the job was successfully scheduled."),
        Column::AGE,
        Column::CONTAINERS.wide(),
        Column::IMAGES.wide(),
        Column::POD_SELECTOR,
    ],
    schema: "batch.v1.CronJob",
    spec_generation: true,
    hooks: Hooks {
        cells,
        default,
        validate,
        create: |object| set(object, "status", json!({})),
        ..Hooks::PLAIN
    },
    ..Resource::BASE
};

fn cells(object: &Value, now_ms: i64) -> Vec<Value> {
    let spec = value_at(object, &["spec"]);
    let last = match str_at(object, &["status", "lastScheduleTime"]) {
        "" => "<none>".to_owned(),
        time => age(time, now_ms),
    };
    let zone = match str_at(spec, &["timeZone"]) {
        "" => "<none>",
        zone => zone,
    };
    let job = value_at(spec, &["jobTemplate", "spec"]);
    let template = value_at(job, &["template", "spec"]);
    let selector = match LabelSelector::from_json(value_at(job, &["selector"])) {
        Ok(selector) if !selector.requirements().is_empty() => selector.to_string(),
        _ => "<none>".to_owned(),
    };
    vec![
        name_cell(object),
        str_at(spec, &["schedule"]).into(),
        zone.into(),
        if bool_at(spec, &["suspend"]) { "True" } else { "False" }.into(),
        items(object, &["status", "active"]).len().into(),
        last.into(),
        age_cell(object, now_ms),
        pod::container_names(template),
        pod::images(template),
        selector.into(),
    ]
}

fn default(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    default_str(spec, "concurrencyPolicy", "Allow");
    default_to(spec, "suspend", false);
    default_to(spec, "successfulJobsHistoryLimit", 3);
    default_to(spec, "failedJobsHistoryLimit", 1);
    if let Some(template) = child(spec, "jobTemplate")
        && let Some(job) = template.get_mut("spec").filter(|job| job.is_object())
    {
        job::default_spec(job);
    }
}

fn validate(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = value_at(object, &["spec"]);
    let name = str_at(object, &["metadata", "name"]);
    if old.is_none() && name.len() > MAX_NAME {
        Check::new(&mut errors, "metadata").invalid(
            "name",
            name,
            "must be no more than 52 characters",
        );
    }
    let mut check = Check::new(&mut errors, "spec");
    match str_at(spec, &["schedule"]) {
        "" => check.required("schedule", ""),
        schedule => {
            if schedule.contains("TZ") && schedule.contains('=') {
                check.invalid(
                    "schedule",
                    schedule,
                    "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
                );
            } else if let Err(error) = Schedule::parse(schedule) {
                check.invalid("schedule", schedule, error.to_string());
            }
        }
    }
    if is_set(spec, "timeZone") {
        match str_at(spec, &["timeZone"]) {
            "" => check.invalid("timeZone", "", "timeZone must be nil or non-empty string"),
            "Local" => check.invalid("timeZone", "Local", "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"),
            zone if !zone_like(zone) => {
                check.invalid("timeZone", zone, format!("unknown time zone {zone}"));
            }
            _ => {}
        }
    }
    for field in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"]
    {
        check.not_negative(spec, field);
    }
    match str_at(spec, &["concurrencyPolicy"]) {
        "" => check.required("concurrencyPolicy", ""),
        _ => check.one_of(spec, "concurrencyPolicy", &["Allow", "Forbid", "Replace"]),
    }
    let job = value_at(spec, &["jobTemplate", "spec"]);
    if bool_at(job, &["manualSelector"]) {
        check.not_supported("jobTemplate.spec.manualSelector", true, &["nil", "false"]);
    }
    job::validate_spec(job, "spec.jobTemplate.spec", check.errors());
    errors
}

/// Whether it may be the name of a zone; which ones there are, the controller knows.
fn zone_like(zone: &str) -> bool {
    !zone.starts_with('/')
        && !zone.contains("..")
        && zone.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::expect_errors;

    #[test]
    fn rules() {
        fn check(change: Value, expect: &[&str]) {
            let mut object = json!({"metadata": {"name": "hourly"}, "spec": {"schedule": "0 * * * *",
                "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "OnFailure",
                    "containers": [{"name": "c", "image": "i"}]}}}}}});
            for (field, value) in change.as_object().unwrap() {
                object["spec"][field] = value.clone();
            }
            default(&mut object);
            expect_errors(&validate(&object, None), expect);
        }
        check(json!({}), &[]);
        check(json!({"schedule": "@every 5m", "timeZone": "Europe/Berlin"}), &[]);
        check(json!({"schedule": "61 * * * *"}), &["spec.schedule: Invalid value: \"61 * * * *\""]);
        check(json!({"schedule": "TZ=UTC 0 * * * *"}), &["spec.schedule: Invalid value"]);
        check(json!({"timeZone": "Local"}), &["spec.timeZone: Invalid value: \"Local\""]);
        check(
            json!({"concurrencyPolicy": "Maybe"}),
            &["spec.concurrencyPolicy: Unsupported value"],
        );
        check(
            json!({"successfulJobsHistoryLimit": -1}),
            &["spec.successfulJobsHistoryLimit: Invalid value: -1"],
        );
    }
}
