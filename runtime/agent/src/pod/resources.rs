//! From requests and limits to QoS class, cgroups and OOM scores; all figures
//! are the kubelet's.

use pintle_api::quantity::Quantity;
use pintle_containers::Resources;
use serde_json::Value;

use super::model::{Container, Pod};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QosClass {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl QosClass {
    pub fn name(self) -> &'static str {
        match self {
            QosClass::Guaranteed => "Guaranteed",
            QosClass::Burstable => "Burstable",
            QosClass::BestEffort => "BestEffort",
        }
    }
}

pub fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

/// A request that is not written is the limit.
pub fn request(container: &Container, resource: &str) -> Option<Quantity> {
    let requests = container.resources.requests.get(resource);
    requests.or_else(|| container.resources.limits.get(resource)).and_then(quantity)
}

pub fn limit(container: &Container, resource: &str) -> Option<Quantity> {
    container.resources.limits.get(resource).and_then(quantity)
}

pub fn qos_class(pod: &Pod) -> QosClass {
    let mut guaranteed = true;
    let mut any = false;
    for container in pod.all_containers() {
        for resource in ["cpu", "memory"] {
            let request = request(container, resource).filter(|q| !q.is_zero());
            let limit = limit(container, resource).filter(|q| !q.is_zero());
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request == limit;
        }
    }
    match (any, guaranteed) {
        (false, _) => QosClass::BestEffort,
        (true, true) => QosClass::Guaranteed,
        (true, false) => QosClass::Burstable,
    }
}

pub fn cgroup_parent(pod: &Pod) -> String {
    let uid = pod.uid();
    match qos_class(pod) {
        QosClass::Guaranteed => format!("/kubepods/pod{uid}"),
        QosClass::Burstable => format!("/kubepods/burstable/pod{uid}"),
        QosClass::BestEffort => format!("/kubepods/besteffort/pod{uid}"),
    }
}

/// The kernel's least.
const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;
const QUOTA_PERIOD_US: i64 = 100_000;
/// Below 1 ms the kernel refuses.
const MIN_QUOTA_US: i64 = 1_000;

fn shares(milli_cpu: i64) -> u64 {
    (milli_cpu.saturating_mul(1024) / 1000).clamp(MIN_SHARES, MAX_SHARES) as u64
}

fn quota(milli_cpu: i64) -> i64 {
    (milli_cpu.saturating_mul(QUOTA_PERIOD_US) / 1000).max(MIN_QUOTA_US)
}

pub fn container_resources(container: &Container) -> Resources {
    let milli = request(container, "cpu").map_or(0, |cpu| cpu.milli());
    let mut resources = Resources {
        cpu_shares: Some(shares(milli)),
        memory_limit: limit(container, "memory")
            .map(|memory| memory.value())
            .filter(|bytes| *bytes > 0),
        ..Resources::default()
    };
    if let Some(cpu) = limit(container, "cpu").filter(|cpu| !cpu.is_zero()) {
        resources.cpu_quota = Some(quota(cpu.milli()));
        resources.cpu_period = Some(QUOTA_PERIOD_US as u64);
    }
    resources
}

/// The pod as a whole: the sum, and a limit only when every container has one.
pub fn pod_resources(pod: &Pod, pids: Option<i64>) -> Resources {
    let containers = &pod.spec.containers;
    let sum = |of: fn(&Container, &str) -> Option<Quantity>,
               resource: &str,
               milli: bool|
     -> (i64, bool) {
        containers.iter().fold((0i64, true), |(sum, all), container| {
            match of(container, resource).filter(|q| !q.is_zero()) {
                Some(q) if milli => (sum.saturating_add(q.milli()), all),
                Some(q) => (sum.saturating_add(q.value()), all),
                None => (sum, false),
            }
        })
    };
    // Init containers run alone, before the others: the larger of both counts.
    let init = |of: fn(&Container, &str) -> Option<Quantity>, resource: &str, milli: bool| {
        let figure = |q: Quantity| if milli { q.milli() } else { q.value() };
        let init = pod.spec.init_containers.iter();
        init.filter_map(|container| of(container, resource)).map(figure).max().unwrap_or(0)
    };
    let unlimited_init = |resource: &str| {
        pod.spec.init_containers.iter().any(|container| limit(container, resource).is_none())
    };
    let (cpu, _) = sum(request, "cpu", true);
    let (cpu_limit, cpu_all) = sum(limit, "cpu", true);
    let (memory_limit, memory_all) = sum(limit, "memory", false);
    let mut resources = Resources {
        cpu_shares: Some(shares(cpu.max(init(request, "cpu", true)))),
        pids,
        ..Resources::default()
    };
    if cpu_all && !unlimited_init("cpu") {
        resources.cpu_quota = Some(quota(cpu_limit.max(init(limit, "cpu", true))));
        resources.cpu_period = Some(QUOTA_PERIOD_US as u64);
    }
    if memory_all && !unlimited_init("memory") {
        resources.memory_limit = Some(memory_limit.max(init(limit, "memory", false)));
    }
    resources
}

pub fn oom_score_adj(pod: &Pod, container: &Container, node_memory_bytes: i64) -> i32 {
    match qos_class(pod) {
        QosClass::Guaranteed => -997,
        QosClass::BestEffort => 1000,
        QosClass::Burstable => {
            let requested = request(container, "memory").map_or(0, |memory| memory.value());
            let share = requested.saturating_mul(1000) / node_memory_bytes.max(1);
            // Never as protected as guaranteed, never as exposed as best effort.
            (1000 - share).clamp(3, 999) as i32
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(resources: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"uid": "u"},
            "spec": {"containers": [{"name": "c", "resources": resources}]},
        }))
        .unwrap()
    }

    #[test]
    fn classes_and_cgroups() {
        let check = |resources: Value, class: &str, parent: &str, oom: i32| {
            let pod = pod(resources);
            assert_eq!(qos_class(&pod).name(), class);
            assert_eq!(cgroup_parent(&pod), parent);
            assert_eq!(oom_score_adj(&pod, &pod.spec.containers[0], 1 << 30), oom);
        };
        check(json!({}), "BestEffort", "/kubepods/besteffort/podu", 1000);
        check(
            json!({"limits": {"cpu": "1", "memory": "1Gi"}}),
            "Guaranteed",
            "/kubepods/podu",
            -997,
        );
        check(
            json!({"requests": {"memory": "512Mi"}}),
            "Burstable",
            "/kubepods/burstable/podu",
            500,
        );
        check(
            json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "1Gi"}}),
            "Burstable",
            "/kubepods/burstable/podu",
            3,
        );
    }

    #[test]
    fn shares_and_quotas() {
        let check = |resources: Value, shares: u64, quota: Option<i64>, memory: Option<i64>| {
            let pod = pod(resources);
            for got in [container_resources(&pod.spec.containers[0]), pod_resources(&pod, None)] {
                assert_eq!(got.cpu_shares, Some(shares));
                assert_eq!(got.cpu_quota, quota);
                assert_eq!(got.memory_limit, memory);
            }
        };
        check(json!({}), 2, None, None);
        check(json!({"requests": {"cpu": "250m"}}), 256, None, None);
        check(
            json!({"requests": {"cpu": 2}, "limits": {"cpu": "2500m", "memory": "64Mi"}}),
            2048,
            Some(250_000),
            Some(64 << 20),
        );
        check(json!({"limits": {"cpu": "5m"}}), 5, Some(1_000), None);
    }
}
