//! Admission policies through the real kubectl: what is refused and in which
//! words, what is filled in, what is warned about.

use pintle_e2e::{Cluster, Output};

const PAUSE: &str = "example/pause";

fn apply(cluster: &Cluster, name: &str, manifest: &str) -> Output {
    let file = cluster.path().join(format!("{name}.yaml"));
    std::fs::write(&file, manifest).unwrap();
    cluster.try_kubectl(&["apply", "-f", &file.to_string_lossy()])
}

fn pod(name: &str, namespace: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec:\n  containers: [{{name: c, image: {PAUSE}{more}}}]\n"
    )
}

fn get(cluster: &Cluster, what: &str, path: &str) -> String {
    let path = format!("jsonpath={path}");
    let mut arguments: Vec<&str> = vec!["get"];
    arguments.extend(what.split(' '));
    arguments.extend(["-o", &path]);
    cluster.try_kubectl(&arguments).stdout
}

#[test]
fn policies_refuse_fill_in_and_warn() {
    pintle_e2e::require_kubectl!("xargs");
    let cluster = Cluster::start(0);
    let policies = [
        "default-storage-class",
        "default-tolerations",
        "limit-ranger",
        "node-restriction",
        "pod-security",
        "priority",
        "resource-quota",
        "resource-quota-controller",
        "runtime-class",
        "service-account",
    ];
    cluster.wait("the policies to be active", |c| {
        policies.iter().all(|name| get(c, &format!("plugin {name}"), "{.status.phase}") == "Active")
    });
    assert_eq!(get(&cluster, "plugin always-pull-images", "{.spec.suspended}"), "true");
    quotas(&cluster);
    quota_of_thousands(&cluster);
    limit_ranges(&cluster);
    pod_security(&cluster);
    priorities(&cluster);
}

fn quotas(cluster: &Cluster) {
    cluster.kubectl(&["create", "namespace", "small"]);
    cluster.kubectl(&["create", "quota", "few", "-n", "small", "--hard=pods=2"]);
    for name in ["a", "b"] {
        let made = apply(cluster, name, &pod(name, "small", ""));
        assert!(made.stdout.contains("created"), "{made:?}");
    }
    let refused = apply(cluster, "c", &pod("c", "small", ""));
    let expect = "pods \"c\" is forbidden: exceeded quota: few, requested: pods=1, used: pods=2, limited: pods=2";
    assert!(refused.stderr.contains(expect), "{refused:?}");
    cluster.wait("the quota's status", |c| {
        get(c, "quota few -n small", "{.status.used.pods}/{.status.hard.pods}") == "2/2"
    });
    // Forty at once for one place.
    cluster.kubectl(&["delete", "pod", "a", "-n", "small", "--force", "--grace-period=0"]);
    cluster.wait("the place to be free", |c| {
        get(c, "quota few -n small", "{.status.used.pods}") == "1"
    });
    let many = "seq 40 | xargs -P 20 -I{} kubectl run p{} -n small --image=example/pause 2>&1 | grep -c created || true";
    assert_eq!(cluster.shell(many).trim(), "1");
}

/// What is there already is counted within the request that asks first.
fn quota_of_thousands(cluster: &Cluster) {
    cluster.kubectl(&["create", "namespace", "large"]);
    let image = format!("--image={PAUSE}");
    cluster.kubectl(&["create", "deployment", "many", "-n", "large", &image, "--replicas=5000"]);
    cluster.wait("the pods to be made", |c| {
        get(c, "deployment many -n large", "{.status.replicas}") == "5000"
    });
    cluster.kubectl(&["create", "quota", "all", "-n", "large", "--hard=pods=5001"]);
    let made = apply(cluster, "last", &pod("last", "large", ""));
    assert!(made.stdout.contains("created"), "{made:?}");
    let refused = apply(cluster, "more", &pod("more", "large", ""));
    assert!(refused.stderr.contains("used: pods=5001, limited: pods=5001"), "{refused:?}");
}

fn limit_ranges(cluster: &Cluster) {
    cluster.kubectl(&["create", "namespace", "bounded"]);
    let range = "apiVersion: v1\nkind: LimitRange\nmetadata: {name: bounds, namespace: bounded}\n\
        spec: {limits: [{type: Container, default: {cpu: 500m}, defaultRequest: {cpu: 100m}, max: {cpu: \"1\"}}]}\n";
    assert!(apply(cluster, "range", range).stdout.contains("created"));
    assert!(apply(cluster, "plain", &pod("plain", "bounded", "")).stdout.contains("created"));
    let resources =
        "{.spec.containers[0].resources.requests.cpu} {.spec.containers[0].resources.limits.cpu}";
    assert_eq!(get(cluster, "pod plain -n bounded", resources), "100m 500m");
    let large =
        apply(cluster, "large", &pod("large", "bounded", ", resources: {limits: {cpu: \"2\"}}"));
    let expect =
        "pods \"large\" is forbidden: maximum cpu usage per Container is 1, but limit is 2";
    assert!(large.stderr.contains(expect), "{large:?}");
}

fn pod_security(cluster: &Cluster) {
    cluster.kubectl(&["create", "namespace", "strict"]);
    let label = "pod-security.kubernetes.io/enforce=restricted";
    cluster.kubectl(&["label", "namespace", "strict", label]);
    let bad = apply(cluster, "bad", &pod("bad", "strict", ", securityContext: {privileged: true}"));
    let expect = "pods \"bad\" is forbidden: violates PodSecurity \"restricted:latest\": \
        privileged (container \"c\" must not set securityContext.privileged=true), \
        allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
        unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), \
        runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), \
        seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")";
    assert!(bad.stderr.contains(expect), "{bad:?}");
    let image = format!("--image={PAUSE}");
    let warned = cluster.try_kubectl(&["create", "deployment", "web", "-n", "strict", &image]);
    assert!(warned.stdout.contains("deployment.apps/web created"), "{warned:?}");
    let expect = "Warning: would violate PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false";
    assert!(warned.stderr.contains(expect), "{warned:?}");
}

fn priorities(cluster: &Cluster) {
    let classes = get(cluster, "priorityclass", "{.items[*].metadata.name}");
    assert_eq!(classes, "system-cluster-critical system-node-critical");
    let with = |class: &str| {
        let pod = pod(class, "default", "");
        format!("{pod}  priorityClassName: {class}\n")
    };
    assert!(apply(cluster, "important", &with("system-node-critical")).stdout.contains("created"));
    let values =
        "{.spec.priority} {.spec.serviceAccountName} {.spec.tolerations[*].tolerationSeconds}";
    let pod = "pod system-node-critical -n default";
    assert_eq!(get(cluster, pod, values), "2000001000 default 300 300");
    let unknown = apply(cluster, "unknown", &with("unknown"));
    let expect = "pods \"unknown\" is forbidden: no PriorityClass with name unknown was found";
    assert!(unknown.stderr.contains(expect), "{unknown:?}");
}
