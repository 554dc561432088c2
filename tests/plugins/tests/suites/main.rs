//! Every plugin of `plugins/` passes the suite of its role, as the component that
//! is shipped.
//!
//! `cluster.yaml` is the cluster that all of them look at. A new plugin without a
//! row fails the first test; its row says what it has to say about that cluster,
//! so put there what makes it speak.

mod network;

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Instant;

use pintle_plugin_host::Compiler;
use pintle_plugin_host::artifact::Artifacts;
use pintle_plugin_host::engine::Wasm;
use pintle_plugin_host::plugin::Role;
use pintle_plugin_host::trace::offline::Component;
use pintle_plugins::components;
use pintle_plugins::suite::{self, Case};
use pintle_sdk_testing::World;
use serde_json::json;

const fn case(plugin: &'static str, role: Role, says: &'static [&'static str]) -> Case {
    Case { plugin, role, config: || json!({}), says, unwatched: &[], remembers: false }
}

/// Written by the controller alone, as it goes.
const HISTORY: &[&str] = &["ControllerRevision"];

const CASES: &[Case] = &[
    case("always-pull-images", Role::Admission, &["patch", "allow"]),
    Case {
        config: || {
            let line = json!({"apiVersion": "abac.authorization.kubernetes.io/v1beta1",
                "kind": "Policy", "spec": {"user": "jane", "namespace": "shop", "resource": "*",
                "apiGroup": "*", "readonly": true}});
            json!({"policy": line.to_string()})
        },
        ..case("authorizer-abac", Role::Authorizer, &["allow", "no opinion"])
    },
    case("authorizer-node", Role::Authorizer, &["allow", "deny", "no opinion"]),
    case("authorizer-rbac", Role::Authorizer, &["allow", "no opinion"]),
    case("certificate-approver", Role::Controller, &["patch CertificateSigningRequest/approval"]),
    case("certificate-cleaner", Role::Controller, &["delete CertificateSigningRequest"]),
    case("certificate-restriction", Role::Admission, &["allow", "deny"]),
    case("certificate-signer", Role::Controller, &["update CertificateSigningRequest/signature"]),
    case("clusterrole-aggregation", Role::Controller, &["patch ClusterRole"]),
    case("cronjob", Role::Controller, &["create Job", "event"]),
    Case {
        unwatched: HISTORY,
        ..case("daemonset", Role::Controller, &["create Pod", "create ControllerRevision"])
    },
    case("default-storage-class", Role::Admission, &["patch"]),
    case("default-tolerations", Role::Admission, &["patch"]),
    case("deployment", Role::Controller, &["create ReplicaSet", "patch Deployment/status"]),
    case("disruption", Role::Controller, &["patch PodDisruptionBudget/status"]),
    case("endpoints", Role::Controller, &["create Endpoints"]),
    Case {
        // The zone of an endpoint is the one that its node had when the pod got there.
        unwatched: &["Node"],
        ..case("endpointslice", Role::Controller, &["patch EndpointSlice"])
    },
    case("endpointslice-mirroring", Role::Controller, &["create EndpointSlice"]),
    case("garbage-collector", Role::Controller, &["delete ConfigMap"]),
    case("horizontal-pod-autoscaler", Role::Controller, &["patch Deployment/scale"]),
    case("hostpath-provisioner", Role::Controller, &["create PersistentVolume"]),
    case("job", Role::Controller, &["patch Job/status"]),
    case("limit-ranger", Role::Admission, &["patch", "deny"]),
    case("namespace", Role::Controller, &["create ServiceAccount", "delete ConfigMap"]),
    case("node-ipam", Role::Controller, &["patch Node"]),
    case("node-lifecycle", Role::Controller, &["patch Node/status"]),
    case("node-restriction", Role::Admission, &["allow", "deny"]),
    case("persistent-volume", Role::Controller, &["patch PersistentVolume"]),
    case("pod-gc", Role::Controller, &["delete Pod"]),
    case("pod-security", Role::Admission, &["allow", "deny"]),
    case("priority", Role::Admission, &["patch"]),
    case("rbac-escalation", Role::Admission, &["allow", "deny"]),
    case("replicaset", Role::Controller, &["patch ReplicaSet/status"]),
    case("replicationcontroller", Role::Controller, &["create Pod"]),
    Case { remembers: true, ..case("resource-quota", Role::Admission, &["allow", "deny"]) },
    case("resource-quota-controller", Role::Controller, &["patch ResourceQuota/status"]),
    Case {
        config: || json!({"rootCA": "-----BEGIN CERTIFICATE-----"}),
        ..case("root-ca-publisher", Role::Controller, &["create ConfigMap"])
    },
    case("runtime-class", Role::Admission, &["patch"]),
    case("scheduler", Role::Scheduler, &["bind", "unschedulable"]),
    case("service-account", Role::Admission, &["patch"]),
    case("service-addresses", Role::Admission, &["patch"]),
    Case {
        config: || json!({"serviceCIDRs": ["10.96.0.0/16"]}),
        ..case("service-cidrs", Role::Controller, &["create IPAddress", "delete IPAddress"])
    },
    Case {
        unwatched: HISTORY,
        ..case("statefulset", Role::Controller, &["create PersistentVolumeClaim"])
    },
    case("ttl-after-finished", Role::Controller, &["delete Job"]),
];

#[test]
fn every_plugin_has_a_suite() {
    let rows = CASES.iter().map(|case| case.plugin).chain([network::PLUGIN]);
    components::assert_complete("suites by role", rows);
}

/// With requests for certificates that are some.
fn cluster() -> World {
    let mut text = include_str!("cluster.yaml").to_owned();
    let field = |request: &str| pintle_api::x509::field_text(request.as_bytes());
    for (name, request) in [
        ("KUBELET", include_str!("../../../../runtime/api/tests/x509/kubelet.csr")),
        ("JANE", include_str!("../../../../runtime/api/tests/x509/jane.csr")),
        ("MASTERS", include_str!("../../../../runtime/api/tests/x509/masters.csr")),
    ] {
        text = text.replace(&format!("request: {name},"), &format!("request: {},", field(request)));
    }
    World::from_yaml(&text).expect("cluster.yaml can be read")
}

#[test]
fn every_plugin_passes_the_suite_of_its_role() {
    let only = std::env::var("PINTLE_ONLY").ok();
    let wanted =
        |plugin: &str| only.as_deref().is_none_or(|only| only.split(',').any(|one| one == plugin));
    let (built, world) = (components::built(), cluster());
    let directory = tempfile::tempdir().unwrap();
    pintle_e2e::compiled::provide(directory.path());
    let cache = directory.path().join("plugin-cache");
    let artifacts = Artifacts::open(Wasm::new().unwrap(), &cache, Compiler::InProcess).unwrap();
    let started = Instant::now();
    let queue: Mutex<VecDeque<&Case>> =
        Mutex::new(CASES.iter().filter(|case| wanted(case.plugin)).collect());
    let failed: Mutex<Vec<String>> = Mutex::default();
    let next = || queue.lock().unwrap().pop_front();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(case) = next() {
                    let bytes = std::fs::read(&built[case.plugin]).unwrap();
                    if let Err(wrong) = attempt(|| check(&artifacts, case, &bytes, &world)) {
                        failed.lock().unwrap().push(wrong);
                    }
                }
            });
        }
    });
    pintle_e2e::compiled::keep(directory.path());
    eprintln!("all in {:?}", started.elapsed());
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn check(artifacts: &Artifacts, case: &Case, bytes: &[u8], world: &World) {
    let component = Component::open_with(artifacts, bytes, case.role);
    let component = component.unwrap_or_else(|error| panic!("{}: {error}", case.plugin));
    let started = Instant::now();
    let report = suite::run(case, &component, world);
    let (calls, said) = (report.calls, &report.said);
    eprintln!("{}: {calls} calls in {:?}; says {said:?}", case.plugin, started.elapsed());
}

/// One that fails keeps no other from being tried.
fn attempt<T>(what: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(what)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        text.unwrap_or_default()
    })
}
