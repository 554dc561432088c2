//! Reads of the cluster at the pinned revision of the running call.
//!
//! ```
//! use pintle_sdk::prelude::*;
//!
//! fn ready_pods(lister: &dyn Lister, set: &Typed<ReplicaSet>) -> Result<usize, Error> {
//!     let pods = lister.owned::<Pod>(set)?;
//!     Ok(pods.iter().filter(|pod| pod.is_ready()).count())
//! }
//!
//! fn on_node(lister: &dyn Lister, node: &str) -> u32 {
//!     lister.count(&Query::of(POD).field("spec.nodeName", node))
//! }
//! ```

use std::ops::Deref;
use std::sync::Arc;

use crate::action::Target;
use crate::error::Error;
use crate::object::{KindRef, Object, ObjectRef, Resource};
use crate::selector::LabelSelector;

/// All metadata but who wrote which field, for [`Query::fields`].
pub const METADATA: &[&str] = &[
    "metadata.name",
    "metadata.generateName",
    "metadata.namespace",
    "metadata.uid",
    "metadata.resourceVersion",
    "metadata.generation",
    "metadata.creationTimestamp",
    "metadata.deletionTimestamp",
    "metadata.deletionGracePeriodSeconds",
    "metadata.labels",
    "metadata.annotations",
    "metadata.ownerReferences",
    "metadata.finalizers",
];

/// Which objects to list. All conditions that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// None: every granted kind (together with `namespace` or `owner_uid`).
    pub kind: Option<KindRef>,
    /// None: in all of them.
    pub namespace: Option<String>,
    /// Only objects with an owner reference to this uid.
    pub owner_uid: Option<String>,
    /// Kubernetes' string form, `app=web,tier in (a,b)`.
    pub label_selector: Option<String>,
    /// A selectable field and its value, `spec.nodeName` and `node-1`; or `claims` and
    /// something that one object of the kind holds alone, `nodePort/30080`.
    pub field: Option<(String, String)>,
    /// Only these fields of each object, `metadata.labels`, `spec.replicas`; empty: all.
    pub fields: Vec<String>,
    /// Leave `json` empty: names, uids and revisions only.
    pub metadata_only: bool,
    /// At most so many objects; 0 means no limit.
    pub limit: u32,
}

impl Query {
    /// All objects of a kind.
    pub fn of(kind: KindRef) -> Self {
        Query { kind: Some(kind), ..Query::default() }
    }

    /// Every granted kind (together with a namespace or an owner); for
    /// [`read_all`](Lister#method.read_all), which knows the kind by its type.
    pub fn any_kind() -> Self {
        Query::default()
    }

    /// Only in this namespace.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Only objects with an owner reference to this uid.
    pub fn owned_by(mut self, uid: impl Into<String>) -> Self {
        self.owner_uid = Some(uid.into());
        self
    }

    /// Only objects that this selector matches: `app=web,tier in (a,b),!old`.
    pub fn labels(mut self, selector: impl Into<String>) -> Self {
        self.label_selector = Some(selector.into());
        self
    }

    /// Only objects that the selector of another object matches.
    pub fn selector(self, selector: &LabelSelector) -> Self {
        self.labels(selector.to_string())
    }

    /// Only objects in which a selectable field has this value.
    pub fn field(mut self, path: impl Into<String>, value: impl Into<String>) -> Self {
        self.field = Some((path.into(), value.into()));
        self
    }

    /// Only these fields of each object (their parents stay, absent ones are left out):
    /// a call then carries what it needs and no more.
    ///
    /// ```
    /// use pintle_sdk::prelude::*;
    ///
    /// let labels_only = Query::of(POD).fields(&["metadata.labels", "status.phase"]);
    /// assert_eq!(labels_only.fields.len(), 2);
    /// ```
    ///
    /// Called again, it adds fields.
    pub fn fields(mut self, paths: &[&str]) -> Self {
        self.fields.extend(paths.iter().map(|&path| path.to_owned()));
        self
    }

    /// Names, uids and revisions only.
    pub fn metadata_only(mut self) -> Self {
        self.metadata_only = true;
        self
    }

    /// At most so many; 0 means no limit.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }
}

/// Reads; kinds that are not granted read as absent.
pub trait Lister {
    /// One object.
    fn get(&self, reference: &ObjectRef) -> Option<Object>;
    /// The objects that match, cut down to the query's fields if it names any.
    fn list(&self, query: &Query) -> Vec<Object>;
    /// How many objects match, without carrying them across.
    fn count(&self, query: &Query) -> u32;
    /// What is different from the answer at the revision `since` (0: there was none),
    /// or all of it. See [`Remembered`](crate::remembered::Remembered).
    fn list_changes(&self, query: &Query, _since: u64) -> Changed {
        Changed { revision: 0, whole: true, objects: self.list(query), gone: Vec::new() }
    }
}

/// What is different from an answer that was given before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// The revision that this answers at.
    pub revision: u64,
    /// `objects` is all there is; what was told before is void.
    pub whole: bool,
    /// What matches and has changed.
    pub objects: Vec<Object>,
    /// What may have matched before and matches no more.
    pub gone: Vec<ObjectRef>,
}

/// An object read as `T`, with the envelope that writes need.
#[derive(Debug)]
pub struct Typed<T> {
    /// Where it is.
    pub reference: ObjectRef,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion` as a number.
    pub revision: u64,
    /// Shared, so that lists of large objects are cheap to sort, to filter and to remember.
    pub object: Arc<T>,
}

impl<T> Clone for Typed<T> {
    fn clone(&self) -> Self {
        Typed {
            reference: self.reference.clone(),
            uid: self.uid.clone(),
            revision: self.revision,
            object: self.object.clone(),
        }
    }
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
        let parsed = Arc::new(object.parse()?);
        Ok(Typed {
            reference: object.reference,
            uid: object.uid,
            revision: object.revision,
            object: parsed,
        })
    }
}

impl dyn Lister + '_ {
    /// As `list`, each object cut down to these fields.
    pub fn list_fields(&self, query: &Query, paths: &[&str]) -> Vec<Object> {
        self.list(&query.clone().fields(paths))
    }

    /// One object, cut down to these fields.
    pub fn get_fields(&self, reference: &ObjectRef, paths: &[&str]) -> Option<Object> {
        let query = Query::of(reference.kind.clone())
            .namespace(&*reference.namespace)
            .field("metadata.name", &*reference.name);
        self.list_fields(&query, paths).pop()
    }

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

    /// What `owner` owns, in its namespace.
    pub fn owned<T: Resource>(&self, owner: &impl Target) -> Result<Vec<Typed<T>>, Error> {
        let namespace = &owner.reference().namespace;
        let query = Query::any_kind().owned_by(owner.uid());
        // What a cluster-scoped object owns may lie in any namespace.
        self.read_all(if namespace.is_empty() { query } else { query.namespace(namespace) })
    }

    /// What a selector matches in a namespace; an empty one matches everything.
    pub fn selected<T: Resource>(
        &self,
        namespace: &str,
        selector: &LabelSelector,
    ) -> Result<Vec<Typed<T>>, Error> {
        self.read_all(Query::any_kind().namespace(namespace).selector(selector))
    }
}
