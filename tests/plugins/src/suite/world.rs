//! The cluster of a suite, as the host's sandbox reads it.

use std::sync::Arc;

use pintle_plugin_host::trace::model::{
    Blob, ContextRecord, KindRecord, ObjectRecord, QueryRecord, RefRecord,
};
use pintle_plugin_host::trace::offline::Objects;
use pintle_sdk::lister::Query;
use pintle_sdk::{KindRef, Lister, Object, ObjectRef};
use pintle_sdk_testing::World;

/// For one call.
pub fn frozen(world: &World) -> Arc<dyn Objects> {
    Arc::new(Frozen(world.clone()))
}

struct Frozen(World);

impl Objects for Frozen {
    fn get(&self, reference: &RefRecord) -> Option<ObjectRecord> {
        let kind = kind_ref(&reference.kind);
        let place = kind.named(reference.namespace.clone(), reference.name.clone());
        Lister::get(&self.0, &place).map(object_record)
    }

    fn list(&self, query: &QueryRecord) -> Vec<ObjectRecord> {
        let query = Query {
            kind: query.kind.as_ref().map(kind_ref),
            namespace: query.namespace.clone(),
            owner_uid: query.owner_uid.clone(),
            label_selector: query.label_selector.clone(),
            field: query.field.clone(),
            limit: query.limit,
            ..Query::default()
        };
        self.0.list(&query).into_iter().map(object_record).collect()
    }
}

/// Every call is at the same moment, with the same luck.
pub fn context(world: &World) -> ContextRecord {
    ContextRecord { now_unix_ms: world.now_unix_ms, seed: 7, revision: world.revision() }
}

fn kind_ref(kind: &KindRecord) -> KindRef {
    KindRef {
        group: kind.group.clone().into(),
        version: kind.version.clone().into(),
        kind: kind.kind.clone().into(),
    }
}

pub fn reference_record(reference: &ObjectRef) -> RefRecord {
    RefRecord {
        kind: KindRecord {
            group: reference.kind.group.to_string(),
            version: reference.kind.version.to_string(),
            kind: reference.kind.kind.to_string(),
        },
        namespace: reference.namespace.clone(),
        name: reference.name.clone(),
    }
}

pub fn object_record(object: Object) -> ObjectRecord {
    ObjectRecord {
        reference: reference_record(&object.reference),
        uid: object.uid,
        revision: object.revision,
        json: Blob(object.json),
    }
}

/// As it is in this cluster.
pub fn record(world: &World, reference: &ObjectRef) -> Option<ObjectRecord> {
    world.envelope(reference).map(object_record)
}
