//! Events that plugins report: one object per thing that happens, counted up
//! when it happens again.

use std::hash::Hasher;

use pintle_api::meta::GroupVersionKind;
use pintle_api::status::StatusError;
use pintle_api::time;
use pintle_apiserver::User;
use pintle_apiserver::verbs::{Patch, Verbs, WriteOptions};
use pintle_plugin_host::action::Target;
use pintle_plugin_host::cluster::{Applied, Cluster};
use serde_json::{Value, json};

use super::cluster::LocalCluster;

/// `kind` of the Event objects themselves.
fn event_kind() -> GroupVersionKind {
    GroupVersionKind::new("", "v1", "Event")
}

pub struct Occurrence<'a> {
    pub regarding: &'a Target,
    pub uid: &'a str,
    pub event_type: &'a str,
    pub reason: &'a str,
    pub action: &'a str,
    pub note: &'a str,
    pub component: &'a str,
}

impl Occurrence<'_> {
    /// The same for the same thing, so that repetitions meet.
    fn name(&self) -> String {
        let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
        for part in [self.uid, self.event_type, self.reason, self.note, self.component] {
            hash.write(part.as_bytes());
            hash.write(&[0]);
        }
        format!("{}.{:016x}", self.regarding.name, hash.finish())
    }

    fn namespace(&self) -> &str {
        match self.regarding.namespace.as_str() {
            "" => "default",
            namespace => namespace,
        }
    }

    fn object(&self, now: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": self.name(), "namespace": self.namespace()},
            "involvedObject": {
                "apiVersion": self.regarding.kind.api_version(),
                "kind": self.regarding.kind.kind,
                "namespace": self.regarding.namespace,
                "name": self.regarding.name,
                "uid": self.uid,
            },
            "type": self.event_type,
            "reason": self.reason,
            "action": self.action,
            "message": self.note,
            "source": {"component": self.component},
            "reportingComponent": self.component,
            "reportingInstance": "",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        })
    }
}

pub async fn record(
    verbs: &Verbs,
    cluster: &LocalCluster,
    user: &User,
    event: &Occurrence<'_>,
) -> Result<Applied, StatusError> {
    let row = verbs
        .registry()
        .by_kind("", "v1", "Event")
        .ok_or_else(|| StatusError::internal("the table of kinds has no Event"))?;
    let now = time::format_seconds(cluster.now_unix_ms());
    let options = WriteOptions::default();
    let target =
        Target { kind: event_kind(), namespace: event.namespace().to_owned(), name: event.name() };
    let written = match cluster.current(&target) {
        Some(before) => {
            let count = before.parse()["count"].as_i64().unwrap_or(1);
            let patch = Patch::Merge(json!({"count": count + 1, "lastTimestamp": now}));
            verbs.patch(user, row, None, &target.namespace, &target.name, &patch, &options).await?
        }
        None => verbs.create(user, row, &target.namespace, event.object(&now), &options).await?,
    };
    Ok(Applied { revision: written.revision })
}

/// FNV-1a, 64 bits: names only have to differ, and must not change between runs.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
