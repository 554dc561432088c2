//! The Pod Security Standards `privileged`, `baseline` and `restricted`, by the
//! labels of namespaces (Kubernetes' `PodSecurity`).
//!
//! Validating. A pod that breaks what its namespace enforces is refused:
//! `violates PodSecurity "restricted:latest": ...`. What breaks the `warn` level
//! brings a warning, for pods and for everything that makes pods (Deployments,
//! Jobs, ...); what breaks the `audit` level is written into the plugin's log. A
//! namespace whose labels say nothing sensible is refused, and one that enforces
//! more than before gets a warning for the pods in it.
//!
//! Config (all optional): `enforce`, `audit`, `warn` and `enforceVersion`,
//! `auditVersion`, `warnVersion` hold where a namespace says nothing;
//! `exemptions` (`usernames`, `namespaces`, `runtimeClasses`) are let through.
//!
//! Does not know: who may change a namespace's labels. Read first:
//! [`standard::violations`].

pub mod baseline;
pub mod fields;
pub mod policy;
pub mod restricted;
pub mod standard;
pub mod words;
mod workloads;

use std::collections::BTreeMap;

use pintle_sdk::admission::{Admission, Description, Operations, Request, Response, Rule, Verdict};
use pintle_sdk::prelude::{AnyObject, Lister, Manifest, NAMESPACE, POD, Query};
use pintle_sdk::{Context, log};
use serde::Deserialize;

use crate::fields::Template;
use crate::policy::{Level, Policy, Standard, Version};

/// More pods are not looked at when a namespace changes.
const MAX_LOOKED_AT: u32 = 500;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    pub enforce: Level,
    pub enforce_version: Version,
    pub audit: Level,
    pub audit_version: Version,
    pub warn: Level,
    pub warn_version: Version,
    pub exemptions: Exemptions,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Exemptions {
    pub usernames: Vec<String>,
    pub namespaces: Vec<String>,
    pub runtime_classes: Vec<String>,
}

pub struct Plugin {
    defaults: Policy,
    exemptions: Exemptions,
}

impl Admission for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        let standard = |level, version| Standard { level, version };
        let defaults = Policy {
            enforce: standard(config.enforce, config.enforce_version),
            audit: standard(config.audit, config.audit_version),
            warn: standard(config.warn, config.warn_version),
        };
        Ok(Plugin { defaults, exemptions: config.exemptions })
    }

    fn describe(&self) -> Description {
        let on_write = Operations::CREATE.or(Operations::UPDATE);
        let mut description = Description::new(
            Manifest::new("pod-security", env!("CARGO_PKG_VERSION"))
                .needs(NAMESPACE, &["list"], "its labels say what is enforced")
                .needs(POD, &["list"], "pods in a namespace that enforces more than before"),
        )
        .validating(Rule::on(POD, Operations::CREATE))
        .validating(Rule::on(POD, Operations::UPDATE).subresource("ephemeralcontainers"))
        .validating(Rule::on(NAMESPACE, on_write));
        for kind in workloads::KINDS {
            description = description.validating(Rule::on(kind.clone(), on_write));
        }
        description
    }

    fn review(&self, _: &Context, lister: &dyn Lister, request: &Request) -> Response {
        match &*request.reference.kind.kind {
            "Namespace" => self.namespace(lister, request),
            kind => self.pods(lister, request, kind == "Pod"),
        }
    }
}

impl Plugin {
    fn pods(&self, lister: &dyn Lister, request: &Request, is_pod: bool) -> Response {
        let namespace = &request.reference.namespace;
        let is_exempt = |list: &[String], name: &str| list.iter().any(|exempt| exempt == name);
        if is_exempt(&self.exemptions.namespaces, namespace)
            || is_exempt(&self.exemptions.usernames, &request.user.name)
        {
            return Response::allow();
        }
        let found = lister.get_fields(&NAMESPACE.named("", &**namespace), &["metadata.labels"]);
        let labels = found.and_then(|found| found.parse::<AnyObject>().ok());
        let labels = labels.map(|found| found.metadata.labels).unwrap_or_default();
        let (policy, _) = Policy::of(&labels, &self.defaults);
        let levels = [policy.enforce.level, policy.audit.level, policy.warn.level];
        if levels == [Level::Privileged; 3] {
            return Response::allow();
        }
        let pod = match workloads::template(&request.reference.kind, &request.json) {
            Ok(Some(pod)) => pod,
            Ok(None) => return Response::allow(),
            Err(error) => return Response::forbid(format!("the pod cannot be read: {error}")),
        };
        let class = pod.spec.runtime_class_name.as_deref().unwrap_or_default();
        if is_exempt(&self.exemptions.runtime_classes, class) {
            return Response::allow();
        }
        let broken = |standard: Standard| {
            let violations = standard::violations(standard, &pod);
            let what = words::printed(&violations);
            (!violations.is_empty()).then(|| format!("violate PodSecurity \"{standard}\": {what}"))
        };
        if let Some(what) = broken(policy.audit) {
            log::info!("{}: would {what}", request.reference);
        }
        if is_pod && let Some(what) = broken(policy.enforce) {
            let what = what.replacen("violate ", "violates ", 1);
            return Response::forbid(what);
        }
        match broken(policy.warn) {
            Some(what) => Response::allow().warn(format!("would {what}")),
            None => Response::allow(),
        }
    }

    fn namespace(&self, lister: &dyn Lister, request: &Request) -> Response {
        let labels = |old: bool| {
            let read = if old { request.old_object::<AnyObject>() } else { request.object() };
            read.map(|namespace| namespace.metadata.labels).unwrap_or_default()
        };
        let (new, bad) = Policy::of(&labels(false), &self.defaults);
        let (old, bad_before) = match request.operation.update {
            true => Policy::of(&labels(true), &self.defaults),
            false => (new, Vec::new()),
        };
        // Labels that were there before do not stand in the way of other changes.
        if let Some(label) = bad.iter().find(|label| !bad_before.contains(label)) {
            let message = format!(
                "metadata.labels[{}]: Invalid value: {:?}: {}",
                label.key, label.value, label.message
            );
            let (code, reason) = (422, "Invalid".to_owned());
            let verdict = Verdict::Deny { code, reason, message };
            return Response { verdict, warnings: Vec::new() };
        }
        let name = &request.reference.name;
        let is_exempt = self.exemptions.namespaces.contains(name);
        if new.enforce == old.enforce || new.enforce.level == Level::Privileged || is_exempt {
            return Response::allow();
        }
        let mut response = Response::allow();
        response.warnings = existing(lister, name, new.enforce);
        response
    }
}

/// What the pods of a namespace break of what it is to enforce.
fn existing(lister: &dyn Lister, namespace: &str, standard: Standard) -> Vec<String> {
    let pods = lister.list(&Query::of(POD).namespace(namespace).limit(MAX_LOOKED_AT));
    let mut by_reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pod in pods {
        let Ok(template) = pintle_sdk::reading::parse::<Template>(&pod.json) else { continue };
        let violations = standard::violations(standard, &template);
        if !violations.is_empty() {
            let reasons: Vec<String> = violations.into_iter().map(|one| one.reason).collect();
            by_reasons.entry(reasons.join(", ")).or_default().push(pod.reference.name.clone());
        }
    }
    if by_reasons.is_empty() {
        return Vec::new();
    }
    let mut warnings = vec![format!(
        "existing pods in namespace \"{namespace}\" violate the new PodSecurity enforce level \"{standard}\""
    )];
    let mut lines: Vec<String> = by_reasons
        .into_iter()
        .map(|(reasons, mut pods)| {
            pods.sort();
            match pods.len() - 1 {
                0 => format!("{}: {reasons}", pods[0]),
                1 => format!("{} (and 1 other pod): {reasons}", pods[0]),
                more => format!("{} (and {more} other pods): {reasons}", pods[0]),
            }
        })
        .collect();
    lines.sort();
    warnings.extend(lines);
    warnings
}

pintle_sdk::export_admission!(Plugin);
