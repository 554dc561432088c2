//! Requests for single objects and their subresources.

use http::{Extensions, Method, Response, StatusCode};
use pintle_api::kinds::{Connect, Resource, Subresource};
use pintle_api::meta::{GroupResource, GroupVersionKind};
use pintle_api::status::{Status, StatusError};
use serde_json::Value;

use super::decode::{self, Decoded};
use super::negotiate::{self, JSON};
use super::path::ResourcePath;
use super::shape::View;
use super::{Call, logs, options, pods, respond};
use crate::authz::Attributes;
use crate::body::Body;
use crate::connect::ConnectRequest;
use crate::verbs::{self, DeleteOptions, Deleted, Patch, Written};

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
const APPLY_YAML: &str = "application/apply-patch+yaml";
const APPLY_CBOR: &str = "application/apply-patch+cbor";
const PATCH_TYPES: &[&str] = &[JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH];

pub async fn get(
    call: &Call<'_>,
    resource: &'static Resource,
) -> Result<Response<Body>, StatusError> {
    let view = View::of(call, resource)?;
    if !call.query.is_empty()
        && let Some(revision) = options::resource_version(call.query)?
    {
        call.server.wait_for(revision).await?;
    }
    let (namespace, name) = place(call);
    let object = call.server.verbs.get(resource, namespace, name)?;
    let bytes = view.object(&object.bytes, object.revision, call.server.now_ms(), true)?;
    respond::object(StatusCode::OK, bytes, view.encoding)
}

pub async fn create(
    call: &Call<'_>,
    attributes: &Attributes<'_>,
    resource: &'static Resource,
    body: Body,
) -> Result<Response<Body>, StatusError> {
    if call.path.name.is_some() || (resource.is_namespaced() && call.path.namespace.is_none()) {
        return Err(StatusError::method_not_allowed(resource.group_resource(), "create"));
    }
    let view = View::of(call, resource)?;
    let decoded = decode(call, &resource.gvk(), body).await?;
    narrow(call, attributes, &decoded.value)?;
    let options = options::write_options(call.query, decoded.duplicates)?;
    let (namespace, _) = place(call);
    let written =
        call.server.verbs.create(call.user, resource, namespace, decoded.value, &options).await?;
    show(call, view, StatusCode::CREATED, written)
}

pub async fn update(
    call: &Call<'_>,
    attributes: &Attributes<'_>,
    resource: &'static Resource,
    subresource: Option<Subresource>,
    body: Body,
) -> Result<Response<Body>, StatusError> {
    let view = View::of(call, resource)?;
    let decoded = decode(call, &resource.gvk(), body).await?;
    narrow(call, attributes, &decoded.value)?;
    let options = options::write_options(call.query, decoded.duplicates)?;
    let (namespace, name) = place(call);
    let verbs = &call.server.verbs;
    let written = verbs
        .update(call.user, resource, subresource, namespace, name, decoded.value, &options)
        .await?;
    show(call, view, StatusCode::OK, written)
}

pub async fn patch(
    call: &Call<'_>,
    resource: &'static Resource,
    subresource: Option<Subresource>,
    body: Body,
) -> Result<Response<Body>, StatusError> {
    let view = View::of(call, resource)?;
    let kind = match negotiate::media_type(call.headers) {
        Some(JSON_PATCH) => Patch::Json as fn(Value) -> Patch,
        Some(MERGE_PATCH) => Patch::Merge,
        Some(STRATEGIC_PATCH) => Patch::Strategic,
        Some(APPLY_YAML | APPLY_CBOR) => {
            let mut error = StatusError::unsupported_media_type(PATCH_TYPES);
            error.0.message = format!(
                "server-side apply is not supported by this server yet, use client-side apply (kubectl apply --server-side=false); accepted media types include: {}",
                PATCH_TYPES.join(", ")
            );
            return Err(error);
        }
        _ => return Err(StatusError::unsupported_media_type(PATCH_TYPES)),
    };
    let bytes = decode::read(body).await?;
    let (document, duplicates) = verbs::parse_document(&bytes)?;
    let options = options::write_options(call.query, duplicates)?;
    let (namespace, name) = place(call);
    let verbs = &call.server.verbs;
    let patch = kind(document);
    let written =
        verbs.patch(call.user, resource, subresource, namespace, name, &patch, &options).await?;
    if subresource == Some(Subresource::Scale) {
        return plain(StatusCode::OK, written);
    }
    show(call, view, StatusCode::OK, written)
}

pub async fn delete(
    call: &Call<'_>,
    resource: &'static Resource,
    body: Body,
) -> Result<Response<Body>, StatusError> {
    let view = View::of(call, resource)?;
    let options = delete_options(call, body).await?;
    let (namespace, name) = place(call);
    match call.server.verbs.delete(call.user, resource, namespace, name, &options).await? {
        Deleted::Gone { status, .. } => Ok(respond::json(StatusCode::OK, status.to_json())),
        Deleted::Marked(written) => show(call, view, StatusCode::OK, written),
    }
}

/// `DeleteOptions` from the body, if there is one, and the query.
pub async fn delete_options(call: &Call<'_>, body: Body) -> Result<DeleteOptions, StatusError> {
    let bytes = decode::read(body).await?;
    if bytes.is_empty() {
        return options::delete_options(call.query, None);
    }
    let expected = GroupVersionKind::new("", "v1", "DeleteOptions");
    let decoded = decode::object(call.headers, &bytes, &expected)?;
    options::delete_options(call.query, Some(&decoded.value))
}

pub async fn subresource(
    call: &Call<'_>,
    attributes: &Attributes<'_>,
    resource: &'static Resource,
    subresource: Subresource,
    extensions: Extensions,
    body: Body,
) -> Result<Response<Body>, StatusError> {
    match (subresource, attributes.verb) {
        (Subresource::Log, _) => logs::logs(call, resource).await,
        (Subresource::Exec, _) => pods::exec(call, resource, extensions).await,
        (Subresource::Attach, _) => pods::attach(call, resource, extensions).await,
        (Subresource::Connect(connect), _) => self::connect(call, resource, connect).await,
        (Subresource::Scale, "get") => scale(call, resource),
        (Subresource::Scale, "update") => update_scale(call, resource, body).await,
        (Subresource::Binding, _) => bind(call, resource, body).await,
        (Subresource::Eviction, _) => evict(call, resource, body).await,
        (Subresource::Status | Subresource::Approval, "get") => get(call, resource).await,
        (_, "update") => update(call, attributes, resource, Some(subresource), body).await,
        (_, "patch") => patch(call, resource, Some(subresource), body).await,
        _ => Err(StatusError::method_not_allowed(resource.group_resource(), subresource.name())),
    }
}

async fn connect(
    call: &Call<'_>,
    resource: &'static Resource,
    connect: &'static Connect,
) -> Result<Response<Body>, StatusError> {
    if call.method == Method::HEAD {
        return Err(StatusError::method_not_allowed(resource.group_resource(), "head"));
    }
    let (namespace, name) = place(call);
    call.server.verbs.get(resource, namespace, name)?;
    let request = ConnectRequest {
        user: call.user.clone(),
        resource,
        namespace: namespace.to_string(),
        name: name.to_string(),
        subresource: connect.name,
        query: call.query.pairs(),
    };
    let body = call.server.connector.connect(request).await?;
    Ok(respond::with_body(StatusCode::OK, connect.content_type, body))
}

fn scale(call: &Call<'_>, resource: &'static Resource) -> Result<Response<Body>, StatusError> {
    let (namespace, name) = place(call);
    let scale = call.server.verbs.get_scale(resource, namespace, name)?;
    Ok(respond::value(StatusCode::OK, &scale))
}

async fn update_scale(
    call: &Call<'_>,
    resource: &'static Resource,
    body: Body,
) -> Result<Response<Body>, StatusError> {
    let decoded = decode(call, &GroupVersionKind::new("autoscaling", "v1", "Scale"), body).await?;
    let options = options::write_options(call.query, decoded.duplicates)?;
    let (namespace, name) = place(call);
    let verbs = &call.server.verbs;
    let written =
        verbs.update_scale(call.user, resource, namespace, name, decoded.value, &options).await?;
    plain(StatusCode::OK, written)
}

async fn bind(
    call: &Call<'_>,
    resource: &'static Resource,
    body: Body,
) -> Result<Response<Body>, StatusError> {
    let decoded = decode(call, &GroupVersionKind::new("", "v1", "Binding"), body).await?;
    let options = options::write_options(call.query, decoded.duplicates)?;
    let (namespace, name) = place(call);
    call.server.verbs.bind(call.user, resource, namespace, name, decoded.value, &options).await?;
    Ok(respond::json(StatusCode::CREATED, Status::success(201).to_json()))
}

/// `POST /api/v1/namespaces/NS/bindings`: the pod is named in the body.
pub fn is_legacy_binding(path: &ResourcePath<'_>) -> bool {
    path.group.is_empty()
        && path.version == "v1"
        && path.resource == "bindings"
        && path.namespace.is_some()
        && path.name.is_none()
}

pub async fn bind_legacy(call: &Call<'_>, body: Body) -> Result<Response<Body>, StatusError> {
    let bindings = GroupResource::new("", "bindings");
    if call.method != Method::POST {
        return Err(StatusError::method_not_allowed(bindings, call.method.as_str()));
    }
    let pods = call
        .server
        .registry
        .by_plural("", "v1", "pods")
        .ok_or_else(StatusError::no_such_resource)?;
    let decoded = decode(call, &GroupVersionKind::new("", "v1", "Binding"), body).await?;
    let options = options::write_options(call.query, decoded.duplicates)?;
    let name = decoded
        .value
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_string();
    let (namespace, _) = place(call);
    call.server.verbs.bind(call.user, pods, namespace, &name, decoded.value, &options).await?;
    Ok(respond::json(StatusCode::CREATED, Status::success(201).to_json()))
}

/// A delete that the disruption budgets have a say in.
async fn evict(
    call: &Call<'_>,
    resource: &'static Resource,
    body: Body,
) -> Result<Response<Body>, StatusError> {
    let decoded = decode(call, &GroupVersionKind::new("policy", "v1", "Eviction"), body).await?;
    let (namespace, name) = place(call);
    let sent = decoded.value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or(name);
    if sent != name {
        return Err(StatusError::bad_request("name in URL does not match name in Eviction object"));
    }
    let options = options::delete_options(call.query, decoded.value.get("deleteOptions"))?;
    call.server.verbs.evict(call.user, resource, namespace, name, &options).await?;
    Ok(respond::json(StatusCode::CREATED, Status::success(201).to_json()))
}

/// Namespace and name of the request.
pub fn place<'a>(call: &Call<'a>) -> (&'a str, &'a str) {
    let path = call.path;
    (path.namespace.as_deref().unwrap_or_default(), path.name.as_deref().unwrap_or_default())
}

async fn decode(
    call: &Call<'_>,
    expected: &GroupVersionKind,
    body: Body,
) -> Result<Decoded, StatusError> {
    // The encoding is checked before the body is read.
    negotiate::body_encoding(call.headers)?;
    let bytes = decode::read(body).await?;
    decode::object(call.headers, &bytes, expected)
}

fn narrow(call: &Call<'_>, attributes: &Attributes<'_>, object: &Value) -> Result<(), StatusError> {
    let authorizer = &call.server.authorizer;
    if authorizer.narrows(call.user) {
        authorizer.narrow(attributes, object).map_err(|reason| attributes.forbidden(&reason))?;
    }
    Ok(())
}

fn show(
    call: &Call<'_>,
    view: View,
    status: StatusCode,
    written: Written,
) -> Result<Response<Body>, StatusError> {
    let shown = match view.is_plain() {
        true => written.bytes,
        // Aliases were converted by the verb already.
        false => {
            view.converted().object(&written.bytes, written.revision, call.server.now_ms(), true)?
        }
    };
    let mut response = respond::object(status, shown, view.encoding)?;
    respond::warn(&mut response, &written.warnings);
    Ok(response)
}

fn plain(status: StatusCode, written: Written) -> Result<Response<Body>, StatusError> {
    let mut response = respond::with_body(status, JSON, Body::full(written.bytes));
    respond::warn(&mut response, &written.warnings);
    Ok(response)
}
