//! Kinds that only this cluster knows: `count/foos.example.com` counts the objects
//! of the CustomResourceDefinition `foos.example.com`.

use serde::Deserialize;

use super::counted_as;
use crate::lister::Lister;
use crate::object::KindRef;
use crate::types::ResourceList;

/// What says which kinds there are besides the built-in ones.
pub const CUSTOM_RESOURCE_DEFINITION: KindRef =
    KindRef::new("apiextensions.k8s.io", "v1", "CustomResourceDefinition");

/// These come and go by themselves and are never counted.
const UNCOUNTED: [&str; 2] = ["events.k8s.io", "coordination.k8s.io"];

/// A custom kind that a quota counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Custom {
    /// Which kind.
    pub kind: KindRef,
    /// What quotas call it: `foos.example.com`.
    pub name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Definition {
    spec: DefinitionSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DefinitionSpec {
    group: String,
    names: Names,
    versions: Vec<Version>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Names {
    kind: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Version {
    name: String,
    served: bool,
}

/// May a quota count objects of this kind as custom ones?
pub fn may_be_custom(kind: &KindRef) -> bool {
    kind.group.contains('.') && !UNCOUNTED.contains(&&*kind.group) && counted_as(kind).is_none()
}

/// The custom kinds that `hard` counts and that are defined.
pub fn customs(lister: &dyn Lister, hard: &ResourceList) -> Vec<Custom> {
    let built_in = |name: &str| super::TRACKED.iter().any(|(_, known)| *known == name);
    hard.keys()
        .filter_map(|resource| resource.strip_prefix("count/"))
        .filter(|name| name.contains('.') && !built_in(name))
        .filter_map(|name| {
            let found = lister.get(&CUSTOM_RESOURCE_DEFINITION.named("", name))?;
            let spec = found.parse::<Definition>().ok()?.spec;
            let version = spec.versions.into_iter().find(|version| version.served)?.name;
            let kind = KindRef {
                group: spec.group.into(),
                version: version.into(),
                kind: spec.names.kind.into(),
            };
            Some(Custom { kind, name: name.to_owned() })
        })
        .collect()
}

impl Custom {
    /// The kind in any of its versions.
    pub fn is(&self, kind: &KindRef) -> bool {
        self.kind.group == kind.group && self.kind.kind == kind.kind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_kinds_may_be_custom() {
        fn check(group: &'static str, kind: &'static str, expect: bool) {
            assert_eq!(may_be_custom(&KindRef::new(group, "v1", kind)), expect, "{kind}.{group}");
        }
        check("example.com", "Foo", true);
        check("", "ConfigMap", false);
        check("apps", "Deployment", false);
        check("networking.k8s.io", "Ingress", false);
        check("events.k8s.io", "Event", false);
        check("coordination.k8s.io", "Lease", false);
    }
}
