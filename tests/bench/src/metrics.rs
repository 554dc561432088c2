//! What the server says of its plugins at `/metrics`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::client::Connection;

/// One metric of every plugin, by the plugin's name.
pub type ByPlugin = BTreeMap<String, f64>;

pub struct Scrape(String);

impl Scrape {
    pub async fn take(connection: &mut Connection) -> Result<Self> {
        let request = connection.request("GET", "/metrics", b"");
        let (status, body) = connection.call(&request).await?;
        ensure!(status == 200, "metrics: {status}");
        Ok(Self(String::from_utf8(body)?))
    }

    /// Of all plugins, or of those of one role.
    pub fn of(&self, metric: &str, role: Option<&str>) -> ByPlugin {
        let head = format!("pintle_plugin_{metric}{{");
        self.0
            .lines()
            .filter_map(|line| line.strip_prefix(&head))
            .filter(|line| role.is_none_or(|role| label(line, "role") == Some(role)))
            .filter_map(|line| {
                let value = line.rsplit(' ').next()?.parse().ok()?;
                Some((label(line, "plugin")?.to_owned(), value))
            })
            .collect()
    }
}

fn label<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    let (_, rest) = line.split_once(&format!("{name}=\""))?;
    rest.split('"').next()
}

/// Until no controller has anything to do, looked at twice.
pub async fn quiet(connection: &mut Connection) -> Result<Scrape> {
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut before = None;
    loop {
        let now = Scrape::take(connection).await?;
        let waiting: f64 = now.of("queue_depth", None).values().sum();
        let calls = now.of("actions_total", None);
        if waiting == 0.0 && before.as_ref() == Some(&calls) {
            return Ok(now);
        }
        ensure!(Instant::now() < deadline, "the plugins never rest");
        before = Some(calls);
        // Queues have no watch; what waits is looked at from outside.
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}
