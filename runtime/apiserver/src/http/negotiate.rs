//! Which representation the client wants, and which one it sent.

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use pintle_api::status::StatusError;

pub const JSON: &str = "application/json";
pub const YAML: &str = "application/yaml";
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// What bodies may be, and what answers can be, in Kubernetes' order.
const MEDIA_TYPES: &[&str] = &[JSON, YAML, PROTOBUF];

/// How an answer is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Json,
    Yaml,
    Protobuf,
}

impl Encoding {
    pub fn content_type(self) -> &'static str {
        match self {
            Encoding::Json => JSON,
            Encoding::Yaml => YAML,
            Encoding::Protobuf => PROTOBUF,
        }
    }
}

/// What an answer is made into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The objects as they are.
    Object,
    /// `meta.k8s.io` Table.
    Table,
    /// `PartialObjectMetadata`, or its list.
    Metadata,
    /// `APIGroupDiscoveryList` v2.
    AggregatedDiscovery,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub encoding: Encoding,
    pub shape: Shape,
}

/// Where the request goes decides which shapes it may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Objects,
    Discovery,
}

struct Clause<'a> {
    media: &'a str,
    target: Option<&'a str>,
    group: Option<&'a str>,
    version: Option<&'a str>,
    quality: f32,
}

/// Reads `Accept`. The best clause that can be served wins; protobuf is only
/// chosen when the client takes nothing else, since objects are JSON inside.
pub fn wanted(headers: &HeaderMap, place: Place) -> Result<Wanted, StatusError> {
    let plain = Wanted { encoding: Encoding::Json, shape: Shape::Object };
    let mut clauses = Vec::new();
    for header in headers.get_all(ACCEPT) {
        let header = header.to_str().unwrap_or_default();
        if header == JSON || header == "*/*" {
            return Ok(plain);
        }
        clauses.extend(header.split(',').filter_map(clause));
    }
    if clauses.is_empty() {
        return Ok(plain);
    }
    // Stable: equal qualities keep the client's order.
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    let mut protobuf = None;
    for clause in &clauses {
        let Some(wanted) = serve(clause, place) else { continue };
        if wanted.encoding == Encoding::Protobuf {
            protobuf = protobuf.or(Some(wanted));
        } else {
            return Ok(wanted);
        }
    }
    protobuf.ok_or_else(|| StatusError::not_acceptable(MEDIA_TYPES))
}

fn clause(text: &str) -> Option<Clause<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().filter(|media| !media.is_empty())?;
    let mut clause = Clause { media, target: None, group: None, version: None, quality: 1.0 };
    for part in parts {
        match part.split_once('=') {
            Some(("as", value)) => clause.target = Some(value),
            Some(("g", value)) => clause.group = Some(value),
            Some(("v", value)) => clause.version = Some(value),
            Some(("q", value)) => clause.quality = value.parse().unwrap_or(0.0),
            _ => {}
        }
    }
    (clause.quality > 0.0).then_some(clause)
}

fn serve(clause: &Clause<'_>, place: Place) -> Option<Wanted> {
    let encoding = match clause.media {
        JSON | "application/*" | "*/*" => Encoding::Json,
        YAML => Encoding::Yaml,
        PROTOBUF => Encoding::Protobuf,
        _ => return None,
    };
    let shape = match (place, clause.target, clause.group, clause.version) {
        (_, None, ..) => Shape::Object,
        (Place::Objects, Some("Table"), Some("meta.k8s.io"), Some("v1")) => Shape::Table,
        (
            Place::Objects,
            Some("PartialObjectMetadata" | "PartialObjectMetadataList"),
            Some("meta.k8s.io"),
            Some("v1"),
        ) => Shape::Metadata,
        (
            Place::Discovery,
            Some("APIGroupDiscoveryList"),
            Some("apidiscovery.k8s.io"),
            Some("v2"),
        ) => Shape::AggregatedDiscovery,
        _ => return None,
    };
    // Tables and partial metadata exist in JSON only.
    if shape != Shape::Object && encoding != Encoding::Json {
        return None;
    }
    Some(Wanted { encoding, shape })
}

/// Reads `Content-Type` of a body that holds an object. Absent means JSON.
pub fn body_encoding(headers: &HeaderMap) -> Result<Encoding, StatusError> {
    match media_type(headers) {
        None | Some(JSON) => Ok(Encoding::Json),
        Some(YAML | "text/yaml" | "application/x-yaml") => Ok(Encoding::Yaml),
        Some(PROTOBUF) => Ok(Encoding::Protobuf),
        Some(_) => Err(StatusError::unsupported_media_type(MEDIA_TYPES)),
    }
}

/// `Content-Type` without its parameters.
pub fn media_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let media = value.split(';').next().unwrap_or_default().trim();
    (!media.is_empty()).then_some(media)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn accept(value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(value));
        headers
    }

    #[test]
    fn the_best_servable_clause_wins() {
        let check = |header: &'static str, encoding: Encoding, shape: Shape| {
            let wanted = wanted(&accept(header), Place::Objects).unwrap();
            assert_eq!(wanted, Wanted { encoding, shape }, "{header}");
        };
        check("application/json", Encoding::Json, Shape::Object);
        check("*/*", Encoding::Json, Shape::Object);
        check("application/yaml", Encoding::Yaml, Shape::Object);
        check(
            "application/vnd.kubernetes.protobuf,application/json",
            Encoding::Json,
            Shape::Object,
        );
        check("application/vnd.kubernetes.protobuf", Encoding::Protobuf, Shape::Object);
        check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            Encoding::Json,
            Shape::Table,
        );
        check(
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            Encoding::Json,
            Shape::Metadata,
        );
        check(
            "application/json;as=Table;v=v9;g=meta.k8s.io, application/json",
            Encoding::Json,
            Shape::Object,
        );
        check(
            "text/html, application/json;q=0.5, application/yaml;q=0.9",
            Encoding::Yaml,
            Shape::Object,
        );
    }

    #[test]
    fn what_cannot_be_served_is_406_with_kubernetes_words() {
        let error = wanted(&accept("text/html"), Place::Objects).unwrap_err();
        assert_eq!(error.code(), 406);
        assert_eq!(
            error.to_string(),
            "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
        );
        assert!(
            wanted(&accept("application/json;as=Table;v=v9;g=meta.k8s.io"), Place::Objects)
                .is_err()
        );
    }

    #[test]
    fn discovery_has_its_own_shape() {
        let header =
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        let found = wanted(&accept(header), Place::Discovery).unwrap();
        assert_eq!(found.shape, Shape::AggregatedDiscovery);
        let found = wanted(&accept(header), Place::Objects).unwrap();
        assert_eq!(found.shape, Shape::Object);
    }

    #[test]
    fn bodies_come_in_three_encodings() {
        let check = |value: &'static str, expect: Option<Encoding>| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
            assert_eq!(body_encoding(&headers).ok(), expect, "{value}");
        };
        check("application/json; charset=utf-8", Some(Encoding::Json));
        check("application/yaml", Some(Encoding::Yaml));
        check("application/vnd.kubernetes.protobuf", Some(Encoding::Protobuf));
        check("text/plain", None);
        assert_eq!(body_encoding(&HeaderMap::new()).unwrap(), Encoding::Json);
    }

    proptest::proptest! {
        #[test]
        fn no_header_makes_the_server_panic(text in "[ -~]*") {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_str(&text).unwrap());
            let _ = wanted(&headers, Place::Objects);
            let _ = wanted(&headers, Place::Discovery);
        }
    }
}
