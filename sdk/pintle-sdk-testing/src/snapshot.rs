//! Worlds from files: what `kubectl get -o yaml` printed, or what a person wrote.
//!
//! Objects are taken as they are: uid, creation time, status, owners and a
//! deletion in progress are kept, so a snapshot of a real cluster behaves as
//! that cluster did. Revisions are given anew, in the order of the file.

use std::path::{Path, PathBuf};

use pintle_sdk::serde::Deserialize;
use serde_json::Value;

use crate::fields::text;
use crate::world::World;

/// Why a snapshot could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A file or a folder.
    #[error("{path}: cannot be read")]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Neither YAML nor JSON.
    #[error("document {document}: is not YAML")]
    Syntax {
        /// Counted from 1.
        document: usize,
        /// What is wrong.
        #[source]
        source: serde_yaml_ng::Error,
    },
    /// Not an object of Kubernetes.
    #[error("document {document}: has no {field}")]
    Shape {
        /// Counted from 1.
        document: usize,
        /// What it lacks.
        field: &'static str,
    },
}

impl World {
    /// The objects of YAML documents (JSON is YAML too); a `List` stands for
    /// its items.
    ///
    /// ```
    /// let world = pintle_sdk_testing::World::from_yaml("
    /// apiVersion: v1
    /// kind: Node
    /// metadata: {name: n1}
    /// ---
    /// apiVersion: v1
    /// kind: List
    /// items:
    /// - apiVersion: v1
    ///   kind: Pod
    ///   metadata: {name: web, namespace: default, uid: 3f0c}
    ///   spec: {nodeName: n1}
    /// ").unwrap();
    /// assert_eq!(world.all(&pintle_sdk::types::POD)[0]["metadata"]["uid"], "3f0c");
    /// ```
    pub fn from_yaml(text: &str) -> Result<World, SnapshotError> {
        let mut world = World::new();
        world.load(text)?;
        Ok(world)
    }

    /// The objects of a file, or of all `.yaml`, `.yml` and `.json` files of a
    /// folder, by name.
    pub fn from_path(path: impl AsRef<Path>) -> Result<World, SnapshotError> {
        let path = path.as_ref();
        let fail = |source| SnapshotError::Read { path: path.to_owned(), source };
        let mut files = vec![path.to_owned()];
        if path.is_dir() {
            files = std::fs::read_dir(path)
                .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
                .map_err(fail)?;
            files.retain(|file| {
                let extension = file.extension().and_then(|extension| extension.to_str());
                matches!(extension, Some("yaml" | "yml" | "json"))
            });
            files.sort();
        }
        let mut world = World::new();
        for file in files {
            let text = std::fs::read_to_string(&file)
                .map_err(|source| SnapshotError::Read { path: file, source })?;
            world.load(&text)?;
        }
        Ok(world)
    }

    /// Adds the objects of YAML documents as they are.
    pub fn load(&mut self, documents: &str) -> Result<(), SnapshotError> {
        for (index, reader) in serde_yaml_ng::Deserializer::from_str(documents).enumerate() {
            let document = index + 1;
            let value = Value::deserialize(reader)
                .map_err(|source| SnapshotError::Syntax { document, source })?;
            match value {
                // An empty document, as after a trailing `---`.
                Value::Null => {}
                Value::Object(mut list) if list.get("items").is_some_and(Value::is_array) => {
                    if let Some(Value::Array(items)) = list.remove("items") {
                        for item in items {
                            self.take_in(item, document)?;
                        }
                    }
                }
                object => self.take_in(object, document)?,
            }
        }
        Ok(())
    }

    fn take_in(&mut self, object: Value, document: usize) -> Result<(), SnapshotError> {
        for (path, field) in
            [("apiVersion", "apiVersion"), ("kind", "kind"), ("metadata.name", "metadata.name")]
        {
            if text(&object, path).is_empty() {
                return Err(SnapshotError::Shape { document, field });
            }
        }
        self.insert(object);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pintle_sdk::types::{CONFIG_MAP, POD};

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        fn check(yaml: &str, expect: &str) {
            assert_eq!(World::from_yaml(yaml).unwrap_err().to_string(), expect);
        }
        check("a: [", "document 1: is not YAML");
        check("kind: Pod", "document 1: has no apiVersion");
        check("---\n---\napiVersion: v1\nkind: Pod", "document 2: has no metadata.name");
        let error = World::from_path("/nonexistent/file.yaml").unwrap_err();
        assert_eq!(error.to_string(), "/nonexistent/file.yaml: cannot be read");
    }

    #[test]
    fn folders_files_and_json() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write(
            "b.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m, namespace: x}\n---\n",
        );
        write("a.json", r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","uid":"u"}}"#);
        write("ignored.txt", "no YAML: [");
        let world = World::from_path(folder.path()).unwrap();
        assert_eq!((world.all(&POD).len(), world.all(&CONFIG_MAP).len()), (1, 1));
        assert_eq!(world.all(&POD)[0]["metadata"]["resourceVersion"], "1");
    }
}
