//! Counters of the server itself, in Prometheus' text format at `/metrics`.

use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use parking_lot::RwLock;

use crate::ApiServer;

const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "other"];
/// Index 0 is 1xx.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// Upper bounds in microseconds, and as Prometheus wants them.
const BUCKETS: [(u64, &str); 7] = [
    (500, "0.0005"),
    (2_000, "0.002"),
    (10_000, "0.01"),
    (50_000, "0.05"),
    (250_000, "0.25"),
    (1_000_000, "1"),
    (10_000_000, "10"),
];

#[derive(Default)]
struct PerMethod {
    classes: [AtomicU64; CLASSES.len()],
    buckets: [AtomicU64; BUCKETS.len()],
    microseconds: AtomicU64,
}

/// A gauge that counts what is alive.
#[derive(Default)]
pub struct Gauge(AtomicI64);

#[derive(Default)]
pub struct Metrics {
    methods: [PerMethod; METHODS.len()],
    pub connections: Gauge,
    pub watches: Gauge,
    sources: RwLock<Vec<Source>>,
}

/// Appends metrics of another part of the server, in the same format.
type Source = Box<dyn Fn(&mut String) + Send + Sync>;

/// Counts until it is dropped.
pub struct Counted<'a>(&'a Gauge);

impl Gauge {
    pub fn count(&self) -> Counted<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// A request was answered; `took` is the time until its headers.
    pub fn answered(&self, method: &Method, status: StatusCode, took: Duration) {
        let index = METHODS.iter().position(|name| *name == method.as_str());
        let found = &self.methods[index.unwrap_or(METHODS.len() - 1)];
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        found.classes[class].fetch_add(1, Ordering::Relaxed);
        let microseconds = took.as_micros() as u64;
        found.microseconds.fetch_add(microseconds, Ordering::Relaxed);
        if let Some(bucket) = BUCKETS.iter().position(|(bound, _)| microseconds <= *bound) {
            found.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn render(&self) -> String {
        let mut text = String::with_capacity(4096);
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        text.push_str("# HELP pintle_apiserver_requests_total Requests answered.\n");
        text.push_str("# TYPE pintle_apiserver_requests_total counter\n");
        for (method, counters) in METHODS.iter().zip(&self.methods) {
            for (class, count) in CLASSES.iter().zip(&counters.classes).filter(|(_, c)| load(c) > 0)
            {
                let count = load(count);
                // Writing to a string cannot fail.
                let _ = writeln!(
                    text,
                    "pintle_apiserver_requests_total{{method=\"{method}\",code=\"{class}\"}} {count}"
                );
            }
        }
        let name = "pintle_apiserver_request_duration_seconds";
        let _ = writeln!(text, "# HELP {name} Time until the headers of the answer.");
        let _ = writeln!(text, "# TYPE {name} histogram");
        for (method, counters) in METHODS.iter().zip(&self.methods) {
            let total: u64 = counters.classes.iter().map(load).sum();
            if total == 0 {
                continue;
            }
            let mut below = 0;
            for ((_, bound), count) in BUCKETS.iter().zip(&counters.buckets) {
                below += load(count);
                let _ =
                    writeln!(text, "{name}_bucket{{method=\"{method}\",le=\"{bound}\"}} {below}");
            }
            let seconds = load(&counters.microseconds) as f64 / 1e6;
            let _ = writeln!(text, "{name}_bucket{{method=\"{method}\",le=\"+Inf\"}} {total}");
            let _ = writeln!(text, "{name}_sum{{method=\"{method}\"}} {seconds}");
            let _ = writeln!(text, "{name}_count{{method=\"{method}\"}} {total}");
        }
        for (name, help, gauge) in [
            ("pintle_apiserver_connections", "Open connections.", &self.connections),
            ("pintle_apiserver_watches", "Open watches.", &self.watches),
        ] {
            let value = gauge.0.load(Ordering::Relaxed);
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
        for source in self.sources.read().iter() {
            source(&mut text);
        }
        text
    }
}

impl ApiServer {
    /// Has `/metrics` show more than the API server's own figures: `source` appends
    /// complete families, each with its HELP and TYPE.
    pub fn add_metrics(&self, source: impl Fn(&mut String) + Send + Sync + 'static) {
        self.metrics.sources.write().push(Box::new(source));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_come_out_as_prometheus_text() {
        let metrics = Metrics::default();
        metrics.answered(&Method::GET, StatusCode::OK, Duration::from_millis(1));
        metrics.answered(&Method::GET, StatusCode::NOT_FOUND, Duration::from_secs(60));
        let watch = metrics.watches.count();
        metrics.sources.write().push(Box::new(|text| text.push_str("more 7\n")));
        let text = metrics.render();
        for line in [
            "more 7",
            "pintle_apiserver_requests_total{method=\"GET\",code=\"2xx\"} 1",
            "pintle_apiserver_requests_total{method=\"GET\",code=\"4xx\"} 1",
            "pintle_apiserver_request_duration_seconds_bucket{method=\"GET\",le=\"0.0005\"} 0",
            "pintle_apiserver_request_duration_seconds_bucket{method=\"GET\",le=\"0.002\"} 1",
            "pintle_apiserver_request_duration_seconds_bucket{method=\"GET\",le=\"+Inf\"} 2",
            "pintle_apiserver_watches 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        drop(watch);
        assert!(metrics.render().contains("pintle_apiserver_watches 0\n"));
    }
}
