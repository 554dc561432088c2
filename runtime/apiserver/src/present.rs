//! Objects in the shapes clients ask for: another version, metadata only.

use bytes::Bytes;
use pintle_api::kinds::Resource;
use pintle_api::status::StatusError;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
}

/// A stored object as `resource` shows it: for all but aliases the bytes
/// themselves.
pub fn object_bytes(resource: &Resource, stored: &Bytes) -> Result<Bytes, StatusError> {
    let Some(alias) = &resource.alias else { return Ok(stored.clone()) };
    let mut object: Value = serde_json::from_slice(stored).map_err(StatusError::internal)?;
    (alias.from_storage)(&mut object);
    Ok(serde_json::to_vec(&object).map_err(StatusError::internal)?.into())
}

/// `PartialObjectMetadata` of an object; its metadata is copied, not parsed.
pub fn metadata_only(object: &[u8]) -> Result<Bytes, StatusError> {
    let head: Head = serde_json::from_slice(object).map_err(StatusError::internal)?;
    let metadata = head.metadata.get();
    let mut bytes = Vec::with_capacity(metadata.len() + 80);
    bytes.extend_from_slice(
        br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#,
    );
    bytes.extend_from_slice(metadata.as_bytes());
    bytes.push(b'}');
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_cut_out_as_it_is() {
        let object = br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"x":"}"}},"spec":{}}"#;
        let expect = r#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"a","labels":{"x":"}"}}}"#;
        assert_eq!(metadata_only(object).unwrap(), expect);
        assert!(metadata_only(b"{}").is_err());
    }
}
