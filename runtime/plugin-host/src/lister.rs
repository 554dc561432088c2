//! The lister: a plugin's reads, answered from the cluster's only copy and
//! limited to what the plugin's grants let it see.

use std::sync::Arc;

use pintle_api::meta::GroupVersionKind;

use crate::bindings::{changes, lister, types};
use crate::cluster::{Changes, Cluster, ListQuery, ObjectHandle, RefusalPlace, RevisionGone};
use crate::convert;
use crate::fields::Cut;
use crate::grants::Grants;

/// More than one call may carry into a plugin; far above any sensible list.
const MAX_LIST_BYTES: usize = 256 << 20;

/// Who answers the lister: the cluster, or a record of what it answered before.
/// `at` is the revision of the call that asks; one answerer serves many calls at a time.
pub(crate) trait Reads: Send + Sync {
    fn get(&self, at: u64, reference: types::ObjectRef)
    -> Result<Option<types::Object>, ReadError>;
    fn list(&self, at: u64, query: lister::Query) -> Result<Vec<types::Object>, ReadError>;
    /// As `list`, each object cut down to some of its fields.
    fn list_fields(
        &self,
        at: u64,
        query: lister::Query,
        fields: &[String],
    ) -> Result<Vec<types::Object>, ReadError>;
    fn count(&self, at: u64, query: lister::Query) -> Result<u32, ReadError>;
    /// As `list_fields`, or `list` without fields, but only what is different since
    /// another revision. All of it is always a good answer.
    fn list_changes(
        &self,
        at: u64,
        query: lister::Query,
        fields: &[String],
        _since: u64,
    ) -> Result<changes::Changed, ReadError> {
        let objects = match fields {
            [] => self.list(at, query)?,
            fields => self.list_fields(at, query, fields)?,
        };
        Ok(changes::Changed { revision: at, whole: true, objects, gone: Vec::new() })
    }
}

pub(crate) struct Reader {
    pub cluster: Arc<dyn Cluster>,
    pub grants: Arc<Grants>,
    /// Who reads: what was refused is told to the one who asked for it.
    pub plugin: Arc<str>,
}

/// Nothing of these kinds is stored: the host makes it up for the one who asks.
const MADE_UP: &str = "plugins.pintle.dev";
const REFUSAL: &str = "Refusal";
const UNKNOWN_KIND: &str = "UnknownKind";

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(
        "the list asks for more than {MAX_LIST_BYTES} bytes; ask for metadata only, or by namespace"
    )]
    TooLarge,
    #[error("this role has no lister")]
    NoReader,
    /// No fault of the plugin: it is asked again at a newer revision.
    #[error(transparent)]
    Gone(#[from] RevisionGone),
    /// Only in a replay.
    #[error("this read was not recorded: {0}")]
    NotRecorded(String),
    /// Only in a replay: the read was refused when it was recorded, too.
    #[error("{0}")]
    Recorded(String),
}

impl Reads for Reader {
    fn get(
        &self,
        at: u64,
        reference: types::ObjectRef,
    ) -> Result<Option<types::Object>, ReadError> {
        let kind = convert::kind(reference.kind);
        if !self.grants.may_read_in(&kind, &reference.namespace) {
            return Ok(None);
        }
        match (kind.group.as_str(), kind.kind.as_str()) {
            (MADE_UP, REFUSAL) => return Ok(self.refusal(reference.namespace, reference.name)),
            (MADE_UP, UNKNOWN_KIND) => return Ok(self.unknown_kind(&reference.name)),
            _ => {}
        }
        let found = self.cluster.pinned(at)?.get(&kind, &reference.namespace, &reference.name)?;
        Ok(found.map(|object| convert::object(&*object, true)))
    }

    fn list(&self, at: u64, query: lister::Query) -> Result<Vec<types::Object>, ReadError> {
        let with_json = !query.metadata_only;
        carry(&self.find(at, query)?, with_json)
    }

    fn list_fields(
        &self,
        at: u64,
        query: lister::Query,
        fields: &[String],
    ) -> Result<Vec<types::Object>, ReadError> {
        carry_fields(&self.find(at, query)?, fields)
    }

    fn count(&self, at: u64, query: lister::Query) -> Result<u32, ReadError> {
        Ok(u32::try_from(self.find(at, query)?.len()).unwrap_or(u32::MAX))
    }

    fn list_changes(
        &self,
        at: u64,
        query: lister::Query,
        fields: &[String],
        since: u64,
    ) -> Result<changes::Changed, ReadError> {
        let Some(found) = self.find_changes(at, &query, since)? else {
            let objects = match fields {
                [] => self.list(at, query)?,
                fields => self.list_fields(at, query, fields)?,
            };
            return Ok(changes::Changed { revision: at, whole: true, objects, gone: Vec::new() });
        };
        let objects = match fields {
            [] => carry(&found.changed, !query.metadata_only)?,
            fields => carry_fields(&found.changed, fields)?,
        };
        let gone = found.gone.iter().map(|object| convert::object(&**object, false).ref_).collect();
        Ok(changes::Changed { revision: at, whole: false, objects, gone })
    }
}

/// An object that is stored nowhere.
fn made_up(kind: &str, namespace: String, name: String, message: &str) -> types::Object {
    let json = serde_json::json!({
        "apiVersion": format!("{MADE_UP}/v1alpha1"),
        "kind": kind,
        "metadata": {"namespace": namespace, "name": name},
        "message": message,
    });
    let kind = types::KindRef {
        group: MADE_UP.to_owned(),
        version: "v1alpha1".to_owned(),
        kind: kind.to_owned(),
    };
    types::Object {
        ref_: types::ObjectRef { kind, namespace, name },
        uid: String::new(),
        revision: 0,
        json: json.to_string().into_bytes(),
    }
}

fn carry(found: &[ObjectHandle], with_json: bool) -> Result<Vec<types::Object>, ReadError> {
    let bytes: usize =
        if with_json { found.iter().map(|object| object.json().len()).sum() } else { 0 };
    if bytes > MAX_LIST_BYTES {
        return Err(ReadError::TooLarge);
    }
    Ok(found.iter().map(|object| convert::object(&**object, with_json)).collect())
}

fn carry_fields(
    found: &[ObjectHandle],
    fields: &[String],
) -> Result<Vec<types::Object>, ReadError> {
    let cut = Cut::new(fields);
    let mut bytes = 0;
    let carried = found.iter().map(|object| {
        let mut carried = convert::object(&**object, false);
        carried.json = cut.apply(object.json());
        bytes += carried.json.len();
        if bytes > MAX_LIST_BYTES { Err(ReadError::TooLarge) } else { Ok(carried) }
    });
    carried.collect()
}

impl Reader {
    fn refusal(&self, namespace: String, name: String) -> Option<types::Object> {
        let place = RefusalPlace { namespace, name };
        let message = self.cluster.refusal(&self.plugin, &place)?;
        Some(made_up(REFUSAL, place.namespace, place.name, &message))
    }

    /// `apps/v1/Deployment`: there is something to read when nobody serves that.
    fn unknown_kind(&self, name: &str) -> Option<types::Object> {
        let (api_version, kind) = name.rsplit_once('/')?;
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let asked = GroupVersionKind::new(group, version, kind);
        let message = format!("there is no kind {kind} in {api_version}");
        (!self.cluster.serves(&asked))
            .then(|| made_up(UNKNOWN_KIND, String::new(), name.to_owned(), &message))
    }

    fn find(&self, at: u64, query: lister::Query) -> Result<Vec<ObjectHandle>, ReadError> {
        // Every kind of the whole cluster at once is never what is meant.
        if query.kind.is_none() && query.namespace.is_none() && query.owner_uid.is_none() {
            return Ok(Vec::new());
        }
        let limit = query.limit as usize;
        let query = list_query(query);
        if query.kind.as_ref().is_some_and(|kind| !self.grants.may_read(kind)) {
            return Ok(Vec::new());
        }
        let mut objects = self.cluster.pinned(at)?.list(&query)?;
        self.keep_granted(&mut objects);
        if limit > 0 {
            objects.truncate(limit);
        }
        Ok(objects)
    }

    fn keep_granted(&self, objects: &mut Vec<ObjectHandle>) {
        let mut last: Option<(Arc<GroupVersionKind>, String, bool)> = None;
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
    }

    /// None: it has to be told all of it.
    fn find_changes(
        &self,
        at: u64,
        query: &lister::Query,
        since: u64,
    ) -> Result<Option<Changes>, ReadError> {
        // Of all kinds and of the first so many the changes are not the whole story.
        if since == 0 || since > at || query.limit > 0 {
            return Ok(None);
        }
        let query = list_query(query.clone());
        if !query.kind.as_ref().is_some_and(|kind| self.grants.may_read(kind)) {
            return Ok(None);
        }
        let found = self.cluster.pinned(at)?.changes(&query, since);
        Ok(found.map(|mut changes| {
            self.keep_granted(&mut changes.changed);
            self.keep_granted(&mut changes.gone);
            changes
        }))
    }
}

fn list_query(query: lister::Query) -> ListQuery {
    ListQuery {
        kind: query.kind.map(convert::kind),
        namespace: query.namespace,
        owner_uid: query.owner_uid,
        label_selector: query.label_selector,
        field: query.field,
        // What is not granted must not count against the limit.
        limit: 0,
    }
}
