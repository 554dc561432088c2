//! Measures, read as objects. All amounts are in thousandths.

use std::collections::BTreeMap;

use pintle_sdk::prelude::*;
use serde::Deserialize;
use serde_json::Value;

pub const POD_METRICS: KindRef = KindRef::new("metrics.k8s.io", "v1beta1", "PodMetrics");
pub const METRIC_VALUE: KindRef = KindRef::new("custom.metrics.k8s.io", "v1beta2", "MetricValue");
pub const EXTERNAL_METRIC_VALUE: KindRef =
    KindRef::new("external.metrics.k8s.io", "v1beta1", "ExternalMetricValue");

/// What one pod uses, and when that was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub milli: i64,
    pub at_ms: Option<i64>,
    pub window_ms: i64,
}

/// By name of the pod.
pub type Samples = BTreeMap<String, Sample>;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct PodMetrics {
    timestamp: Option<String>,
    window: Option<String>,
    containers: Vec<ContainerMetrics>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ContainerMetrics {
    name: String,
    usage: ResourceList,
}

/// The use of a resource by the pods of a selection; of one container when named.
pub fn resource(
    lister: &dyn Lister,
    namespace: &str,
    selector: &LabelSelector,
    resource: &str,
    container: Option<&str>,
) -> Samples {
    let query = Query::of(POD_METRICS).namespace(namespace).selector(selector);
    let mut samples = Samples::new();
    for object in lister.list(&query) {
        let Ok(metrics) = object.parse::<PodMetrics>() else { continue };
        let mut of_resource = metrics
            .containers
            .iter()
            .filter(|measured| container.is_none_or(|wanted| wanted == measured.name))
            .filter_map(|measured| measured.usage.get(resource))
            .peekable();
        // A pod of which a container is not measured is not measured.
        if of_resource.peek().is_none() {
            continue;
        }
        let milli = of_resource.map(Quantity::milli).sum();
        let at_ms = metrics.timestamp.as_deref().and_then(pintle_sdk::time::parse);
        let window_ms = metrics.window.as_deref().and_then(seconds).unwrap_or(60) * 1000;
        samples.insert(object.reference.name.clone(), Sample { milli, at_ms, window_ms });
    }
    samples
}

/// `30s`, `1m0s`.
fn seconds(text: &str) -> Option<i64> {
    let mut total = 0;
    let mut number = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' | '.' => number.push(c),
            unit => {
                let value: f64 = number.parse().ok()?;
                number.clear();
                total += match unit {
                    'h' => (value * 3600.0) as i64,
                    'm' => (value * 60.0) as i64,
                    's' => value as i64,
                    _ => return None,
                };
            }
        }
    }
    number.is_empty().then_some(total)
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MetricValue {
    described_object: ObjectReference,
    metric: MetricIdentifier,
    timestamp: Option<String>,
    value: Option<Quantity>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct MetricIdentifier {
    name: String,
}

fn custom(lister: &dyn Lister, namespace: &str, metric: &Value) -> Vec<MetricValue> {
    let mut query = Query::of(METRIC_VALUE).namespace(namespace);
    if let Ok(selector) = LabelSelector::deserialize(&metric["selector"])
        && !selector.is_empty()
    {
        query = query.selector(&selector);
    }
    let name = metric["name"].as_str().unwrap_or_default();
    lister
        .list(&query)
        .into_iter()
        .filter_map(|object| object.parse::<MetricValue>().ok())
        .filter(|value| value.metric.name == name)
        .collect()
}

/// A metric of each of these pods.
pub fn of_pods(
    lister: &dyn Lister,
    namespace: &str,
    metric: &Value,
    pods: &[Typed<Pod>],
) -> Samples {
    custom(lister, namespace, metric)
        .into_iter()
        .filter(|value| value.described_object.kind == "Pod")
        .filter(|value| pods.iter().any(|pod| pod.reference.name == value.described_object.name))
        .filter_map(|value| {
            let at_ms = value.timestamp.as_deref().and_then(pintle_sdk::time::parse);
            let sample = Sample { milli: value.value?.milli(), at_ms, window_ms: 60_000 };
            Some((value.described_object.name, sample))
        })
        .collect()
}

/// A metric of one object.
pub fn of_object(lister: &dyn Lister, namespace: &str, source: &Value) -> Option<i64> {
    let wanted = &source["describedObject"];
    custom(lister, namespace, &source["metric"])
        .into_iter()
        .find(|value| {
            wanted["kind"] == value.described_object.kind
                && wanted["name"] == value.described_object.name
        })
        .and_then(|value| Some(value.value?.milli()))
}

/// The sum of an external metric.
pub fn external(lister: &dyn Lister, namespace: &str, metric: &Value) -> Option<i64> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct External {
        metric_name: String,
        metric_labels: BTreeMap<String, String>,
        value: Option<Quantity>,
    }
    let name = metric["name"].as_str().unwrap_or_default();
    let selector = LabelSelector::deserialize(&metric["selector"]).unwrap_or_default();
    let values: Vec<i64> = lister
        .list(&Query::of(EXTERNAL_METRIC_VALUE).namespace(namespace))
        .into_iter()
        .filter_map(|object| object.parse::<External>().ok())
        .filter(|found| found.metric_name == name && selector.matches(&found.metric_labels))
        .filter_map(|found| Some(found.value?.milli()))
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}
