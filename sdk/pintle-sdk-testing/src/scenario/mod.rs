//! Scenarios that a person can read without Rust: given, when, then, in YAML.
//!
//! ```yaml
//! about: How a Deployment rolls out.
//! plugins: [deployment, replicaset]
//! objects:
//!   web: {apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 2, ...}}
//! scenarios:
//! - name: A first rollout
//!   rule: Deployment docs, "Creating a Deployment"
//!   given: [web]
//!   story:
//!   - then: {pods: 2, condition: {Deployment/web: {Available: False MinimumReplicasUnavailable}}}
//!   - when: {ready: all}
//!     then: {condition: {Deployment/web: {Available: True MinimumReplicasAvailable}}}
//! ```
//!
//! After each `when` controllers work until nothing is left to do, and nodes end
//! the pods that are to be deleted (unless the scenario says `endings: by hand`).
//! At the end of a scenario everything is looked at again, and nothing may be
//! done: no plugin stirs at rest.
//!
//! Read first: [`run`]; the words of `when` are in `verbs.rs`, those of `then` in
//! `checks.rs`.

mod checks;
mod patterns;
mod verbs;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use pintle_sdk::serde::Deserialize;
use pintle_sdk::{api::time, serde};
use serde_json::Value;
use serde_yaml_ng::Mapping;

use crate::cluster::{Cluster, Run};
use crate::fields::merge_patch;
use crate::objects;
use crate::world::Refused;

/// Which plugins a table is played with.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(crate = "serde", default)]
pub struct Company {
    /// Controllers, by name.
    pub plugins: Vec<String>,
    /// Admission plugins, by name, in order.
    pub admission: Vec<String>,
    /// `spec.config` of those that have one.
    pub config: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(crate = "serde", deny_unknown_fields)]
struct Table {
    /// What it is about, for readers.
    #[allow(dead_code)]
    about: String,
    plugins: Vec<String>,
    #[serde(default)]
    admission: Vec<String>,
    #[serde(default)]
    config: BTreeMap<String, Value>,
    #[serde(default)]
    objects: BTreeMap<String, Value>,
    scenarios: Vec<Scenario>,
}

#[derive(Debug, Deserialize)]
#[serde(crate = "serde", deny_unknown_fields)]
struct Scenario {
    name: String,
    /// Where the rule is written: a KEP or a page of the documentation.
    rule: String,
    /// The moment at which it begins.
    at: Option<String>,
    /// `by hand`: pods that are to be deleted stay until the story says so.
    endings: Option<String>,
    #[serde(default)]
    config: BTreeMap<String, Value>,
    #[serde(default)]
    given: Vec<Value>,
    story: Vec<Step>,
}

#[derive(Debug, Deserialize)]
#[serde(crate = "serde", deny_unknown_fields)]
struct Step {
    #[serde(default)]
    when: Mapping,
    #[serde(default)]
    then: Mapping,
}

/// A scenario while it is played.
struct Stage<'a> {
    cluster: Cluster,
    objects: &'a BTreeMap<String, Value>,
    by_hand: bool,
    /// What the last `when` led to.
    run: Run,
    /// What the last request of a person met.
    refused: Option<Refused>,
}

/// Plays every scenario of a table; `gather` makes a cluster with the plugins it
/// names. Returns how many there are, or what failed, one text per scenario.
pub fn run(path: &Path, gather: impl Fn(&Company) -> Cluster) -> Result<usize, Vec<String>> {
    let fail = |what: String| vec![format!("{}: {what}", path.display())];
    let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    let table: Table = serde_yaml_ng::from_str(&text).map_err(|error| fail(error.to_string()))?;
    let mut failures = Vec::new();
    for scenario in &table.scenarios {
        let mut company = Company {
            plugins: table.plugins.clone(),
            admission: table.admission.clone(),
            config: table.config.clone(),
        };
        company.config.extend(scenario.config.clone());
        let played =
            catch_unwind(AssertUnwindSafe(|| play(gather(&company), &table.objects, scenario)));
        let what = match played {
            Ok(Ok(())) => continue,
            Ok(Err(what)) => what,
            Err(payload) => payload
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_default(),
        };
        failures.push(format!(
            "{}: {:?} ({}): {what}",
            path.display(),
            scenario.name,
            scenario.rule
        ));
    }
    if failures.is_empty() { Ok(table.scenarios.len()) } else { Err(failures) }
}

fn play(
    cluster: Cluster,
    objects: &BTreeMap<String, Value>,
    scenario: &Scenario,
) -> Result<(), String> {
    let by_hand = scenario.endings.as_deref() == Some("by hand");
    let mut stage = Stage { cluster, objects, by_hand, run: Run::default(), refused: None };
    if let Some(at) = &scenario.at {
        stage.cluster.now_unix_ms =
            time::parse(at).ok_or_else(|| format!("at: {at:?} is no time"))?;
    }
    for entry in &scenario.given {
        let object = stage.object(entry)?;
        stage.put(object)?;
    }
    stage.rest();
    for (index, step) in scenario.story.iter().enumerate() {
        let number = index + 1;
        if !step.when.is_empty() {
            stage.run = Run::default();
        }
        for (verb, argument) in &step.when {
            let verb = verb.as_str().unwrap_or_default();
            stage.act(verb, argument).map_err(|what| format!("step {number}, {verb}: {what}"))?;
        }
        for (word, expected) in &step.then {
            let word = word.as_str().unwrap_or_default();
            stage.check(word, expected).map_err(|what| format!("step {number}, {word}: {what}"))?;
        }
    }
    let again = stage.cluster.restart();
    if again.performed > 0 {
        return Err(format!("at rest somebody still does {:#?}", again.actions));
    }
    Ok(())
}

impl Stage<'_> {
    /// `web`, `node n1`, `{web: changes}` or a whole object.
    fn object(&self, entry: &Value) -> Result<Value, String> {
        match entry {
            Value::String(name) => self.named(name),
            Value::Object(fields) if fields.contains_key("kind") => Ok(entry.clone()),
            Value::Object(fields) if fields.len() == 1 => {
                let (name, changes) = fields.iter().next().ok_or("is empty")?;
                let mut object = self.named(name)?;
                merge_patch(&mut object, changes);
                Ok(object)
            }
            other => Err(format!("given: {other} is no object")),
        }
    }

    fn named(&self, name: &str) -> Result<Value, String> {
        let built_in = match name.split_once(' ') {
            Some(("node", name)) => Some(objects::node(name).build()),
            Some(("pod", name)) => Some(objects::pod(name).build()),
            Some(("namespace", name)) => Some(objects::namespace(name).build()),
            _ => None,
        };
        built_in
            .or_else(|| self.objects.get(name).cloned())
            .ok_or_else(|| format!("objects: there is no {name:?}"))
    }

    /// Everybody works until nothing is left to do.
    fn rest(&mut self) {
        for _ in 0..1000 {
            let run = self.cluster.settle();
            self.note(run);
            if self.by_hand || !self.end_pods("*") {
                return;
            }
        }
        panic!("pods come and go for ever");
    }

    fn note(&mut self, run: Run) {
        self.run.reconciles += run.reconciles;
        self.run.performed += run.performed;
        self.run.actions.extend(run.actions);
        self.run.refused.extend(run.refused);
    }
}
