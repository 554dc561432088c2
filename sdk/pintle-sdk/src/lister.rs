//! Reads of the cluster at the pinned revision of the running call.

use std::ops::Deref;

use crate::error::Error;
use crate::object::{KindRef, Object, ObjectRef, Resource};

/// Which objects to list. All conditions that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// None: every granted kind (together with `namespace` or `owner_uid`).
    pub kind: Option<KindRef>,
    pub namespace: Option<String>,
    pub owner_uid: Option<String>,
    /// Kubernetes' string form, `app=web,tier in (a,b)`.
    pub label_selector: Option<String>,
    /// A selectable field and its value, `spec.nodeName` and `node-1`.
    pub field: Option<(String, String)>,
    /// Leave `json` empty: names, uids and revisions only.
    pub metadata_only: bool,
    /// At most so many objects; 0 means no limit.
    pub limit: u32,
}

impl Query {
    pub fn of(kind: KindRef) -> Self {
        Query { kind: Some(kind), ..Query::default() }
    }

    pub fn any_kind() -> Self {
        Query::default()
    }

    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    pub fn owned_by(mut self, uid: impl Into<String>) -> Self {
        self.owner_uid = Some(uid.into());
        self
    }

    pub fn labels(mut self, selector: impl Into<String>) -> Self {
        self.label_selector = Some(selector.into());
        self
    }

    pub fn field(mut self, path: impl Into<String>, value: impl Into<String>) -> Self {
        self.field = Some((path.into(), value.into()));
        self
    }

    pub fn metadata_only(mut self) -> Self {
        self.metadata_only = true;
        self
    }

    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }
}

/// Reads; kinds that are not granted read as absent.
pub trait Lister {
    fn get(&self, reference: &ObjectRef) -> Option<Object>;
    fn list(&self, query: &Query) -> Vec<Object>;
    /// How many objects match, without carrying them across.
    fn count(&self, query: &Query) -> u32;
}

/// An object read as `T`, with the envelope that writes need.
#[derive(Debug, Clone)]
pub struct Typed<T> {
    pub reference: ObjectRef,
    pub uid: String,
    pub revision: u64,
    /// Boxed, so that lists of large objects are cheap to sort and to filter.
    pub object: Box<T>,
}

impl<T> Deref for Typed<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.object
    }
}

impl<T: Resource> TryFrom<Object> for Typed<T> {
    type Error = Error;
    fn try_from(object: Object) -> Result<Self, Error> {
        let parsed = Box::new(object.parse()?);
        Ok(Typed {
            reference: object.reference,
            uid: object.uid,
            revision: object.revision,
            object: parsed,
        })
    }
}

impl dyn Lister + '_ {
    /// One object of the kind that `T` stands for.
    pub fn read<T: Resource>(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Typed<T>>, Error> {
        self.get(&T::KIND.named(namespace, name)).map(Typed::try_from).transpose()
    }

    /// All objects of `T`'s kind that match; `query.kind` is filled in.
    pub fn read_all<T: Resource>(&self, query: Query) -> Result<Vec<Typed<T>>, Error> {
        let query = Query { kind: Some(T::KIND), ..query };
        self.list(&query).into_iter().map(Typed::try_from).collect()
    }
}
