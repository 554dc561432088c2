//! A pod as the scheduler reads it: the few fields that differ between pods,
//! and the others as raw text, which is the same for all pods of one template.

use std::borrow::Cow;

use pintle_sdk::Object;
use pintle_sdk::reading::{self, Raw};
use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Deserialize)]
pub struct RawPod<'a> {
    #[serde(borrow)]
    pub metadata: RawMeta<'a>,
    #[serde(borrow, default)]
    pub spec: RawSpec<'a>,
    #[serde(borrow, default)]
    pub status: RawStatus<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawMeta<'a> {
    #[serde(borrow, default)]
    pub name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub namespace: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub labels: Option<Raw<'a>>,
    #[serde(default)]
    pub deletion_timestamp: Option<IgnoredAny>,
    #[serde(borrow, default)]
    pub owner_references: Option<Vec<RawOwner<'a>>>,
}

#[derive(Deserialize)]
pub struct RawOwner<'a> {
    #[serde(borrow, default)]
    pub uid: Cow<'a, str>,
    #[serde(default)]
    pub controller: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct RawSpec<'a> {
    #[serde(borrow)]
    pub node_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub node_selector: Option<Raw<'a>>,
    #[serde(borrow)]
    pub affinity: Option<Raw<'a>>,
    #[serde(borrow)]
    pub tolerations: Option<Raw<'a>>,
    #[serde(borrow)]
    pub containers: Option<Vec<RawContainer<'a>>>,
    #[serde(borrow)]
    pub init_containers: Option<Vec<RawContainer<'a>>>,
    #[serde(borrow)]
    pub overhead: Option<Raw<'a>>,
    #[serde(borrow)]
    pub resources: Option<Raw<'a>>,
    #[serde(borrow)]
    pub topology_spread_constraints: Option<Raw<'a>>,
    #[serde(borrow)]
    pub scheduler_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub volumes: Option<Vec<RawVolume<'a>>>,
    pub priority: Option<i32>,
    #[serde(borrow)]
    pub preemption_policy: Option<Cow<'a, str>>,
    pub host_network: Option<bool>,
    pub scheduling_gates: Option<Vec<IgnoredAny>>,
}

/// A volume that stands for a claim; of others nothing is kept.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct RawVolume<'a> {
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    #[serde(borrow)]
    pub persistent_volume_claim: Option<RawClaim<'a>>,
    pub ephemeral: Option<IgnoredAny>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct RawClaim<'a> {
    #[serde(borrow)]
    pub claim_name: Cow<'a, str>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct RawContainer<'a> {
    #[serde(borrow)]
    pub image: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub resources: Option<Raw<'a>>,
    #[serde(borrow)]
    pub ports: Option<Raw<'a>>,
    #[serde(borrow)]
    pub restart_policy: Option<Cow<'a, str>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct RawStatus<'a> {
    #[serde(borrow)]
    pub phase: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub start_time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub nominated_node_name: Option<Cow<'a, str>>,
}

impl<'a> RawPod<'a> {
    pub fn read(object: &'a Object) -> Result<Self, String> {
        reading::parse(&object.json)
            .map_err(|error| format!("{}: cannot be read: {error}", object.reference))
    }

    pub fn node_name(&self) -> &str {
        self.spec.node_name.as_deref().unwrap_or_default()
    }

    pub fn is_terminating(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    pub fn is_finished(&self) -> bool {
        matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"))
    }

    pub fn priority(&self) -> i32 {
        self.spec.priority.unwrap_or(0)
    }

    pub fn may_preempt(&self) -> bool {
        self.spec.preemption_policy.as_deref() != Some("Never")
    }

    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Where room was made for it earlier.
    pub fn nominated_node(&self) -> Option<&str> {
        self.status.nominated_node_name.as_deref().filter(|name| !name.is_empty())
    }

    /// The controller, by which pods of one set are told.
    pub fn controller(&self) -> Option<&str> {
        let owners = self.metadata.owner_references.as_deref().unwrap_or_default();
        owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| &*owner.uid)
    }

    /// Names of the claims that its volumes use, and whether each was made for
    /// this pod alone.
    pub fn claims(&self) -> impl Iterator<Item = (String, bool)> {
        self.spec.volumes.iter().flatten().filter_map(|volume| {
            match (&volume.persistent_volume_claim, &volume.ephemeral) {
                (Some(claim), _) => Some((claim.claim_name.to_string(), false)),
                (None, Some(_)) => Some((format!("{}-{}", self.name(), volume.name), true)),
                (None, None) => None,
            }
        })
    }

    /// Equal for pods that no rule of this scheduler can tell apart.
    pub fn key(&self, profile: usize) -> Vec<u8> {
        let spec = &self.spec;
        let mut key = Parts::default();
        if profile > 0 {
            key.push(profile.to_string().as_bytes());
        }
        key.push(self.controller().unwrap_or_default().as_bytes());
        key.push(self.namespace().as_bytes());
        key.push_raw(self.metadata.labels);
        key.push_raw(spec.topology_spread_constraints);
        for raw in
            [spec.node_selector, spec.affinity, spec.tolerations, spec.overhead, spec.resources]
        {
            key.push_raw(raw);
        }
        key.push(if spec.host_network == Some(true) { b"host" } else { b"" });
        for containers in [&spec.init_containers, &spec.containers] {
            key.push(b"\x1e");
            for container in containers.iter().flatten() {
                key.push(container.image.as_deref().unwrap_or_default().as_bytes());
                key.push_raw(container.resources);
                key.push_raw(container.ports);
                key.push(container.restart_policy.as_deref().unwrap_or_default().as_bytes());
            }
        }
        for (claim, own) in self.claims() {
            key.push(if own { b"own claim" } else { b"claim" });
            key.push(claim.as_bytes());
        }
        key.0
    }
}

/// Texts in a row, told apart by a byte that is in none of them.
pub struct Parts(pub Vec<u8>);

impl Default for Parts {
    fn default() -> Self {
        Parts(Vec::with_capacity(768))
    }
}

impl Parts {
    pub fn push(&mut self, text: &[u8]) {
        self.0.extend_from_slice(text);
        self.0.push(0x1f);
    }

    pub fn push_raw(&mut self, raw: Option<Raw<'_>>) {
        self.push(raw.map_or(b"", Raw::json));
    }
}
