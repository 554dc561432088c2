//! What of a pod the standards look at.

use std::collections::BTreeMap;

use serde::Deserialize;

macro_rules! optional {
    ($($(#[$meta:meta])* pub struct $name:ident { $(pub $field:ident: $type:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name { $(pub $field: Option<$type>,)* }
    )*};
}

optional! {
    pub struct Metadata {
        pub name: String,
        pub annotations: BTreeMap<String, String>,
        pub labels: BTreeMap<String, String>,
    }

    pub struct PodSpec {
        pub init_containers: Vec<Container>,
        pub containers: Vec<Container>,
        pub ephemeral_containers: Vec<Container>,
        pub volumes: Vec<BTreeMap<String, serde_json::Value>>,
        pub security_context: SecurityContext,
        pub host_network: bool,
        pub host_users: bool,
        pub runtime_class_name: String,
        pub os: Os,
    }

    pub struct Os {
        pub name: String,
    }

    pub struct Container {
        pub name: String,
        pub ports: Vec<Port>,
        pub security_context: SecurityContext,
        pub liveness_probe: Handler,
        pub readiness_probe: Handler,
        pub startup_probe: Handler,
        pub lifecycle: Lifecycle,
    }

    pub struct Lifecycle {
        pub post_start: Handler,
        pub pre_stop: Handler,
    }

    pub struct Handler {
        pub http_get: Host,
        pub tcp_socket: Host,
    }

    pub struct Host {
        pub host: String,
    }

    pub struct Port {
        pub host_port: i64,
    }

    /// Of a pod or of a container; each has only some of the fields.
    pub struct SecurityContext {
        pub privileged: bool,
        pub allow_privilege_escalation: bool,
        pub run_as_non_root: bool,
        pub run_as_user: i64,
        pub proc_mount: String,
        pub capabilities: Capabilities,
        pub seccomp_profile: Profile,
        pub app_armor_profile: Profile,
        pub se_linux_options: SeLinuxOptions,
        pub windows_options: WindowsOptions,
        pub sysctls: Vec<Sysctl>,
    }

    pub struct Capabilities {
        pub add: Vec<String>,
        pub drop: Vec<String>,
    }

    pub struct Profile {
        pub r#type: String,
    }

    pub struct SeLinuxOptions {
        pub r#type: String,
        pub user: String,
        pub role: String,
    }

    pub struct WindowsOptions {
        pub host_process: bool,
    }

    pub struct Sysctl {
        pub name: String,
    }
}

/// Fields whose names are not in the usual case.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct HostNamespaces {
    #[serde(rename = "hostPID")]
    pub pid: Option<bool>,
    #[serde(rename = "hostIPC")]
    pub ipc: Option<bool>,
}

/// A pod, or what a workload makes pods of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Template {
    pub metadata: Metadata,
    pub spec: PodSpec,
    pub host: HostNamespaces,
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Raw {
            metadata: Option<Metadata>,
            spec: Option<serde_json::Value>,
        }
        let raw = Raw::deserialize(deserializer)?;
        let spec = match raw.spec {
            Some(spec) if !spec.is_null() => spec,
            _ => {
                return Ok(Template {
                    metadata: raw.metadata.unwrap_or_default(),
                    ..Template::default()
                });
            }
        };
        Ok(Template {
            metadata: raw.metadata.unwrap_or_default(),
            spec: PodSpec::deserialize(&spec).map_err(D::Error::custom)?,
            host: HostNamespaces::deserialize(&spec).map_err(D::Error::custom)?,
        })
    }
}

impl Template {
    /// In the order in which messages name them.
    pub fn containers(&self) -> impl Iterator<Item = &Container> {
        [&self.spec.init_containers, &self.spec.containers, &self.spec.ephemeral_containers]
            .into_iter()
            .flatten()
            .flatten()
    }

    pub fn is_windows(&self) -> bool {
        self.spec.os.as_ref().is_some_and(|os| os.name.as_deref() == Some("windows"))
    }

    /// Its users are not the node's.
    pub fn has_own_users(&self) -> bool {
        self.spec.host_users == Some(false)
    }
}

impl Container {
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }
}
