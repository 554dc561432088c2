//! Who takes part: every default controller that works on what a cluster stores,
//! the admission plugins that decide about it, and the scheduler; each as its own
//! Rust type, or as the component that was built from it.

use pintle_sdk::admission::{Admission, Description, Operations, Request, Response, Rule};
use pintle_sdk::prelude::{JOB, NoConfig};
use pintle_sdk::{Context, Lister};
use pintle_sdk_testing::scenario::Company;
use pintle_sdk_testing::subject::{
    AdmissionSubject, ControllerSubject, SchedulerSubject, Subject, admission, controller,
    scheduler,
};
use pintle_sdk_testing::{Cluster, World};
use serde_json::{Value, json};

/// Makes the native cast and, for the components, the list of packages, from one list.
macro_rules! cast {
    (controllers { $($controller:ident as $name:literal $config:tt)* }
     admission { $($admission:ident as $admission_name:literal)* }) => {
        /// Crates `pintle-plugin-NAME`, with their configuration.
        fn controller_configs() -> Vec<(&'static str, Value)> {
            vec![$(($name, json!($config))),*]
        }

        const ADMISSION: &[&str] = &[$($admission_name),*];

        impl Cast {
            /// The Rust types themselves.
            pub fn native() -> Self {
                Cast {
                    controllers: vec![$(controller::<$controller::Plugin>()),*],
                    admission: vec![$(admission::<$admission::Plugin>()),*],
                    scheduler: scheduler::<pintle_plugin_scheduler::Plugin>(),
                }
            }
        }
    };
}

cast! {
    controllers {
        pintle_plugin_deployment as "deployment" {}
        pintle_plugin_replicaset as "replicaset" {}
        pintle_plugin_replicationcontroller as "replicationcontroller" {}
        pintle_plugin_statefulset as "statefulset" {}
        pintle_plugin_daemonset as "daemonset" {}
        pintle_plugin_job as "job" {}
        pintle_plugin_cronjob as "cronjob" {}
        pintle_plugin_ttl_after_finished as "ttl-after-finished" {}
        pintle_plugin_disruption as "disruption" {}
        pintle_plugin_endpoints as "endpoints" {}
        pintle_plugin_endpointslice as "endpointslice" {}
        pintle_plugin_endpointslice_mirroring as "endpointslice-mirroring" {}
        pintle_plugin_horizontal_pod_autoscaler as "horizontal-pod-autoscaler" {}
        pintle_plugin_persistent_volume as "persistent-volume" {}
        pintle_plugin_hostpath_provisioner as "hostpath-provisioner" {}
        pintle_plugin_namespace as "namespace" {}
        pintle_plugin_root_ca_publisher as "root-ca-publisher" {"rootCA": "a certificate"}
        pintle_plugin_node_ipam as "node-ipam" {}
        pintle_plugin_node_lifecycle as "node-lifecycle" {}
        pintle_plugin_pod_gc as "pod-gc" {}
        pintle_plugin_resource_quota_controller as "resource-quota-controller" {}
        pintle_plugin_garbage_collector as "garbage-collector" {}
    }
    admission {
        pintle_plugin_priority as "priority"
        pintle_plugin_default_tolerations as "default-tolerations"
        pintle_plugin_default_storage_class as "default-storage-class"
        pintle_plugin_service_account as "service-account"
        pintle_plugin_limit_ranger as "limit-ranger"
        pintle_plugin_resource_quota as "resource-quota"
    }
}

/// The plugins of one cluster. Belongs to one thread.
pub struct Cast {
    controllers: Vec<Subject<dyn ControllerSubject>>,
    admission: Vec<Subject<dyn AdmissionSubject>>,
    scheduler: Subject<dyn SchedulerSubject>,
}

impl Cast {
    /// A cluster with fresh instances of all of them.
    pub fn cluster(&self) -> Cluster {
        let mut cluster =
            Cluster::of(World::new()).with_admission(&admission::<ServerDefaults>(), json!({}));
        for (subject, (_, config)) in self.controllers.iter().zip(controller_configs()) {
            cluster = cluster.with_subject(subject, config);
        }
        for subject in &self.admission {
            cluster = cluster.with_admission(subject, json!({}));
        }
        cluster.with_scheduler(&self.scheduler, json!({}))
    }

    /// A cluster with the plugins that a table of scenarios names, and no others.
    /// Panics when one is none of these, for tests.
    pub fn company(&self, company: &Company) -> Cluster {
        let mut cluster = Cluster::new().with_admission(&admission::<ServerDefaults>(), json!({}));
        let config = |name: &String| company.config.get(name).cloned().unwrap_or(json!({}));
        for name in &company.plugins {
            let known = controller_configs();
            let Some(index) = known.iter().position(|(known, _)| known == name) else {
                panic!("no controller {name}");
            };
            cluster = cluster.with_subject(&self.controllers[index], config(name));
        }
        for name in &company.admission {
            let Some(index) = ADMISSION.iter().position(|known| known == name) else {
                panic!("no admission plugin {name}");
            };
            cluster = cluster.with_admission(&self.admission[index], config(name));
        }
        cluster
    }

    /// Every controller, by name.
    pub fn controllers(
        &self,
    ) -> impl Iterator<Item = (&'static str, &Subject<dyn ControllerSubject>, Value)> {
        let named = controller_configs().into_iter().zip(&self.controllers);
        named.map(|((name, config), subject)| (name, subject, config))
    }
}

/// Stands for what the API server itself fills in: the selector of a Job.
struct ServerDefaults;

impl Admission for ServerDefaults {
    type Config = NoConfig;

    fn new(_: NoConfig) -> Result<Self, String> {
        Ok(ServerDefaults)
    }

    fn describe(&self) -> Description {
        Description::new(pintle_sdk::manifest!()).mutating(Rule::on(JOB, Operations::CREATE))
    }

    fn review(&self, _: &Context, _: &dyn Lister, request: &Request) -> Response {
        let Ok(job) = request.object::<Value>() else { return Response::allow() };
        let label = "batch.kubernetes.io/job-name";
        let mut metadata = match &job["spec"]["template"]["metadata"] {
            known @ Value::Object(_) => known.clone(),
            _ => json!({}),
        };
        metadata["labels"][label] = job["metadata"]["name"].clone();
        let selector = json!({"matchLabels": {label: job["metadata"]["name"]}});
        let operations = [
            json!({"op": "add", "path": "/spec/selector", "value": selector}),
            json!({"op": "add", "path": "/spec/template/metadata", "value": metadata}),
        ];
        Response::patch_with(&operations)
    }
}

#[cfg(feature = "components")]
pub use components::Components;

#[cfg(feature = "components")]
mod components {
    use std::path::{Path, PathBuf};

    use pintle_sdk_testing::component;

    use super::{ADMISSION, Cast, controller_configs};

    /// The component files, built once for all threads.
    pub struct Components(Vec<PathBuf>);

    impl Components {
        /// Panics when they cannot be built, for tests.
        pub fn build() -> Self {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
            let configs = controller_configs();
            let names = configs.iter().map(|(name, _)| *name).chain(ADMISSION.iter().copied());
            let packages: Vec<String> =
                names.chain(["scheduler"]).map(|name| format!("pintle-plugin-{name}")).collect();
            let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
            let built = pintle_plugin_build::build(&root, &packages, &root.join("target/guests"));
            let built = built.unwrap_or_else(|error| panic!("{error}"));
            Components(built.into_iter().map(|one| one.path).collect())
        }

        /// Compiles every component; for one thread.
        pub fn cast(&self) -> Cast {
            let count = controller_configs().len();
            let (controllers, others) = self.0.split_at(count);
            let (admission, scheduler) = others.split_at(ADMISSION.len());
            Cast {
                controllers: controllers
                    .iter()
                    .map(|path| {
                        component::controller(path).unwrap_or_else(|error| panic!("{error:?}"))
                    })
                    .collect(),
                admission: admission
                    .iter()
                    .map(|path| {
                        component::admission(path).unwrap_or_else(|error| panic!("{error:?}"))
                    })
                    .collect(),
                scheduler: component::scheduler(&scheduler[0])
                    .unwrap_or_else(|error| panic!("{error:?}")),
            }
        }
    }
}
