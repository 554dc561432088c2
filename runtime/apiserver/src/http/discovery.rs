//! Discovery and OpenAPI: what this server serves, derived from the registry
//! and the table of reviews, once, and kept as bytes.

use std::sync::OnceLock;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
use http::{HeaderMap, Method, Response, StatusCode};
use pintle_api::kinds::Registry;
use pintle_api::meta::join_api_version;
use pintle_api::status::StatusError;
use pintle_api::{discovery, openapi};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::negotiate::{self, JSON, Place, Shape};
use super::path::Target;
use super::reviews::{REVIEWS, Review, VERSION};
use super::{openapi_v2, respond};
use crate::ApiServer;
use crate::body::Body;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// A document and its entity tag.
#[derive(Clone)]
struct Document {
    bytes: Bytes,
    tag: String,
}

impl Document {
    fn new(value: &Value) -> Document {
        let bytes = serde_json::to_vec(value).unwrap_or_default();
        let tag = hash(&bytes);
        Document { bytes: bytes.into(), tag }
    }
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02X}")).collect()
}

/// All documents, each built when first asked for.
pub(crate) struct Documents {
    registry: &'static Registry,
    address: String,
    core: OnceLock<Document>,
    groups: OnceLock<Document>,
    aggregated_core: OnceLock<Document>,
    aggregated_groups: OnceLock<Document>,
    openapi_index: OnceLock<Document>,
}

impl Documents {
    /// `address` is where clients reach the server, `host:port`.
    pub fn new(registry: &'static Registry, address: &str) -> Documents {
        Documents {
            registry,
            address: address.to_string(),
            core: OnceLock::new(),
            groups: OnceLock::new(),
            aggregated_core: OnceLock::new(),
            aggregated_groups: OnceLock::new(),
            openapi_index: OnceLock::new(),
        }
    }

    fn core(&self, aggregated: bool) -> &Document {
        if aggregated {
            return self
                .aggregated_core
                .get_or_init(|| Document::new(&discovery::aggregated(self.registry, true)));
        }
        self.core.get_or_init(|| Document::new(&discovery::api_versions(&self.address)))
    }

    fn groups(&self, aggregated: bool) -> &Document {
        if aggregated {
            return self.aggregated_groups.get_or_init(|| {
                let mut document = discovery::aggregated(self.registry, false);
                append(&mut document["items"], review_groups().map(aggregated_group));
                Document::new(&document)
            });
        }
        self.groups.get_or_init(|| {
            let mut document = discovery::api_group_list(self.registry);
            append(&mut document["groups"], review_groups().map(group_document));
            Document::new(&document)
        })
    }

    fn group(&self, group: &str) -> Option<Value> {
        discovery::api_group(self.registry, group).or_else(|| {
            let group = review_groups().find(|known| *known == group)?;
            let mut document = group_document(group);
            document["kind"] = "APIGroup".into();
            document["apiVersion"] = "v1".into();
            Some(document)
        })
    }

    fn resources(&self, group: &str, version: &str) -> Option<Value> {
        discovery::api_resource_list(self.registry, group, version).or_else(|| {
            let resources: Vec<Value> = reviews(group, version).map(resource_document).collect();
            (!resources.is_empty()).then(|| {
                json!({
                    "kind": "APIResourceList",
                    "apiVersion": "v1",
                    "groupVersion": join_api_version(group, version),
                    "resources": resources,
                })
            })
        })
    }

    /// Made anew for each request: clients ask once per hash, and the document
    /// is large.
    fn openapi(&self, group: &str, version: &str) -> Option<Document> {
        let document = openapi::openapi_v3(group, version, self.registry)?;
        let bytes = serde_json::to_vec(&document).unwrap_or_default().into();
        Some(Document { bytes, tag: openapi::openapi_hash(group, version, self.registry) })
    }

    fn openapi_index(&self) -> &Document {
        self.openapi_index.get_or_init(|| Document::new(&openapi::openapi_v3_index(self.registry)))
    }
}

fn append(list: &mut Value, more: impl Iterator<Item = Value>) {
    if let Some(list) = list.as_array_mut() {
        list.extend(more);
    }
}

fn review_groups() -> impl Iterator<Item = &'static str> {
    let mut groups: Vec<&'static str> = REVIEWS.iter().map(|review| review.group).collect();
    groups.dedup();
    groups.into_iter()
}

fn reviews<'a>(group: &'a str, version: &'a str) -> impl Iterator<Item = &'static Review> + 'a {
    REVIEWS.iter().filter(move |review| review.group == group && version == VERSION)
}

fn group_document(group: &str) -> Value {
    let version = json!({"groupVersion": format!("{group}/{VERSION}"), "version": VERSION});
    json!({"name": group, "versions": [version], "preferredVersion": version})
}

fn resource_document(review: &Review) -> Value {
    json!({
        "name": review.plural,
        "singularName": review.singular,
        "namespaced": review.namespaced,
        "kind": review.kind,
        "verbs": ["create"],
    })
}

fn aggregated_group(group: &str) -> Value {
    let resources: Vec<Value> = reviews(group, VERSION)
        .map(|review| {
            json!({
                "resource": review.plural,
                "responseKind": {"group": review.group, "version": VERSION, "kind": review.kind},
                "scope": if review.namespaced { "Namespaced" } else { "Cluster" },
                "singularResource": review.singular,
                "verbs": ["create"],
            })
        })
        .collect();
    json!({
        "metadata": {"name": group, "creationTimestamp": null},
        "versions": [{"version": VERSION, "resources": resources, "freshness": "Current"}],
    })
}

/// Answers requests outside the resources.
pub async fn answer(
    server: &ApiServer,
    method: &Method,
    headers: &HeaderMap,
    target: &Target<'_>,
    path: &str,
) -> Result<Response<Body>, StatusError> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(StatusError::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        ));
    }
    let documents = &server.documents;
    let aggregated = || -> Result<bool, StatusError> {
        Ok(negotiate::wanted(headers, Place::Discovery)?.shape == Shape::AggregatedDiscovery)
    };
    match target {
        Target::CoreVersions => {
            let aggregated = aggregated()?;
            Ok(document(headers, documents.core(aggregated), aggregated))
        }
        Target::Groups => {
            let aggregated = aggregated()?;
            Ok(document(headers, documents.groups(aggregated), aggregated))
        }
        Target::Group(group) => found(documents.group(group)),
        Target::GroupVersion { group, version } => found(documents.resources(group, version)),
        Target::Resource(_) => Err(StatusError::no_such_resource()),
        Target::Other => other(server, headers, path),
    }
}

fn other(
    server: &ApiServer,
    headers: &HeaderMap,
    path: &str,
) -> Result<Response<Body>, StatusError> {
    let documents = &server.documents;
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts[..] {
        [] => Ok(respond::value(StatusCode::OK, &json!({"paths": roots(documents)}))),
        ["metrics"] => Ok(respond::text(StatusCode::OK, server.metrics.render())),
        ["openapi", "v2"] => {
            Ok(openapi_v2::answer(headers, server.registry, &server.info.git_version))
        }
        ["openapi", "v3"] => Ok(document(headers, documents.openapi_index(), false)),
        ["openapi", "v3", "api", version] => openapi_document(documents, headers, "", version),
        ["openapi", "v3", "apis", group, version] => {
            openapi_document(documents, headers, group, version)
        }
        _ => Err(StatusError::no_such_resource()),
    }
}

fn openapi_document(
    documents: &Documents,
    headers: &HeaderMap,
    group: &str,
    version: &str,
) -> Result<Response<Body>, StatusError> {
    let found = documents.openapi(group, version).ok_or_else(StatusError::no_such_resource)?;
    Ok(document(headers, &found, false))
}

fn roots(documents: &Documents) -> Vec<String> {
    let mut paths: Vec<String> = [
        "/api",
        "/api/v1",
        "/apis",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/version",
    ]
    .map(String::from)
    .to_vec();
    for row in documents.registry.iter().filter(|row| !row.group.is_empty()) {
        paths.push(format!("/apis/{}", row.group));
        paths.push(format!("/apis/{}", row.group_version()));
    }
    for group in review_groups() {
        paths.push(format!("/apis/{group}"));
        paths.push(format!("/apis/{group}/{VERSION}"));
    }
    paths.sort();
    paths.dedup();
    paths
}

fn found(document: Option<Value>) -> Result<Response<Body>, StatusError> {
    document
        .map(|document| respond::value(StatusCode::OK, &document))
        .ok_or_else(StatusError::no_such_resource)
}

fn document(headers: &HeaderMap, document: &Document, aggregated: bool) -> Response<Body> {
    let tag = format!("\"{}\"", document.tag);
    let unchanged =
        headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = if unchanged {
        respond::with_body(StatusCode::NOT_MODIFIED, JSON, Body::empty())
    } else {
        respond::json(StatusCode::OK, document.bytes.clone())
    };
    if aggregated {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(AGGREGATED));
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}
