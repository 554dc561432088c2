//! The pod as a whole: volumes, network, shim; and taking them down again.

use std::collections::BTreeMap;

use pintle_containers::{Sandbox as Shim, SandboxError, SandboxSpec};

use super::Driver;
use crate::client::{ApiError, chain};
use crate::events::Kind;
use crate::pod::env::{EnvContext, Objects};
use crate::pod::images::blocking;
use crate::pod::resources::{cgroup_parent, pod_resources};
use crate::pod::runtime::Sandbox;
use crate::pod::step::{Desired, ends};
use crate::pod::{claims, files, volumes};

impl Driver {
    pub(super) async fn prepare_volumes(&mut self) {
        let (config_maps, secrets) = volumes::referenced(self.pod());
        let fetched = match self.env_context(config_maps, secrets).await {
            Ok(mut context) => self.claims().await.map(|claims| {
                context.objects.claims = claims;
                context
            }),
            Err(error) => Err(error),
        };
        let context = match fetched {
            Ok(context) => context,
            Err(error) if error.is_transient() && volumes::present(&self.record, self.pod()) => {
                self.runtime.volumes_ready = true;
                return;
            }
            Err(error) => return self.volumes_failed(chain(&error)),
        };
        let (record, pod) = (self.record.clone(), self.pod().clone());
        let prepared = blocking(move || {
            volumes::prepare(&record, &pod, &context).map_err(|error| chain(&error))
        })
        .await;
        match prepared {
            Ok(()) => {
                self.runtime.volumes_ready = true;
                self.runtime.sandbox_failure = None;
            }
            Err(message) => self.volumes_failed(message),
        }
    }

    fn volumes_failed(&mut self, message: String) {
        self.event(None, Kind::Warning, "FailedMount", message.clone());
        let now = self.now();
        self.runtime.sandbox_failed("FailedMount", message, now);
    }

    /// The claims that volumes name, and what they are bound to, fetched.
    async fn claims(&self) -> Result<BTreeMap<String, claims::Claimed>, ApiError> {
        let namespace = &self.pod().metadata.namespace;
        let mut found = BTreeMap::new();
        for name in claims::referenced(self.pod()) {
            let path = format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}");
            let claim = self.look_up(&path).await?;
            let mut claimed = claims::Claimed { claim, ..claims::Claimed::default() };
            if let Some(volume) = claimed.claim.as_ref().and_then(claims::bound_to) {
                let path = format!("/api/v1/persistentvolumes/{volume}");
                claimed.volume = self.look_up(&path).await?;
            }
            if claimed.volume.as_ref().is_some_and(|v| !v["spec"]["nodeAffinity"].is_null()) {
                let path = format!("/api/v1/nodes/{}", self.shared.node_name);
                let node = self.look_up(&path).await?.unwrap_or_default();
                claimed.node_labels = node["metadata"]["labels"].clone();
            }
            found.insert(name, claimed);
        }
        Ok(found)
    }

    /// `None` when there is no such object.
    async fn look_up(&self, path: &str) -> Result<Option<serde_json::Value>, ApiError> {
        match self.shared.api.get(path).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What environments and volumes refer to, fetched.
    pub(super) async fn env_context(
        &self,
        config_maps: Vec<String>,
        secrets: Vec<String>,
    ) -> Result<EnvContext, ApiError> {
        let namespace = &self.pod().metadata.namespace;
        let mut objects = Objects::default();
        for (plural, names, into) in [
            ("configmaps", config_maps, &mut objects.config_maps),
            ("secrets", secrets, &mut objects.secrets),
        ] {
            for name in names {
                let path = format!("/api/v1/namespaces/{namespace}/{plural}/{name}");
                let object = self.look_up(&path).await?;
                into.insert(name, object);
            }
        }
        Ok(EnvContext {
            node_name: self.shared.node_name.clone(),
            host_ip: self.shared.node_ip.clone(),
            pod_ips: self.pod_ips(),
            node_cpu_milli: self.shared.facts.cpus * 1000,
            node_memory_bytes: self.shared.facts.memory_bytes,
            node_storage_bytes: self.shared.facts.storage_bytes,
            objects,
        })
    }

    pub(super) fn pod_ips(&self) -> Vec<String> {
        match self.pod().spec.host_network {
            true => vec![self.shared.node_ip.clone()],
            false => self.runtime.ips.iter().map(ToString::to_string).collect(),
        }
    }

    pub(super) async fn create_sandbox(&mut self) {
        // Written down first: from here on there may be something to take down.
        if self.runtime.sandbox == Sandbox::Creating
            && let Err(message) = self.take_down().await
        {
            return self.sandbox_failed(message);
        }
        self.runtime.sandbox = Sandbox::Creating;
        self.save();
        match self.make_sandbox().await {
            Ok(()) => self.save(),
            Err(message) => self.sandbox_failed(format!("Failed to create pod sandbox: {message}")),
        }
    }

    fn sandbox_failed(&mut self, message: String) {
        self.event(None, Kind::Warning, "FailedCreatePodSandBox", message.clone());
        let now = self.now();
        self.runtime.sandbox_failed("FailedCreatePodSandBox", message, now);
        self.save();
    }

    async fn make_sandbox(&mut self) -> Result<(), String> {
        let pod = self.pod().clone();
        let meta = &pod.metadata;
        let mut netns = None;
        let mut ips = Vec::new();
        if !pod.spec.host_network {
            let network = self.shared.network.clone();
            let network = network
                .ok_or("this node has no network plugin, only pods with hostNetwork can run")?;
            ips = network
                .set_up(&meta.uid, &meta.namespace, &meta.name)
                .await
                .map_err(|error| chain(&error))?;
            netns = Some(network.netns(&meta.uid));
        }
        let spec = SandboxSpec {
            id: meta.uid.clone(),
            state_dir: self.record.sandbox(),
            hostname: files::hostname(&pod, &self.shared.node_name),
            netns,
            host_ipc: pod.spec.host_ipc,
            host_pid: pod.spec.host_pid,
            host_uts: pod.spec.host_network,
            cgroup_parent: cgroup_parent(&pod),
            resources: pod_resources(&pod, self.shared.pids_limit),
            shim_binary: self.shared.shim_binary.clone(),
            runtime: self.shared.runtime_binary.clone(),
            sysctls: pod
                .spec
                .security_context
                .sysctls
                .iter()
                .map(|sysctl| (sysctl.name.clone(), sysctl.value.clone()))
                .collect(),
            labels: BTreeMap::from([
                ("io.kubernetes.pod.namespace".to_owned(), meta.namespace.clone()),
                ("io.kubernetes.pod.name".to_owned(), meta.name.clone()),
                ("io.kubernetes.pod.uid".to_owned(), meta.uid.clone()),
            ]),
        };
        let addresses = match pod.spec.host_network {
            true => vec![self.shared.node_ip.clone()],
            false => ips.iter().map(ToString::to_string).collect(),
        };
        let (etc, shared) = (self.record.etc(), self.shared.clone());
        blocking(move || {
            files::write(&etc, &pod, &shared.node_name, &addresses, &shared.dns)
                .map_err(|error| format!("cannot write the pod's /etc files: {error}"))
        })
        .await?;
        let sandbox = Shim::create(spec).await.map_err(|error| chain(&error))?;
        self.runtime.sandbox_ready(ips);
        self.connected(sandbox);
        Ok(())
    }

    pub(super) async fn tear_down(&mut self) {
        let now = self.now();
        let desired = Desired { pod: &self.wanted.pod, gone: self.wanted.gone };
        let goes_on = !ends(desired, &self.runtime, now);
        match self.take_down().await {
            Ok(()) => {
                let pod = self.pod().clone();
                self.runtime.sandbox_failure = None;
                self.runtime.sandbox_gone(&pod, goes_on);
                if goes_on {
                    self.event(
                        None,
                        Kind::Normal,
                        "SandboxChanged",
                        "Pod sandbox changed, it will be killed and re-created.",
                    );
                }
            }
            Err(message) => {
                self.event(
                    None,
                    Kind::Warning,
                    "FailedKillPod",
                    format!("error killing pod: {message}"),
                );
                self.runtime.sandbox_failed("FailedKillPod", message, now);
            }
        }
        self.save();
    }

    /// Removes shim, root file systems and network, however much of them there
    /// is. Repeatable.
    async fn take_down(&mut self) -> Result<(), String> {
        self.stop_probes();
        self.events = None;
        let dir = self.record.sandbox();
        let live = match self.sandbox.take() {
            Some(sandbox) => Some(sandbox),
            None => match Shim::reconnect(&dir).await {
                Ok(found) => found.live,
                Err(SandboxError::NoIntent(_)) => None,
                Err(error) => return Err(chain(&error)),
            },
        };
        if let Some(sandbox) = live {
            match end_shim(&sandbox).await {
                Ok(()) => {}
                Err(SandboxError::ShimLost) => {
                    return Err("the pod's shim went away while it was stopped".into());
                }
                Err(error) => return Err(chain(&error)),
            }
        }
        Shim::forget(&dir).await.map_err(|error| chain(&error))?;
        let pod = self.pod().clone();
        let attempts: Vec<(String, u32)> =
            self.runtime.containers.iter().map(|(name, c)| (name.clone(), c.attempt)).collect();
        for (name, attempt) in attempts {
            for attempt in attempt.saturating_sub(1)..=attempt {
                self.shared.images.remove(self.snapshot_key(&name, attempt)).await?;
            }
        }
        if let (Some(network), false) = (self.shared.network.clone(), pod.spec.host_network) {
            let meta = &pod.metadata;
            network
                .tear_down(&meta.uid, &meta.namespace, &meta.name)
                .await
                .map_err(|error| chain(&error))?;
        }
        Ok(())
    }

    pub(super) fn snapshot_key(&self, container: &str, attempt: u32) -> String {
        format!("{}-{container}-{attempt}", self.pod().uid())
    }
}

async fn end_shim(sandbox: &Shim) -> Result<(), SandboxError> {
    for state in sandbox.containers() {
        match sandbox.stop(&state.name, std::time::Duration::ZERO).await {
            Ok(_) | Err(SandboxError::NotStarted(_) | SandboxError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        sandbox.delete(&state.name).await?;
    }
    sandbox.shutdown().await
}
