//! The class of a new volume claim that names none (Kubernetes'
//! `DefaultStorageClass`).
//!
//! Mutating, on the creation of PersistentVolumeClaims: the StorageClass with
//! the annotation `storageclass.kubernetes.io/is-default-class: "true"`; the
//! newest one if there are several, the first by name among equally old ones.
//! An empty `storageClassName` means "no class" and stays.
//!
//! No configuration.
//!
//! Does not know: provisioners. Read first: [`default_class`].

use pintle_sdk::admission::{Admission, Description, Operations, Request, Response, Rule};
use pintle_sdk::prelude::{
    Lister, Manifest, NoConfig, PERSISTENT_VOLUME_CLAIM, PersistentVolumeClaim, Query,
    STORAGE_CLASS, StorageClass, Typed,
};
use pintle_sdk::serde_json::json;
use pintle_sdk::{Context, log};

const IS_DEFAULT: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];
/// Names the class as `spec.storageClassName` does, from before that field.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

pub struct Plugin;

/// The name of the class that stands in where none is named.
pub fn default_class(classes: &[Typed<StorageClass>]) -> Option<&str> {
    let is_default = |class: &&Typed<StorageClass>| {
        let annotations = &class.metadata.annotations;
        IS_DEFAULT.iter().any(|key| annotations.get(*key).is_some_and(|value| value == "true"))
    };
    classes
        .iter()
        .filter(is_default)
        .max_by(|a, b| {
            let (created_a, created_b) =
                (&a.metadata.creation_timestamp, &b.metadata.creation_timestamp);
            created_a.cmp(created_b).then_with(|| b.reference.name.cmp(&a.reference.name))
        })
        .map(|class| &*class.reference.name)
}

impl Admission for Plugin {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(Plugin)
    }

    fn describe(&self) -> Description {
        Description::new(Manifest::new("default-storage-class", env!("CARGO_PKG_VERSION")).needs(
            STORAGE_CLASS,
            &["list"],
            "which class is the default",
        ))
        .mutating(Rule::on(PERSISTENT_VOLUME_CLAIM, Operations::CREATE))
    }

    fn review(&self, _: &Context, lister: &dyn Lister, request: &Request) -> Response {
        let claim: PersistentVolumeClaim = match request.object() {
            Ok(claim) => claim,
            Err(error) => {
                // The server has parsed it before; its shape is the server's to refuse.
                log::warn!("{error}");
                return Response::allow();
            }
        };
        if claim.spec.storage_class_name.is_some()
            || claim.metadata.annotations.contains_key(CLASS_ANNOTATION)
        {
            return Response::allow();
        }
        let query = Query::any_kind().fields(&[
            "metadata.name",
            "metadata.annotations",
            "metadata.creationTimestamp",
        ]);
        match lister.read_all::<StorageClass>(query) {
            Ok(classes) => match default_class(&classes) {
                Some(name) => Response::patch_with(
                    &json!([{"op": "add", "path": "/spec/storageClassName", "value": name}]),
                ),
                None => Response::allow(),
            },
            Err(error) => Response::forbid(error.to_string()),
        }
    }
}

pintle_sdk::export_admission!(Plugin);
