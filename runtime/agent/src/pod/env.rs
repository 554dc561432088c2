//! A container's environment and the `$(NAME)` references to it; pure.

use std::collections::BTreeMap;

use base64::Engine;
use pintle_api::quantity::Quantity;
use serde_json::Value;

use super::claims::Claimed;
use super::model::{Container, EnvVar, Pod, ResourceFieldRef};
use super::resources::{limit, quantity, request};

/// What the environment can refer to besides the pod's own fields.
#[derive(Debug, Clone, Default)]
pub struct EnvContext {
    pub node_name: String,
    pub host_ip: String,
    pub pod_ips: Vec<String>,
    /// Stands in for limits that are not set.
    pub node_cpu_milli: i64,
    pub node_memory_bytes: i64,
    pub node_storage_bytes: i64,
    pub objects: Objects,
}

/// ConfigMaps, Secrets and claims by name, as fetched; `None` when there is none.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    pub config_maps: BTreeMap<String, Option<Value>>,
    pub secrets: BTreeMap<String, Option<Value>>,
    /// Claims with the volumes that they are bound to.
    pub claims: BTreeMap<String, Claimed>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    #[error("{kind} \"{name}\" not found")]
    NotFound { kind: &'static str, name: String },
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey { kind: &'static str, namespace: String, name: String, key: String },
    #[error("unsupported field path {0:?}")]
    FieldPath(String),
    #[error("unsupported resource {0:?}")]
    Resource(String),
    #[error("container {0:?} not found")]
    Container(String),
    #[error("{kind} {name:?}: key {key:?} is not text")]
    NotText { kind: &'static str, name: String, key: String },
}

impl Objects {
    /// One key's bytes. `Ok(None)`: missing, and that is fine.
    fn key(
        &self,
        kind: &'static str,
        namespace: &str,
        name: &str,
        key: &str,
        optional: bool,
    ) -> Result<Option<Vec<u8>>, EnvError> {
        match self.data(kind, name) {
            None if optional => Ok(None),
            None => Err(EnvError::NotFound { kind, name: name.to_owned() }),
            Some(mut data) => match data.remove(key) {
                None if !optional => Err(EnvError::NoKey {
                    kind,
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                    key: key.to_owned(),
                }),
                found => Ok(found),
            },
        }
    }

    /// All keys of one object; `None` when it does not exist.
    pub fn data(&self, kind: &str, name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        let secret = kind == "secret";
        let objects = if secret { &self.secrets } else { &self.config_maps };
        let object = objects.get(name)?.as_ref()?;
        let mut data = BTreeMap::new();
        let base64 = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).ok();
        for (field, encoded) in [("data", secret), ("binaryData", true)] {
            for (key, value) in object[field].as_object().into_iter().flatten() {
                let text = value.as_str().unwrap_or_default();
                let bytes = if encoded { base64(text) } else { Some(text.as_bytes().to_vec()) };
                if let Some(bytes) = bytes {
                    data.insert(key.clone(), bytes);
                }
            }
        }
        Some(data)
    }
}

/// Names of the ConfigMaps and Secrets that the environment needs.
pub fn referenced(container: &Container) -> (Vec<String>, Vec<String>) {
    let mut config_maps = Vec::new();
    let mut secrets = Vec::new();
    for source in &container.env_from {
        config_maps.extend(source.config_map_ref.iter().map(|r| r.name.clone()));
        secrets.extend(source.secret_ref.iter().map(|r| r.name.clone()));
    }
    for source in container.env.iter().filter_map(|var| var.value_from.as_ref()) {
        config_maps.extend(source.config_map_key_ref.iter().map(|r| r.name.clone()));
        secrets.extend(source.secret_key_ref.iter().map(|r| r.name.clone()));
    }
    (config_maps, secrets)
}

/// The image's variables first, each later one replacing an earlier of its name.
pub fn environment(
    pod: &Pod,
    container: &Container,
    image: &[(String, String)],
    context: &EnvContext,
) -> Result<Vec<(String, String)>, EnvError> {
    let mut env = Ordered::default();
    for (name, value) in image {
        env.set(name, value.clone());
    }
    env.set("HOSTNAME", super::files::hostname(pod, &context.node_name));
    // References see what Kubernetes set, not what the image set.
    let mut visible = BTreeMap::new();
    for source in &container.env_from {
        for (kind, reference) in
            [("configmap", &source.config_map_ref), ("secret", &source.secret_ref)]
        {
            let Some(reference) = reference else { continue };
            let Some(data) = context.objects.data(kind, &reference.name) else {
                if reference.optional {
                    continue;
                }
                let name = reference.name.clone();
                return Err(EnvError::NotFound { kind, name });
            };
            for (key, bytes) in data {
                let value = text(kind, &reference.name, &key, bytes)?;
                let name = format!("{}{key}", source.prefix);
                env.set(&name, value.clone());
                visible.insert(name, value);
            }
        }
    }
    for var in &container.env {
        if let Some(value) = value_of(pod, container, var, &visible, context)? {
            env.set(&var.name, value.clone());
            visible.insert(var.name.clone(), value);
        }
    }
    Ok(env.0)
}

#[derive(Default)]
struct Ordered(Vec<(String, String)>);

impl Ordered {
    fn set(&mut self, name: &str, value: String) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }
}

fn text(kind: &'static str, name: &str, key: &str, bytes: Vec<u8>) -> Result<String, EnvError> {
    let not_text = |_| EnvError::NotText { kind, name: name.to_owned(), key: key.to_owned() };
    let text = String::from_utf8(bytes).map_err(|_| not_text(()))?;
    if text.contains('\0') { Err(not_text(())) } else { Ok(text) }
}

fn value_of(
    pod: &Pod,
    container: &Container,
    var: &EnvVar,
    visible: &BTreeMap<String, String>,
    context: &EnvContext,
) -> Result<Option<String>, EnvError> {
    let Some(source) = &var.value_from else {
        let value = var.value.as_deref().unwrap_or_default();
        return Ok(Some(expand(value, visible)));
    };
    if let Some(field) = &source.field_ref {
        return field_value(pod, &field.field_path, context).map(Some);
    }
    if let Some(field) = &source.resource_field_ref {
        return resource_value(pod, container, field, context).map(Some);
    }
    let keys = [("configmap", &source.config_map_key_ref), ("secret", &source.secret_key_ref)];
    for (kind, key) in keys {
        if let Some(key) = key {
            let namespace = &pod.metadata.namespace;
            let bytes = context.objects.key(kind, namespace, &key.name, &key.key, key.optional)?;
            return bytes.map(|bytes| text(kind, &key.name, &key.key, bytes)).transpose();
        }
    }
    Ok(Some(String::new()))
}

/// A field of the downward API.
pub fn field_value(pod: &Pod, path: &str, context: &EnvContext) -> Result<String, EnvError> {
    let meta = &pod.metadata;
    let list = |map: &BTreeMap<String, String>| -> String {
        let lines: Vec<String> =
            map.iter().map(|(key, value)| format!("{key}={value:?}")).collect();
        lines.join("\n")
    };
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.labels" => &meta.labels,
            "metadata.annotations" => &meta.annotations,
            _ => return Err(EnvError::FieldPath(path.to_owned())),
        };
        return Ok(map.get(key).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "metadata.labels" => list(&meta.labels),
        "metadata.annotations" => list(&meta.annotations),
        "spec.nodeName" => context.node_name.clone(),
        "spec.serviceAccountName" => pod.spec.service_account_name.clone(),
        "status.hostIP" | "status.hostIPs" => context.host_ip.clone(),
        "status.podIP" => context.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => context.pod_ips.join(","),
        _ => return Err(EnvError::FieldPath(path.to_owned())),
    })
}

/// `metadata.labels['app']` as its two parts.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

pub fn resource_value(
    pod: &Pod,
    container: &Container,
    field: &ResourceFieldRef,
    context: &EnvContext,
) -> Result<String, EnvError> {
    let container = match field.container_name.as_str() {
        "" => container,
        name => pod.container(name).ok_or_else(|| EnvError::Container(name.to_owned()))?,
    };
    let unknown = || EnvError::Resource(field.resource.clone());
    let (side, resource) = field.resource.split_once('.').ok_or_else(unknown)?;
    let found = match side {
        "limits" => limit(container, resource),
        "requests" => request(container, resource),
        _ => return Err(unknown()),
    };
    let whole = match (resource, side) {
        ("cpu", _) => Quantity::from_milli(context.node_cpu_milli),
        ("memory", _) => Quantity::from_value(context.node_memory_bytes),
        ("ephemeral-storage", _) => Quantity::from_value(context.node_storage_bytes),
        _ => Quantity::ZERO,
    };
    let value = match (found, side) {
        (Some(found), _) => found,
        (None, "limits") => whole,
        (None, _) => Quantity::ZERO,
    };
    let divisor = quantity(&field.divisor).map(|q| q.nano()).filter(|nano| *nano > 0);
    let divisor = divisor.unwrap_or(1_000_000_000);
    Ok(((value.nano() + divisor - 1) / divisor).to_string())
}

/// Replaces `$(NAME)` by the variable's value. `$$` stands for `$`; a name that
/// is not known stays as it is written.
pub fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(end) = rest.strip_prefix('(').and_then(|name| name.find(')')) {
            let name = &rest[1..=end];
            match variables.get(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = &rest[end + 2..];
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_expand_as_in_kubernetes() {
        let variables =
            BTreeMap::from([("A".to_owned(), "1".to_owned()), ("É".to_owned(), "2".to_owned())]);
        let check =
            |input: &str, expect: &str| assert_eq!(expand(input, &variables), expect, "{input}");
        check("$(A)", "1");
        check("x$(A)y$(A)", "x1y1");
        check("$(É)", "2");
        check("$$(A)", "$(A)");
        check("$$$(A)", "$1");
        check("$(B)", "$(B)");
        check("$A $ $( $()", "$A $ $( $()");
        check("end$", "end$");
    }

    #[test]
    fn an_environment_is_built_in_order() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"app": "web"}},
            "spec": {"containers": [{
                "name": "c",
                "resources": {"limits": {"cpu": "1500m"}, "requests": {"memory": "3Mi"}},
                "envFrom": [{"prefix": "P_", "configMapRef": {"name": "cm"}}],
                "env": [
                    {"name": "PATH", "value": "/x"},
                    {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                    {"name": "BOTH", "value": "$(NAME)-$(APP)-$(P_k)-$(LATER)"},
                    {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
                    {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "requests.memory", "divisor": "1Mi"}}},
                    {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                    {"name": "MAYBE", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k", "optional": true}}},
                ],
            }]},
        }))
        .unwrap();
        let mut context = EnvContext::default();
        context.objects.config_maps.insert("cm".into(), Some(json!({"data": {"k": "v"}})));
        context.objects.secrets.insert("s".into(), Some(json!({"data": {"k": "aGk="}})));
        let image = [("PATH".to_owned(), "/bin".to_owned()), ("IMG".to_owned(), "i".to_owned())];
        let env = environment(&pod, &pod.spec.containers[0], &image, &context).unwrap();
        let got: Vec<String> = env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            got,
            [
                "PATH=/x",
                "IMG=i",
                "HOSTNAME=p",
                "P_k=v",
                "NAME=p",
                "APP=web",
                "BOTH=p-web-v-$(LATER)",
                "CPU=2",
                "MEM=3",
                "SECRET=hi",
            ]
        );
        context.objects.secrets.clear();
        let error = environment(&pod, &pod.spec.containers[0], &image, &context).unwrap_err();
        assert_eq!(error.to_string(), "secret \"s\" not found");
    }
}
