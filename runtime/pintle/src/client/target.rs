//! From what a person types (`deploy/web`, `pods`) to a path of the API.

use anyhow::{Context, Result, anyhow, bail};
use pintle_api::kinds::{Registry, Resource, Scope};

use crate::cli::object_name;

/// A resource and perhaps a name.
pub struct Target {
    pub resource: &'static Resource,
    pub name: Option<String>,
}

impl Target {
    pub fn parse(kind: &str, name: Option<&str>) -> Result<Self> {
        let (kind, name) = match (kind.split_once('/'), name) {
            (Some((kind, name)), None) => (kind, Some(name.to_owned())),
            (Some(_), Some(_)) => bail!("name the object once: KIND/NAME or KIND NAME"),
            (None, name) => (kind, name.map(str::to_owned)),
        };
        if let Some(name) = &name {
            object_name(name).map_err(|problem| anyhow!("{problem}: {kind} {name:?}"))?;
        }
        Ok(Self { resource: resource(kind)?, name })
    }

    /// Several kinds with commas between them, or `all`.
    pub fn parse_list(kinds: &str, name: Option<&str>) -> Result<Vec<Self>> {
        if !kinds.contains('/') && (kinds.contains(',') || kinds == "all") && name.is_some() {
            bail!("a name belongs to one kind, not to {kinds:?}");
        }
        let mut found: Vec<Self> = Vec::new();
        for kind in kinds.split(',').filter(|kind| !kind.is_empty()) {
            if kind == "all" {
                let rows = Registry::builtin().iter().filter(|row| row.categories.contains(&"all"));
                found.extend(rows.map(|resource| Self { resource, name: None }));
            } else {
                found.push(Self::parse(kind, name)?);
            }
        }
        if found.is_empty() {
            bail!("name a kind, for example pods");
        }
        Ok(found)
    }

    pub fn path(&self, namespace: Option<&str>) -> String {
        path(self.resource, namespace, self.name.as_deref())
    }

    /// `deployment.apps/web`, as kubectl writes it.
    pub fn display(&self, name: &str) -> String {
        format!("{}/{name}", self.qualified_kind())
    }

    /// `deployment.apps`
    pub fn qualified_kind(&self) -> String {
        let singular = self.resource.singular;
        match self.resource.group {
            "" => singular.to_owned(),
            group => format!("{singular}.{group}"),
        }
    }
}

/// Plural, singular, short name or kind; with `.group` behind if wanted.
fn resource(kind: &str) -> Result<&'static Resource> {
    let lower = kind.to_lowercase();
    let (word, group) = match lower.split_once('.') {
        Some((word, group)) => (word, Some(group)),
        None => (lower.as_str(), None),
    };
    Registry::builtin()
        .iter()
        .filter(|r| group.is_none_or(|g| r.group == g || format!("{}.{}", r.version, r.group) == g))
        .find(|r| {
            r.plural == word
                || r.singular == word
                || r.short_names.contains(&word)
                || r.kind.eq_ignore_ascii_case(word)
        })
        .with_context(|| {
            format!("there is no kind {kind:?} here; `pintle get --help` shows examples")
        })
}

pub fn path(resource: &Resource, namespace: Option<&str>, name: Option<&str>) -> String {
    let mut path = match resource.group {
        "" => format!("/api/{}", resource.version),
        group => format!("/apis/{group}/{}", resource.version),
    };
    if let (Scope::Namespaced, Some(namespace)) = (resource.scope, namespace) {
        path.push_str("/namespaces/");
        path.push_str(&escape(namespace, b""));
    }
    path.push('/');
    path.push_str(resource.plural);
    if let Some(name) = name {
        path.push('/');
        path.push_str(&escape(name, b""));
    }
    path
}

/// Percent-encodes what may not stand in a query (RFC 3986, 3.4).
pub fn query_escape(text: &str) -> String {
    escape(text, b"/")
}

/// Percent-encodes all but the letters that mean nothing anywhere, and `also`.
fn escape(text: &str, also: &[u8]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(byte as char);
            }
            _ if also.contains(&byte) => escaped.push(byte as char),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_kind_leads_to_its_path() {
        let check = |kind: &str, name: Option<&str>, expect: &str| {
            let target = Target::parse(kind, name).unwrap();
            assert_eq!(target.path(Some("ns")), expect);
        };
        check("po", None, "/api/v1/namespaces/ns/pods");
        check("Pod", Some("x"), "/api/v1/namespaces/ns/pods/x");
        check("deploy/web", None, "/apis/apps/v1/namespaces/ns/deployments/web");
        check("deployments.apps", None, "/apis/apps/v1/namespaces/ns/deployments");
        check("no", Some("n1"), "/api/v1/nodes/n1");
        assert!(Target::parse("gadget", None).is_err());
        assert!(Target::parse("po/a", Some("b")).is_err());
        check("po", Some("a?b"), "/api/v1/namespaces/ns/pods/a%3Fb");
        // Without a name the path would be that of all pods.
        for nameless in ["po/", "po/..", "po/a/b"] {
            assert!(Target::parse(nameless, None).is_err(), "{nameless}");
        }
    }

    #[test]
    fn kinds_come_in_lists() {
        let check = |kinds: &str, name: Option<&str>, expect: &[&str]| {
            let found = Target::parse_list(kinds, name)
                .map(|targets| targets.iter().map(|target| target.path(None)).collect::<Vec<_>>());
            assert_eq!(found.unwrap_or_default(), expect, "{kinds}");
        };
        check("po,deploy/web", None, &["/api/v1/pods", "/apis/apps/v1/deployments/web"]);
        check("no", Some("n1"), &["/api/v1/nodes/n1"]);
        check("po,svc", Some("x"), &[]);
        check(",", None, &[]);
        assert!(Target::parse_list("all", None).unwrap().len() >= 4);
    }

    #[test]
    fn queries_are_escaped() {
        assert_eq!(query_escape("a=b,c in (d)"), "a%3Db%2Cc%20in%20%28d%29");
    }
}
