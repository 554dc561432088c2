//! Disruption budgets: which pods may be preempted without breaking a promise.

use std::collections::BTreeMap;

use pintle_sdk::selector::LabelSelector;
use serde::Deserialize;

use crate::labels::{LabelMap, Selector};

#[derive(Debug, Default)]
pub struct Budgets {
    /// By namespace and name.
    budgets: BTreeMap<String, BTreeMap<String, Budget>>,
}

#[derive(Debug)]
struct Budget {
    selector: Selector,
    allowed: i64,
    /// Their disruption is on its way and counted already.
    disrupted: BTreeMap<String, serde::de::IgnoredAny>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Raw {
    spec: Spec,
    status: Status,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Spec {
    selector: Option<LabelSelector>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    disruptions_allowed: Option<i64>,
    disrupted_pods: Option<BTreeMap<String, serde::de::IgnoredAny>>,
}

impl Budgets {
    pub fn upsert(
        &mut self,
        namespace: &str,
        name: &str,
        json: &[u8],
    ) -> Result<(), serde_json::Error> {
        let Raw { spec, status } = pintle_sdk::reading::parse(json)?;
        let selector = spec.selector.as_ref().map(Selector::of).unwrap_or_default();
        if selector.is_everything() {
            // Absent or empty: protects nothing from preemption.
            self.remove(namespace, name);
            return Ok(());
        }
        let budget = Budget {
            selector,
            allowed: status.disruptions_allowed.unwrap_or(0),
            disrupted: status.disrupted_pods.unwrap_or_default(),
        };
        self.budgets.entry(namespace.to_owned()).or_default().insert(name.to_owned(), budget);
        Ok(())
    }

    pub fn remove(&mut self, namespace: &str, name: &str) {
        if let Some(budgets) = self.budgets.get_mut(namespace) {
            budgets.remove(name);
            if budgets.is_empty() {
                self.budgets.remove(namespace);
            }
        }
    }

    /// For pods in the order in which they would go (namespace, name, labels):
    /// does that break a budget?
    pub fn broken_by<'a>(
        &self,
        pods: impl Iterator<Item = (&'a str, &'a str, &'a LabelMap)>,
    ) -> Vec<bool> {
        let mut left: BTreeMap<(&str, &str), i64> = BTreeMap::new();
        pods.map(|(namespace, pod, labels)| {
            let mut breaks = false;
            if labels.is_empty() {
                return false;
            }
            let Some((namespace, budgets)) = self.budgets.get_key_value(namespace) else {
                return false;
            };
            for (name, budget) in budgets {
                if budget.selector.matches(labels) && !budget.disrupted.contains_key(pod) {
                    let left = left.entry((namespace, name)).or_insert(budget.allowed);
                    *left -= 1;
                    breaks |= *left < 0;
                }
            }
            breaks
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_used_up_in_order() {
        let mut budgets = Budgets::default();
        let set = |budgets: &mut Budgets, name: &str, selector: &str, allowed: i64| {
            let json = format!(
                r#"{{"spec":{{"selector":{selector}}},"status":{{"disruptionsAllowed":{allowed},"disruptedPods":{{"gone":"t"}}}}}}"#
            );
            budgets.upsert("a", name, json.as_bytes()).unwrap();
        };
        set(&mut budgets, "one", r#"{"matchLabels":{"app":"web"}}"#, 1);
        set(&mut budgets, "none", "{}", 0);
        let web = LabelMap::from([("app".to_owned(), "web".to_owned())]);
        let pods = [("a", "gone"), ("a", "1"), ("b", "2"), ("a", "3")];
        let check = |budgets: &Budgets| {
            budgets.broken_by(pods.iter().map(|(namespace, name)| (*namespace, *name, &web)))
        };
        assert_eq!(check(&budgets), [false, false, false, true]);
        budgets.remove("a", "one");
        assert_eq!(check(&budgets), [false; 4]);
    }
}
