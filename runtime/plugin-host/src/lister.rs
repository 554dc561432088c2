//! The lister: a plugin's reads, answered from the cluster's only copy and
//! limited to what the plugin's grants let it see.

use std::sync::Arc;

use crate::bindings::{lister, types};
use crate::cluster::{Cluster, ListQuery, ObjectHandle};
use crate::convert;
use crate::fields;
use crate::grants::Grants;

/// More than one call may carry into a plugin; far above any sensible list.
const MAX_LIST_BYTES: usize = 256 << 20;

/// Who answers the lister: the cluster, or a record of what it answered before.
pub(crate) trait Reads: Send + Sync {
    fn get(&self, reference: types::ObjectRef) -> Result<Option<types::Object>, ReadError>;
    fn list(&self, query: lister::Query) -> Result<Vec<types::Object>, ReadError>;
    /// As `list`, each object cut down to some of its fields.
    fn list_fields(
        &self,
        query: lister::Query,
        fields: &[String],
    ) -> Result<Vec<types::Object>, ReadError>;
    fn count(&self, query: lister::Query) -> Result<u32, ReadError>;
    /// The reads that follow belong to a call at this revision.
    fn pin(&self, _revision: u64) {}
}

pub(crate) struct Reader {
    pub cluster: Arc<dyn Cluster>,
    pub grants: Arc<Grants>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(
        "the list asks for more than {MAX_LIST_BYTES} bytes; ask for metadata only, or by namespace"
    )]
    TooLarge,
    #[error("this role has no lister")]
    NoReader,
    /// Only in a replay.
    #[error("this read was not recorded: {0}")]
    NotRecorded(String),
}

impl Reads for Reader {
    fn get(&self, reference: types::ObjectRef) -> Result<Option<types::Object>, ReadError> {
        Ok(Reader::get(self, reference))
    }

    fn list(&self, query: lister::Query) -> Result<Vec<types::Object>, ReadError> {
        Reader::list(self, query)
    }

    fn list_fields(
        &self,
        query: lister::Query,
        fields: &[String],
    ) -> Result<Vec<types::Object>, ReadError> {
        Reader::list_fields(self, query, fields)
    }

    fn count(&self, query: lister::Query) -> Result<u32, ReadError> {
        Ok(Reader::count(self, query))
    }
}

impl Reader {
    pub fn get(&self, reference: types::ObjectRef) -> Option<types::Object> {
        let kind = convert::kind(reference.kind);
        if !self.grants.may_read_in(&kind, &reference.namespace) {
            return None;
        }
        let found = self.cluster.get(&kind, &reference.namespace, &reference.name)?;
        Some(convert::object(&*found, true))
    }

    pub fn list(&self, query: lister::Query) -> Result<Vec<types::Object>, ReadError> {
        let with_json = !query.metadata_only;
        let found = self.find(query);
        let bytes: usize =
            if with_json { found.iter().map(|object| object.json().len()).sum() } else { 0 };
        if bytes > MAX_LIST_BYTES {
            return Err(ReadError::TooLarge);
        }
        Ok(found.iter().map(|object| convert::object(&**object, with_json)).collect())
    }

    /// As `list`, each object cut down to some of its fields.
    pub fn list_fields(
        &self,
        query: lister::Query,
        paths: &[String],
    ) -> Result<Vec<types::Object>, ReadError> {
        let mut objects = self.list(query)?;
        for object in &mut objects {
            object.json = fields::cut(&object.json, paths);
        }
        Ok(objects)
    }

    pub fn count(&self, query: lister::Query) -> u32 {
        u32::try_from(self.find(query).len()).unwrap_or(u32::MAX)
    }

    fn find(&self, query: lister::Query) -> Vec<ObjectHandle> {
        // Every kind of the whole cluster at once is never what is meant.
        if query.kind.is_none() && query.namespace.is_none() && query.owner_uid.is_none() {
            return Vec::new();
        }
        let limit = query.limit as usize;
        let kind = query.kind.map(convert::kind);
        if kind.as_ref().is_some_and(|kind| !self.grants.may_read(kind)) {
            return Vec::new();
        }
        let listing = self.cluster.list(&ListQuery {
            kind,
            namespace: query.namespace,
            owner_uid: query.owner_uid,
            label_selector: query.label_selector,
            field: query.field,
            // What is not granted must not count against the limit.
            limit: 0,
        });
        let mut objects = listing.objects;
        let mut last: Option<(Arc<pintle_api::meta::GroupVersionKind>, String, bool)> = None;
        objects.retain(|object| match &last {
            // Neighbours are mostly of one kind and namespace: ask once.
            Some((kind, namespace, allowed))
                if Arc::ptr_eq(kind, object.kind()) && namespace == object.namespace() =>
            {
                *allowed
            }
            _ => {
                let allowed = self.grants.may_read_in(object.kind(), object.namespace());
                last = Some((object.kind().clone(), object.namespace().to_owned(), allowed));
                allowed
            }
        });
        if limit > 0 {
            objects.truncate(limit);
        }
        objects
    }
}
