//! What all worlds share.

use crate::bindings::controller::pintle::plugin::types as wit;
use crate::context::Context;
use crate::manifest::{Grant, Manifest};
use crate::object::{KindRef, Object, ObjectRef};

pub(super) fn context(context: wit::Context) -> Context {
    Context { now_unix_ms: context.now_unix_ms, seed: context.seed, revision: context.revision }
}

pub(super) fn kind_in(kind: wit::KindRef) -> KindRef {
    KindRef { group: kind.group.into(), version: kind.version.into(), kind: kind.kind.into() }
}

pub(super) fn kind_out(kind: KindRef) -> wit::KindRef {
    wit::KindRef {
        group: kind.group.into_owned(),
        version: kind.version.into_owned(),
        kind: kind.kind.into_owned(),
    }
}

pub(super) fn ref_in(reference: wit::ObjectRef) -> ObjectRef {
    ObjectRef {
        kind: kind_in(reference.kind),
        namespace: reference.namespace,
        name: reference.name,
    }
}

pub(super) fn ref_out(reference: ObjectRef) -> wit::ObjectRef {
    wit::ObjectRef {
        kind: kind_out(reference.kind),
        namespace: reference.namespace,
        name: reference.name,
    }
}

pub(super) fn object(object: wit::Object) -> Object {
    Object {
        reference: ref_in(object.ref_),
        uid: object.uid,
        revision: object.revision,
        json: object.json,
    }
}

pub(super) fn manifest(manifest: Manifest) -> wit::Manifest {
    let grant = |grant: Grant| wit::Grant {
        kind: kind_out(grant.kind),
        verbs: grant.verbs,
        reason: grant.reason,
    };
    wit::Manifest {
        name: manifest.name,
        version: manifest.version,
        needs: manifest.needs.into_iter().map(grant).collect(),
    }
}
