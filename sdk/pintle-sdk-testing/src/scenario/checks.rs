//! What has to be true: the words of `then`.
//!
//! | Word | Expects |
//! |---|---|
//! | `pods` | how many have neither ended nor are to be deleted |
//! | `images` | `{image: how many such pods}` |
//! | `sets` | sizes of the ReplicaSets, in the order they were made |
//! | `count` | `{Kind: how many}` |
//! | `names` | `{Kind: [names]}`, all there are, sorted |
//! | `there`, `gone` | `Kind/name`, one or a list |
//! | `has` | `{Kind/name: fields}`; other fields may be there too, null means absent |
//! | `condition` | `{Kind/name: {Type: Status Reason}}`; `absent` if there is none |
//! | `event`, `no event` | `Reason: note`, one or a list |
//! | `refused` | what a person was told |
//! | `calls` | at most so many reconciles since the last `when` |
//!
//! `*` stands for any text in names, notes and values.

use std::collections::BTreeMap;

use pintle_sdk::types::{POD, REPLICA_SET};
use serde_json::{Value, json};
use serde_yaml_ng::Value as Yaml;

use super::Stage;
use super::patterns::{difference, fits};
use super::verbs::{is_live, list};
use crate::fields::{at, text};
use crate::world::Refused;

type Checked = Result<(), String>;

impl Stage<'_> {
    pub(super) fn check(&self, word: &str, expected: &Yaml) -> Checked {
        let expected: Value =
            serde_yaml_ng::from_value(expected.clone()).map_err(|error| error.to_string())?;
        match word {
            "pods" => same(&json!(self.active().len()), &expected),
            "images" => {
                let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
                for pod in self.active() {
                    *counts.entry(text(&pod["spec"]["containers"][0], "image")).or_default() += 1;
                }
                same(&json!(counts), &expected)
            }
            "sets" => same(&self.set_sizes(), &expected),
            "count" => self.each_of(&expected, |stage, kind, count| {
                let found = stage.find(&format!("{kind}/*")).len();
                same(&json!(found), count).map_err(|what| format!("{kind}: {what}"))
            }),
            "names" => self.each_of(&expected, |stage, kind, names| {
                let found: Vec<String> =
                    stage.find(&format!("{kind}/*")).into_iter().map(|one| one.name).collect();
                match difference(names, Some(&json!(found))) {
                    None => Ok(()),
                    Some(_) => Err(format!("{kind}: there are {found:?}, not {names}")),
                }
            }),
            "there" => list(&expected).iter().try_for_each(|name| {
                match self.find(name.as_str().unwrap_or_default()).is_empty() {
                    true => Err(format!("{name} is not there")),
                    false => Ok(()),
                }
            }),
            "gone" => list(&expected).iter().try_for_each(|name| {
                match self.find(name.as_str().unwrap_or_default()).as_slice() {
                    [] => Ok(()),
                    found => Err(format!("{name} is there: {found:?}")),
                }
            }),
            "has" => self.each_of(&expected, |stage, name, fields| {
                let found = stage.one(name)?;
                let what = difference(fields, Some(found));
                what.map_or(Ok(()), |what| Err(format!("{name}: {what}")))
            }),
            "condition" => self.each_of(&expected, Self::check_conditions),
            "event" => list(&expected).iter().try_for_each(|event| self.check_event(event, true)),
            "no event" => {
                list(&expected).iter().try_for_each(|event| self.check_event(event, false))
            }
            "refused" => {
                let found = match &self.refused {
                    None => "nothing was refused".to_owned(),
                    Some(Refused::Denied { message, .. } | Refused::Invalid(message)) => {
                        message.clone()
                    }
                    Some(other) => format!("{other:?}"),
                };
                match fits(expected.as_str().unwrap_or_default(), &found) {
                    true => Ok(()),
                    false => Err(format!("{found:?}, not {expected}")),
                }
            }
            "calls" => match self.run.reconciles as u64 {
                found if Some(found) <= expected.as_u64() => Ok(()),
                found => Err(format!(
                    "{found}, more than {expected}; last: {:#?}",
                    self.run.actions.last()
                )),
            },
            _ => Err("there is no such word; see checks.rs".to_owned()),
        }
    }

    fn active(&self) -> Vec<&Value> {
        let mut pods = self.cluster.all(&POD);
        pods.retain(|pod| is_live(pod) && at(pod, "metadata.deletionTimestamp").is_none());
        pods
    }

    fn set_sizes(&self) -> Value {
        let mut sets: Vec<(u64, &Value)> = self
            .cluster
            .all(&REPLICA_SET)
            .into_iter()
            .map(|set| {
                let uid = text(set, "metadata.uid").trim_start_matches("uid-").parse();
                (uid.unwrap_or(0), &set["spec"]["replicas"])
            })
            .collect();
        sets.sort_by_key(|(uid, _)| *uid);
        sets.into_iter().map(|(_, size)| size.clone()).collect()
    }

    fn each_of(&self, expected: &Value, check: impl Fn(&Self, &str, &Value) -> Checked) -> Checked {
        let fields = expected.as_object().ok_or("wants {name: expectation}")?;
        fields.iter().try_for_each(|(name, expected)| check(self, name, expected))
    }

    fn one(&self, name: &str) -> Result<&Value, String> {
        let found = self.find(name);
        found
            .first()
            .and_then(|reference| self.cluster.object(reference))
            .ok_or_else(|| format!("{name} is not there"))
    }

    fn check_conditions(&self, name: &str, expected: &Value) -> Checked {
        let object = self.one(name)?;
        let conditions = at(object, "status.conditions").and_then(Value::as_array);
        let conditions = conditions.map(Vec::as_slice).unwrap_or_default();
        self.each_of(expected, |_, kind, expected| {
            let found = conditions.iter().find(|found| text(found, "type") == kind);
            let found = found.map_or_else(
                || "absent".to_owned(),
                |found| format!("{} {}", text(found, "status"), text(found, "reason")),
            );
            // YAML reads a lone True as a boolean.
            let expected = match expected {
                Value::Bool(status) => if *status { "True *" } else { "False *" }.to_owned(),
                other => other.as_str().unwrap_or_default().to_owned(),
            };
            match fits(&expected, &found) || fits(&expected, found.trim_end()) {
                true => Ok(()),
                false => Err(format!("{name}: {kind} is {found:?}, not {expected:?}")),
            }
        })
    }

    fn check_event(&self, expected: &Value, wanted: bool) -> Checked {
        let pattern = expected.as_str().ok_or("wants `Reason: note`")?;
        let events =
            || self.cluster.events.iter().map(|event| format!("{}: {}", event.reason, event.note));
        let is_there = events().any(|event| fits(pattern, &event));
        if is_there == wanted {
            return Ok(());
        }
        Err(format!("{pattern:?}: there are {:#?}", events().collect::<Vec<_>>()))
    }
}

fn same(found: &Value, expected: &Value) -> Checked {
    if found == expected { Ok(()) } else { Err(format!("{found}, not {expected}")) }
}
