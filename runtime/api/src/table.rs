//! `metav1.Table`: objects as `kubectl get` prints them.
//!
//! A table is written row by row into one buffer, because the largest answers of
//! a server are tables. Columns and cells come from the kind's row in the
//! registry.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::kinds::Resource;

/// The media type parameter values that ask for a table.
pub const KIND: &str = "Table";

/// What each row carries of its object (`includeObject`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IncludeObject {
    None,
    #[default]
    Metadata,
    Object,
}

impl IncludeObject {
    /// From the query parameter; absent and empty mean `Metadata`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Metadata" => Some(Self::Metadata),
            "None" => Some(Self::None),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

/// `metav1.ListMeta`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ListMeta<'a> {
    pub resource_version: &'a str,
    pub continue_token: &'a str,
    pub remaining_item_count: Option<i64>,
}

impl ListMeta<'_> {
    pub fn to_json(&self) -> Value {
        let mut meta = json!({});
        if !self.resource_version.is_empty() {
            meta["resourceVersion"] = self.resource_version.into();
        }
        if !self.continue_token.is_empty() {
            meta["continue"] = self.continue_token.into();
        }
        if let Some(remaining) = self.remaining_item_count {
            meta["remainingItemCount"] = remaining.into();
        }
        meta
    }
}

/// A table under construction.
#[derive(Debug)]
pub struct Table<'r> {
    resource: &'r Resource,
    include: IncludeObject,
    out: Vec<u8>,
    rows: usize,
}

/// The part of a stored object that a row copies as it is.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

impl<'r> Table<'r> {
    /// `headers` is false for all but the first table of a watch.
    pub fn new(
        resource: &'r Resource,
        include: IncludeObject,
        meta: &ListMeta<'_>,
        headers: bool,
    ) -> Self {
        let mut out = Vec::with_capacity(4096);
        out.extend_from_slice(
            b"{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":",
        );
        write_json(&mut out, &meta.to_json());
        out.extend_from_slice(b",\"columnDefinitions\":");
        if headers {
            write_json(&mut out, &column_definitions(resource));
        } else {
            out.extend_from_slice(b"null");
        }
        out.extend_from_slice(b",\"rows\":[");
        Self { resource, include, out, rows: 0 }
    }

    /// Adds the row of a stored object, given as its JSON bytes.
    pub fn push(&mut self, object: &[u8], now_ms: i64) -> Result<(), serde_json::Error> {
        let value: Value = serde_json::from_slice(object)?;
        let head: Head<'_> = serde_json::from_slice(object)?;
        self.cells(&value, now_ms);
        match self.include {
            IncludeObject::None => {}
            IncludeObject::Object => {
                self.out.extend_from_slice(b",\"object\":");
                self.out.extend_from_slice(object);
            }
            IncludeObject::Metadata => {
                let metadata = head.metadata.map_or("{}", RawValue::get);
                self.partial(metadata.as_bytes());
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    /// The document.
    pub fn finish(mut self) -> Vec<u8> {
        self.out.extend_from_slice(b"]}");
        self.out
    }

    pub fn len(&self) -> usize {
        self.rows
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    fn cells(&mut self, object: &Value, now_ms: i64) {
        if self.rows > 0 {
            self.out.push(b',');
        }
        self.rows += 1;
        self.out.extend_from_slice(b"{\"cells\":");
        write_json(&mut self.out, &Value::Array(self.resource.cells(object, now_ms)));
    }

    fn partial(&mut self, metadata: &[u8]) {
        self.out.extend_from_slice(
            b",\"object\":{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":",
        );
        self.out.extend_from_slice(metadata);
        self.out.push(b'}');
    }
}

/// The header of a kind's table.
pub fn column_definitions(resource: &Resource) -> Value {
    resource
        .columns
        .iter()
        .map(|column| {
            json!({
                "name": column.name,
                "type": column.type_,
                "format": column.format,
                "description": column.description,
                "priority": column.priority,
            })
        })
        .collect()
}

fn write_json(out: &mut Vec<u8>, value: &Value) {
    // Writing a `Value` into memory cannot fail: its keys are strings.
    let _ = serde_json::to_writer(out, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Registry;

    const NOW: i64 = 1_767_323_045_000;

    fn config_map() -> Value {
        json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"a": "b"},
            "metadata": {"name": "c", "namespace": "d", "creationTimestamp": "2026-01-02T03:03:05Z"}})
    }

    fn build(include: IncludeObject, headers: bool) -> Value {
        let row = Registry::builtin().by_plural("", "v1", "configmaps").unwrap();
        let meta = ListMeta { resource_version: "7", ..ListMeta::default() };
        let mut table = Table::new(row, include, &meta, headers);
        for _ in 0..2 {
            table.push(config_map().to_string().as_bytes(), NOW).unwrap();
        }
        assert_eq!(table.len(), 2);
        serde_json::from_slice(&table.finish()).unwrap()
    }

    #[test]
    fn rows_carry_what_was_asked_for() {
        let table = build(IncludeObject::Metadata, true);
        assert_eq!(table["metadata"], json!({"resourceVersion": "7"}));
        assert_eq!(table["columnDefinitions"][0]["name"], "Name");
        assert_eq!(table["columnDefinitions"][0]["format"], "name");
        assert_eq!(table["rows"][0]["cells"], json!(["c", 1, "60s"]));
        assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
        assert_eq!(table["rows"][0]["object"]["metadata"], config_map()["metadata"]);
        assert_eq!(table["rows"][0], table["rows"][1]);
        assert_eq!(build(IncludeObject::Object, true)["rows"][1]["object"], config_map());
        assert!(build(IncludeObject::None, true)["rows"][0].get("object").is_none());
        assert!(build(IncludeObject::None, false)["columnDefinitions"].is_null());
    }

    #[test]
    fn broken_objects_are_refused() {
        let row = Registry::builtin().by_plural("", "v1", "pods").unwrap();
        let mut table = Table::new(row, IncludeObject::Metadata, &ListMeta::default(), true);
        assert!(table.push(b"{", NOW).is_err());
        assert!(table.is_empty());
    }
}
