//! What a scrape of `/metrics` is told of every plugin.

use super::manager::Manager;
use crate::prometheus::Scraped;

impl Manager {
    /// All plugins that have been looked at, by name.
    pub fn scrape(&self) -> Vec<Scraped> {
        let slots: Vec<_> = self.slots.lock().values().cloned().collect();
        let scraped = slots.iter().map(|slot| {
            let state = slot.state.lock();
            let role = state.spec.as_ref().map_or("", |spec| spec.role.as_str());
            let shadow = state.comparison.as_ref().map(|comparison| comparison.status());
            // Whoever waits for a queue's lock must not hold up what needs the state.
            drop(state);
            Scraped {
                plugin: slot.name.clone(),
                role,
                counters: slot.metrics.read(),
                calls: slot.metrics.seconds(),
                strikes: slot.metrics.strikes(),
                rollbacks: slot.metrics.rollbacks(),
                waiting: slot.metrics.waiting(),
                parked: slot.health.read().parked.len(),
                shadow: shadow.unwrap_or_default(),
            }
        });
        scraped.collect()
    }
}
