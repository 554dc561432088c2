//! The table itself: look-ups by path, by kind and by storage key.

use std::sync::OnceLock;

use super::{ROWS, Resource, ResourceId, Scope};
use crate::meta::join_api_version;

/// All kinds a server offers, in discovery order.
#[derive(Debug)]
pub struct Registry {
    rows: Vec<Resource>,
}

impl Registry {
    /// The kinds built into the server.
    pub fn builtin() -> &'static Registry {
        static BUILTIN: OnceLock<Registry> = OnceLock::new();
        BUILTIN.get_or_init(|| Registry::new(ROWS))
    }

    fn new(rows: &[Resource]) -> Self {
        let mut rows = rows.to_vec();
        for (index, row) in rows.iter_mut().enumerate() {
            row.id = ResourceId(index as u16);
            row.list_kind = leak(format!("{}List", row.kind));
            row.api_version = leak(join_api_version(row.group, row.version));
            let (group, plural) =
                row.alias.map_or((row.group, row.plural), |alias| (alias.group, alias.plural));
            row.prefix = leak(match group {
                "" => format!("/registry/{plural}/"),
                group => format!("/registry/{group}/{plural}/"),
            });
        }
        for index in 0..rows.len() {
            let prefix = rows[index].prefix;
            let storage = rows
                .iter()
                .find(|row| row.alias.is_none() && row.prefix == prefix)
                .map(|row| row.id);
            rows[index].storage_id = storage.unwrap_or(rows[index].id);
        }
        Self { rows }
    }

    /// Panics on an id that another registry handed out.
    pub fn get(&self, id: ResourceId) -> &Resource {
        &self.rows[id.index()]
    }

    /// Every row, aliases included: what discovery shows.
    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.rows.iter()
    }

    /// Only the rows that own storage.
    pub fn iter_stored(&self) -> impl Iterator<Item = &Resource> {
        self.rows.iter().filter(|row| row.alias.is_none())
    }

    /// One more than the largest [`ResourceId`].
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn by_plural(&self, group: &str, version: &str, plural: &str) -> Option<&Resource> {
        self.rows
            .iter()
            .find(|row| row.plural == plural && row.group == group && row.version == version)
    }

    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Resource> {
        self.rows
            .iter()
            .find(|row| row.kind == kind && row.group == group && row.version == version)
    }

    /// The row, namespace (empty for cluster scope) and name of a storage key.
    pub fn by_key<'a>(&self, key: &'a str) -> Option<(&Resource, &'a str, &'a str)> {
        let rest = key.strip_prefix("/registry/")?;
        let row = self.iter_stored().find(|row| {
            rest.strip_prefix(&row.prefix["/registry/".len()..]).is_some_and(|name| {
                // The core group's `/registry/events/ns/name` must not take
                // `/registry/<group named events>/...`; segment counts decide.
                name.split('/').count() == if row.scope == Scope::Namespaced { 2 } else { 1 }
            })
        })?;
        let path = &key[row.prefix.len()..];
        match row.scope {
            Scope::Namespaced => path.split_once('/').map(|(ns, name)| (row, ns, name)),
            Scope::Cluster => Some((row, "", path)),
        }
    }
}

/// A registry lives as long as the process, and so do its derived names.
fn leak(text: String) -> &'static str {
    text.leak()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lead_to_rows_and_back() {
        fn check(key: &str, expect: Option<(&str, &str, &str)>) {
            let found = Registry::builtin().by_key(key);
            assert_eq!(found.map(|(row, ns, name)| (row.kind, ns, name)), expect, "{key}");
            if let Some((row, ns, name)) = found {
                assert_eq!(row.key(ns, name), key);
            }
        }
        check("/registry/pods/default/web", Some(("Pod", "default", "web")));
        check("/registry/nodes/n1", Some(("Node", "", "n1")));
        check("/registry/apps/deployments/default/web", Some(("Deployment", "default", "web")));
        check("/registry/plugins.pintle.dev/plugins/scheduler", Some(("Plugin", "", "scheduler")));
        check("/registry/events/default/e", Some(("Event", "default", "e")));
        check("/registry/pods/default", None);
        check("/registry/nodes/a/b", None);
        check("/registry/nothing/a", None);
        check("/elsewhere/pods/a/b", None);
    }

    #[test]
    fn rows_are_complete_and_distinct() {
        let registry = Registry::builtin();
        for row in registry.iter() {
            assert!(
                std::ptr::eq(registry.by_plural(row.group, row.version, row.plural).unwrap(), row),
                "{row}"
            );
            assert!(
                std::ptr::eq(registry.by_kind(row.group, row.version, row.kind).unwrap(), row),
                "{row}"
            );
            assert!(!row.schema.is_empty() && !row.singular.is_empty(), "{row}");
            assert_eq!(row.singular, row.kind.to_lowercase());
            assert_eq!(row.list_kind(), format!("{}List", row.kind));
            let empty = serde_json::json!({});
            assert_eq!(row.cells(&empty, 0).len(), row.columns.len(), "{row}");
        }
    }

    #[test]
    fn an_alias_lives_in_the_storage_of_its_original() {
        let registry = Registry::builtin();
        let core = registry.by_plural("", "v1", "events").unwrap();
        let alias = registry.by_plural("events.k8s.io", "v1", "events").unwrap();
        assert_eq!(alias.storage_id, core.id);
        assert_eq!(alias.key("a", "b"), core.key("a", "b"));
        assert_ne!(alias.id, core.id);
    }
}
