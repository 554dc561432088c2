//! Waiting for what has to come.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Cluster, condition, items};

/// Whatever has to come has come by then, also where two processors compile and
/// run other tests meanwhile. A test that passes never waits so long, so there is
/// no shorter one for what ought to be quick.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

impl Cluster {
    /// Looks again until `check` holds. What it looks for must stay once it is
    /// there: between two looks anything may come and go.
    pub fn wait(&self, what: &str, check: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !check(self) {
            if Instant::now() > deadline {
                let pods = self.try_pintle(&["get", "pods", "-A", "-o", "wide"]).stdout;
                let events = self.try_pintle(&["get", "events", "-A"]).stdout;
                panic!("waited {PATIENCE:?} for {what}\n{pods}\n{events}{}", self.logs());
            }
            // A check may be about files, processes or pages of a pod: nothing
            // announces all of them.
            std::thread::sleep(PAUSE);
        }
    }

    pub fn wait_ready_pods(&self, selector: &str, count: usize) {
        self.wait(&format!("{count} ready pods of {selector}"), |c| {
            c.ready_pods(selector).len() == count
        });
    }

    /// Pods that are ready and not on their way out.
    pub fn ready_pods(&self, selector: &str) -> Vec<Value> {
        let list = self.get(&format!("pods -l {selector}"));
        let ready = |pod: &&Value| {
            condition(pod, "Ready") == "True" && pod["metadata"]["deletionTimestamp"].is_null()
        };
        items(&list).iter().filter(ready).cloned().collect()
    }

    /// The end of every log, for a failed assertion.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(self.path()).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|e| e == "log") {
                let log = std::fs::read_to_string(&path).unwrap_or_default();
                let lines: Vec<&str> = log.lines().rev().take(30).collect();
                let name = entry.file_name();
                text.push_str(&format!("\n--- {}\n", name.to_string_lossy()));
                lines.iter().rev().for_each(|line| text.push_str(&format!("{line}\n")));
            }
        }
        text
    }
}
