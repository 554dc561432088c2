//! The rules of a pod's volumes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::json::{is_set, items, str_at, value_at};
use super::super::validation::{Check, quantity};
use crate::names;

/// The value must lie in an existing place of this kind.
const HOST_PATH_TYPES: &[&str] = &[
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];
const PARENT: &str = "must not contain '..'";

/// Checks all volumes and returns their names.
pub(super) fn validate<'v>(spec: &'v Value, check: &mut Check<'_>) -> BTreeSet<&'v str> {
    let mut seen = BTreeSet::new();
    for (index, volume) in items(spec, &["volumes"]).iter().enumerate() {
        let mut check = check.item("volumes", index);
        let name = str_at(volume, &["name"]);
        if name.is_empty() {
            check.required("name", "");
        } else if let Some(message) = names::dns_label(name) {
            check.invalid("name", name, message);
        } else if !seen.insert(name) {
            check.duplicate("name", name);
        }
        source(volume, &mut check);
    }
    seen
}

fn source(volume: &Value, check: &mut Check<'_>) {
    let fields = volume.as_object().into_iter().flatten();
    let mut sources = fields.filter(|(key, value)| *key != "name" && !value.is_null());
    let Some((kind, source)) = sources.next() else {
        check.required("", "must specify a volume type");
        return;
    };
    for (extra, _) in sources {
        check.forbidden(extra, "may not specify more than 1 volume type");
    }
    let mut check = check.field(kind);
    match kind.as_str() {
        "emptyDir" if is_set(source, "sizeLimit") => {
            let limit = &source["sizeLimit"];
            if !quantity(limit).is_ok_and(|limit| !limit.is_negative()) {
                let detail = "SizeLimit field must be a valid resource quantity";
                check.forbidden("sizeLimit", detail);
            }
        }
        "hostPath" => {
            let path = str_at(source, &["path"]);
            if path.is_empty() {
                check.required("path", "");
            } else if escapes(path) {
                check.invalid("path", path, PARENT);
            }
            check.one_of(source, "type", HOST_PATH_TYPES);
        }
        "configMap" => named(source, "name", &mut check),
        "secret" => named(source, "secretName", &mut check),
        "persistentVolumeClaim" if str_at(source, &["claimName"]).is_empty() => {
            check.required("claimName", "");
        }
        "downwardAPI" | "projected" => mode(source, "defaultMode", &mut check),
        _ => {}
    }
}

/// A ConfigMap or Secret as files.
fn named(source: &Value, field: &str, check: &mut Check<'_>) {
    if str_at(source, &[field]).is_empty() {
        check.required(field, "");
    }
    mode(source, "defaultMode", check);
    for (index, item) in items(source, &["items"]).iter().enumerate() {
        let mut check = check.item("items", index);
        if str_at(item, &["key"]).is_empty() {
            check.required("key", "");
        }
        relative(item, "path", true, &mut check);
        mode(item, "mode", &mut check);
    }
}

fn mode(source: &Value, field: &str, check: &mut Check<'_>) {
    if let Some(mode) = value_at(source, &[field]).as_i64()
        && !(0..=0o777).contains(&mode)
    {
        check.invalid(field, mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

/// A path that must stay below where it is mounted.
pub(super) fn relative(object: &Value, field: &str, required: bool, check: &mut Check<'_>) {
    let path = str_at(object, &[field]);
    if path.is_empty() {
        if required {
            check.required(field, "");
        }
    } else if path.starts_with('/') {
        check.invalid(field, path, "must be a relative path");
    } else if escapes(path) {
        check.invalid(field, path, PARENT);
    }
}

fn escapes(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}
