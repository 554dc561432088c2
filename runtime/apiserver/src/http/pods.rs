//! What is done inside a pod: finding its node and container, exec, attach.

use http::{Extensions, Response};
use pintle_api::kinds::Resource;
use pintle_api::status::StatusError;
use serde_json::{Value, json};

use super::objects::place;
use super::{Call, websocket};
use crate::admission::{AdmissionRequest, Operation};
use crate::body::Body;
use crate::nodes::NodeRequest;

const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// A pod and one of its containers, on a node.
#[derive(Debug)]
pub struct Place {
    pub node: String,
    /// The fields that every request to a node has.
    pub body: Value,
}

/// Finds the pod of the request and the container it means.
pub fn locate(call: &Call<'_>, resource: &'static Resource) -> Result<Place, StatusError> {
    let (namespace, name) = place(call);
    let pod = call.server.verbs.get(resource, namespace, name)?.parse();
    let container = container(name, &pod, call.query.get("container"))?;
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if node.is_empty() {
        return Err(StatusError::bad_request(format!("pod {name} does not have a host assigned")));
    }
    Ok(Place {
        node: node.to_string(),
        body: json!({
            "namespace": namespace,
            "pod": name,
            "uid": pod["metadata"]["uid"],
            "container": container,
        }),
    })
}

/// The named container if the pod has it, else the only or the default one.
fn container(name: &str, pod: &Value, asked: Option<&str>) -> Result<String, StatusError> {
    let names = |field: &str| -> Vec<&str> {
        pod["spec"][field]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|container| container["name"].as_str())
            .collect()
    };
    let containers = names("containers");
    let init = names("initContainers");
    if let Some(asked) = asked {
        let known = containers.contains(&asked)
            || init.contains(&asked)
            || names("ephemeralContainers").contains(&asked);
        return match known {
            true => Ok(asked.to_string()),
            false => Err(StatusError::bad_request(format!(
                "container {asked} is not valid for pod {name}"
            ))),
        };
    }
    if let [only] = containers[..] {
        return Ok(only.to_string());
    }
    let default = pod["metadata"]["annotations"][DEFAULT_CONTAINER].as_str().unwrap_or_default();
    if containers.contains(&default) {
        return Ok(default.to_string());
    }
    let mut text = format!(
        "a container name must be specified for pod {name}, choose one of: [{}]",
        containers.join(" ")
    );
    if !init.is_empty() {
        text.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
    }
    Err(StatusError::bad_request(text))
}

pub async fn exec(
    call: &Call<'_>,
    resource: &'static Resource,
    extensions: Extensions,
) -> Result<Response<Body>, StatusError> {
    let command: Vec<&str> = call.query.all("command").collect();
    if command.is_empty() {
        return Err(StatusError::bad_request(
            "you must specify at least one command for the container",
        ));
    }
    let command = json!(command);
    stream(call, resource, extensions, "exec", Some(command)).await
}

pub async fn attach(
    call: &Call<'_>,
    resource: &'static Resource,
    extensions: Extensions,
) -> Result<Response<Body>, StatusError> {
    stream(call, resource, extensions, "attach", None).await
}

async fn stream(
    call: &Call<'_>,
    resource: &'static Resource,
    extensions: Extensions,
    kind: &'static str,
    command: Option<Value>,
) -> Result<Response<Body>, StatusError> {
    let mut place = locate(call, resource)?;
    let mut any = false;
    for channel in ["stdin", "stdout", "stderr"] {
        let wanted = call.query.is_set(channel)?;
        any |= wanted;
        place.body[channel] = wanted.into();
    }
    if !any {
        return Err(StatusError::bad_request(
            "you must specify at least 1 of stdin, stdout, stderr",
        ));
    }
    let tty = call.query.is_set("tty")?;
    place.body["tty"] = tty.into();
    if tty {
        // A terminal has one output.
        place.body["stderr"] = false.into();
    }
    if let Some(command) = command {
        place.body["command"] = command;
    }
    admit(call, resource, kind, &place.body).await?;
    // Last: kubectl tries SPDY when a WebSocket is refused, and shows only what it
    // is told then, which must be what is wrong with the request.
    let handshake = websocket::handshake(call.headers)?;
    let body = serde_json::to_vec(&place.body).map_err(StatusError::internal)?.into();
    let node = call.server.nodes.open(&place.node, NodeRequest { kind, body }).await?;
    handshake.relay(extensions, node)
}

async fn admit(
    call: &Call<'_>,
    resource: &'static Resource,
    kind: &str,
    options: &Value,
) -> Result<(), StatusError> {
    let admission = &call.server.admission;
    if !admission.concerns(resource, Operation::Connect) {
        return Ok(());
    }
    let (namespace, name) = place(call);
    let request = AdmissionRequest {
        operation: Operation::Connect,
        resource,
        subresource: kind,
        namespace,
        name,
        user: call.user,
        object: Some(options),
        old_object: None,
        dry_run: false,
    };
    admission.review(request).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_is_named_only_or_default() {
        let check = |pod: Value, asked: Option<&str>, expect: &str| {
            let text = match container("p", &pod, asked) {
                Ok(name) => name,
                Err(error) => error.to_string(),
            };
            assert_eq!(text, expect);
        };
        let one = json!({"spec": {"containers": [{"name": "a"}]}});
        let two = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]}});
        let mut annotated = two.clone();
        annotated["metadata"] = json!({"annotations": {DEFAULT_CONTAINER: "b"}});
        check(one.clone(), None, "a");
        check(one, Some("x"), "container x is not valid for pod p");
        check(two.clone(), Some("i"), "i");
        check(annotated, None, "b");
        check(
            two,
            None,
            "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]",
        );
    }
}
