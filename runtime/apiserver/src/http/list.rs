//! Collections: list in one piece or in pages, and delete in bulk.
//!
//! The first page comes from the bus, which is always current. Later pages are
//! read from the store at the first page's revision, so that together they are
//! one consistent list.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::StreamExt;
use http::{Response, StatusCode};
use pintle_api::kinds::Resource;
use pintle_api::status::StatusError;
use pintle_api::table::ListMeta;
use pintle_storage::ReadError;
use pintle_watch::Object;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::negotiate::{Encoding, Shape};
use super::options::{ListOptions, Match, Selectors};
use super::select::Selection;
use super::shape::View;
use super::{Call, decode, objects, respond};
use crate::body::Body;
use crate::present;
use crate::verbs::Deleted;

const TOKEN_VERSION: &str = "meta.k8s.io/v1";
/// Records read from the store at a time while a selector is looking for matches.
const SCAN_RECORDS: usize = 500;
/// Deletions of one deletecollection in flight at a time.
const PARALLEL_DELETES: usize = 64;

/// What a continue token says.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Token {
    v: String,
    rv: i64,
    /// Relative to the collection's prefix.
    start: String,
}

impl Token {
    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    fn decode(text: &str) -> Result<Token, StatusError> {
        let bad = |why: &str| StatusError::bad_request(format!("continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .or_else(|_| URL_SAFE.decode(text))
            .map_err(|error| bad(&error.to_string()))?;
        let token: Token =
            serde_json::from_slice(&bytes).map_err(|error| bad(&error.to_string()))?;
        if token.v != TOKEN_VERSION {
            return Err(bad(&format!(
                "server does not recognize this encoded version {:?}",
                token.v
            )));
        }
        if token.start.is_empty()
            || token.start.starts_with('/')
            || token.start.split('/').any(|part| part == "..")
        {
            return Err(bad("encoded start key is empty or not canonical"));
        }
        Ok(token)
    }
}

/// A page of a list.
struct Found {
    objects: Vec<Bytes>,
    revision: u64,
    continue_token: String,
    remaining: Option<i64>,
}

pub async fn list(
    call: &Call<'_>,
    resource: &'static Resource,
    selectors: Selectors,
) -> Result<Response<Body>, StatusError> {
    resource.check_field_selector(&selectors.fields)?;
    let view = View::of(call, resource)?;
    let options = ListOptions::parse(call.query)?;
    let selection = select(call, resource, selectors);
    let found = find(call, resource, &selection, &options).await?;
    render(call, view, found)
}

fn select(call: &Call<'_>, resource: &'static Resource, selectors: Selectors) -> Selection {
    Selection::new(
        resource,
        call.server.storage_row(resource),
        call.path.namespace.as_deref(),
        selectors,
    )
}

async fn find(
    call: &Call<'_>,
    resource: &'static Resource,
    selection: &Selection,
    options: &ListOptions,
) -> Result<Found, StatusError> {
    if let Some(token) = &options.continue_token {
        let token = Token::decode(token)?;
        if options.resource_version.is_some_and(|version| version > 0) {
            return Err(StatusError::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        // A negative revision means "go on from here, consistent or not".
        let revision = u64::try_from(token.rv).ok().filter(|rv| *rv > 0);
        return past(call, resource, selection, options.limit, revision, Some(&token.start)).await;
    }
    if let Some(version) = options.resource_version.filter(|version| *version > 0) {
        // Without a match rule, a limit makes it exact.
        let exact = options.version_match == Some(Match::Exact)
            || (options.version_match.is_none() && options.limit > 0);
        call.server.wait_for(version).await?;
        if exact {
            return past(call, resource, selection, options.limit, Some(version), None).await;
        }
    }
    Ok(present_page(call, resource, selection, options.limit))
}

/// From the bus: the newest state.
fn present_page(
    call: &Call<'_>,
    resource: &Resource,
    selection: &Selection,
    limit: usize,
) -> Found {
    let listing = call.server.bus.list_topic(resource.storage_id, &selection.topic);
    let revision = listing.revision;
    let total = listing.objects.len();
    let mut objects = Vec::with_capacity(if limit == 0 { total } else { limit.min(total) });
    let mut continue_token = String::new();
    let mut remaining = None;
    for (index, object) in listing.objects.iter().enumerate() {
        if !selection.exact && !selection.matches(object) {
            continue;
        }
        objects.push(object.bytes.clone());
        if limit > 0 && objects.len() == limit && index + 1 < total {
            continue_token = Token {
                v: TOKEN_VERSION.to_string(),
                rv: revision as i64,
                start: format!("{}\0", relative_key(call, resource, object)),
            }
            .encode();
            remaining = selection.is_whole().then(|| (total - index - 1) as i64);
            break;
        }
    }
    Found { objects, revision, continue_token, remaining }
}

/// The key of an object below the prefix of the collection that is listed.
fn relative_key(call: &Call<'_>, resource: &Resource, object: &Arc<Object>) -> String {
    if call.path.namespace.is_some() || !resource.is_namespaced() {
        object.name().to_string()
    } else {
        format!("{}/{}", object.namespace(), object.name())
    }
}

/// From the store: the state at a revision, from a key on.
async fn past(
    call: &Call<'_>,
    resource: &'static Resource,
    selection: &Selection,
    limit: usize,
    revision: Option<u64>,
    start: Option<&str>,
) -> Result<Found, StatusError> {
    let prefix = match call.path.namespace.as_deref() {
        Some(namespace) => resource.namespace_prefix(namespace),
        None => resource.registry_prefix().to_string(),
    };
    let end = prefix_end(&prefix);
    let mut from = format!("{prefix}{}", start.unwrap_or_default()).into_bytes();
    let mut at = revision;
    let mut objects = Vec::new();
    loop {
        let wanted = match (limit, selection.is_whole()) {
            (0, _) => 0,
            (limit, true) => limit - objects.len(),
            (_, false) => SCAN_RECORDS,
        };
        let page = call
            .server
            .store
            .range(&from, &end, at, wanted)
            .await
            .map_err(|error| read_failed(error, start))?;
        at = Some(page.revision);
        let count = page.records.len();
        for (index, record) in page.records.iter().enumerate() {
            if !selection.is_whole() {
                let value: Value =
                    serde_json::from_slice(&record.value).map_err(StatusError::internal)?;
                if !selection.matches_value(call.server.storage_row(resource), &value) {
                    continue;
                }
            }
            objects.push(record.value.clone());
            let more = page.more || index + 1 < count;
            if limit > 0 && objects.len() == limit && more {
                let key = String::from_utf8_lossy(&record.key[prefix.len()..]);
                let start = format!("{key}\0");
                let token = Token { v: TOKEN_VERSION.to_string(), rv: page.revision as i64, start };
                return Ok(Found {
                    objects,
                    revision: page.revision,
                    continue_token: token.encode(),
                    remaining: None,
                });
            }
        }
        match page.records.last() {
            Some(last) if page.more => {
                from = last.key.to_vec();
                from.push(0);
            }
            _ => {
                return Ok(Found {
                    objects,
                    revision: page.revision,
                    continue_token: String::new(),
                    remaining: None,
                });
            }
        }
    }
}

/// The first key after all keys with this prefix.
fn prefix_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        // Prefixes end in a slash.
        *last += 1;
    }
    end
}

/// `start` is where a continue token was to go on.
fn read_failed(error: ReadError, start: Option<&str>) -> StatusError {
    match error {
        ReadError::Compacted { requested, oldest } => match start {
            None => StatusError::too_old(requested, oldest),
            Some(start) => continue_expired(start),
        },
        ReadError::Future { requested, current } => crate::too_large(requested, current),
        ReadError::Closed => StatusError::service_unavailable("the server is shutting down"),
        ReadError::Storage(_) => {
            tracing::error!(%error, "list refused by storage");
            StatusError::internal(error)
        }
    }
}

/// The rest of a list can still be had, though not as of the same revision:
/// the token for that comes with the refusal.
fn continue_expired(start: &str) -> StatusError {
    let mut error = StatusError::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    let token = Token { v: TOKEN_VERSION.to_string(), rv: -1, start: start.to_string() };
    error.0.metadata.insert("continue".to_string(), token.encode().into());
    error
}

fn render(call: &Call<'_>, view: View, found: Found) -> Result<Response<Body>, StatusError> {
    let mut digits = itoa::Buffer::new();
    let meta = ListMeta {
        resource_version: digits.format(found.revision),
        continue_token: &found.continue_token,
        remaining_item_count: found.remaining,
    };
    if view.shape == Shape::Table {
        let table = view.table(&found.objects, &meta, call.server.now_ms())?;
        return Ok(respond::json(StatusCode::OK, table));
    }
    let items = items(view, found.objects)?;
    let (kind, api_version) = match view.shape {
        Shape::Metadata => ("PartialObjectMetadataList", "meta.k8s.io/v1"),
        _ => (view.resource.list_kind(), view.resource.group_version()),
    };
    let head = format!(
        r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{},"items":["#,
        meta.to_json()
    );
    let body = Body::joined(head.into(), items, Bytes::from_static(b"]}"));
    if view.encoding == Encoding::Json {
        return Ok(respond::with_body(StatusCode::OK, view.encoding.content_type(), body));
    }
    let whole = body.into_bytes();
    let value: Value = serde_json::from_slice(&whole).map_err(StatusError::internal)?;
    let encoded = decode::encode_as(&value, view.encoding)?;
    Ok(respond::with_body(StatusCode::OK, view.encoding.content_type(), Body::full(encoded)))
}

fn items(view: View, objects: Vec<Bytes>) -> Result<Vec<Bytes>, StatusError> {
    if view.is_plain() {
        return Ok(objects);
    }
    objects
        .iter()
        .map(|object| {
            let object = present::object_bytes(view.resource, object)?;
            if view.shape == Shape::Metadata { present::metadata_only(&object) } else { Ok(object) }
        })
        .collect()
}

pub async fn delete_collection(
    call: &Call<'_>,
    resource: &'static Resource,
    selectors: Selectors,
    body: Body,
) -> Result<Response<Body>, StatusError> {
    resource.check_field_selector(&selectors.fields)?;
    let view = View::of(call, resource)?;
    let options = objects::delete_options(call, body).await?;
    let selection = select(call, resource, selectors);
    let listing = call.server.bus.list_topic(resource.storage_id, &selection.topic);
    let chosen: Vec<_> = listing
        .objects
        .into_iter()
        .filter(|object| selection.exact || selection.matches(object))
        .collect();
    let deletes = chosen.into_iter().map(|object| {
        let options = &options;
        async move {
            let done = call
                .server
                .verbs
                .delete(call.user, resource, object.namespace(), object.name(), options)
                .await;
            match done {
                Ok(Deleted::Gone { bytes, .. }) => Ok(Some(bytes)),
                Ok(Deleted::Marked(_)) => Ok(Some(object.bytes.clone())),
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(error),
            }
        }
    });
    let mut deletes = futures_util::stream::iter(deletes).buffered(PARALLEL_DELETES);
    let mut deleted = Vec::new();
    while let Some(done) = deletes.next().await {
        deleted.extend(done?);
    }
    let revision = call.server.bus.revision();
    let found =
        Found { objects: deleted, revision, continue_token: String::new(), remaining: None };
    render(call, view, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_a_round_trip_and_reject_nonsense() {
        let token =
            Token { v: TOKEN_VERSION.to_string(), rv: 42, start: "default/web\0".to_string() };
        assert_eq!(Token::decode(&token.encode()).unwrap(), token);
        let encode = |json: &str| URL_SAFE_NO_PAD.encode(json);
        for bad in [
            "!!!".to_string(),
            encode("{"),
            encode(r#"{"v":"other","rv":1,"start":"a"}"#),
            encode(r#"{"v":"meta.k8s.io/v1","rv":1,"start":""}"#),
            encode(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"/registry/secrets/"}"#),
            encode(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../secrets/a"}"#),
        ] {
            assert_eq!(Token::decode(&bad).unwrap_err().code(), 400, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_token_makes_the_server_panic(text in "\\PC*") {
            let _ = Token::decode(&text);
        }
    }

    #[test]
    fn a_prefix_ends_before_its_neighbour() {
        assert_eq!(prefix_end("/registry/pods/"), b"/registry/pods0");
    }
}
