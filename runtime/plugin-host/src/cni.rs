//! Pod networking plans, for the node agent: one component, no cluster.
//!
//! Calls block the thread for some microseconds, at most for the deadline;
//! an async caller uses `spawn_blocking`.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;

use crate::artifact::{Artifacts, CacheError, Digest};
use crate::bindings::cni::CniPlugin as CniWorld;
use crate::bindings::types::Context;
use crate::budget::Budgets;
use crate::compile::Compiler;
use crate::engine::{EngineError, Wasm};
use crate::grants::Grants;
use crate::metrics::{Counters, Metrics};
use crate::plugin::{BudgetSpec, Role};
pub use crate::program::cni_interface::{
    AddResult, Address, InterfaceResult, LinkIn, Neighbour, NetOp, Node, Peer, Reservation, Route,
    Sandbox, Sysctl, Veth,
};
use crate::program::{GrantPolicy, Ingredients, LoadError, Program};
use crate::sandbox::{self, Fault};
use crate::seed::Seeds;

#[derive(Debug, thiserror::Error)]
pub enum CniError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The plugin gave no answer; the next call gets a fresh instance.
    #[error("the network plugin misbehaved: {0}")]
    Fault(#[from] Fault),
    /// The plugin's own reason.
    #[error("the network plugin says: {0}")]
    Refused(String),
}

/// A loaded network plugin.
pub struct CniPlugin {
    program: Program<CniWorld>,
    instance: Mutex<Option<sandbox::Sandbox<CniWorld>>>,
    metrics: Arc<Metrics>,
    seeds: Seeds,
}

impl CniPlugin {
    /// `cache_directory` keeps compiled code and must belong to this user alone.
    pub fn load(
        cache_directory: &Path,
        compiler: &Compiler,
        name: &str,
        component: &[u8],
        digest: Option<&str>,
        config: &Value,
        budgets: &BudgetSpec,
    ) -> Result<Self, CniError> {
        let wasm = Wasm::new()?;
        let artifacts = Artifacts::open(wasm.clone(), cache_directory, compiler.clone())?;
        let artifact = artifacts.load(component, digest, Role::Cni).map_err(LoadError::from)?;
        let config = if config.is_null() { "{}".to_owned() } else { config.to_string() };
        let metrics = Arc::new(Metrics::default());
        let program = Program::load(
            &wasm,
            &artifact,
            Ingredients {
                name: name.into(),
                config: Bytes::from(config),
                budgets: Budgets::from_spec(Role::Cni, budgets),
                grants: GrantPolicy::Given(Grants::default()),
                cluster: None,
                metrics: metrics.clone(),
            },
        )?;
        Ok(Self { program, instance: Mutex::new(None), metrics, seeds: Seeds::starting_at(0) })
    }

    pub fn digest(&self) -> &Digest {
        &self.program.digest
    }

    /// The version that the plugin gives itself.
    pub fn version(&self) -> &str {
        &self.program.manifest().version
    }

    pub fn counters(&self) -> Counters {
        self.metrics.read()
    }

    /// Drops the instance and all it may remember; the next call gets a fresh one.
    pub fn reset(&self) {
        *self.instance.lock() = None;
    }

    /// Addresses to reserve and the plan that connects a new sandbox.
    pub fn add(
        &self,
        now_unix_ms: i64,
        node: &Node,
        sandbox: &Sandbox,
        reserved: &[Reservation],
    ) -> Result<AddResult, CniError> {
        self.call(now_unix_ms, |world, store, context| {
            world.pintle_plugin_cni().call_add(store, context, node, sandbox, reserved)
        })
    }

    /// The plan that removes what `add` made.
    pub fn del(
        &self,
        now_unix_ms: i64,
        node: &Node,
        sandbox: &Sandbox,
    ) -> Result<Vec<NetOp>, CniError> {
        self.call(now_unix_ms, |world, store, context| {
            world.pintle_plugin_cni().call_del(store, context, node, sandbox)
        })
    }

    /// The plan that repairs a sandbox.
    pub fn check(
        &self,
        now_unix_ms: i64,
        node: &Node,
        sandbox: &Sandbox,
        addresses: &[String],
    ) -> Result<Vec<NetOp>, CniError> {
        self.call(now_unix_ms, |world, store, context| {
            world.pintle_plugin_cni().call_check(store, context, node, sandbox, addresses)
        })
    }

    /// The plan that follows a change of the other nodes.
    pub fn nodes_changed(
        &self,
        now_unix_ms: i64,
        node: &Node,
        before: &[Peer],
        now: &[Peer],
    ) -> Result<Vec<NetOp>, CniError> {
        self.call(now_unix_ms, |world, store, context| {
            world.pintle_plugin_cni().call_nodes_changed(store, context, node, before, now)
        })
    }

    fn call<R>(
        &self,
        now_unix_ms: i64,
        call: impl FnOnce(
            &CniWorld,
            &mut wasmtime::Store<sandbox::State>,
            Context,
        ) -> wasmtime::Result<Result<R, String>>,
    ) -> Result<R, CniError> {
        let mut instance = self.instance.lock();
        let mut sandbox = match instance.take() {
            Some(sandbox) => sandbox,
            None => self.program.start()?,
        };
        // No lister in this role, hence no revision.
        let context = Context { now_unix_ms, seed: self.seeds.next(), revision: 0 };
        sandbox.set_context(&context);
        let (result, usage) = sandbox.call(|world, store| call(world, store, context));
        self.metrics.call(&usage);
        match result {
            Ok(answer) => {
                *instance = Some(sandbox);
                answer.map_err(CniError::Refused)
            }
            Err(fault) => {
                self.metrics.strike(&fault);
                Err(fault.into())
            }
        }
    }
}
