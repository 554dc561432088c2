//! Objects as the client asked to see them: whole, as table rows, as metadata.

use bytes::Bytes;
use pintle_api::kinds::Resource;
use pintle_api::status::StatusError;
use pintle_api::table::{IncludeObject, ListMeta, Table};

use super::Call;
use super::negotiate::{self, Encoding, Place, Shape};
use crate::present;

/// How to show objects of a resource.
#[derive(Clone, Copy)]
pub struct View {
    pub resource: &'static Resource,
    pub encoding: Encoding,
    pub shape: Shape,
    include: IncludeObject,
    /// The bytes are in the resource's own version already.
    converted: bool,
}

impl View {
    pub fn of(call: &Call<'_>, resource: &'static Resource) -> Result<View, StatusError> {
        let wanted = negotiate::wanted(call.headers, Place::Objects)?;
        let include = match (wanted.shape, call.query.get("includeObject")) {
            (Shape::Table, Some(text)) => IncludeObject::parse(text).ok_or_else(|| {
                StatusError::bad_request(format!("unrecognized includeObject value: {text:?}"))
            })?,
            _ => IncludeObject::default(),
        };
        Ok(View {
            resource,
            encoding: wanted.encoding,
            shape: wanted.shape,
            include,
            converted: false,
        })
    }

    /// The same for bytes that a verb returned, which converts aliases itself.
    pub fn converted(mut self) -> View {
        self.converted = true;
        self
    }

    /// The stored bytes are what is shown.
    pub fn is_plain(&self) -> bool {
        self.shape == Shape::Object && self.resource.alias.is_none()
    }

    /// One object as JSON. `headers` matters for tables only.
    pub fn object(
        &self,
        stored: &Bytes,
        revision: u64,
        now_ms: i64,
        headers: bool,
    ) -> Result<Bytes, StatusError> {
        if self.is_plain() {
            return Ok(stored.clone());
        }
        let bytes = if self.converted || self.shape == Shape::Table {
            stored.clone()
        } else {
            present::object_bytes(self.resource, stored)?
        };
        match self.shape {
            Shape::Object | Shape::AggregatedDiscovery => Ok(bytes),
            Shape::Metadata => present::metadata_only(&bytes),
            Shape::Table => {
                let mut digits = itoa::Buffer::new();
                let meta =
                    ListMeta { resource_version: digits.format(revision), ..ListMeta::default() };
                let mut table = Table::new(self.resource, self.include, &meta, headers);
                table.push(&bytes, now_ms).map_err(StatusError::internal)?;
                Ok(table.finish().into())
            }
        }
    }

    /// A whole table.
    pub fn table(
        &self,
        objects: &[Bytes],
        meta: &ListMeta<'_>,
        now_ms: i64,
    ) -> Result<Bytes, StatusError> {
        let mut table = Table::new(self.resource, self.include, meta, true);
        for object in objects {
            // Cells are made from the stored shape, for aliases too.
            table.push(object, now_ms).map_err(StatusError::internal)?;
        }
        Ok(table.finish().into())
    }
}
