//! Volumes on the node: made before the sandbox, removed after it.

mod files;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use super::claims::{self, ClaimError};
use super::env::{EnvContext, EnvError};
use super::model::{EmptyDir, HostPath, Pod, Volume};
use super::record::{Record, safe_name};
use super::resources::quantity;

use files::Files;

#[derive(Debug, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume \"{volume}\"")]
pub struct VolumeError {
    pub volume: String,
    #[source]
    pub source: Cause,
}

#[derive(Debug, thiserror::Error)]
pub enum Cause {
    #[error("{action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("hostPath type check failed: {path} is not {expected}")]
    HostPathType { path: String, expected: &'static str },
    #[error("{kind} \"{name}\" not found")]
    NotFound { kind: &'static str, name: String },
    #[error("{kind} \"{name}\" references non-existent key: {key}")]
    NoKey { kind: &'static str, name: String, key: String },
    #[error("cannot resolve a field")]
    Field(#[source] EnvError),
    #[error("path {0:?} must be relative and must not contain `..`")]
    Path(String),
    #[error("volume name {0:?} cannot be a directory's name")]
    Name(String),
    #[error("this kind of volume is not supported by this node: {0}")]
    Unsupported(String),
    #[error(transparent)]
    Claim(#[from] ClaimError),
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Cause {
    let path = path.to_owned();
    move |source| Cause::Io { action, path, source }
}

/// ConfigMaps and Secrets whose content the pod's volumes need.
pub fn referenced(pod: &Pod) -> (Vec<String>, Vec<String>) {
    let (mut config_maps, mut secrets) = (Vec::new(), Vec::new());
    for volume in &pod.spec.volumes {
        config_maps.extend(volume.config_map.iter().map(|source| source.name.clone()));
        secrets.extend(volume.secret.iter().map(|source| source.secret_name.clone()));
        for source in volume.projected.iter().flat_map(|projected| &projected.sources) {
            config_maps.extend(source.config_map.iter().map(|source| source.name.clone()));
            secrets.extend(source.secret.iter().map(|source| source.secret_name.clone()));
        }
    }
    (config_maps, secrets)
}

/// Where each volume lies on the node.
pub fn sources(record: &Record, pod: &Pod) -> BTreeMap<String, PathBuf> {
    let place = |volume: &Volume| {
        let own = record.volumes().join(&volume.name);
        match (&volume.host_path, &volume.persistent_volume_claim) {
            (Some(host), _) => PathBuf::from(&host.path),
            (_, Some(_)) => claims::remembered(&own).unwrap_or(own),
            _ => own,
        }
    };
    pod.spec.volumes.iter().map(|volume| (volume.name.clone(), place(volume))).collect()
}

/// Whether everything was prepared before: then a pod goes on without a server
/// to ask for the content anew.
pub fn present(record: &Record, pod: &Pod) -> bool {
    let there = |volume: &Volume| {
        let path = record.volumes().join(&volume.name);
        match (&volume.empty_dir, &volume.host_path) {
            (Some(empty), _) => path.is_dir() && (empty.medium != "Memory" || is_tmpfs(&path)),
            (_, Some(_)) => true,
            _ if volume.persistent_volume_claim.is_some() => claims::remembered(&path).is_some(),
            _ => path.join("..data").exists(),
        }
    };
    pod.spec.volumes.iter().all(there)
}

/// Makes what is missing. Blocks.
pub fn prepare(record: &Record, pod: &Pod, context: &EnvContext) -> Result<(), VolumeError> {
    for volume in &pod.spec.volumes {
        prepare_one(record, pod, volume, context)
            .map_err(|source| VolumeError { volume: volume.name.clone(), source })?;
    }
    Ok(())
}

fn prepare_one(
    record: &Record,
    pod: &Pod,
    volume: &Volume,
    context: &EnvContext,
) -> Result<(), Cause> {
    if !safe_name(&volume.name) {
        return Err(Cause::Name(volume.name.clone()));
    }
    let path = record.volumes().join(&volume.name);
    let group = pod.spec.security_context.fs_group;
    if let Some(empty) = &volume.empty_dir {
        return empty_dir(&path, empty, group);
    }
    if let Some(host) = &volume.host_path {
        return host_path(host);
    }
    if let Some(source) = &volume.persistent_volume_claim {
        let name = &source.claim_name;
        let none = claims::Claimed::default();
        let place = claims::place(name, context.objects.claims.get(name).unwrap_or(&none))?;
        host_path(&place)?;
        return claims::remember(&path, &place).map_err(io_error("link", &path));
    }
    let mut files = Files::default();
    if let Some(source) = &volume.config_map {
        files.config_map(source, context)?;
    } else if let Some(source) = &volume.secret {
        files.secret(source, context)?;
    } else if let Some(source) = &volume.downward_api {
        files.downward(source, pod, context)?;
    } else if let Some(projected) = &volume.projected {
        for source in &projected.sources {
            if let Some(source) = &source.config_map {
                files.config_map(source, context)?;
            } else if let Some(source) = &source.secret {
                files.secret(source, context)?;
            } else if let Some(source) = &source.downward_api {
                files.downward(source, pod, context)?;
            } else if source.service_account_token.is_some() {
                return Err(Cause::Unsupported("a projected service account token".into()));
            }
        }
    } else {
        let kind = volume.other.keys().next().map_or("unknown", String::as_str);
        return Err(Cause::Unsupported(kind.to_owned()));
    }
    files.publish(&path, group)
}

fn empty_dir(path: &Path, empty: &EmptyDir, group: Option<u32>) -> Result<(), Cause> {
    fs::create_dir_all(path).map_err(io_error("create", path))?;
    if empty.medium == "Memory" && !is_tmpfs(path) {
        let mut options = "mode=0777".to_owned();
        if let Some(limit) = empty.size_limit.as_ref().and_then(quantity) {
            options.push_str(&format!(",size={}", limit.value()));
        }
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some(options.as_str()))
            .map_err(|errno| io_error("mount a tmpfs on", path)(errno.into()))?;
    }
    let mode = match group {
        Some(gid) => {
            chown(path, None, Some(gid)).map_err(io_error("give to its group", path))?;
            0o2777
        }
        None => 0o777,
    };
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(io_error("set the mode of", path))
}

fn is_tmpfs(path: &Path) -> bool {
    let own = statfs(path).is_ok_and(|stat| stat.filesystem_type() == TMPFS_MAGIC);
    // The data directory itself may lie on a tmpfs: a mount has another device.
    let device = |path: &Path| nix::sys::stat::stat(path).ok().map(|stat| stat.st_dev);
    own && path.parent().is_some_and(|parent| device(parent) != device(path))
}

fn host_path(host: &HostPath) -> Result<(), Cause> {
    let path = Path::new(&host.path);
    let existing = fs::metadata(path).ok();
    let expect = |holds: fn(&fs::Metadata) -> bool, expected: &'static str| {
        if existing.as_ref().is_some_and(holds) {
            return Ok(());
        }
        Err(Cause::HostPathType { path: host.path.clone(), expected })
    };
    match host.kind.as_str() {
        "DirectoryOrCreate" if existing.is_none() => {
            fs::create_dir_all(path).map_err(io_error("create", path))?;
            fs::set_permissions(path, Permissions::from_mode(0o755))
                .map_err(io_error("set the mode of", path))
        }
        "FileOrCreate" if existing.is_none() => {
            fs::write(path, b"").map_err(io_error("create", path))
        }
        "Directory" | "DirectoryOrCreate" => expect(|meta| meta.is_dir(), "a directory"),
        "File" | "FileOrCreate" => expect(|meta| meta.is_file(), "a file"),
        "Socket" => expect(|meta| meta.file_type().is_socket(), "a socket"),
        "CharDevice" => expect(|meta| meta.file_type().is_char_device(), "a character device"),
        "BlockDevice" => expect(|meta| meta.file_type().is_block_device(), "a block device"),
        // No check is asked for; the runtime wants something to be there.
        _ if existing.is_none() => fs::create_dir_all(path).map_err(io_error("create", path)),
        _ => Ok(()),
    }
}

/// Takes memory volumes down so that the record can be removed. Blocks.
pub fn unmount(record: &Record) -> io::Result<()> {
    let entries = match fs::read_dir(record.volumes()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        // Behind a link lies what belongs to a claim.
        if entry.file_type()?.is_symlink() {
            continue;
        }
        let path = entry.path();
        while is_tmpfs(&path) {
            umount2(&path, MntFlags::MNT_DETACH)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(volumes: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "labels": {"x": "y"}},
            "spec": {"volumes": volumes},
        }))
        .unwrap()
    }

    #[test]
    fn object_volumes_swap_their_content_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let pod = pod(json!([
            {"name": "cm", "configMap": {"name": "c"}},
            {"name": "all", "projected": {"sources": [
                {"secret": {"name": "s", "items": [{"key": "k", "path": "deep/er", "mode": 256}]}},
                {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            ]}},
        ]));
        let record = Record::new(dir.path(), &pod);
        record.create().unwrap();
        let mut context = EnvContext::default();
        context.objects.config_maps.insert("c".into(), Some(json!({"data": {"a": "1", "b": "2"}})));
        context.objects.secrets.insert("s".into(), Some(json!({"data": {"k": "aGk="}})));
        prepare(&record, &pod, &context).unwrap();
        let read = |path: &str| fs::read_to_string(record.volumes().join(path)).ok();
        assert_eq!(read("cm/a").as_deref(), Some("1"));
        assert_eq!(read("all/deep/er").as_deref(), Some("hi"));
        assert_eq!(read("all/labels").as_deref(), Some("x=\"y\""));
        let mode = fs::metadata(record.volumes().join("all/deep/er")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o400);

        context.objects.config_maps.insert("c".into(), Some(json!({"data": {"a": "new"}})));
        prepare(&record, &pod, &context).unwrap();
        assert_eq!(read("cm/a").as_deref(), Some("new"));
        assert_eq!(read("cm/b"), None);
        record.remove().unwrap();
    }

    #[test]
    fn a_claims_folder_outlives_the_pods_record() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("data/deep");
        let pod = pod(json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]));
        let record = Record::new(&dir.path().join("pods"), &pod);
        record.create().unwrap();
        assert!(!present(&record, &pod));
        let mut context = EnvContext::default();
        let claimed = claims::Claimed {
            claim: Some(json!({"metadata": {"uid": "u"}, "spec": {"volumeName": "pv"},
                "status": {"phase": "Bound"}})),
            volume: Some(json!({"spec": {"claimRef": {"uid": "u"},
                "hostPath": {"path": folder, "type": "DirectoryOrCreate"}}})),
            ..claims::Claimed::default()
        };
        context.objects.claims.insert("c".to_owned(), claimed);
        prepare(&record, &pod, &context).unwrap();
        assert!(present(&record, &pod));
        assert_eq!(sources(&record, &pod)["v"], folder);
        fs::write(folder.join("file"), "kept").unwrap();
        unmount(&record).unwrap();
        record.remove().unwrap();
        assert_eq!(fs::read_to_string(folder.join("file")).unwrap(), "kept");
    }

    #[test]
    fn what_is_wrong_with_a_volume_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let check = |volume: serde_json::Value, expect: &str| {
            let pod = pod(json!([volume]));
            let record = Record::new(dir.path(), &pod);
            let error = prepare(&record, &pod, &EnvContext::default()).unwrap_err();
            let text = crate::client::chain(&error);
            assert!(text.contains(expect), "{text}");
        };
        check(json!({"name": "v", "configMap": {"name": "none"}}), "configmap \"none\" not found");
        check(json!({"name": "v", "nfs": {}}), "not supported by this node: nfs");
        check(
            json!({"name": "v", "persistentVolumeClaim": {"claimName": "none"}}),
            "persistentvolumeclaim \"none\" not found",
        );
        check(json!({"name": "..", "emptyDir": {}}), "cannot be a directory's name");
        check(
            json!({"name": "v", "hostPath": {"path": "/proc/none", "type": "Directory"}}),
            "is not a directory",
        );
        check(json!({"name": "v", "hostPath": {"path": "/proc", "type": "File"}}), "is not a file");
    }
}
