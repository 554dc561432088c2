//! Objects as they cross the plugin boundary: an envelope and Kubernetes JSON.

use std::borrow::Cow;
use std::fmt;

use pintle_api::meta::{ObjectMeta, join_api_version, split_api_version};
use serde::de::DeserializeOwned;

use crate::error::Error;

/// A kind: group (empty for the core group), version and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KindRef {
    /// `apps`; empty for the core group.
    pub group: Cow<'static, str>,
    /// `v1`.
    pub version: Cow<'static, str>,
    /// `Deployment`.
    pub kind: Cow<'static, str>,
}

impl KindRef {
    /// A constant for a kind: `KindRef::new("apps", "v1", "Deployment")`.
    pub const fn new(group: &'static str, version: &'static str, kind: &'static str) -> Self {
        KindRef {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            kind: Cow::Borrowed(kind),
        }
    }

    /// From an `apiVersion` (`apps/v1`) and a `kind`, as in an owner reference.
    pub fn parse(api_version: &str, kind: &str) -> Self {
        let (group, version) = split_api_version(api_version);
        KindRef {
            group: Cow::Owned(group.to_owned()),
            version: Cow::Owned(version.to_owned()),
            kind: Cow::Owned(kind.to_owned()),
        }
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        join_api_version(&self.group, &self.version)
    }

    /// The object of this kind with this name; `namespace` is empty for
    /// cluster-scoped kinds.
    pub fn named(&self, namespace: impl Into<String>, name: impl Into<String>) -> ObjectRef {
        ObjectRef { kind: self.clone(), namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for KindRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        if self.group.is_empty() { Ok(()) } else { write!(f, ".{}", self.group) }
    }
}

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// Which kind it is of.
    pub kind: KindRef,
    /// Empty for cluster-scoped kinds.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

/// One object at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Where it is.
    pub reference: ObjectRef,
    /// `metadata.uid`: tells it apart from a successor of the same name.
    pub uid: String,
    /// `metadata.resourceVersion` as a number.
    pub revision: u64,
    /// The whole object as Kubernetes JSON; empty in a metadata-only listing.
    pub json: Vec<u8>,
}

impl Object {
    /// Reads the fields that `T` names; all others are skipped.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Error> {
        crate::reading::parse(&self.json)
            .map_err(|source| Error::Parse { reference: Box::new(self.reference.clone()), source })
    }
}

/// A (partial) Rust type for one kind; made with [`resource!`](crate::resource).
pub trait Resource: DeserializeOwned {
    /// The kind that the type stands for.
    const KIND: KindRef;
    /// The field `metadata`.
    fn metadata(&self) -> &ObjectMeta;
}

/// Makes a struct with a field `metadata` the type of a kind, also of one that
/// only a plugin knows:
///
/// ```
/// use pintle_sdk::prelude::*;
///
/// #[derive(Default, serde::Deserialize)]
/// #[serde(default)]
/// struct Website {
///     metadata: ObjectMeta,
///     spec: WebsiteSpec,
/// }
///
/// #[derive(Default, serde::Deserialize)]
/// #[serde(rename_all = "camelCase", default)]
/// struct WebsiteSpec {
///     git_repository: String,
/// }
///
/// const WEBSITE: KindRef = KindRef::new("example.com", "v1", "Website");
/// pintle_sdk::resource!(Website, WEBSITE);
///
/// # fn main() {
/// let json = r#"{"spec": {"gitRepository": "https://example.com/site.git"}}"#;
/// let site: Website = serde_json::from_str(json).unwrap();
/// assert_eq!(site.spec.git_repository, "https://example.com/site.git");
/// assert_eq!(Website::KIND.api_version(), "example.com/v1");
/// # let _ = site.metadata.name;
/// # }
/// ```
#[macro_export]
macro_rules! resource {
    ($type:ty, $kind:expr) => {
        impl $crate::object::Resource for $type {
            const KIND: $crate::object::KindRef = $kind;
            fn metadata(&self) -> &$crate::api::meta::ObjectMeta {
                &self.metadata
            }
        }
    };
}
