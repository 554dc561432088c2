//! Extensions outside of a server, asked as a scheduler asks them: for benches.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::group::Extensions;
use super::unit::{ExtensionUnit, Terms};
use crate::artifact::Artifacts;
use crate::bindings::types::Context;
use crate::budget::Budgets;
use crate::cluster::{Cluster, EventBatch, ObjectHandle};
use crate::compile::Compiler;
use crate::engine::Wasm;
use crate::events::Sink as _;
use crate::plugin::{FailurePolicy, Role, RolloutSpec};
use crate::program::{GrantPolicy, Ingredients, LoadError, Program};
use crate::supervise::{Health, Rollout};

/// Some extensions over one cluster.
pub struct ExtensionPanel {
    group: Arc<Extensions>,
    artifacts: Artifacts,
}

impl ExtensionPanel {
    /// Nobody sits on it yet.
    pub fn new(cluster: Arc<dyn Cluster>, cache: &Path) -> Result<Self, LoadError> {
        let failed = |error: &dyn std::fmt::Display| LoadError::Source(error.to_string());
        let wasm = Wasm::new().map_err(|error| failed(&error))?;
        let artifacts =
            Artifacts::open(wasm, cache, Compiler::InProcess).map_err(|error| failed(&error))?;
        Ok(Self { group: Extensions::new(cluster), artifacts })
    }

    /// Seats an extension, which is told of all nodes.
    pub fn seat(&self, name: &str, component: &Bytes, config: &Value) -> Result<(), LoadError> {
        let role = Role::SchedulerExtension;
        let artifact = self.artifacts.load(component, None, role)?;
        let ingredients = Ingredients {
            name: name.into(),
            config: Bytes::from(config.to_string()),
            budgets: Budgets::of_role(role),
            grants: GrantPolicy::AsNeeded,
            cluster: None,
            metrics: Arc::default(),
        };
        let program = Program::load(self.artifacts.wasm(), &artifact, ingredients)?;
        let unit = ExtensionUnit::start(
            Arc::new(program),
            Rollout::from_spec(&RolloutSpec::default()),
            Terms { weight: 1, failure_policy: FailurePolicy::Fail },
            self.group.clone(),
            Health::new(Arc::default(), Box::new(|| {})),
        )?;
        self.group.put(Arc::new(unit));
        Ok(())
    }

    /// Shows them what happened.
    pub fn observe(&self, events: &EventBatch) {
        self.group.observe(events);
    }

    /// Asks about each of the pods in one call, and reads each verdict once.
    /// Returns how many different ones there were.
    pub fn ask(&self, pods: &[ObjectHandle]) -> Result<usize, String> {
        let context = Context { now_unix_ms: 0, seed: 0, revision: 0 };
        let Some((mut answers, heard)) = self.group.call(context, pods) else { return Ok(0) };
        let mut read = std::collections::BTreeSet::new();
        for pod in pods {
            let version = answers.evaluate(pod.uid()).map_err(|error| error.to_string())?;
            if read.insert(version) {
                answers.read(version).map_err(|error| error.to_string())?;
            }
        }
        let postponed = heard.lock().postponed.len();
        if postponed > 0 {
            return Err(format!("{postponed} pods were postponed"));
        }
        Ok(read.len())
    }
}
