//! How much of each resource a pod takes from its node.

use std::collections::BTreeMap;

use pintle_sdk::api::quantity::Quantity;
use pintle_sdk::reading::Raw;
use serde::Deserialize;
use serde_json::Value;

use crate::pod::{Parts, RawContainer, RawPod};

/// What a container without a request counts for when nodes are scored (not
/// when they are filtered), so that such pods spread too.
const DEFAULT_MILLI_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// `cpu` in thousandths; everything else in whole units, rounded up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Amounts(pub BTreeMap<String, i64>);

impl Amounts {
    /// A quantity that cannot be read counts as nothing; the API refuses those.
    pub fn from_json(json: Option<&Value>) -> Self {
        let list = json.and_then(Value::as_object);
        Amounts(
            list.into_iter()
                .flatten()
                .filter_map(|(name, text)| Some((name.clone(), amount(name, text)?)))
                .collect(),
        )
    }

    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    fn add(&mut self, other: &Amounts) {
        for (name, amount) in &other.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*amount);
        }
    }

    fn at_least(&mut self, other: &Amounts) {
        for (name, amount) in &other.0 {
            let most = self.0.entry(name.clone()).or_default();
            *most = (*most).max(*amount);
        }
    }
}

fn amount(resource: &str, quantity: &Value) -> Option<i64> {
    let quantity = match quantity {
        Value::String(text) => Quantity::parse(text).ok()?,
        Value::Number(number) => Quantity::parse(&number.to_string()).ok()?,
        _ => return None,
    };
    Some(if resource == "cpu" { quantity.milli() } else { quantity.value() })
}

/// A pod's requests, split into what has a column of its own and the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requests {
    pub milli_cpu: i64,
    pub memory: i64,
    pub ephemeral_storage: i64,
    /// Extended resources and huge pages that are asked for.
    pub extended: Vec<(String, i64)>,
    /// For scoring only.
    pub scored_milli_cpu: i64,
    pub scored_memory: i64,
}

impl Requests {
    /// What the requests are made from: equal texts, equal requests.
    pub fn key(pod: &RawPod<'_>) -> Vec<u8> {
        let mut key = Parts::default();
        key.push_raw(pod.spec.overhead);
        key.push_raw(pod.spec.resources);
        for containers in [&pod.spec.init_containers, &pod.spec.containers] {
            key.push(b"\x1e");
            for container in containers.iter().flatten() {
                key.push_raw(container.resources);
                key.push(container.restart_policy.as_deref().unwrap_or_default().as_bytes());
            }
        }
        key.0
    }

    /// Does it count for scores what it counts for otherwise?
    pub fn are_exact(&self) -> bool {
        self.scored_milli_cpu == self.milli_cpu && self.scored_memory == self.memory
    }

    pub fn of(pod: &RawPod<'_>) -> Self {
        let containers = pod.spec.containers.as_deref().unwrap_or_default();
        let init = pod.spec.init_containers.as_deref().unwrap_or_default();
        let pod_level = pod.spec.resources.map(|raw| own_requests(Some(raw)));
        let overhead =
            Amounts::from_json(pod.spec.overhead.and_then(|raw| raw.parse().ok()).as_ref());
        let total = |with_defaults| {
            let mut total = most_at_once(containers, init, with_defaults);
            for (name, amount) in pod_level.iter().flat_map(|level| &level.0) {
                total.0.insert(name.clone(), *amount);
            }
            total.add(&overhead);
            total
        };
        let (exact, scored) = (total(false), total(true));
        let columns = ["cpu", "memory", "ephemeral-storage"];
        let extended = exact
            .0
            .iter()
            .filter(|(name, amount)| **amount > 0 && !columns.contains(&name.as_str()));
        Requests {
            milli_cpu: exact.get("cpu"),
            memory: exact.get("memory"),
            ephemeral_storage: exact.get("ephemeral-storage"),
            extended: extended.map(|(name, amount)| (name.clone(), *amount)).collect(),
            scored_milli_cpu: scored.get("cpu"),
            scored_memory: scored.get("memory"),
        }
    }
}

/// The most that runs at one time: all containers with all sidecars, or one
/// init container with the sidecars started before it.
fn most_at_once(
    containers: &[RawContainer<'_>],
    init: &[RawContainer<'_>],
    with_defaults: bool,
) -> Amounts {
    let requests = |container: &RawContainer<'_>| {
        let mut own = own_requests(container.resources);
        if with_defaults {
            own.0.entry("cpu".to_owned()).or_insert(DEFAULT_MILLI_CPU);
            own.0.entry("memory".to_owned()).or_insert(DEFAULT_MEMORY);
        }
        own
    };
    let mut sidecars = Amounts::default();
    let mut starting = Amounts::default();
    for container in init {
        let mut together = requests(container);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars.add(&together);
            starting.at_least(&sidecars);
        } else {
            together.add(&sidecars);
            starting.at_least(&together);
        }
    }
    let mut running = sidecars;
    for container in containers {
        running.add(&requests(container));
    }
    running.at_least(&starting);
    running
}

/// Requests; a limit stands in for a request that is missing.
fn own_requests(resources: Option<Raw<'_>>) -> Amounts {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Resources {
        requests: Option<Value>,
        limits: Option<Value>,
    }
    let resources: Resources = Raw::parse_or_default(resources);
    let mut own = Amounts::from_json(resources.requests.as_ref());
    for (name, limit) in Amounts::from_json(resources.limits.as_ref()).0 {
        own.0.entry(name).or_insert(limit);
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: &str, cpu: i64, memory: i64, scored_cpu: i64) {
        let pod = format!(r#"{{"metadata":{{}},"spec":{spec}}}"#);
        let pod: RawPod<'_> = pintle_sdk::reading::parse(pod.as_bytes()).unwrap();
        let requests = Requests::of(&pod);
        assert_eq!(
            (requests.milli_cpu, requests.memory, requests.scored_milli_cpu),
            (cpu, memory, scored_cpu),
            "{spec}"
        );
    }

    #[test]
    fn containers_add_up_and_init_containers_count_alone() {
        let cpu = |cpu: &str| format!(r#"{{"resources":{{"requests":{{"cpu":"{cpu}"}}}}}}"#);
        let sidecar = r#"{"restartPolicy":"Always","resources":{"requests":{"cpu":"50m"}}}"#;
        check(&format!(r#"{{"containers":[{},{}]}}"#, cpu("100m"), cpu("0.2")), 300, 0, 300);
        check(
            &format!(r#"{{"containers":[{}],"initContainers":[{}]}}"#, cpu("100m"), cpu("1")),
            1000,
            0,
            1000,
        );
        check(
            &format!(
                r#"{{"containers":[{}],"initContainers":[{sidecar},{}]}}"#,
                cpu("100m"),
                cpu("80m")
            ),
            150,
            0,
            150,
        );
        check(
            &format!(
                r#"{{"containers":[{}],"initContainers":[{sidecar},{}]}}"#,
                cpu("10m"),
                cpu("80m")
            ),
            130,
            0,
            130,
        );
        check(r#"{"containers":[{},{}]}"#, 0, 0, 200);
        check(
            r#"{"containers":[{"resources":{"limits":{"memory":"1Ki"}}}],"overhead":{"memory":"1"}}"#,
            0,
            1025,
            100,
        );
        check(
            &format!(r#"{{"resources":{{"requests":{{"cpu":"2"}}}},"containers":[{}]}}"#, cpu("1")),
            2000,
            0,
            2000,
        );
    }

    #[test]
    fn extended_resources_keep_their_names() {
        let pod = r#"{"metadata":{},"spec":{"containers":[{"resources":{"requests":{"example.com/gpu":"2","cpu":1}}}]}}"#;
        let requests = Requests::of(&pintle_sdk::reading::parse(pod.as_bytes()).unwrap());
        assert_eq!(requests.extended, [("example.com/gpu".to_owned(), 2)]);
        assert_eq!(requests.milli_cpu, 1000);
    }
}
