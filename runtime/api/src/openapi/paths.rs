//! `paths`: the operations of each kind, with the parameters the server reads.

use serde_json::{Map, Value, json};

use super::parameters::{
    JSON, PROTOBUF, delete_parameters, list_parameters, optional_body, pretty, query, request_body,
    write_parameters,
};
use super::root;
use super::schemas::Schemas;
use crate::kinds::{Resource, Scope, Subresource};

pub fn paths(
    group: &str,
    version: &str,
    rows: &[&Resource],
    schemas: &mut Schemas,
) -> Map<String, Value> {
    let root = root(group, version);
    let mut paths = Map::new();
    for row in rows {
        let mut writer =
            Writer { row, prefix: operation_prefix(group, version), schemas: &mut *schemas };
        let scope = match row.scope {
            Scope::Namespaced => "/namespaces/{namespace}",
            Scope::Cluster => "",
        };
        let collection = format!("/{root}{scope}/{}", row.plural);
        paths.insert(collection.clone(), writer.collection());
        if row.scope == Scope::Namespaced && row.supports("list") {
            paths.insert(format!("/{root}/{}", row.plural), writer.all_namespaces());
        }
        let single = format!("{collection}/{{name}}");
        paths.insert(single.clone(), writer.single());
        for subresource in row.subresources {
            paths.insert(
                format!("{single}/{}", subresource.name()),
                writer.subresource(*subresource),
            );
        }
    }
    paths
}

/// `AppsV1`, `CoreV1`, `RbacAuthorizationV1`
fn operation_prefix(group: &str, version: &str) -> String {
    let group =
        if group.is_empty() { "core" } else { group.strip_suffix(".k8s.io").unwrap_or(group) };
    group.split('.').chain([version]).map(capitalized).collect()
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
        .unwrap_or_default()
}

struct Writer<'a> {
    row: &'a Resource,
    prefix: String,
    schemas: &'a mut Schemas,
}

/// What differs between operations.
struct Operation<'a> {
    /// `create` in `createAppsV1NamespacedDeployment`
    verb: &'a str,
    /// `x-kubernetes-action`
    action: &'a str,
    suffix: &'a str,
    parameters: Vec<Value>,
    body: Option<Value>,
    /// Status codes and the message they carry.
    codes: &'a [u16],
    response: Value,
    gvk: Value,
}

impl Writer<'_> {
    fn collection(&mut self) -> Value {
        let row = self.row;
        let mut item = self.item(false, row.scope == Scope::Namespaced);
        if row.supports("list") {
            let list = self.list("");
            item.insert("get".to_owned(), list);
        }
        if row.supports("create") {
            let object = self.schemas.reference(row.schema);
            let create = self.operation(Operation {
                verb: "create",
                action: "post",
                suffix: "",
                parameters: write_parameters(),
                body: Some(request_body(object.clone(), &[JSON, PROTOBUF])),
                codes: &[200, 201, 202],
                response: object,
                gvk: self.gvk(),
            });
            item.insert("post".to_owned(), create);
        }
        if row.supports("deletecollection") {
            let mut parameters = list_parameters();
            parameters.extend(delete_parameters());
            let delete = self.delete("deleteCollection", "deletecollection", parameters, &[200]);
            item.insert("delete".to_owned(), delete);
        }
        Value::Object(item)
    }

    fn all_namespaces(&mut self) -> Value {
        let mut item = self.item(false, false);
        let list = self.list("ForAllNamespaces");
        item.insert("get".to_owned(), list);
        Value::Object(item)
    }

    fn list(&mut self, suffix: &str) -> Value {
        let list = self.schemas.reference(&format!("{}List", self.row.schema));
        self.operation(Operation {
            verb: "list",
            action: "list",
            suffix,
            parameters: list_parameters(),
            body: None,
            codes: &[200],
            response: list,
            gvk: self.gvk(),
        })
    }

    fn single(&mut self) -> Value {
        let row = self.row;
        let mut item = self.item(true, row.scope == Scope::Namespaced);
        let (schema, gvk) = (row.schema.to_owned(), self.gvk());
        self.read_and_write(&mut item, row.verbs, "", &schema, &gvk);
        if row.supports("delete") {
            let delete = self.delete("delete", "delete", delete_parameters(), &[200, 202]);
            item.insert("delete".to_owned(), delete);
        }
        Value::Object(item)
    }

    fn subresource(&mut self, subresource: Subresource) -> Value {
        let row = self.row;
        let mut item = self.item(true, row.scope == Scope::Namespaced);
        let suffix = capitalized(subresource.name());
        let (schema, gvk) = match subresource.body() {
            None => (row.schema.to_owned(), self.gvk()),
            Some((group, version, kind)) => {
                let package = if group.is_empty() { "core" } else { group };
                (
                    format!("{package}.{version}.{kind}"),
                    json!({"group": group, "version": version, "kind": kind}),
                )
            }
        };
        match subresource {
            Subresource::Exec
            | Subresource::Attach
            | Subresource::PortForward
            | Subresource::Log
            | Subresource::Connect(_) => {
                for (method, verb) in [("get", "get"), ("post", "create")] {
                    if subresource.verbs().contains(&verb) {
                        let operation = self.connect(method, &suffix, subresource, &gvk);
                        item.insert(method.to_owned(), operation);
                    }
                }
            }
            Subresource::Binding | Subresource::Eviction => {
                let object = self.schemas.reference(&schema);
                let operation = self.operation(Operation {
                    verb: "create",
                    action: "post",
                    suffix: &suffix,
                    parameters: write_parameters(),
                    body: Some(request_body(object.clone(), &[JSON, PROTOBUF])),
                    codes: &[200, 201, 202],
                    response: object,
                    gvk,
                });
                item.insert("post".to_owned(), operation);
            }
            _ => self.read_and_write(&mut item, subresource.verbs(), &suffix, &schema, &gvk),
        }
        Value::Object(item)
    }

    /// get, put and patch of an object or a part of it.
    fn read_and_write(
        &mut self,
        item: &mut Map<String, Value>,
        verbs: &[&str],
        suffix: &str,
        schema: &str,
        gvk: &Value,
    ) {
        let object = self.schemas.reference(schema);
        let codes: &[u16] = &[200, 201];
        for (verb, name, action) in
            [("get", "read", "get"), ("update", "replace", "put"), ("patch", "patch", "patch")]
        {
            if !verbs.contains(&verb) {
                continue;
            }
            let (parameters, body, codes) = match verb {
                "get" => (vec![pretty()], None, &codes[..1]),
                "update" => (
                    write_parameters(),
                    Some(request_body(object.clone(), &[JSON, PROTOBUF])),
                    codes,
                ),
                _ => {
                    let mut types =
                        vec!["application/json-patch+json", "application/merge-patch+json"];
                    if self.schemas.is_closed(schema) {
                        types.push("application/strategic-merge-patch+json");
                    }
                    let patch = self.schemas.patch_reference();
                    (write_parameters(), Some(request_body(patch, &types)), codes)
                }
            };
            let operation = Operation {
                verb: name,
                action,
                suffix,
                parameters,
                body,
                codes,
                response: object.clone(),
                gvk: gvk.clone(),
            };
            let operation = self.operation(operation);
            item.insert(action.to_owned(), operation);
        }
    }

    fn delete(&mut self, verb: &str, action: &str, parameters: Vec<Value>, codes: &[u16]) -> Value {
        let options = self.schemas.reference("meta.v1.DeleteOptions");
        let response = self.schemas.reference("meta.v1.Status");
        let body = Some(optional_body(options));
        let gvk = self.gvk();
        self.operation(Operation {
            verb,
            action,
            suffix: "",
            parameters,
            body,
            codes,
            response,
            gvk,
        })
    }

    /// A stream: logs, and what is upgraded to a WebSocket.
    fn connect(
        &mut self,
        method: &str,
        suffix: &str,
        subresource: Subresource,
        gvk: &Value,
    ) -> Value {
        let (verb, action) = match subresource {
            Subresource::Log | Subresource::Connect(_) => ("read".to_owned(), "get"),
            _ => (format!("connect{}", capitalized(method)), "connect"),
        };
        let parameters = match subresource {
            Subresource::Log => &[
                ("container", "string", "The container; needed when the pod has several."),
                ("follow", "boolean", "Keep the stream open and send new lines as they come."),
                ("previous", "boolean", "The log of the container's previous run."),
                ("sinceSeconds", "integer", "Only lines of the last seconds."),
                ("sinceTime", "string", "Only lines after this time."),
                ("tailLines", "integer", "Only the last lines."),
                ("limitBytes", "integer", "Stop after this many bytes."),
                ("timestamps", "boolean", "Put the time in front of each line."),
            ][..],
            Subresource::PortForward => &[("ports", "integer", "The ports to forward.")][..],
            Subresource::Connect(connect) => connect.parameters,
            _ => &[
                ("command", "string", "The command and its arguments, one parameter each."),
                ("container", "string", "The container; the first one when not given."),
                ("stdin", "boolean", "Open the standard input."),
                ("stdout", "boolean", "Open the standard output."),
                ("stderr", "boolean", "Open the standard error."),
                ("tty", "boolean", "Allocate a terminal."),
            ][..],
        };
        let parameters = parameters.iter().map(|(name, ty, text)| query(name, ty, text)).collect();
        let mut operation = self.operation(Operation {
            verb: &verb,
            action,
            suffix,
            parameters,
            body: None,
            codes: &[],
            response: Value::Null,
            gvk: gvk.clone(),
        });
        let content_type = match subresource {
            Subresource::Connect(connect) => connect.content_type,
            _ => "text/plain",
        };
        operation["responses"]["200"] =
            json!({"description": "OK", "content": {content_type: {"schema": {"type": "string"}}}});
        operation
    }

    fn gvk(&self) -> Value {
        json!({"group": self.row.group, "version": self.row.version, "kind": self.row.kind})
    }

    /// A path item with the parameters of its path.
    fn item(&self, name: bool, namespace: bool) -> Map<String, Value> {
        let parameter = |name: &str, description: String| {
            json!({"name": name, "in": "path", "required": true, "description": description,
                "schema": {"type": "string", "uniqueItems": true}})
        };
        let mut parameters = Vec::new();
        if name {
            parameters.push(parameter("name", format!("The name of the {}.", self.row.kind)));
        }
        if namespace {
            parameters.push(parameter("namespace", "The namespace.".to_owned()));
        }
        let mut item = Map::new();
        if !parameters.is_empty() {
            item.insert("parameters".to_owned(), parameters.into());
        }
        item
    }

    fn operation(&mut self, operation: Operation<'_>) -> Value {
        let scope = match self.row.scope {
            Scope::Namespaced if operation.suffix != "ForAllNamespaces" => "Namespaced",
            _ => "",
        };
        let (verb, collection) = match operation.verb {
            "deleteCollection" => ("delete", "Collection"),
            verb => (verb, ""),
        };
        let id = format!(
            "{verb}{}{collection}{scope}{}{}",
            self.prefix, self.row.kind, operation.suffix
        );
        let mut responses = Map::new();
        for code in operation.codes {
            let description = match code {
                201 => "Created",
                202 => "Accepted",
                _ => "OK",
            };
            let content = json!({JSON: {"schema": operation.response}});
            responses
                .insert(code.to_string(), json!({"description": description, "content": content}));
        }
        responses.insert("401".to_owned(), json!({"description": "Unauthorized"}));
        let mut written = json!({
            "operationId": id,
            "tags": [snake(&self.prefix)],
            "responses": responses,
            "x-kubernetes-action": operation.action,
            "x-kubernetes-group-version-kind": operation.gvk,
        });
        if !operation.parameters.is_empty() {
            written["parameters"] = operation.parameters.into();
        }
        if let Some(body) = operation.body {
            written["requestBody"] = body;
        }
        written
    }
}

/// `AppsV1` as a tag: `apps_v1`.
fn snake(prefix: &str) -> String {
    let mut tag = String::new();
    for (index, letter) in prefix.chars().enumerate() {
        if letter.is_ascii_uppercase() && index > 0 {
            tag.push('_');
        }
        tag.push(letter.to_ascii_lowercase());
    }
    tag
}
