//! The level `restricted`: what is good practice today.

use std::collections::BTreeSet;

use crate::baseline::{bad_seccomp, by_context, names};
use crate::fields::{SecurityContext, Template};
use crate::words::{Violation, containers, plural, quoted, setters};

pub fn allow_privilege_escalation(pod: &Template) -> Option<Violation> {
    let bad = names(pod, |container| {
        let context = container.security_context.as_ref();
        context.and_then(|context| context.allow_privilege_escalation) != Some(false)
    });
    let detail =
        || format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&bad));
    (!bad.is_empty()).then(|| Violation::new("allowPrivilegeEscalation != false", detail()))
}

pub fn capabilities(pod: &Template) -> Option<Violation> {
    let listed = |context: Option<&SecurityContext>, add: bool| -> Vec<String> {
        let capabilities = context.and_then(|context| context.capabilities.clone());
        let capabilities = capabilities.unwrap_or_default();
        let list = if add { capabilities.add } else { capabilities.drop };
        list.unwrap_or_default()
    };
    let keeping = names(pod, |container| {
        !listed(container.security_context.as_ref(), false).iter().any(|name| name == "ALL")
    });
    let forbidden = |context: Option<&SecurityContext>| -> Vec<String> {
        let mut added = listed(context, true);
        added.retain(|name| name != "NET_BIND_SERVICE");
        added
    };
    let adding = names(pod, |container| !forbidden(container.security_context.as_ref()).is_empty());
    let added: BTreeSet<String> = pod
        .containers()
        .flat_map(|container| forbidden(container.security_context.as_ref()))
        .collect();
    let mut details = Vec::new();
    if !keeping.is_empty() {
        let who = containers(&keeping);
        details.push(format!("{who} must set securityContext.capabilities.drop=[\"ALL\"]"));
    }
    if !adding.is_empty() {
        let (who, added) = (containers(&adding), quoted(&added));
        details.push(format!("{who} must not include {added} in securityContext.capabilities.add"));
    }
    (!details.is_empty()).then(|| Violation::new("unrestricted capabilities", details.join("; ")))
}

/// Volumes whose content somebody else has prepared, or nobody.
const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

pub fn volumes(pod: &Template) -> Option<Violation> {
    let mut bad = Vec::new();
    let mut types = BTreeSet::new();
    for volume in pod.spec.volumes.iter().flatten() {
        let sources = || volume.iter().filter(|(_, source)| !source.is_null());
        if sources().any(|(name, _)| VOLUMES.contains(&name.as_str())) {
            continue;
        }
        bad.push(volume.get("name").and_then(|name| name.as_str()).unwrap_or_default());
        let source = sources().map(|(name, _)| name.as_str()).find(|name| *name != "name");
        types.insert(source.unwrap_or("unknown"));
    }
    (!bad.is_empty()).then(|| {
        let detail = format!(
            "{} {} {} {} {}",
            plural("volume", "volumes", bad.len()),
            quoted(&bad),
            plural("uses", "use", bad.len()),
            plural("restricted volume type", "restricted volume types", types.len()),
            quoted(&types)
        );
        Violation::new("restricted volume types", detail)
    })
}

pub fn run_as_non_root(pod: &Template) -> Option<Violation> {
    let said = |context: &Option<SecurityContext>| {
        context.as_ref().and_then(|context| context.run_as_non_root)
    };
    let of_pod = said(&pod.spec.security_context);
    let root = by_context(pod, |context| context.run_as_non_root == Some(false));
    if let Some(who) = setters(of_pod == Some(false), &root) {
        let detail = format!("{who} must not set securityContext.runAsNonRoot=false");
        return Some(Violation::new("runAsNonRoot != true", detail));
    }
    let open = names(pod, |container| said(&container.security_context).is_none());
    (of_pod != Some(true) && !open.is_empty()).then(|| {
        let who = containers(&open);
        let detail = format!("pod or {who} must set securityContext.runAsNonRoot=true");
        Violation::new("runAsNonRoot != true", detail)
    })
}

pub fn run_as_user(pod: &Template) -> Option<Violation> {
    let root = |context: &SecurityContext| context.run_as_user == Some(0);
    let of_pod = pod.spec.security_context.as_ref().is_some_and(root);
    let who = setters(of_pod, &by_context(pod, root))?;
    Some(Violation::new("runAsUser=0", format!("{who} must not set runAsUser=0")))
}

pub fn seccomp(pod: &Template) -> Option<Violation> {
    if let Some(violation) = bad_seccomp(pod) {
        return Some(violation);
    }
    let said = |context: &Option<SecurityContext>| {
        context.as_ref().is_some_and(|context| context.seccomp_profile.is_some())
    };
    let open = names(pod, |container| !said(&container.security_context));
    (!said(&pod.spec.security_context) && !open.is_empty()).then(|| {
        let who = containers(&open);
        let detail = format!(
            "pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""
        );
        Violation::new("seccompProfile", detail)
    })
}
