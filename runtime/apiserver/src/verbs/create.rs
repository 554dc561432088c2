//! Create: identity, defaults, admission, validation, then a put that expects
//! nobody there.

use bytes::Bytes;
use pintle_api::kinds::{self, CreateMeta, Requester, Resource};
use pintle_api::meta::GroupVersionKind;
use pintle_api::status::{FieldError, StatusError};
use pintle_api::x509::CertificateRequest;
use pintle_api::{names, schema};
use pintle_storage::{Expect, Guard};
use serde_json::{Value, json};

use super::claims::{self, Asked, Holding};
use super::commit::Attempt;
use super::{
    MAX_ATTEMPTS, Target, Verbs, WriteOptions, Written, fields, metadata_str, set_metadata,
};
use crate::admission::Operation;
use crate::pki::possession;
use crate::user::User;

/// A clash of generated names is tried this often, as in kube-apiserver.
const MAX_NAME_ATTEMPTS: usize = 8;
/// Characters that are not confused and make no words.
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;
/// So much of a certificate request is repeated in a refusal.
const MAX_QUOTED: usize = 1024;

impl Verbs {
    pub async fn create(
        &self,
        user: &User,
        resource: &'static Resource,
        namespace: &str,
        mut object: Value,
        options: &WriteOptions,
    ) -> Result<Written, StatusError> {
        let mut warnings =
            fields::check(resource, &mut object, &options.duplicates, options.field_validation)?;
        check_identity(resource, namespace, &mut object)?;
        let row = self.to_storage(resource, &mut object);
        let prefix = match metadata_str(&object, "name") {
            "" => metadata_str(&object, "generateName").to_string(),
            _ => String::new(),
        };
        let uid = uuid::Uuid::new_v4().to_string();
        // The name comes first: defaults may be made of it.
        kinds::fill_create_meta(
            &mut object,
            CreateMeta {
                uid: &uid,
                now_ms: self.clock.now_unix_ms(),
                namespace: if row.is_namespaced() { namespace } else { "" },
                name_suffix: &name_suffix(),
            },
        );
        row.apply_defaults(&mut object);
        row.prepare_create(&mut object);
        if let Some(record) = row.requester {
            record(&mut object, &requester(user));
        }
        // Before admission, so that nobody's policy sees a doomed object.
        self.namespaces.check_create(row, namespace, metadata_str(&object, "name"))?;
        let name = metadata_str(&object, "name").to_string();
        let target =
            Target { user, namespace, name: &name, subresource: "", dry_run: options.dry_run };
        let asked = Asked::of(row, &object);
        // What admission chose may be gone when it is to be stored; it then chooses again.
        let original = row.claims.is_some().then(|| (object.clone(), warnings.clone()));
        for _ in 0..MAX_ATTEMPTS {
            self.admit(Operation::Create, row, &target, &mut object, None, &mut warnings).await?;
            check_new(row, &object)?;
            match self.put_new(row, namespace, &mut object, &prefix, options.dry_run).await? {
                Attempt::Done((bytes, revision)) => {
                    return self.present(resource, Written { bytes, revision, warnings });
                }
                Attempt::Lost(claim) => asked.lost(row, &name, &claim)?,
            }
            if let Some(original) = &original {
                (object, warnings) = original.clone();
            }
        }
        let cause = "what the object was given was taken by others each time, try again";
        Err(StatusError::too_many_requests(cause, 1))
    }

    /// Lost is only ever a claim.
    async fn put_new(
        &self,
        row: &'static Resource,
        namespace: &str,
        object: &mut Value,
        prefix: &str,
        dry_run: bool,
    ) -> Result<Attempt<(Bytes, u64)>, StatusError> {
        let holding = Holding::change(row, None, Some(object));
        let mut clashes = 0;
        for _ in 0..MAX_ATTEMPTS {
            let name = metadata_str(object, "name").to_string();
            if let Some(why) = names::path_segment(&name) {
                return Err(StatusError::bad_request(format!("name {name:?} {why}")));
            }
            let key = Bytes::from(row.key(namespace, &name));
            let namespace_guard = self.namespaces.check_create(row, namespace, &name)?;
            let encoded = self.encode(object)?;
            let taken = if dry_run {
                if self.bus.get(row.id, namespace, &name).is_none() {
                    return Ok(Attempt::Done((encoded.with_revision(None), 0)));
                }
                key.clone()
            } else {
                let mut guards = vec![Guard { key: key.clone(), expect: Expect::Absent }];
                guards.extend(namespace_guard);
                match self.put(row, key.clone(), encoded, guards, &holding).await? {
                    Attempt::Lost(lost) if !claims::is_claim(row, &lost) => lost,
                    ended => return Ok(ended),
                }
            };
            if taken == key {
                clashes += 1;
                if prefix.is_empty() || clashes == MAX_NAME_ATTEMPTS {
                    return Err(StatusError::already_exists(row.group_resource(), &name));
                }
                rename(object, name.len());
            }
            // Otherwise the namespace changed meanwhile and is looked at again.
        }
        Err(StatusError::too_many_requests("the namespace changes too often, try again", 1))
    }
}

fn requester(user: &User) -> Requester<'_> {
    Requester { name: &user.name, uid: &user.uid, groups: &user.groups, extra: &user.extra }
}

/// A certificate request must also be signed with the key that it names, which
/// takes cryptography and so is no part of the row's own rules.
fn check_new(row: &Resource, object: &Value) -> Result<(), StatusError> {
    let mut errors = row.validate(object, None);
    if let Some(fields) = &row.certificates {
        let sent = kinds::str_at(object, fields.request);
        if let Ok(request) = CertificateRequest::from_field(sent)
            && let Err(why) = possession::check(&request)
        {
            let quoted = sent.get(..MAX_QUOTED).unwrap_or(sent);
            errors.push(FieldError::invalid(fields.request.join("."), quoted, why));
        }
    }
    row.refuse(object, errors)
}

fn name_suffix() -> String {
    let mut random = uuid::Uuid::new_v4().as_u128();
    let length = SUFFIX_ALPHABET.len() as u128;
    let mut next = || {
        let character = char::from(SUFFIX_ALPHABET[(random % length) as usize]);
        random /= length;
        character
    };
    (0..SUFFIX_LENGTH).map(|_| next()).collect()
}

/// Another random end for a name that was generated before.
fn rename(object: &mut Value, length: usize) {
    let name = metadata_str(object, "name");
    let name = format!("{}{}", &name[..length.saturating_sub(SUFFIX_LENGTH)], name_suffix());
    set_metadata(object, "name", name);
}

/// `apiVersion`, `kind` and `namespace` may be left out, but not be different.
fn check_identity(
    resource: &Resource,
    namespace: &str,
    object: &mut Value,
) -> Result<(), StatusError> {
    check_kind(resource, object)?;
    let metadata = &mut object["metadata"];
    if metadata.is_null() {
        *metadata = json!({});
    }
    check_namespace(resource, namespace, object)
}

/// Absent `apiVersion` and `kind` are fine; others must be the resource's.
pub(super) fn check_kind(resource: &Resource, object: &Value) -> Result<(), StatusError> {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if (kind.is_empty() || kind == resource.kind)
        && (api_version.is_empty() || api_version == resource.group_version())
    {
        return Ok(());
    }
    if !kind.is_empty() && kind != resource.kind {
        let found = GroupVersionKind::parse(api_version, kind);
        let cause = "the kind in the data does not match the resource";
        return Err(StatusError::bad_request(schema::decode_error(&found, resource.kind, cause)));
    }
    Err(StatusError::bad_request(format!(
        "the API version in the data ({api_version}) does not match the expected API version ({})",
        resource.group_version()
    )))
}

pub(super) fn check_namespace(
    resource: &Resource,
    namespace: &str,
    object: &Value,
) -> Result<(), StatusError> {
    let sent = metadata_str(object, "namespace");
    if resource.is_namespaced() && !sent.is_empty() && sent != namespace {
        return Err(StatusError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_five_harmless_characters() {
        let suffix = name_suffix();
        assert_eq!(suffix.len(), SUFFIX_LENGTH);
        assert!(suffix.bytes().all(|byte| SUFFIX_ALPHABET.contains(&byte)));
        assert_ne!(suffix, name_suffix());
    }

    #[test]
    fn a_clash_changes_the_end_of_the_name_only() {
        let mut object = json!({"metadata": {"name": "web-bcdfg"}});
        rename(&mut object, 9);
        let name = metadata_str(&object, "name");
        assert!(name.starts_with("web-") && name.len() == 9 && name != "web-bcdfg", "{name}");
    }

    #[test]
    fn bodies_must_be_of_the_resources_kind() {
        let pods = pintle_api::kinds::Registry::builtin().by_plural("", "v1", "pods").unwrap();
        let check = |object: Value, expect: bool| {
            assert_eq!(check_kind(pods, &object).is_ok(), expect, "{object}");
        };
        check(json!({}), true);
        check(json!({"apiVersion": "v1", "kind": "Pod"}), true);
        check(json!({"apiVersion": "apps/v1", "kind": "Pod"}), false);
        check(json!({"apiVersion": "v1", "kind": "Node"}), false);
    }
}
