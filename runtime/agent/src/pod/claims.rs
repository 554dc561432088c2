//! Claims for storage: which folder of this node a claim stands for; pure but for
//! the link that remembers it.
//!
//! Does not know: who binds claims to volumes, or how folders come into being
//! elsewhere. A claim that is not bound yet is an error like a ConfigMap that is
//! not there yet: the pod waits.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::model::{HostPath, Pod};

/// A claim and the volume that it is bound to, as fetched; `None` where there is none.
#[derive(Debug, Clone, Default)]
pub struct Claimed {
    pub claim: Option<Value>,
    pub volume: Option<Value>,
    /// This node's labels, for volumes that lie on certain nodes only.
    pub node_labels: Value,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    #[error("persistentvolumeclaim \"{0}\" not found")]
    NoClaim(String),
    #[error("persistentvolumeclaim \"{0}\" is being deleted")]
    BeingDeleted(String),
    #[error("persistentvolumeclaim \"{0}\" is not bound")]
    NotBound(String),
    #[error("persistentvolume \"{0}\" not found")]
    NoVolume(String),
    #[error("persistentvolume \"{volume}\" is not bound to persistentvolumeclaim \"{claim}\"")]
    OtherClaim { volume: String, claim: String },
    #[error(
        "persistentvolume \"{0}\" cannot be reached from this node: its node affinity does not match the node's labels"
    )]
    OtherNode(String),
    #[error("persistentvolume \"{0}\" is a block device: this node mounts file systems only")]
    Block(String),
    #[error(
        "persistentvolume \"{0}\" is of a kind that this node does not support; there are hostPath and local"
    )]
    Unsupported(String),
}

/// The claims that a pod's volumes name.
pub fn referenced(pod: &Pod) -> Vec<String> {
    let sources = pod.spec.volumes.iter().filter_map(|v| v.persistent_volume_claim.as_ref());
    sources.map(|source| source.claim_name.clone()).collect()
}

/// The volume that a claim is bound to; `None` while it is not.
pub fn bound_to(claim: &Value) -> Option<&str> {
    let bound = claim["status"]["phase"] == "Bound";
    claim["spec"]["volumeName"].as_str().filter(|name| bound && !name.is_empty())
}

/// Where the claim's data lies on this node.
pub fn place(name: &str, claimed: &Claimed) -> Result<HostPath, ClaimError> {
    let claim = claimed.claim.as_ref().ok_or_else(|| ClaimError::NoClaim(name.to_owned()))?;
    if !claim["metadata"]["deletionTimestamp"].is_null() {
        return Err(ClaimError::BeingDeleted(name.to_owned()));
    }
    let bound = bound_to(claim).ok_or_else(|| ClaimError::NotBound(name.to_owned()))?;
    let volume = claimed.volume.as_ref().ok_or_else(|| ClaimError::NoVolume(bound.to_owned()))?;
    let (spec, uid) = (&volume["spec"], &claim["metadata"]["uid"]);
    // Both sides must agree, else the data is somebody else's.
    if !uid.is_string() || spec["claimRef"]["uid"] != *uid {
        let (volume, claim) = (bound.to_owned(), name.to_owned());
        return Err(ClaimError::OtherClaim { volume, claim });
    }
    if spec["volumeMode"] == "Block" {
        return Err(ClaimError::Block(bound.to_owned()));
    }
    if !admits(&spec["nodeAffinity"]["required"], &claimed.node_labels) {
        return Err(ClaimError::OtherNode(bound.to_owned()));
    }
    let path = |source: &str| spec[source]["path"].as_str().filter(|path| path.starts_with('/'));
    if let Some(path) = path("hostPath") {
        let kind = spec["hostPath"]["type"].as_str().unwrap_or_default().to_owned();
        return Ok(HostPath { path: path.to_owned(), kind });
    }
    match path("local") {
        // Made by a person; an empty folder in its place would hide that it is missing.
        Some(path) => Ok(HostPath { path: path.to_owned(), kind: "Directory".to_owned() }),
        None => Err(ClaimError::Unsupported(bound.to_owned())),
    }
}

/// Whether a node selector, absent for any node, matches the node's labels.
fn admits(selector: &Value, labels: &Value) -> bool {
    if selector.is_null() {
        return true;
    }
    let terms = selector["nodeSelectorTerms"].as_array();
    terms.into_iter().flatten().any(|term| {
        let expressions = term["matchExpressions"].as_array().map_or(&[][..], Vec::as_slice);
        // By fields nothing about volumes can be said.
        let fields = term["matchFields"].as_array().is_some_and(|fields| !fields.is_empty());
        !fields && !expressions.is_empty() && expressions.iter().all(|e| holds(e, labels))
    })
}

fn holds(expression: &Value, labels: &Value) -> bool {
    let found = expression["key"].as_str().and_then(|key| labels[key].as_str());
    let values = expression["values"].as_array().map_or(&[][..], Vec::as_slice);
    let listed = || found.is_some_and(|found| values.iter().any(|value| value == found));
    let compared = || {
        let bound: i64 = values.first()?.as_str()?.parse().ok()?;
        Some(found?.parse::<i64>().ok()?.cmp(&bound))
    };
    match expression["operator"].as_str().unwrap_or_default() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => found.is_some(),
        "DoesNotExist" => found.is_none(),
        "Gt" => compared().is_some_and(std::cmp::Ordering::is_gt),
        "Lt" => compared().is_some_and(std::cmp::Ordering::is_lt),
        _ => false,
    }
}

/// Remembers the place: a pod that is there goes on without a server to ask.
pub fn remember(link: &Path, place: &HostPath) -> io::Result<()> {
    match fs::read_link(link) {
        Ok(known) if known == Path::new(&place.path) => return Ok(()),
        Ok(_) => fs::remove_file(link)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    symlink(&place.path, link)
}

/// What [`remember`] has written.
pub fn remembered(link: &Path) -> Option<PathBuf> {
    fs::read_link(link).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merge(object: &mut Value, change: Value) {
        match (object, change) {
            (Value::Object(into), Value::Object(from)) => {
                for (key, value) in from {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
            (place, value) => *place = value,
        }
    }

    #[test]
    fn a_claim_stands_for_a_folder() {
        fn check(claim_change: Value, volume_change: Value, expect: Result<&str, &str>) {
            let mut claim = json!({"metadata": {"name": "c", "uid": "u"}, "spec": {"volumeName": "v"},
                "status": {"phase": "Bound"}});
            let mut volume = json!({"metadata": {"name": "v"}, "spec": {"claimRef": {"uid": "u"},
                "hostPath": {"path": "/data", "type": "DirectoryOrCreate"}}});
            merge(&mut claim, claim_change);
            merge(&mut volume, volume_change);
            let claimed = Claimed {
                claim: Some(claim),
                volume: Some(volume),
                node_labels: json!({"kubernetes.io/hostname": "n1", "disks": "3"}),
            };
            let found = place("c", &claimed).map_err(|error| error.to_string());
            let found = found.map(|place| format!("{} {}", place.path, place.kind));
            match (found, expect) {
                (Ok(found), Ok(expect)) => assert_eq!(found, expect),
                (Err(found), Err(expect)) => assert!(found.contains(expect), "{found}"),
                (found, expect) => panic!("{found:?}, not {expect:?}"),
            }
        }
        let affinity = |operator: &str, key: &str, values: Value| {
            json!({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": key, "operator": operator, "values": values}]}]}}}})
        };
        let host = "kubernetes.io/hostname";
        let fine = Ok("/data DirectoryOrCreate");
        check(json!({}), json!({}), fine);
        check(
            json!({}),
            json!({"spec": {"hostPath": null, "local": {"path": "/disk"}}}),
            Ok("/disk Directory"),
        );
        check(json!({"status": {"phase": "Pending"}}), json!({}), Err("is not bound"));
        check(json!({"metadata": {"uid": "x"}}), json!({}), Err("is not bound to"));
        check(json!({"metadata": {"deletionTimestamp": "t"}}), json!({}), Err("being deleted"));
        check(json!({}), json!({"spec": {"volumeMode": "Block"}}), Err("block device"));
        check(json!({}), json!({"spec": {"hostPath": null, "nfs": {}}}), Err("does not support"));
        check(json!({}), json!({"spec": {"hostPath": {"path": "data"}}}), Err("does not support"));
        check(json!({}), affinity("In", host, json!(["n1"])), fine);
        check(json!({}), affinity("In", host, json!(["n2"])), Err("node affinity"));
        check(json!({}), affinity("NotIn", host, json!(["n2"])), fine);
        check(json!({}), affinity("Exists", "zone", json!(null)), Err("node affinity"));
        check(json!({}), affinity("DoesNotExist", "zone", json!(null)), fine);
        check(json!({}), affinity("Gt", "disks", json!(["2"])), fine);
        check(json!({}), affinity("Lt", "disks", json!(["3"])), Err("node affinity"));
        let gone = Claimed::default();
        assert_eq!(place("c", &gone), Err(ClaimError::NoClaim("c".to_owned())));
    }

    #[test]
    fn a_place_is_remembered_and_may_change() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("v");
        let at = |path: &str| HostPath { path: path.to_owned(), kind: String::new() };
        assert_eq!(remembered(&link), None);
        for path in ["/a", "/a", "/b"] {
            remember(&link, &at(path)).unwrap();
            assert_eq!(remembered(&link).as_deref(), Some(Path::new(path)));
        }
    }
}
