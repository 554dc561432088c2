//! What has to be remembered between two looks: recommendations of the
//! stabilization windows, and scale events of the policies' periods.

use pintle_sdk::prelude::*;
use serde::{Deserialize, Serialize};

pub const ANNOTATION: &str = "autoscaling.pintle.dev/history";

/// Times in Unix milliseconds, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When so many replicas were recommended last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recommended: Vec<(i64, i64)>,
    /// When so many replicas were added.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<(i64, i64)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<(i64, i64)>,
}

impl History {
    pub fn read(hpa: &HorizontalPodAutoscaler) -> Self {
        let text = hpa.metadata.annotations.get(ANNOTATION);
        text.and_then(|text| pintle_sdk::reading::parse(text.as_bytes()).ok()).unwrap_or_default()
    }

    /// One entry for each number, with the latest time.
    pub fn recommend(&mut self, now: i64, replicas: i64) {
        self.recommended.retain(|(_, known)| *known != replicas);
        self.recommended.push((now, replicas));
    }

    pub fn scaled(&mut self, now: i64, from: i64, to: i64) {
        match to - from {
            more @ 1.. => self.added.push((now, more)),
            less @ ..=-1 => self.removed.push((now, -less)),
            0 => {}
        }
    }

    /// Drops what is older than anyone asks for, and what says nothing: that the
    /// present number is the right one.
    pub fn prune(&mut self, now: i64, window_ms: i64, period_ms: i64, current: i64) {
        self.recommended.retain(|(at, _)| *at > now - window_ms);
        if self.recommended.iter().all(|(_, replicas)| *replicas == current) {
            self.recommended.clear();
        }
        for events in [&mut self.added, &mut self.removed] {
            events.retain(|(at, _)| *at > now - period_ms);
        }
    }

    /// The change of the annotation, if there is one.
    pub fn write(&self, hpa: &Typed<HorizontalPodAutoscaler>) -> Option<Patch> {
        let known = hpa.metadata.annotations.get(ANNOTATION);
        if *self == History::default() {
            return known.map(|_| Patch::annotate(hpa, ANNOTATION, None));
        }
        // Plain data always serializes.
        let text = serde_json::to_string(self).unwrap_or_default();
        (known != Some(&text)).then(|| Patch::annotate(hpa, ANNOTATION, Some(&text)))
    }
}
