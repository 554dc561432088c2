//! Which pod and container a person means: `web-0`, `pod/web-0`, or `deploy/web`
//! for one of its pods.

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::http::Client;
use super::target::{Target, query_escape};
use crate::cli::object_name;

/// Which container kubectl takes when none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

pub struct Chosen {
    pub pod: String,
    /// None when the pod has only one.
    pub container: Option<String>,
}

pub async fn choose(
    client: &Client,
    namespace: &str,
    text: &str,
    container: Option<&str>,
) -> Result<Chosen> {
    let pod = match text.split_once('/') {
        None => object_name(text).map_err(|problem| anyhow!("{problem}: pod {text:?}"))?,
        Some(_) => one_of(client, namespace, text).await?,
    };
    if let Some(container) = container {
        return Ok(Chosen { pod, container: Some(container.to_owned()) });
    }
    let path = format!("/api/v1/namespaces/{namespace}/pods/{}", query_escape(&pod));
    let object = client.get(&path).await?;
    let container = default_container(&object);
    if let Some((container, others)) = &container {
        eprintln!("Defaulted container {container:?} out of: {others}");
    }
    Ok(Chosen { pod, container: container.map(|(container, _)| container) })
}

/// The pod of `pod/web-0`, or a running pod of `deploy/web`.
async fn one_of(client: &Client, namespace: &str, text: &str) -> Result<String> {
    let target = Target::parse(text, None)?;
    let name = target.name.clone().with_context(|| format!("{text:?} names no object"))?;
    if target.resource.kind == "Pod" {
        return Ok(name);
    }
    let owner = client.get(&target.path(Some(namespace))).await?;
    // A Service has plain labels, a workload a selector of labels.
    let selector = &owner["spec"]["selector"];
    let labels = selector["matchLabels"].as_object().or_else(|| selector.as_object());
    let labels: Vec<String> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)))
        .collect();
    if labels.is_empty() {
        bail!("{text} selects no pods; name a pod");
    }
    let path = format!(
        "/api/v1/namespaces/{namespace}/pods?labelSelector={}",
        query_escape(&labels.join(","))
    );
    let headers = [("accept", "application/json")];
    let pods = client.json(Method::GET, &path, &headers, Bytes::new()).await?;
    let pods = pods["items"].as_array().map_or(&[][..], Vec::as_slice);
    first_of(pods).with_context(|| format!("{text} has no pods"))
}

/// A running pod before the others, in the order of their names.
fn first_of(pods: &[Value]) -> Option<String> {
    let running = |pod: &&Value| {
        pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null()
    };
    let pod = pods.iter().find(running).or_else(|| pods.first())?;
    pod["metadata"]["name"].as_str().map(str::to_owned)
}

/// The container to take in a pod with several, and the names of all.
fn default_container(pod: &Value) -> Option<(String, String)> {
    let names = |field: &str| -> Vec<&str> {
        let containers = pod["spec"][field].as_array();
        containers.into_iter().flatten().filter_map(|c| c["name"].as_str()).collect()
    };
    let containers = names("containers");
    let init = names("initContainers");
    if containers.len() + init.len() < 2 {
        return None;
    }
    let marked = pod["metadata"]["annotations"][DEFAULT_CONTAINER].as_str();
    let chosen = marked.filter(|name| containers.contains(name)).or(containers.first().copied())?;
    let init = init.iter().map(|name| format!("{name} (init)"));
    let all: Vec<String> = containers.iter().map(|name| (*name).to_owned()).chain(init).collect();
    Some((chosen.to_owned(), all.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_container_unless_another_is_marked() {
        let check = |pod: Value, expect: Option<(&str, &str)>| {
            let expect = expect.map(|(a, b)| (a.to_owned(), b.to_owned()));
            assert_eq!(default_container(&pod), expect);
        };
        let two = json!([{"name": "a"}, {"name": "b"}]);
        check(json!({"spec": {"containers": [{"name": "a"}]}}), None);
        check(json!({"spec": {"containers": two}}), Some(("a", "a, b")));
        check(
            json!({"metadata": {"annotations": {DEFAULT_CONTAINER: "b"}},
                "spec": {"containers": two, "initContainers": [{"name": "i"}]}}),
            Some(("b", "a, b, i (init)")),
        );
    }

    #[test]
    fn a_running_pod_is_taken_before_one_that_ends() {
        let pod = |name: &str, phase: &str, ending: bool| {
            json!({"metadata": {"name": name, "deletionTimestamp": ending.then_some("t")},
                "status": {"phase": phase}})
        };
        let check = |pods: &[Value], expect: Option<&str>| {
            assert_eq!(first_of(pods).as_deref(), expect);
        };
        check(&[], None);
        check(&[pod("a", "Pending", false)], Some("a"));
        check(&[pod("a", "Running", true), pod("b", "Running", false)], Some("b"));
    }
}
