//! The patch for one pod. Written as text: the operations are few and fixed,
//! and every pod that is created waits for them.

use std::borrow::Cow;

use pintle_sdk::serde_json;
use serde::Deserialize;

use crate::Config;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// The fields of a pod that decide about its defaults.
#[derive(Deserialize)]
pub struct PodFields<'a> {
    #[serde(borrow, default)]
    spec: Spec<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec<'a> {
    #[serde(borrow)]
    service_account_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    service_account: Option<Cow<'a, str>>,
    priority: Option<i32>,
    #[serde(borrow)]
    priority_class_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    preemption_policy: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tolerations: Option<Vec<Toleration<'a>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Toleration<'a> {
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    effect: Option<Cow<'a, str>>,
}

/// What a PriorityClass stands for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Priority {
    pub value: i32,
    #[serde(default = "preempt")]
    pub preemption_policy: String,
}

fn preempt() -> String {
    "PreemptLowerPriority".to_owned()
}

impl Default for Priority {
    fn default() -> Self {
        Priority { value: 0, preemption_policy: preempt() }
    }
}

impl<'a> PodFields<'a> {
    pub fn read(json: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json)
    }

    pub fn priority_class(&self) -> &str {
        self.spec.priority_class_name.as_deref().unwrap_or_default()
    }
}

/// RFC 6902 operations; `None` when the pod leaves nothing open.
pub fn patch(config: &Config, pod: &PodFields<'_>, priority: &Priority) -> Option<Vec<u8>> {
    let spec = &pod.spec;
    let mut operations = Operations(String::with_capacity(512));
    let set = |field: &Option<Cow<'_, str>>| {
        field.as_deref().filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let (name, old_name) = (set(&spec.service_account_name), set(&spec.service_account));
    let account =
        name.clone().or(old_name.clone()).unwrap_or_else(|| config.service_account_name.clone());
    if name.is_none() {
        operations.add_text("serviceAccountName", &account);
    }
    if old_name.is_none() {
        operations.add_text("serviceAccount", &account);
    }
    if spec.priority.is_none() {
        operations.add("priority", &priority.value.to_string());
    }
    if set(&spec.preemption_policy).is_none() {
        operations.add_text("preemptionPolicy", &priority.preemption_policy);
    }
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let missing = |taint: &&&str| !tolerations.iter().any(|toleration| toleration.covers(taint));
    let wanted: Vec<String> = [NOT_READY, UNREACHABLE]
        .iter()
        .filter(missing)
        .map(|taint| toleration(taint, config.toleration_seconds))
        .collect();
    if spec.tolerations.is_some() {
        wanted.iter().for_each(|toleration| operations.add("tolerations/-", toleration));
    } else {
        operations.add("tolerations", &format!("[{}]", wanted.join(",")));
    }
    operations.finish()
}

impl Toleration<'_> {
    /// Does it concern evictions because of this taint already?
    fn covers(&self, taint: &str) -> bool {
        let key = self.key.as_deref().unwrap_or_default();
        let effect = self.effect.as_deref().unwrap_or_default();
        (key.is_empty() || key == taint) && (effect.is_empty() || effect == "NoExecute")
    }
}

fn toleration(taint: &str, seconds: u32) -> String {
    format!(
        r#"{{"key":"{taint}","operator":"Exists","effect":"NoExecute","tolerationSeconds":{seconds}}}"#
    )
}

struct Operations(String);

impl Operations {
    fn add(&mut self, field: &str, json: &str) {
        self.0.push_str(if self.0.is_empty() { "[" } else { "," });
        self.0.push_str(r#"{"op":"add","path":"/spec/"#);
        self.0.push_str(field);
        self.0.push_str(r#"","value":"#);
        self.0.push_str(json);
        self.0.push('}');
    }

    fn add_text(&mut self, field: &str, text: &str) {
        self.add(field, &serde_json::Value::from(text).to_string());
    }

    fn finish(mut self) -> Option<Vec<u8>> {
        if self.0.is_empty() {
            return None;
        }
        self.0.push(']');
        Some(self.0.into_bytes())
    }
}
