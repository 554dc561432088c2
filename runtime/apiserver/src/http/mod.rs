//! HTTP: from a request to the verb that it means, and back to bytes.
//!
//! One path for all kinds: parse the path, find the row in the registry, ask
//! the authorizer, call the verb. What differs between kinds is in the row.

mod decode;
mod discovery;
mod health;
mod impersonate;
mod list;
mod logs;
mod negotiate;
mod objects;
mod openapi_v2;
mod options;
mod path;
mod pods;
mod query;
mod respond;
mod reviews;
mod select;
mod shape;
mod watch;
mod websocket;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use http::{Extensions, HeaderMap, Method, Request, Response};
use hyper::body::Body as _;
use pintle_api::kinds::{Resource, Subresource};
use pintle_api::meta::GroupResource;
use pintle_api::names;
use pintle_api::status::StatusError;

use crate::ApiServer;
use crate::authz::{Attributes, Decision};
use crate::body::Body;
use crate::user::User;

use self::path::{ResourcePath, Target};
use self::query::Query;

pub(crate) use decode::body_budget;
pub(crate) use discovery::Documents;

/// One request for a resource, as far as it is understood.
struct Call<'a> {
    server: &'a Arc<ApiServer>,
    user: &'a Arc<User>,
    method: &'a Method,
    headers: &'a HeaderMap,
    path: &'a ResourcePath<'a>,
    query: &'a Query<'a>,
}

impl ApiServer {
    /// Answers one request: the whole API, without a network. Never fails and
    /// never panics; whatever goes wrong is a `Status`.
    pub async fn handle(
        self: &Arc<Self>,
        user: impl Into<Arc<User>>,
        request: Request<Body>,
    ) -> Response<Body> {
        let begin = Instant::now();
        let method = request.method().clone();
        let routed = AssertUnwindSafe(route(self, user.into(), request)).catch_unwind().await;
        let response = match routed {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                tracing::debug!(code = error.code(), error = %error, "request refused");
                respond::error(&error)
            }
            Err(panic) => {
                let what = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied())
                    .unwrap_or("unknown");
                tracing::error!(panic = what, "request handler panicked");
                respond::error(&StatusError::internal(
                    "the request handler failed, see the server's log",
                ))
            }
        };
        self.metrics.answered(&method, response.status(), begin.elapsed());
        response
    }
}

async fn route(
    server: &Arc<ApiServer>,
    user: Arc<User>,
    request: Request<Body>,
) -> Result<Response<Body>, StatusError> {
    let (mut parts, body) = request.into_parts();
    let extensions = std::mem::take(&mut parts.extensions);
    let (method, headers) = (&parts.method, &parts.headers);
    tracing::debug!(user = %user.name, %method, uri = %parts.uri, "request");
    let path = parts.uri.path();
    let target = path::parse(path).map_err(|segment| {
        StatusError::bad_request(format!(
            "path segment {segment:?} is not valid percent-encoded UTF-8"
        ))
    })?;
    if let Target::Other = target
        && let Some(response) = health::open(server, method, path)
    {
        return Ok(response);
    }
    if user.is_anonymous() {
        return Err(StatusError::unauthorized());
    }
    let user = impersonate::effective(server, user, headers).await?;
    let Target::Resource(resource_path) = &target else {
        authorize(server, &Attributes::path(&user, &method.as_str().to_ascii_lowercase(), path))
            .await?;
        return discovery::answer(server, method, headers, &target, path).await;
    };
    let query = Query::parse(parts.uri.query())?;
    let _body_permit = decode::admit_body(&server.bodies, body.size_hint()).await;
    let call = Call { server, user: &user, method, headers, path: resource_path, query: &query };
    resource(call, extensions, body).await
}

async fn resource(
    call: Call<'_>,
    extensions: Extensions,
    body: Body,
) -> Result<Response<Body>, StatusError> {
    let path = call.path;
    for segment in [&path.name, &path.namespace].into_iter().flatten() {
        if let Some(why) = names::path_segment(segment) {
            return Err(StatusError::bad_request(format!(
                "invalid name {segment:?} in the path: {why}"
            )));
        }
    }
    let watching = path.watch || (path.name.is_none() && call.query.is_set("watch")?);
    let verb = verb(call.method, path, watching)?;
    let selectors = match verb {
        "list" | "watch" | "deletecollection" => options::selectors(call.query)?,
        _ => options::Selectors::default(),
    };
    let name = path.name.as_deref().unwrap_or_default();
    let namespace = match path.namespace.as_deref() {
        Some(namespace) => namespace,
        // A namespace object counts as lying in itself.
        None if path.resource == "namespaces" && path.group.is_empty() => name,
        None => "",
    };
    let attributes = Attributes {
        user: call.user,
        verb,
        group: &path.group,
        version: &path.version,
        resource: &path.resource,
        subresource: path.subresource.as_deref().unwrap_or_default(),
        namespace,
        name,
        path: "",
        field_selector: Some(&selectors.fields),
    };
    authorize(call.server, &attributes).await?;
    let Some((resource, subresource)) = find(&call)? else {
        return match objects::is_legacy_binding(call.path) {
            true => objects::bind_legacy(&call, body).await,
            false => reviews::answer(&call, body).await,
        };
    };
    match subresource {
        Some(subresource) => {
            let supported = subresource.verbs().contains(&method_verb(call.method));
            if !supported {
                return Err(not_allowed(resource, verb));
            }
            objects::subresource(&call, &attributes, resource, subresource, extensions, body).await
        }
        None if !resource.supports(verb) => Err(not_allowed(resource, verb)),
        None if name.is_empty() && matches!(verb, "update" | "patch") => {
            Err(not_allowed(resource, verb))
        }
        None => match verb {
            "get" => objects::get(&call, resource).await,
            "list" => list::list(&call, resource, selectors).await,
            "watch" => watch::watch(&call, resource, selectors).await,
            "create" => objects::create(&call, &attributes, resource, body).await,
            "update" => objects::update(&call, &attributes, resource, None, body).await,
            "patch" => objects::patch(&call, resource, None, body).await,
            "delete" => objects::delete(&call, resource, body).await,
            _ => list::delete_collection(&call, resource, selectors, body).await,
        },
    }
}

/// The row and subresource of a path; `None` for groups that have no rows.
fn find(call: &Call<'_>) -> Result<Option<(&'static Resource, Option<Subresource>)>, StatusError> {
    let path = call.path;
    let Some(resource) = call.server.registry.by_plural(&path.group, &path.version, &path.resource)
    else {
        let served = reviews::serves(path) || objects::is_legacy_binding(path);
        return if served { Ok(None) } else { Err(StatusError::no_such_resource()) };
    };
    let misplaced = (path.namespace.is_some() && !resource.is_namespaced())
        || (path.namespace.is_none()
            && path.name.is_some()
            && resource.is_namespaced()
            && !path.watch);
    if misplaced {
        return Err(StatusError::no_such_resource());
    }
    let subresource = match path.subresource.as_deref() {
        None => None,
        Some(name) => Some(resource.subresource(name).ok_or_else(StatusError::no_such_resource)?),
    };
    Ok(Some((resource, subresource)))
}

fn verb(
    method: &Method,
    path: &ResourcePath<'_>,
    watching: bool,
) -> Result<&'static str, StatusError> {
    if watching && (method == Method::GET || method == Method::HEAD) {
        return Ok("watch");
    }
    let collection = path.name.is_none();
    // Running something in a pod is never only reading.
    let connects = matches!(path.subresource.as_deref(), Some("exec" | "attach" | "portforward"));
    Ok(match *method {
        Method::GET if connects => "create",
        Method::GET | Method::HEAD if collection => "list",
        Method::GET | Method::HEAD => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if collection => "deletecollection",
        Method::DELETE => "delete",
        _ => {
            return Err(StatusError::method_not_allowed(
                GroupResource::new(&path.group, &path.resource),
                method.as_str(),
            ));
        }
    })
}

/// The verb by which subresources declare their methods.
fn method_verb(method: &Method) -> &'static str {
    match *method {
        Method::GET | Method::HEAD => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        _ => "delete",
    }
}

fn not_allowed(resource: &Resource, verb: &str) -> StatusError {
    StatusError::method_not_allowed(resource.group_resource(), verb)
}

async fn authorize(server: &ApiServer, attributes: &Attributes<'_>) -> Result<(), StatusError> {
    match server.authorizer.authorize(attributes).await {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(reason) | Decision::NoOpinion(reason) => Err(attributes.forbidden(&reason)),
    }
}
