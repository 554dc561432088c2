//! What plugins have done, in Prometheus' text format.
//!
//! Does not know where the figures come from: see [`Scraped`].

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::Arc;
use std::time::Duration;

use crate::histogram::Buckets;
use crate::metrics::{Counters, Waiting};
use crate::plugin::ShadowStatus;

/// One plugin at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scraped {
    pub plugin: Arc<str>,
    pub role: &'static str,
    pub counters: Counters,
    pub calls: Buckets,
    pub strikes: BTreeMap<&'static str, u64>,
    pub rollbacks: BTreeMap<&'static str, u64>,
    pub waiting: Waiting,
    pub parked: usize,
    pub shadow: ShadowStatus,
}

type Value = fn(&Scraped) -> f64;

/// Name behind the prefix, type, help, value.
const PLAIN: [(&str, &str, &str, Value); 15] = [
    ("calls_total", "counter", "Calls of the plugin's exports.", |p| p.calls.count as f64),
    ("fuel_total", "counter", "Fuel used by calls, about one unit per instruction.", |p| {
        p.counters.fuel_consumed as f64
    }),
    ("memory_bytes", "gauge", "Linear memory of the instance that was called last.", |p| {
        p.counters.memory_bytes as f64
    }),
    ("read_bytes_total", "counter", "Bytes carried into the plugin by its reads.", |p| {
        p.counters.read_bytes as f64
    }),
    ("cpu_seconds_total", "counter", "Processor time of calls; only with cpuMillicores.", |p| {
        seconds(p.counters.cpu)
    }),
    ("actions_total", "counter", "Actions that were performed.", |p| p.counters.actions as f64),
    ("conflicts_total", "counter", "Actions that came too late.", |p| p.counters.conflicts as f64),
    ("queue_depth", "gauge", "Keys or pods that wait for a call.", |p| p.waiting.depth as f64),
    ("queue_age_seconds", "gauge", "How long the oldest of those has been waiting.", |p| {
        seconds(p.waiting.age)
    }),
    ("swaps_total", "counter", "Versions that took over from another.", |p| {
        p.counters.swaps as f64
    }),
    ("last_swap_pause_seconds", "gauge", "How long decisions waited for the last swap.", |p| {
        seconds(Duration::from_micros(p.counters.last_swap_pause_microseconds))
    }),
    ("parked", "gauge", "Inputs that are left alone after repeated faults.", |p| p.parked as f64),
    ("shadow_agreements_total", "counter", "Compared decisions that were the same.", |p| {
        p.shadow.agreements as f64
    }),
    ("shadow_divergences_total", "counter", "Compared decisions that differed.", |p| {
        p.shadow.divergences as f64
    }),
    ("shadow_skipped_total", "counter", "Decisions the shadow was too slow to compare.", |p| {
        p.shadow.skipped as f64
    }),
];

type ByReason = fn(&Scraped) -> &BTreeMap<&'static str, u64>;

const BY_REASON: [(&str, &str, ByReason); 2] = [
    ("strikes_total", "Faulty calls, by reason.", |p| &p.strikes),
    ("rollbacks_total", "Returns to the version before, by reason.", |p| &p.rollbacks),
];

/// Appends every metric of every plugin.
pub(crate) fn render(plugins: &[Scraped], out: &mut String) {
    for (name, sort, help, value) in PLAIN {
        head(out, name, sort, help);
        for plugin in plugins {
            line(out, name, plugin, "", value(plugin));
        }
    }
    for (name, help, counts) in BY_REASON {
        head(out, name, "counter", help);
        for plugin in plugins {
            for (reason, count) in counts(plugin) {
                line(out, name, plugin, &format!(",reason=\"{}\"", escaped(reason)), count);
            }
        }
    }
    let name = "call_seconds";
    head(out, name, "histogram", "How long calls took.");
    for plugin in plugins {
        let bucket = format!("{name}_bucket");
        for (bound, count) in &plugin.calls.upto {
            line(out, &bucket, plugin, &format!(",le=\"{bound}\""), count);
        }
        line(out, &bucket, plugin, ",le=\"+Inf\"", plugin.calls.count);
        line(out, &format!("{name}_sum"), plugin, "", plugin.calls.sum_seconds);
        line(out, &format!("{name}_count"), plugin, "", plugin.calls.count);
    }
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

// Writing to a string cannot fail.
fn head(out: &mut String, name: &str, sort: &str, help: &str) {
    let _ = writeln!(out, "# HELP pintle_plugin_{name} {help}\n# TYPE pintle_plugin_{name} {sort}");
}

fn line(out: &mut String, name: &str, plugin: &Scraped, more: &str, value: impl Display) {
    let (of, role) = (escaped(&plugin.plugin), plugin.role);
    let _ = writeln!(out, "pintle_plugin_{name}{{plugin=\"{of}\",role=\"{role}\"{more}}} {value}");
}

/// A label's value: what is not a name of an object could hold anything.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::histogram::Histogram;

    fn plugin(name: &str) -> Scraped {
        let calls = Histogram::default();
        calls.observe(Duration::from_micros(20));
        calls.observe(Duration::from_secs(2));
        Scraped {
            plugin: name.into(),
            role: "Controller",
            counters: Counters { fuel_consumed: 12_345_678_901, ..Counters::default() },
            calls: calls.read(),
            strikes: BTreeMap::from([("Trapped", 2), ("OutOfFuel", 1)]),
            waiting: Waiting { depth: 3, age: Duration::from_millis(1500) },
            parked: 1,
            ..Scraped::default()
        }
    }

    #[test]
    fn every_family_is_described_once_before_its_lines() {
        let mut text = String::new();
        render(&[plugin("a"), plugin("b")], &mut text);
        let mut described = BTreeSet::new();
        let mut current = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                current = rest.split(' ').next().unwrap().to_owned();
                assert!(described.insert(current.clone()), "{current} twice");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                assert_eq!(rest.split(' ').next().unwrap(), current);
            } else {
                assert!(line.starts_with(&current), "{line} below {current}");
                assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
            }
        }
        assert_eq!(described.len(), PLAIN.len() + BY_REASON.len() + 1);
    }

    #[test]
    fn every_family_is_documented() {
        let page = include_str!("../../../docs/plugins.md");
        let names = PLAIN.iter().map(|(name, ..)| *name);
        for name in names.chain(BY_REASON.iter().map(|(name, ..)| *name)).chain(["call_seconds"]) {
            assert!(page.contains(&format!("`pintle_plugin_{name}")), "{name} in docs/plugins.md");
        }
    }

    #[test]
    fn lines_carry_plugin_role_and_value() {
        let mut text = String::new();
        render(&[plugin("a"), plugin("odd\"\\\n")], &mut text);
        for expect in [
            r#"pintle_plugin_calls_total{plugin="a",role="Controller"} 2"#,
            r#"pintle_plugin_fuel_total{plugin="a",role="Controller"} 12345678901"#,
            r#"pintle_plugin_queue_depth{plugin="a",role="Controller"} 3"#,
            r#"pintle_plugin_queue_age_seconds{plugin="a",role="Controller"} 1.5"#,
            r#"pintle_plugin_parked{plugin="a",role="Controller"} 1"#,
            r#"pintle_plugin_strikes_total{plugin="a",role="Controller",reason="Trapped"} 2"#,
            r#"pintle_plugin_call_seconds_bucket{plugin="a",role="Controller",le="0.00001"} 0"#,
            r#"pintle_plugin_call_seconds_bucket{plugin="a",role="Controller",le="0.000025"} 1"#,
            r#"pintle_plugin_call_seconds_bucket{plugin="a",role="Controller",le="+Inf"} 2"#,
            r#"pintle_plugin_call_seconds_sum{plugin="a",role="Controller"} 2.00002"#,
            r#"pintle_plugin_call_seconds_count{plugin="odd\"\\\n",role="Controller"} 2"#,
        ] {
            assert!(text.lines().any(|line| line == expect), "{expect} in\n{text}");
        }
    }
}
