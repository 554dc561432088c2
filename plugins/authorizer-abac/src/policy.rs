//! One line of a policy file.

use pintle_sdk::authorizer::{Attributes, User};

const API_VERSION: &str = "abac.authorization.kubernetes.io/v1beta1";
const ALL: &str = "*";

#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Policy {
    /// A name; `*` is everybody. With a group, both have to match.
    pub user: String,
    pub group: String,
    /// Only get, list and watch.
    pub readonly: bool,
    pub api_group: String,
    pub resource: String,
    pub namespace: String,
    /// `/a`, or `/a/*` for what begins like that.
    pub non_resource_path: String,
    /// Where it stands, from 1.
    #[serde(skip)]
    pub line: usize,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    api_version: String,
    kind: String,
    spec: Policy,
}

/// The policies of a text; the error names the line.
pub fn read(text: &str) -> Result<Vec<Policy>, String> {
    let mut policies = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let number = index + 1;
        let wrong = |why: String| format!("spec.config.policy: line {number}: {why}");
        let read: Line = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
        if read.api_version != API_VERSION || read.kind != "Policy" {
            return Err(wrong(format!("must be a Policy of {API_VERSION}")));
        }
        if read.spec.user.is_empty() && read.spec.group.is_empty() {
            return Err(wrong("spec.user or spec.group must be given".to_owned()));
        }
        policies.push(Policy { line: number, ..read.spec });
    }
    Ok(policies)
}

impl Policy {
    pub fn matches(&self, asked: &Attributes) -> bool {
        let reads = matches!(asked.verb.as_str(), "get" | "list" | "watch");
        if !self.is_about(&asked.user) || (self.readonly && !reads) {
            return false;
        }
        if asked.resource.is_empty() {
            let path = &self.non_resource_path;
            return path == ALL
                || (!path.is_empty() && *path == asked.path)
                || path.strip_suffix(ALL).is_some_and(|start| asked.path.starts_with(start));
        }
        self.covers_namespace(&asked.namespace)
            && covers(&self.resource, &asked.resource)
            && covers(&self.api_group, &asked.group)
    }

    pub fn is_about(&self, user: &User) -> bool {
        let about_user = self.user.is_empty() || covers(&self.user, &user.name);
        let about_group =
            self.group.is_empty() || self.group == ALL || user.groups.contains(&self.group);
        let says_whom = !self.user.is_empty() || !self.group.is_empty();
        says_whom && about_user && about_group
    }

    pub fn covers_namespace(&self, namespace: &str) -> bool {
        covers(&self.namespace, namespace)
    }
}

fn covers(allowed: &str, wanted: &str) -> bool {
    allowed == ALL || allowed == wanted
}
