//! How fast the number may change (`spec.behavior`).

use serde_json::Value;

use crate::Config;
use crate::history::History;

/// One direction's rules.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    pub window_ms: i64,
    pub select: Select,
    pub policies: Vec<Policy>,
    /// Instead of the plugin's own, when given.
    pub tolerance: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Select {
    Max,
    Min,
    Disabled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub is_percent: bool,
    pub value: i64,
    pub period_ms: i64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Behavior {
    pub up: Rules,
    pub down: Rules,
}

impl Behavior {
    pub fn of(config: &Config, spec: Option<&Value>) -> Self {
        let none = Value::Null;
        let spec = spec.unwrap_or(&none);
        let percent = |value| Policy { is_percent: true, value, period_ms: 15_000 };
        let pods = |value| Policy { is_percent: false, value, period_ms: 15_000 };
        let down_window = i64::from(config.downscale_stabilization_seconds) * 1000;
        Behavior {
            up: rules(&spec["scaleUp"], 0, &[pods(4), percent(100)]),
            down: rules(&spec["scaleDown"], down_window, &[percent(100)]),
        }
    }

    pub fn longest_window_ms(&self) -> i64 {
        self.up.window_ms.max(self.down.window_ms)
    }

    pub fn longest_period_ms(&self) -> i64 {
        let policies = self.up.policies.iter().chain(&self.down.policies);
        policies.map(|policy| policy.period_ms).max().unwrap_or(0)
    }
}

fn rules(spec: &Value, window_ms: i64, default: &[Policy]) -> Rules {
    let policies: Vec<Policy> = spec["policies"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|policy| Policy {
            is_percent: policy["type"] == "Percent",
            value: policy["value"].as_i64().unwrap_or(0),
            period_ms: policy["periodSeconds"].as_i64().unwrap_or(15) * 1000,
        })
        .collect();
    Rules {
        window_ms: spec["stabilizationWindowSeconds"].as_i64().map_or(window_ms, |s| s * 1000),
        select: match spec["selectPolicy"].as_str() {
            Some("Disabled") => Select::Disabled,
            Some("Min") => Select::Min,
            _ => Select::Max,
        },
        policies: if policies.is_empty() { default.to_vec() } else { policies },
        tolerance: spec["tolerance"]
            .as_str()
            .and_then(|text| pintle_sdk::quantity::Quantity::parse(text).ok())
            .map(|quantity| quantity.milli() as f64 / 1000.0),
    }
}

/// The most careful recommendation of the windows: not above what was
/// recommended lately on the way up, not below it on the way down.
pub fn stabilize(
    behavior: &Behavior,
    history: &History,
    now: i64,
    current: i64,
    recommended: i64,
) -> i64 {
    let within = |window: i64| {
        history.recommended.iter().filter(move |(at, _)| *at > now - window).map(|(_, n)| *n)
    };
    let up = within(behavior.up.window_ms).fold(recommended, i64::min);
    let down = within(behavior.down.window_ms).fold(recommended, i64::max);
    if current < up {
        up
    } else if current > down {
        down
    } else {
        current
    }
}

/// The largest number that the policies allow now.
pub fn most(rules: &Rules, history: &History, now: i64, current: i64) -> i64 {
    let proposals = rules.policies.iter().map(|policy| {
        let start = at_start_of(policy, history, now, current);
        match policy.is_percent {
            false => start + policy.value,
            true => (start as f64 * (1.0 + policy.value as f64 / 100.0)).ceil() as i64,
        }
    });
    match rules.select {
        Select::Disabled => current,
        Select::Max => proposals.max().unwrap_or(current),
        Select::Min => proposals.min().unwrap_or(current),
    }
}

/// The smallest number that the policies allow now.
pub fn least(rules: &Rules, history: &History, now: i64, current: i64) -> i64 {
    let proposals = rules.policies.iter().map(|policy| {
        let start = at_start_of(policy, history, now, current);
        match policy.is_percent {
            false => start - policy.value,
            true => (start as f64 * (1.0 - policy.value as f64 / 100.0)).floor() as i64,
        }
    });
    match rules.select {
        Select::Disabled => current,
        Select::Max => proposals.min().unwrap_or(current),
        Select::Min => proposals.max().unwrap_or(current),
    }
    .max(0)
}

/// The number before what was changed within the period.
fn at_start_of(policy: &Policy, history: &History, now: i64, current: i64) -> i64 {
    let sum = |events: &[(i64, i64)]| -> i64 {
        events.iter().filter(|(at, _)| *at > now - policy.period_ms).map(|(_, n)| *n).sum()
    };
    current - sum(&history.added) + sum(&history.removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn behavior(spec: Value) -> Behavior {
        Behavior::of(&Config::default(), Some(&spec))
    }

    #[test]
    fn policies_bound_the_pace() {
        let none = History::default();
        let plain = behavior(json!({}));
        assert_eq!(most(&plain.up, &none, 0, 1), 5);
        assert_eq!(most(&plain.up, &none, 0, 10), 20);
        assert_eq!(least(&plain.down, &none, 0, 10), 0);
        let slow = behavior(
            json!({"scaleUp": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]},
            "scaleDown": {"selectPolicy": "Disabled"}}),
        );
        assert_eq!(most(&slow.up, &none, 0, 3), 5);
        assert_eq!(least(&slow.down, &none, 0, 3), 3);
        let after = History { added: vec![(0, 2)], ..History::default() };
        assert_eq!(most(&slow.up, &after, 30_000, 5), 5);
        assert_eq!(most(&slow.up, &after, 60_000, 5), 7);
    }

    #[test]
    fn the_highest_of_the_window_counts_on_the_way_down() {
        let plain = behavior(json!({}));
        let history = History { recommended: vec![(0, 8), (100_000, 6)], ..History::default() };
        assert_eq!(stabilize(&plain, &history, 200_000, 10, 3), 8);
        assert_eq!(stabilize(&plain, &history, 350_000, 10, 3), 6);
        assert_eq!(stabilize(&plain, &history, 500_000, 10, 3), 3);
        assert_eq!(stabilize(&plain, &history, 200_000, 4, 9), 9);
    }
}
