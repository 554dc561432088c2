//! Volumes whose content comes from objects: ConfigMaps, Secrets, the pod's own
//! fields. Does not know where on the node a volume lies.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use super::super::env::{EnvContext, field_value, resource_value};
use super::super::model::{
    ConfigMapSource, Container, DownwardSource, KeyToPath, Pod, SecretSource,
};
use super::{Cause, io_error};

/// Files to appear in a volume all at once.
#[derive(Default)]
pub(super) struct Files(BTreeMap<PathBuf, (Vec<u8>, u32)>);

const DEFAULT_MODE: u32 = 0o644;

impl Files {
    pub(super) fn config_map(
        &mut self,
        source: &ConfigMapSource,
        context: &EnvContext,
    ) -> Result<(), Cause> {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        self.object("configmap", &source.name, &source.items, mode, source.optional, context)
    }

    pub(super) fn secret(
        &mut self,
        source: &SecretSource,
        context: &EnvContext,
    ) -> Result<(), Cause> {
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

    pub(super) fn downward(
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
    pub(super) fn publish(self, volume: &Path, group: Option<u32>) -> Result<(), Cause> {
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
