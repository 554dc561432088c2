//! Which objects a list or watch is about: the bus's topic that comes closest,
//! and what has to be checked beyond it.

use pintle_api::kinds::Resource;
use pintle_api::selector::FieldSelector;
use pintle_watch::{Object, Topic};
use serde_json::Value;

use super::options::Selectors;

pub struct Selection {
    pub topic: Topic,
    /// The topic alone decides, and objects never enter or leave it.
    pub exact: bool,
    namespace: Option<String>,
    selectors: Selectors,
}

impl Selection {
    /// `stored` is the row whose storage `resource` shows.
    pub fn new(
        resource: &Resource,
        stored: &Resource,
        namespace: Option<&str>,
        mut selectors: Selectors,
    ) -> Selection {
        translate(resource, stored, &mut selectors.fields);
        let resource = stored;
        let fields = &selectors.fields;
        let namespace = namespace.or_else(|| fields.required("metadata.namespace"));
        let indexed = resource.selectable.iter().filter(|field| field.indexed).find_map(|field| {
            fields.required(field.path).map(|value| Topic::field(field.path, value))
        });
        let name = fields.required("metadata.name");
        let topic = match (namespace, name) {
            (Some(namespace), Some(name)) if resource.is_namespaced() => {
                Topic::name(namespace, name)
            }
            (_, Some(name)) if !resource.is_namespaced() => Topic::name("", name),
            _ => match (indexed, namespace) {
                (Some(indexed), _) => indexed,
                (None, Some(namespace)) if resource.is_namespaced() => Topic::namespace(namespace),
                _ => Topic::All,
            },
        };
        let only_names = only(fields, &["metadata.name", "metadata.namespace"]);
        let exact = selectors.labels.is_everything()
            && match &topic {
                Topic::All | Topic::Namespace(_) => fields.is_everything(),
                Topic::Name(..) => only_names,
                Topic::Field(..) => false,
            };
        Selection { topic, exact, namespace: namespace.map(str::to_string), selectors }
    }

    /// No selector was given: counts of what remains are exact.
    pub fn is_whole(&self) -> bool {
        self.selectors.labels.is_everything() && self.selectors.fields.is_everything()
    }

    pub fn matches(&self, object: &Object) -> bool {
        self.namespace.as_deref().is_none_or(|namespace| object.namespace() == namespace)
            && self.selectors.labels.matches(|key| object.label(key))
            && self.selectors.fields.matches(|path| object.field(path))
    }

    /// For objects of the past, which come from storage and not from the bus.
    pub fn matches_value(&self, resource: &Resource, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels").unwrap_or(&Value::Null);
        self.selectors.labels.matches_json(labels)
            && self.selectors.fields.requirements.iter().all(|requirement| {
                let single = FieldSelector { requirements: vec![requirement.clone()] };
                let value = resource.field_value(object, &requirement.path);
                single.matches(|_| value.as_deref())
            })
    }
}

/// An alias has its own names for the fields of the stored object.
fn translate(resource: &Resource, stored: &Resource, fields: &mut FieldSelector) {
    if resource.alias.is_none() {
        return;
    }
    for requirement in &mut fields.requirements {
        let known = resource.selectable.iter().find(|field| field.path == requirement.path);
        let same = known.and_then(|known| {
            stored.selectable.iter().find(|field| field.pointer == known.pointer)
        });
        if let Some(same) = same {
            requirement.path = same.path.to_string();
        }
    }
}

fn only(fields: &FieldSelector, paths: &[&str]) -> bool {
    fields.requirements.iter().all(|requirement| {
        paths.contains(&requirement.path.as_str()) && fields.required(&requirement.path).is_some()
    })
}

#[cfg(test)]
mod tests {
    use pintle_api::kinds::Registry;
    use pintle_api::selector::LabelSelector;

    use super::*;

    #[test]
    fn selectors_choose_the_narrowest_topic() {
        let check = |plural: &str,
                     namespace: Option<&str>,
                     labels: &str,
                     fields: &str,
                     topic: Topic,
                     exact: bool| {
            let resource = Registry::builtin().by_plural("", "v1", plural).unwrap();
            let selectors = Selectors {
                labels: LabelSelector::parse(labels).unwrap(),
                fields: FieldSelector::parse(fields).unwrap(),
            };
            let selection = Selection::new(resource, resource, namespace, selectors);
            assert_eq!(
                (selection.topic, selection.exact),
                (topic, exact),
                "{plural} {labels} {fields}"
            );
        };
        check("pods", None, "", "", Topic::All, true);
        check("pods", Some("a"), "", "", Topic::namespace("a"), true);
        check("pods", Some("a"), "x=y", "", Topic::namespace("a"), false);
        check("pods", Some("a"), "", "metadata.name=p", Topic::name("a", "p"), true);
        check("pods", None, "", "metadata.name=p", Topic::All, false);
        check("pods", None, "", "spec.nodeName=n", Topic::field("spec.nodeName", "n"), false);
        check("pods", None, "", "spec.nodeName!=n", Topic::All, false);
        check("pods", Some("a"), "", "spec.nodeName=n", Topic::field("spec.nodeName", "n"), false);
        check("pods", None, "", "status.phase=Running", Topic::All, false);
        check("nodes", None, "", "metadata.name=n", Topic::name("", "n"), true);
        check("nodes", None, "", "metadata.name!=n", Topic::All, false);
    }
}
