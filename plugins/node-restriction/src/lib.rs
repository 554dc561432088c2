//! What a node may change of itself and of its pods (Kubernetes'
//! `NodeRestriction`).
//!
//! Validating, for users `system:node:NAME` of the group `system:nodes` only.
//! A node that was taken over must not draw pods onto itself: it may not change
//! its taints, nor set labels that policies select nodes by
//! (`node-restriction.kubernetes.io/` and unknown ones of `kubernetes.io` and
//! `k8s.io`). Of its pods it may change the status, but not the labels.
//!
//! Which objects a node reaches at all is decided before, by the server's own
//! table of what nodes may do; this looks at what is inside of them.
//!
//! No configuration.
//!
//! Does not know: which pods a node has mounted what of. Read first: [`labels`].

pub mod labels;

use pintle_sdk::Context;
use pintle_sdk::admission::{Admission, Description, Operations, Request, Response, Rule, User};
use pintle_sdk::prelude::{Lister, Manifest, NODE, NoConfig, OwnerReference, POD, Taint};
use serde::Deserialize;
use std::collections::BTreeMap;

const MIRROR: &str = "kubernetes.io/config.mirror";

pub struct Plugin;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Fields {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Option<String>,
    taints: Option<Vec<Taint>>,
}

impl Fields {
    fn labels(&self) -> BTreeMap<String, String> {
        self.metadata.labels.clone().unwrap_or_default()
    }
}

/// The node that asks, if it is one.
fn node_of(user: &User) -> Option<&str> {
    let is_node = user.groups.iter().any(|group| group == "system:nodes");
    user.name.strip_prefix("system:node:").filter(|name| is_node && !name.is_empty())
}

impl Admission for Plugin {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Plugin)
    }

    fn describe(&self) -> Description {
        let on_write = Operations::CREATE.or(Operations::UPDATE);
        Description::new(Manifest::new("node-restriction", env!("CARGO_PKG_VERSION")))
            .validating(Rule::on(NODE, on_write))
            .validating(Rule::on(NODE, Operations::UPDATE).subresource("status"))
            .validating(Rule::on(POD, Operations::CREATE.or(Operations::DELETE)))
            .validating(Rule::on(POD, Operations::UPDATE).subresource("status"))
    }

    fn review(&self, _: &Context, _: &dyn Lister, request: &Request) -> Response {
        let Some(node) = node_of(&request.user) else { return Response::allow() };
        let verdict = match &*request.reference.kind.kind {
            "Node" => on_node(node, request),
            _ => on_pod(node, request),
        };
        match verdict {
            Ok(()) => Response::allow(),
            Err(message) => Response::forbid(message),
        }
    }
}

fn on_node(node: &str, request: &Request) -> Result<(), String> {
    let new: Fields = request.object().map_err(|error| error.to_string())?;
    if request.operation.create {
        let (own, nothing) = (new.labels(), BTreeMap::new());
        let forbidden = labels::forbidden(&own, &nothing);
        if !forbidden.is_empty() {
            let list = forbidden.join(", ");
            return Err(format!(
                "node {node:?} is not allowed to set the following labels: {list}"
            ));
        }
    }
    let name = &request.reference.name;
    if name != node {
        return Err(format!("node {node:?} is not allowed to modify node {name:?}"));
    }
    if !request.operation.update {
        return Ok(());
    }
    let old: Fields = request.old_object().map_err(|error| error.to_string())?;
    if new.spec.taints.clone().unwrap_or_default() != old.spec.taints.clone().unwrap_or_default() {
        return Err(format!("node {node:?} is not allowed to modify taints"));
    }
    let (labels, before) = (new.labels(), old.labels());
    let forbidden = labels::forbidden(&labels, &before);
    if !forbidden.is_empty() {
        let list = forbidden.join(", ");
        return Err(format!("is not allowed to modify labels: {list}"));
    }
    if new.metadata.owner_references.unwrap_or_default()
        != old.metadata.owner_references.unwrap_or_default()
    {
        return Err(format!("node {node:?} is not allowed to modify ownerReferences"));
    }
    Ok(())
}

fn on_pod(node: &str, request: &Request) -> Result<(), String> {
    let pod = |old: bool| {
        let read = if old { request.old_object::<Fields>() } else { request.object() };
        read.map_err(|error| error.to_string())
    };
    let is_own = |pod: &Fields| pod.spec.node_name.as_deref() == Some(node);
    if request.operation.create {
        let pod = pod(false)?;
        if !pod.metadata.annotations.iter().flatten().any(|(key, _)| key == MIRROR) {
            return Err(format!(
                "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
            ));
        }
        return match is_own(&pod) {
            true => Ok(()),
            false => {
                Err(format!("node {node:?} can only create pods with spec.nodeName set to itself"))
            }
        };
    }
    let old = pod(true)?;
    if request.operation.delete {
        return match is_own(&old) {
            true => Ok(()),
            false => {
                Err(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
            }
        };
    }
    if !is_own(&old) {
        return Err(format!(
            "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
        ));
    }
    if pod(false)?.labels() != old.labels() {
        return Err(format!("node {node:?} cannot update labels through pod status"));
    }
    Ok(())
}

pintle_sdk::export_admission!(Plugin);
