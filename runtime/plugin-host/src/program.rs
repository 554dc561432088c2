//! A version of a plugin that is ready to be instantiated: checked component,
//! configuration, budgets, grants, and what it said of itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use wasmtime::Store;
use wasmtime::component::InstancePre;

use crate::artifact::{Artifact, ArtifactError, Digest};
use crate::bindings::{
    admission, authorizer, cni, controller, scheduler, scheduler_extension, types,
};
use crate::budget::Budgets;
use crate::cluster::Cluster;
use crate::engine::Wasm;
use crate::grants::Grants;
use crate::lister::{Reader, Reads};
use crate::logging::PluginLog;
use crate::metrics::Metrics;
use crate::plugin::{GrantRule, Role};
use crate::sandbox::{self, Fault, Sandbox, State, Surroundings};
use crate::source::{FetchError, NotVouched};

/// The number of the next load.
static NEXT_LOAD: AtomicU64 = AtomicU64::new(1);

/// What the worlds have in common.
pub(crate) trait World: Sized + Send + 'static {
    const ROLE: Role;
    type Pre: Send + Sync + 'static;
    type Description: Send + Sync + 'static;

    fn prepare(pre: InstancePre<State>) -> wasmtime::Result<Self::Pre>;
    fn instantiate(pre: &Self::Pre, store: &mut Store<State>) -> wasmtime::Result<Self>;
    fn describe(
        &self,
        store: &mut Store<State>,
        config: &[u8],
    ) -> wasmtime::Result<Result<Self::Description, String>>;
    fn manifest(description: &Self::Description) -> &types::Manifest;
}

macro_rules! world {
    ($world:ty, $pre:ty, $role:expr, $description:ty, $interface:ident) => {
        impl World for $world {
            const ROLE: Role = $role;
            type Pre = $pre;
            type Description = $description;

            fn prepare(pre: InstancePre<State>) -> wasmtime::Result<Self::Pre> {
                <$pre>::new(pre)
            }

            fn instantiate(pre: &Self::Pre, store: &mut Store<State>) -> wasmtime::Result<Self> {
                pre.instantiate(store)
            }

            fn describe(
                &self,
                store: &mut Store<State>,
                config: &[u8],
            ) -> wasmtime::Result<Result<Self::Description, String>> {
                self.$interface().call_describe(store, config)
            }

            fn manifest(description: &Self::Description) -> &types::Manifest {
                &description.manifest
            }
        }
    };
}

pub(crate) use crate::bindings::admission::exports::pintle::plugin::admission as admission_interface;
pub(crate) use crate::bindings::authorizer::exports::pintle::plugin::authorizer as authorizer_interface;
pub(crate) use crate::bindings::cni::exports::pintle::plugin::cni as cni_interface;
pub(crate) use crate::bindings::controller::exports::pintle::plugin::controller as controller_interface;
pub(crate) use crate::bindings::scheduler::exports::pintle::plugin::scheduler as scheduler_interface;
pub(crate) use crate::bindings::scheduler_extension::exports::pintle::plugin::scheduler_extension as extension_interface;

world!(
    controller::ControllerPlugin,
    controller::ControllerPluginPre<State>,
    Role::Controller,
    controller_interface::Description,
    pintle_plugin_controller
);
world!(
    scheduler::SchedulerPlugin,
    scheduler::SchedulerPluginPre<State>,
    Role::Scheduler,
    scheduler_interface::Description,
    pintle_plugin_scheduler
);
world!(
    scheduler_extension::SchedulerExtensionPlugin,
    scheduler_extension::SchedulerExtensionPluginPre<State>,
    Role::SchedulerExtension,
    extension_interface::Description,
    pintle_plugin_scheduler_extension
);
world!(
    admission::AdmissionPlugin,
    admission::AdmissionPluginPre<State>,
    Role::Admission,
    admission_interface::Description,
    pintle_plugin_admission
);
world!(
    authorizer::AuthorizerPlugin,
    authorizer::AuthorizerPluginPre<State>,
    Role::Authorizer,
    authorizer_interface::Description,
    pintle_plugin_authorizer
);
world!(
    cni::CniPlugin,
    cni::CniPluginPre<State>,
    Role::Cni,
    cni_interface::Description,
    pintle_plugin_cni
);

/// Why a version cannot be activated.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    #[error("the component does not link against role {role}")]
    Link {
        role: Role,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("the first call of the component failed: {0}")]
    Start(Fault),
    #[error("the plugin refuses its configuration: {0}")]
    Config(String),
    #[error("the plugin needs what spec.grants does not give it: {missing}")]
    NeedsNotGranted { missing: String, needs: Vec<GrantRule> },
    /// The role's own checks of the description.
    #[error("{0}")]
    Description(String),
    #[error("{0}")]
    Source(String),
    /// Not an error yet: it is looked at again when the component has come.
    #[error("the component is being pulled")]
    Pulling,
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    NotVouched(#[from] NotVouched),
}

impl LoadError {
    /// One word for status.reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Artifact(error) => error.reason(),
            Self::Link { .. } => "DoesNotLink",
            Self::Start(fault) => fault.reason(),
            Self::Config(_) => "InvalidConfig",
            Self::NeedsNotGranted { .. } => "NeedsNotGranted",
            Self::Description(_) => "InvalidDescription",
            Self::Source(_) => "SourceUnavailable",
            Self::Pulling => "Loading",
            Self::Fetch(error) => error.reason(),
            Self::NotVouched(error) => error.reason(),
        }
    }
}

/// Which grants a version gets.
#[derive(Debug, Clone)]
pub(crate) enum GrantPolicy {
    /// Those, and its needs must be covered by them.
    Given(Grants),
    /// What its manifest asks for: it came with the server.
    AsNeeded,
}

/// What a program is made of, besides its component.
pub(crate) struct Ingredients {
    pub name: Arc<str>,
    pub config: Bytes,
    pub budgets: Budgets,
    pub grants: GrantPolicy,
    /// None where there is no cluster to read from (on a node).
    pub cluster: Option<Arc<dyn Cluster>>,
    pub metrics: Arc<Metrics>,
}

pub(crate) struct Program<W: World> {
    pub name: Arc<str>,
    pub digest: Digest,
    pub description: W::Description,
    pub grants: Arc<Grants>,
    pub metrics: Arc<Metrics>,
    /// Each load has a number of its own.
    pub load: u64,
    pre: W::Pre,
    wasi: bool,
    wasm: Arc<Wasm>,
    config: Bytes,
    surroundings: Surroundings,
}

impl<W: World> Program<W> {
    /// Links the component, asks it to describe itself and checks the answer
    /// against its grants.
    pub fn load(
        wasm: &Arc<Wasm>,
        artifact: &Artifact,
        ingredients: Ingredients,
    ) -> Result<Self, LoadError> {
        let link =
            |source: wasmtime::Error| LoadError::Link { role: W::ROLE, source: source.into() };
        let linker = sandbox::linker(wasm, artifact).map_err(link)?;
        let pre = linker.instantiate_pre(&artifact.component).map_err(link)?;
        let pre = W::prepare(pre).map_err(link)?;
        let log = Arc::new(PluginLog::new(ingredients.name.clone()));
        let no_reads = Surroundings {
            budgets: ingredients.budgets,
            reader: None,
            log: log.clone(),
            cpu: None,
        };
        let (_, description) =
            start::<W>(wasm, artifact.wasi, &pre, &no_reads, &ingredients.config).map_err(
                |fault| match fault {
                    Fault::Config(message) => LoadError::Config(message),
                    fault => LoadError::Start(fault),
                },
            )?;
        let manifest = W::manifest(&description);
        let grants = match ingredients.grants {
            GrantPolicy::AsNeeded => Grants::of_manifest(manifest),
            GrantPolicy::Given(grants) => match grants.missing(manifest) {
                None => grants,
                Some(missing) => {
                    let needs = Grants::of_manifest(manifest).rules().to_vec();
                    return Err(LoadError::NeedsNotGranted { missing, needs });
                }
            },
        };
        let grants = Arc::new(grants);
        let limit = ingredients.budgets.cpu_millicores;
        let cpu = limit.map(|millicores| ingredients.metrics.cpu_share(millicores));
        let reader = ingredients.cluster.map(|cluster| -> Arc<dyn Reads> {
            let plugin = ingredients.name.clone();
            Arc::new(Reader { cluster, grants: grants.clone(), plugin })
        });
        Ok(Self {
            name: ingredients.name,
            digest: artifact.digest.clone(),
            description,
            grants,
            metrics: ingredients.metrics,
            load: NEXT_LOAD.fetch_add(1, Ordering::Relaxed),
            pre,
            wasi: artifact.wasi,
            wasm: wasm.clone(),
            config: ingredients.config,
            surroundings: Surroundings { budgets: ingredients.budgets, reader, log, cpu },
        })
    }

    /// A fresh, configured instance.
    pub fn start(&self) -> Result<Sandbox<W>, Fault> {
        start::<W>(&self.wasm, self.wasi, &self.pre, &self.surroundings, &self.config)
            .map(|(sandbox, _)| sandbox)
    }

    /// A fresh instance that reads elsewhere, under other budgets or says
    /// nothing: what runs beside the active one, or long after it.
    pub fn start_with(&self, change: impl FnOnce(&mut Surroundings)) -> Result<Sandbox<W>, Fault> {
        // What runs beside the active one must not use up its share.
        let mut surroundings = Surroundings { cpu: None, ..self.surroundings.clone() };
        change(&mut surroundings);
        start::<W>(&self.wasm, self.wasi, &self.pre, &surroundings, &self.config)
            .map(|(sandbox, _)| sandbox)
    }

    /// The configuration as the plugin gets it.
    pub fn config(&self) -> &Bytes {
        &self.config
    }

    pub fn budgets(&self) -> &Budgets {
        &self.surroundings.budgets
    }

    pub fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    /// Until when the plugin has to wait because it has used up its share of the
    /// processors.
    pub fn in_debt_until(&self, now: Instant) -> Option<Instant> {
        self.surroundings.cpu.as_ref()?.in_debt_until(now)
    }

    /// Needs a thread that may block.
    pub fn is_wasi(&self) -> bool {
        self.wasi
    }

    pub fn manifest(&self) -> &types::Manifest {
        W::manifest(&self.description)
    }
}

fn start<W: World>(
    wasm: &Arc<Wasm>,
    wasi: bool,
    pre: &W::Pre,
    surroundings: &Surroundings,
    config: &[u8],
) -> Result<(Sandbox<W>, W::Description), Fault> {
    let mut sandbox = Sandbox::new(wasm, wasi, surroundings, |store| W::instantiate(pre, store))?;
    let (described, _) = sandbox.call(|world, store| world.describe(store, config));
    match described? {
        Ok(description) => Ok((sandbox, description)),
        Err(message) => Err(Fault::Config(message)),
    }
}
