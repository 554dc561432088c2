//! Kubernetes' protobuf encoding of objects, driven by the schema instead of by
//! generated types.
//!
//! A body is the four bytes `k8s\0` and then a `runtime.Unknown`: the object's
//! `apiVersion` and `kind` beside its encoded bytes. Inside the server objects
//! are JSON, so a body is decoded straight into JSON and back.
//!
//! Read first: [`decode`] and [`encode`].

mod decode;
mod encode;
mod wire;

use serde_json::Value;

use crate::meta::GroupVersionKind;
use crate::patch::{MAX_NESTING, nesting};
use crate::schema::{MessageId, Schema};
use decode::Decoder;
use encode::Encoder;
use wire::{Reader, Tag};

/// The media type of bodies.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

const MAGIC: &[u8; 4] = b"k8s\0";

/// Deeper than any built-in message, shallower than any stack. Objects inside
/// objects (`RawExtension`) count on.
const MAX_DEPTH: usize = 64;

/// JSON values one body may expand to: an empty list element is two bytes on the
/// wire and some thirty in memory.
const MAX_VALUES: usize = 500_000;

#[derive(Debug, thiserror::Error)]
pub enum ProtobufError {
    #[error("body does not start with the k8s protobuf prefix; send {MEDIA_TYPE} or JSON")]
    Magic,
    #[error("truncated protobuf message at {}", if path.is_empty() { "its envelope" } else { path })]
    Truncated { path: String },
    #[error("malformed protobuf at {path}: {what}")]
    Malformed { path: String, what: &'static str },
    #[error("protobuf field {path} holds a {found} where a {expected} belongs")]
    WireType { path: String, found: &'static str, expected: &'static str },
    #[error("protobuf field {path} is not UTF-8")]
    Utf8 { path: String },
    #[error("protobuf field {path} holds JSON that does not parse")]
    Json {
        path: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("protobuf body is nested deeper than {MAX_NESTING} levels")]
    Depth,
    #[error("protobuf body expands to more than {MAX_VALUES} values")]
    TooLarge,
    #[error("protobuf body names no apiVersion and kind")]
    NoKind,
    #[error("no kind {kind:?} is registered for version {api_version:?}")]
    UnknownKind { api_version: String, kind: String },
    #[error("cannot encode {path} as protobuf: {what}")]
    Encode { path: String, what: String },
}

impl ProtobufError {
    /// Errors are made where only the field is known; each level adds its name.
    fn within(mut self, step: &str) -> Self {
        match &mut self {
            Self::Truncated { path }
            | Self::Malformed { path, .. }
            | Self::WireType { path, .. }
            | Self::Utf8 { path }
            | Self::Json { path, .. }
            | Self::Encode { path, .. } => {
                if path.is_empty() {
                    *path = step.to_owned();
                } else {
                    path.insert(0, '.');
                    path.insert_str(0, step);
                }
            }
            _ => {}
        }
        self
    }
}

/// The parts of `runtime.Unknown`.
struct Envelope<'a> {
    api_version: &'a str,
    kind: &'a str,
    raw: &'a [u8],
}

/// Whether a body is in this encoding.
pub fn is_protobuf(body: &[u8]) -> bool {
    body.starts_with(MAGIC)
}

/// The kind and the object, with `apiVersion` and `kind` set.
pub fn decode(body: &[u8]) -> Result<(GroupVersionKind, Value), ProtobufError> {
    let envelope = envelope(body)?;
    let (gvk, id) = resolve(envelope.api_version, envelope.kind)?;
    Ok((gvk, decode_object(&envelope, id)?))
}

/// As [`decode`], for a body whose kind the request implies and may not name.
pub fn decode_as(
    expected: &GroupVersionKind,
    body: &[u8],
) -> Result<(GroupVersionKind, Value), ProtobufError> {
    let mut envelope = envelope(body)?;
    let api_version = expected.api_version();
    if envelope.kind.is_empty() {
        envelope.api_version = &api_version;
        envelope.kind = &expected.kind;
    }
    let (gvk, id) = resolve(envelope.api_version, envelope.kind)?;
    Ok((gvk, decode_object(&envelope, id)?))
}

/// The object as a body. `apiVersion` and `kind` in `value` are not needed.
pub fn encode(gvk: &GroupVersionKind, value: &Value) -> Result<Vec<u8>, ProtobufError> {
    let (_, id) = resolve(&gvk.api_version(), &gvk.kind)?;
    let mut encoder = Encoder::new(Schema::get());
    encoder.object(&gvk.api_version(), &gvk.kind, id, value)?;
    Ok(encoder.finish())
}

fn decode_object(envelope: &Envelope<'_>, id: MessageId) -> Result<Value, ProtobufError> {
    let value = Decoder::new(Schema::get()).object(envelope, id)?;
    // JSON inside of the body brings its own depth.
    if nesting(&value) > MAX_NESTING { Err(ProtobufError::Depth) } else { Ok(value) }
}

fn resolve(api_version: &str, kind: &str) -> Result<(GroupVersionKind, MessageId), ProtobufError> {
    if kind.is_empty() {
        return Err(ProtobufError::NoKind);
    }
    let gvk = GroupVersionKind::parse(api_version, kind);
    let unknown = || ProtobufError::UnknownKind {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
    };
    let id = Schema::get().kind(&gvk.group, &gvk.version, &gvk.kind).ok_or_else(unknown)?;
    Ok((gvk, id))
}

fn envelope(body: &[u8]) -> Result<Envelope<'_>, ProtobufError> {
    let mut envelope = Envelope { api_version: "", kind: "", raw: &[] };
    let mut reader = Reader::new(body.strip_prefix(MAGIC).ok_or(ProtobufError::Magic)?);
    while let Some(tag) = reader.tag()? {
        match tag {
            Tag { number: 1, .. } => {
                let mut meta = Reader::new(reader.bytes(tag)?);
                while let Some(tag) = meta.tag()? {
                    match tag.number {
                        1 => {
                            envelope.api_version =
                                meta.string(tag).map_err(|e| e.within("typeMeta.apiVersion"))?
                        }
                        2 => {
                            envelope.kind =
                                meta.string(tag).map_err(|e| e.within("typeMeta.kind"))?
                        }
                        _ => meta.skip(tag)?,
                    }
                }
            }
            Tag { number: 2, .. } => {
                envelope.raw = reader.bytes(tag).map_err(|e| e.within("raw"))?
            }
            _ => reader.skip(tag)?,
        }
    }
    Ok(envelope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn gvk(api_version: &str, kind: &str) -> GroupVersionKind {
        GroupVersionKind::parse(api_version, kind)
    }

    #[track_caller]
    fn round_trip(api_version: &str, kind: &str, mut value: Value) {
        let body = encode(&gvk(api_version, kind), &value).unwrap();
        assert!(is_protobuf(&body));
        value["apiVersion"] = api_version.into();
        value["kind"] = kind.into();
        assert_eq!(decode(&body).unwrap(), (gvk(api_version, kind), value));
    }

    #[test]
    fn special_types_survive_the_round_trip() {
        round_trip(
            "v1",
            "Secret",
            json!({"metadata": {"name": "s"}, "data": {"a": "AP8=", "b": ""}}),
        );
        round_trip(
            "coordination.k8s.io/v1",
            "Lease",
            json!({"spec": {"renewTime": "1969-12-31T23:59:59.999999Z", "leaseDurationSeconds": 0}}),
        );
        round_trip(
            "v1",
            "Service",
            json!({"spec": {"ports": [{"port": 80, "targetPort": "http"}, {"port": 81, "targetPort": -1}]}}),
        );
        round_trip(
            "apps/v1",
            "ControllerRevision",
            json!({"revision": -7, "data": {"spec": {"x": [1.5, "é", null]}}, "metadata": {"managedFields":
                [{"manager": "m", "fieldsV1": {"f:spec": {}}}]}}),
        );
        round_trip(
            "plugins.pintle.dev/v1alpha1",
            "Plugin",
            json!({"spec": {"role": "cni", "config": {"a": [true]}}}),
        );
        round_trip(
            "authorization.k8s.io/v1",
            "SubjectAccessReview",
            json!({"spec": {"extra": {"a": ["b", "c"], "d": []}},
            "status": {"allowed": false}}),
        );
        round_trip(
            "apps/v1",
            "DeploymentList",
            json!({"metadata": {"resourceVersion": "1"}, "items":
            [{"metadata": {"name": "a"}, "spec": {"replicas": 0}}]}),
        );
    }

    #[test]
    fn zeros_of_plain_fields_read_as_absent() {
        // What a typed client sends for a pod: every plain field, set or not.
        let body = encode(
            &gvk("v1", "Pod"),
            &json!({"metadata": {"name": "a", "generateName": "", "generation": 0},
                "spec": {"hostNetwork": false, "nodeName": "", "containers": [{"name": "", "stdin": false, "resources": {}}],
                "volumes": [{"name": "v", "emptyDir": {}}]}, "status": {}}),
        )
        .unwrap();
        assert_eq!(
            decode(&body).unwrap().1,
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
                "spec": {"containers": [{"name": ""}], "volumes": [{"name": "v", "emptyDir": {}}]}})
        );
    }

    #[test]
    fn packed_and_split_numbers_and_unknown_fields_are_read() {
        // PodSecurityContext.supplementalGroups = 4 (int64), once packed and once not,
        // beside field 2000, which nobody knows.
        let security = [0x22, 0x02, 0x05, 0x06, 0x20, 0x07, 0x82, 0x7d, 0x01, 0x00];
        let spec = [&[0x72, security.len() as u8][..], &security[..]].concat();
        let pod = [&[0x12, spec.len() as u8][..], &spec[..]].concat();
        let meta = b"\x0a\x02v1\x12\x03Pod";
        let body = [
            &b"k8s\0\x0a"[..],
            &[meta.len() as u8][..],
            meta,
            &[0x12, pod.len() as u8][..],
            &pod[..],
        ]
        .concat();
        assert_eq!(
            decode(&body).unwrap().1["spec"],
            json!({"securityContext": {"supplementalGroups": [5, 6, 7]}})
        );
    }

    #[test]
    fn errors_say_where() {
        #[track_caller]
        fn check(body: &[u8], expect: &str) {
            assert_eq!(decode(body).unwrap_err().to_string(), expect);
        }
        check(
            b"{}",
            "body does not start with the k8s protobuf prefix; send application/vnd.kubernetes.protobuf or JSON",
        );
        check(b"k8s\0", "protobuf body names no apiVersion and kind");
        check(b"k8s\0\x0a\x06\x0a\x02v1\x12\x00", "protobuf body names no apiVersion and kind");
        check(
            b"k8s\0\x0a\x07\x0a\x02v9\x12\x01P",
            "no kind \"P\" is registered for version \"v9\"",
        );
        check(b"k8s\0\xff\xff\xff", "truncated protobuf message at its envelope");
        let head = b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12";
        check(&[&head[..], b"\x03\x12\x05\x01"].concat(), "truncated protobuf message at spec");
        check(
            &[&head[..], b"\x04\x12\x02\x0a\x05"].concat(),
            "truncated protobuf message at spec.volumes",
        );
        check(
            &[&head[..], b"\x04\x0a\x02\x08\x01"].concat(),
            "protobuf field metadata.name holds a varint where a length-delimited value belongs",
        );
        check(
            &[&head[..], b"\x05\x0a\x03\x0a\x01\xff"].concat(),
            "protobuf field metadata.name is not UTF-8",
        );
        let error =
            encode(&gvk("apps/v1", "Deployment"), &json!({"spec": {"replicas": "3"}})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot encode spec.replicas as protobuf: a string where a number belongs"
        );
    }

    #[test]
    fn a_deep_body_is_refused() {
        let deep: Value = serde_json::from_str(&("[".repeat(110) + &"]".repeat(110))).unwrap();
        let body = encode(&gvk("apps/v1", "ControllerRevision"), &json!({ "data": deep })).unwrap();
        assert!(matches!(decode(&body), Err(ProtobufError::Depth)));
    }

    #[test]
    fn an_expanding_body_is_refused() {
        // Two bytes for each empty element of a list.
        let items: Vec<u8> = [0x12, 0x00].repeat(MAX_VALUES + 1);
        let mut body = b"k8s\0\x0a\x0d\x0a\x02v1\x12\x07PodList\x12".to_vec();
        let mut length = items.len();
        while length >= 0x80 {
            body.push(length as u8 | 0x80);
            length >>= 7;
        }
        body.push(length as u8);
        body.extend(items);
        assert!(matches!(decode(&body), Err(ProtobufError::TooLarge)));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0usize..4) {
            let (api_version, kind) = [("v1", "Pod"), ("apps/v1", "DeploymentList"), ("v1", "WatchEvent"),
                ("coordination.k8s.io/v1", "Lease")][kind];
            let id = resolve(api_version, kind).unwrap().1;
            let _ = Decoder::new(Schema::get()).object(&Envelope { api_version, kind, raw: &bytes }, id);
            let _ = decode(&bytes);
            let _ = decode(&[MAGIC, &bytes[..]].concat());
        }
    }
}
