//! The lister of a guest: the host's own, through the imports.

use super::convert::ref_in;
use super::convert::{kind_out, object, ref_out};
use crate::bindings::controller::pintle::plugin::{changes, lister as host};
use crate::lister::{Changed, Lister, Query};
use crate::object::{Object, ObjectRef};

pub struct HostLister;

impl Lister for HostLister {
    fn get(&self, reference: &ObjectRef) -> Option<Object> {
        host::get(&ref_out(reference.clone())).map(object)
    }

    fn list(&self, query: &Query) -> Vec<Object> {
        let found = if query.fields.is_empty() {
            host::list(&encode(query))
        } else {
            host::list_fields(&encode(query), &query.fields)
        };
        found.into_iter().map(object).collect()
    }

    fn count(&self, query: &Query) -> u32 {
        host::count(&encode(query))
    }

    fn list_changes(&self, query: &Query, since: u64) -> Changed {
        let told = changes::list_changes(&encode(query), &query.fields, since);
        Changed {
            revision: told.revision,
            whole: told.whole,
            objects: told.objects.into_iter().map(object).collect(),
            gone: told.gone.into_iter().map(ref_in).collect(),
        }
    }
}

fn encode(query: &Query) -> host::Query {
    host::Query {
        kind: query.kind.clone().map(kind_out),
        namespace: query.namespace.clone(),
        owner_uid: query.owner_uid.clone(),
        label_selector: query.label_selector.clone(),
        field: query.field.clone(),
        metadata_only: query.metadata_only,
        limit: query.limit,
    }
}
