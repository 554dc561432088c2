//! Volumes on the node: made before the sandbox, removed after it.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use super::claims::{self, ClaimError};
use super::env::{EnvContext, EnvError, field_value, resource_value};
use super::model::{
    ConfigMapSource, Container, DownwardSource, EmptyDir, HostPath, KeyToPath, Pod, SecretSource,
    Volume,
};
use super::record::{Record, safe_name};
use super::resources::quantity;

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

/// Files to appear in a volume all at once.
#[derive(Default)]
struct Files(BTreeMap<PathBuf, (Vec<u8>, u32)>);

const DEFAULT_MODE: u32 = 0o644;

impl Files {
    fn config_map(&mut self, source: &ConfigMapSource, context: &EnvContext) -> Result<(), Cause> {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        self.object("configmap", &source.name, &source.items, mode, source.optional, context)
    }

    fn secret(&mut self, source: &SecretSource, context: &EnvContext) -> Result<(), Cause> {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        self.object("secret", &source.secret_name, &source.items, mode, source.optional, context)
    }

    fn object(
        &mut self,
        kind: &'static str,
        name: &str,
        items: &[KeyToPath],
        mode: u32,
        optional: bool,
        context: &EnvContext,
    ) -> Result<(), Cause> {
        let Some(data) = context.objects.data(kind, name) else {
            if optional {
                return Ok(());
            }
            return Err(Cause::NotFound { kind, name: name.to_owned() });
        };
        if items.is_empty() {
            for (key, bytes) in data {
                self.put(&key, bytes, mode)?;
            }
            return Ok(());
        }
        for item in items {
            match data.get(&item.key) {
                Some(bytes) => self.put(&item.path, bytes.clone(), item.mode.unwrap_or(mode))?,
                None if optional => {}
                None => {
                    let (name, key) = (name.to_owned(), item.key.clone());
                    return Err(Cause::NoKey { kind, name, key });
                }
            }
        }
        Ok(())
    }

    fn downward(
        &mut self,
        source: &DownwardSource,
        pod: &Pod,
        context: &EnvContext,
    ) -> Result<(), Cause> {
        let nobody = Container::default();
        for item in &source.items {
            let value = if let Some(field) = &item.field_ref {
                field_value(pod, &field.field_path, context)
            } else if let Some(field) = &item.resource_field_ref {
                resource_value(pod, &nobody, field, context)
            } else {
                Ok(String::new())
            };
            let mode = item.mode.or(source.default_mode).unwrap_or(DEFAULT_MODE);
            self.put(&item.path, value.map_err(Cause::Field)?.into_bytes(), mode)?;
        }
        Ok(())
    }

    fn put(&mut self, path: &str, bytes: Vec<u8>, mode: u32) -> Result<(), Cause> {
        let relative = PathBuf::from(path);
        let normal = |part| matches!(part, std::path::Component::Normal(_));
        if !relative.components().all(normal) || path.is_empty() || path.starts_with("..") {
            return Err(Cause::Path(path.to_owned()));
        }
        self.0.insert(relative, (bytes, mode));
        Ok(())
    }

    /// Readers see the old set or the new one: the files lie in a directory of
    /// their own behind the link `..data`, and the link is replaced.
    fn publish(self, volume: &Path, group: Option<u32>) -> Result<(), Cause> {
        fs::create_dir_all(volume).map_err(io_error("create", volume))?;
        let data = volume.join("..data");
        let old = fs::read_link(&data).ok();
        let generation = old
            .as_ref()
            .and_then(|old| old.to_str()?.strip_prefix("..v")?.parse::<u64>().ok())
            .map_or(1, |number| number + 1);
        let name = format!("..v{generation}");
        let fresh = volume.join(&name);
        if fresh.exists() {
            fs::remove_dir_all(&fresh).map_err(io_error("clear", &fresh))?;
        }
        fs::create_dir_all(&fresh).map_err(io_error("create", &fresh))?;
        let mut tops = HashSet::new();
        for (relative, (bytes, mode)) in &self.0 {
            let path = fresh.join(relative);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(io_error("create", parent))?;
            }
            fs::write(&path, bytes).map_err(io_error("write", &path))?;
            let mode = match group {
                Some(gid) => {
                    chown(&path, None, Some(gid)).map_err(io_error("give to its group", &path))?;
                    mode | (mode & 0o700) >> 3
                }
                None => *mode,
            };
            fs::set_permissions(&path, Permissions::from_mode(mode))
                .map_err(io_error("set the mode of", &path))?;
            if let Some(top) = relative.components().next() {
                tops.insert(top.as_os_str().to_owned());
            }
        }
        let temporary = volume.join("..data_tmp");
        let _ = fs::remove_file(&temporary);
        symlink(&name, &temporary).map_err(io_error("link", &temporary))?;
        fs::rename(&temporary, &data).map_err(io_error("replace", &data))?;
        for entry in fs::read_dir(volume).map_err(io_error("read", volume))?.flatten() {
            let entry_name = entry.file_name();
            let text = entry_name.to_string_lossy();
            let stale_set = text.starts_with("..v") && text != name;
            if stale_set {
                let _ = fs::remove_dir_all(entry.path());
            } else if !text.starts_with("..") && !tops.contains(&entry_name) {
                let _ = fs::remove_file(entry.path());
            }
        }
        for top in tops {
            let link = volume.join(&top);
            if fs::symlink_metadata(&link).is_err() {
                symlink(Path::new("..data").join(&top), &link).map_err(io_error("link", &link))?;
            }
        }
        Ok(())
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
