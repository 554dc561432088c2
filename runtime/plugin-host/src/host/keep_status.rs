//! Writes the statuses of Plugin objects as they change.

use std::collections::BTreeMap;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::manager::Manager;
use super::slot::Slot;
use super::status::{self, COUNTERS_EVERY, Due};
use crate::cluster::{ApplyError, PluginIdentity};

impl Manager {
    /// Writes statuses as they change.
    pub(super) async fn keep_statuses(&self, shutdown: CancellationToken) {
        let mut waiting: BTreeMap<String, Instant> = BTreeMap::new();
        loop {
            let next = waiting.values().min().copied();
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.stirred.wait() => {}
                () = sleep_until(next) => {}
            }
            let now = Instant::now();
            let mut names = self.stirred.take();
            names
                .extend(waiting.iter().filter(|(_, at)| **at <= now).map(|(name, _)| name.clone()));
            for name in names {
                waiting.remove(&name);
                if let Some(at) = self.keep_status(&name).await {
                    waiting.insert(name, at);
                }
            }
        }
    }

    /// Returns when to look again. Until then counters that move tell nobody: under
    /// load they move all the time.
    async fn keep_status(&self, name: &str) -> Option<Instant> {
        let slot = self.slots.lock().get(name).cloned()?;
        slot.metrics.rearm();
        let next = self.look_at_status(name, &slot).await;
        if next.is_some() {
            slot.metrics.disarm();
        }
        next
    }

    async fn look_at_status(&self, name: &str, slot: &Slot) -> Option<Instant> {
        self.report_parked(slot).await;
        let now = Instant::now();
        let pulling = self.supply.progress(name);
        let due = {
            let mut state = slot.state.lock();
            state.pulling = pulling;
            if state.uid.is_empty() {
                return None;
            }
            status::due(slot, &state, now, self.cluster.now_unix_ms())
        };
        let (status, event) = match due {
            Due::Nothing => return None,
            Due::Later(at) => return Some(at),
            Due::Now { status, event } => (status, event),
        };
        match self.cluster.apply(&PluginIdentity::Host, status::patch(name, &status)).await {
            Ok(_) => {}
            Err(ApplyError::NotFound(_)) => return None,
            Err(error) => {
                tracing::warn!(plugin = name, %error, "cannot write the status of a plugin; trying again");
                return Some(now + COUNTERS_EVERY);
            }
        }
        {
            let mut state = slot.state.lock();
            state.written = Some(*status);
            state.written_at = Some(now);
        }
        if let Some(event) = event
            && let Err(error) = self.cluster.apply(&PluginIdentity::Host, *event).await
        {
            tracing::debug!(plugin = name, %error, "an event was not recorded");
        }
        // It may have changed meanwhile.
        Some(now + COUNTERS_EVERY)
    }

    async fn report_parked(&self, slot: &Slot) {
        let news = slot.health.take_news();
        if news.is_empty() {
            return;
        }
        let uid = slot.state.lock().uid.clone();
        for event in news.iter().flat_map(|parked| status::parked_events(slot, &uid, parked)) {
            if let Err(error) = self.cluster.apply(&PluginIdentity::Host, event).await {
                tracing::debug!(plugin = %slot.name, %error, "an event was not recorded");
            }
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
