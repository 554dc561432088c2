//! The part of a Pod that a node acts on, typed. Fields that are not named here
//! do not concern the node.

mod container;
mod volume;

use pintle_api::meta::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use container::{
    Capabilities, Container, ContainerPort, EnvFrom, EnvVar, EnvVarSource, ExecAction, FieldRef,
    Handler, HttpGetAction, KeyRef, Lifecycle, ObjectNameRef, Probe, ResourceFieldRef,
    ResourceRequirements, SecurityContext, SleepAction, TcpSocketAction, VolumeMount,
};
pub use volume::{
    ClaimSource, ConfigMapSource, DownwardItem, DownwardSource, EmptyDir, HostPath, KeyToPath,
    Projected, ProjectedSource, SecretSource, Volume,
};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pod {
    pub metadata: ObjectMeta,
    pub spec: PodSpec,
    /// As the API has it; the node writes it, and reads it back after a loss of
    /// its own state.
    pub status: Value,
}

impl Pod {
    pub fn uid(&self) -> &str {
        &self.metadata.uid
    }

    /// Init containers first, in the order they are written.
    pub fn all_containers(&self) -> impl Iterator<Item = &Container> {
        self.spec.init_containers.iter().chain(&self.spec.containers)
    }

    pub fn container(&self, name: &str) -> Option<&Container> {
        self.all_containers().find(|container| container.name == name)
    }

    pub fn is_init(&self, name: &str) -> bool {
        self.spec.init_containers.iter().any(|container| container.name == name)
    }

    /// The whole grace period of a deletion that was asked for, in seconds.
    pub fn deletion_grace_seconds(&self) -> i64 {
        self.metadata
            .deletion_grace_period_seconds
            .unwrap_or(self.spec.termination_grace_period_seconds)
            .max(0)
    }

    pub fn is_being_deleted(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    pub node_name: String,
    pub containers: Vec<Container>,
    pub init_containers: Vec<Container>,
    pub volumes: Vec<Volume>,
    pub restart_policy: RestartPolicy,
    pub termination_grace_period_seconds: i64,
    pub active_deadline_seconds: Option<i64>,
    pub host_network: bool,
    #[serde(rename = "hostPID")]
    pub host_pid: bool,
    #[serde(rename = "hostIPC")]
    pub host_ipc: bool,
    pub hostname: String,
    pub subdomain: String,
    #[serde(rename = "setHostnameAsFQDN")]
    pub set_hostname_as_fqdn: bool,
    pub dns_policy: String,
    pub dns_config: DnsConfig,
    pub host_aliases: Vec<HostAlias>,
    pub security_context: PodSecurityContext,
    pub service_account_name: String,
    pub enable_service_links: Option<bool>,
    pub share_process_namespace: bool,
}

impl Default for PodSpec {
    fn default() -> Self {
        PodSpec {
            node_name: String::new(),
            containers: Vec::new(),
            init_containers: Vec::new(),
            volumes: Vec::new(),
            restart_policy: RestartPolicy::Always,
            termination_grace_period_seconds: 30,
            active_deadline_seconds: None,
            host_network: false,
            host_pid: false,
            host_ipc: false,
            hostname: String::new(),
            subdomain: String::new(),
            set_hostname_as_fqdn: false,
            dns_policy: String::new(),
            dns_config: DnsConfig::default(),
            host_aliases: Vec::new(),
            security_context: PodSecurityContext::default(),
            service_account_name: String::new(),
            enable_service_links: None,
            share_process_namespace: false,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    #[default]
    Always,
    OnFailure,
    Never,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DnsConfig {
    pub nameservers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<DnsOption>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DnsOption {
    pub name: String,
    pub value: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostAlias {
    pub ip: String,
    pub hostnames: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSecurityContext {
    pub run_as_user: Option<u32>,
    pub run_as_group: Option<u32>,
    pub run_as_non_root: Option<bool>,
    pub fs_group: Option<u32>,
    pub supplemental_groups: Vec<u32>,
    pub sysctls: Vec<NameValue>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NameValue {
    pub name: String,
    pub value: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_of_the_api_reads_with_defaults() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "a", "namespace": "default", "uid": "u"},
            "spec": {
                "containers": [{"name": "c", "image": "busybox", "readinessProbe": {"tcpSocket": {"port": 80}}}],
                "volumes": [{"name": "v", "emptyDir": {}}, {"name": "x", "nfs": {"server": "s"}}],
                "tolerations": [{"operator": "Exists"}],
            },
        }))
        .unwrap();
        assert_eq!(pod.spec.termination_grace_period_seconds, 30);
        assert_eq!(pod.spec.restart_policy, RestartPolicy::Always);
        assert_eq!(pod.spec.volumes[0].empty_dir, Some(EmptyDir::default()));
        assert!(pod.spec.volumes[1].other.contains_key("nfs"));
        let probe = pod.spec.containers[0].readiness_probe.as_ref().unwrap();
        assert_eq!(probe.period_seconds, 10);
        assert!(probe.handler.tcp_socket.is_some());
    }
}
