//! Pods and workloads in namespaces that have standards.

use pintle_plugin_pod_security::Plugin;
use pintle_sdk_testing::{
    Reviewing,
    objects::{deployment, namespace, pod},
};
use serde_json::{Value, json};

fn reviewing(labels: &[(&str, &str)]) -> Reviewing {
    let mut reviewing = Reviewing::with::<Plugin>(json!({}));
    let mut own = namespace("default");
    for (key, value) in labels {
        own = own.label(&format!("pod-security.kubernetes.io/{key}"), value);
    }
    reviewing.insert(own);
    reviewing
}

fn with(spec: Value) -> Value {
    let mut object = pod("p").set("spec.containers", json!([{"name": "c"}])).build();
    for (field, value) in spec.as_object().unwrap() {
        object["spec"][field] = value.clone();
    }
    object
}

fn careful() -> Value {
    with(json!({
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
    }))
}

fn refused(level: &str, object: Value, expect: &str) {
    let answer = reviewing(&[("enforce", level)]).create(object);
    let expect = match expect {
        "" => Ok(()),
        text => Err(format!("violates PodSecurity \"{level}:latest\": {text}")),
    };
    assert_eq!(answer.map(|_| ()).map_err(|denied| denied.message), expect);
}

#[test]
fn restricted() {
    refused(
        "restricted",
        with(json!({})),
        "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")",
    );
    refused("restricted", careful(), "");
    let mut volumes = careful();
    volumes["spec"]["volumes"] = json!([{"name": "a", "hostPath": {"path": "/"}},
        {"name": "b", "nfs": {}}, {"name": "c", "emptyDir": {}}]);
    refused(
        "restricted",
        volumes,
        "restricted volume types (volumes \"a\", \"b\" use restricted volume types \"hostPath\", \"nfs\")",
    );
    let mut root = careful();
    root["spec"]["securityContext"]["runAsUser"] = json!(0);
    root["spec"]["containers"][0]["securityContext"]["runAsNonRoot"] = json!(false);
    let as_root = "runAsNonRoot != true (container \"c\" must not set securityContext.runAsNonRoot=false), runAsUser=0 (pod must not set runAsUser=0)";
    refused("restricted", root.clone(), as_root);
    root["spec"]["hostUsers"] = json!(false);
    refused("restricted", root, "");
}

#[test]
fn baseline() {
    let check = |spec: Value, expect: &str| refused("baseline", with(spec), expect);
    check(json!({}), "");
    check(
        json!({"hostNetwork": true, "hostPID": true}),
        "host namespaces (hostNetwork=true, hostPID=true)",
    );
    let context =
        |context: Value| json!({"containers": [{"name": "c", "securityContext": context}]});
    check(
        context(json!({"privileged": true})),
        "privileged (container \"c\" must not set securityContext.privileged=true)",
    );
    check(
        context(json!({"capabilities": {"add": ["CHOWN", "NET_ADMIN"]}})),
        "non-default capabilities (container \"c\" must not include \"NET_ADMIN\" in securityContext.capabilities.add)",
    );
    check(
        context(json!({"seccompProfile": {"type": "Unconfined"}})),
        "seccompProfile (container \"c\" must not set securityContext.seccompProfile.type to \"Unconfined\")",
    );
    check(
        context(json!({"procMount": "Unmasked"})),
        "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")",
    );
    check(
        context(json!({"seLinuxOptions": {"type": "spc_t", "role": "r"}})),
        "seLinuxOptions (container \"c\" set forbidden securityContext.seLinuxOptions: type \"spc_t\"; role may not be set)",
    );
    check(
        json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
        "hostPath volumes (volume \"v\")",
    );
    check(
        json!({"containers": [{"name": "c", "ports": [{"hostPort": 80}]}],
            "initContainers": [{"name": "i", "ports": [{"hostPort": 8080}]}]}),
        "hostPort (containers \"i\", \"c\" use hostPorts 80, 8080)",
    );
    check(
        json!({"containers": [{"name": "c", "livenessProbe": {"httpGet": {"host": "10.0.0.1"}}}]}),
        "probe or lifecycle host (container \"c\" uses probe or lifecycle host \"10.0.0.1\")",
    );
    check(
        json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}]}}),
        "forbidden sysctls (kernel.msgmax)",
    );
    check(
        json!({"securityContext": {"windowsOptions": {"hostProcess": true}}}),
        "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
    );
}

#[test]
fn versions_are_pinned() {
    let probe =
        json!({"containers": [{"name": "c", "livenessProbe": {"tcpSocket": {"host": "x"}}}]});
    let mut old = reviewing(&[("enforce", "baseline"), ("enforce-version", "v1.33")]);
    old.create(with(probe)).unwrap();
    let message = old.create(with(json!({"hostIPC": true}))).unwrap_err().message;
    assert_eq!(message, "violates PodSecurity \"baseline:v1.33\": host namespaces (hostIPC=true)");
}

#[test]
fn workloads_are_warned_about_and_admitted() {
    let mut reviewing = reviewing(&[("enforce", "baseline"), ("warn", "restricted")]);
    let mut bad = deployment("web", 1).build();
    bad["spec"]["template"]["spec"]["hostPID"] = json!(true);
    let warnings = reviewing.create(bad).unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    let begin = "would violate PodSecurity \"restricted:latest\": host namespaces (hostPID=true), allowPrivilegeEscalation != false";
    assert!(warnings[0].starts_with(begin), "{warnings:?}");
    let job = json!({"spec": {"template": {"spec": {"hostNetwork": true, "containers": []}}}});
    let cron = json!({"apiVersion": "batch/v1", "kind": "CronJob",
        "metadata": {"name": "c", "namespace": "default"}, "spec": {"jobTemplate": job}});
    let warnings = reviewing.create(cron).unwrap().warnings;
    assert_eq!(
        warnings,
        ["would violate PodSecurity \"restricted:latest\": host namespaces (hostNetwork=true)"]
    );
    // A pod that is refused is not warned about besides.
    let denied = reviewing.create(with(json!({"hostPID": true}))).unwrap_err();
    assert!(denied.message.starts_with("violates PodSecurity \"baseline:latest\""), "{denied:?}");
    assert_eq!(reviewing.create(careful()).unwrap().warnings, Vec::<String>::new());
}

#[test]
fn namespaces_say_what_they_mean() {
    let mut reviewing = reviewing(&[]);
    let labelled =
        |level: &str| namespace("default").label("pod-security.kubernetes.io/enforce", level);
    let denied = reviewing.create(labelled("strict")).unwrap_err();
    assert_eq!(
        (denied.code, denied.message.as_str()),
        (
            422,
            "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of privileged, baseline, restricted"
        )
    );
    for name in ["a", "b", "c"] {
        let mut object = with(json!({"hostNetwork": name != "c"}));
        object["metadata"]["name"] = json!(name);
        reviewing.insert(object);
    }
    let warnings = reviewing.update(namespace("default"), labelled("baseline")).unwrap().warnings;
    assert_eq!(
        warnings,
        [
            "existing pods in namespace \"default\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "a (and 1 other pod): host namespaces",
        ]
    );
    assert!(
        reviewing.update(labelled("baseline"), labelled("baseline")).unwrap().warnings.is_empty()
    );
}

#[test]
fn exemptions_and_defaults_are_configuration() {
    let config = json!({"enforce": "restricted", "enforceVersion": "v1.35",
        "exemptions": {"usernames": ["root"], "namespaces": ["kube-system"]}});
    let mut reviewing = Reviewing::with::<Plugin>(config);
    assert!(reviewing.create(with(json!({}))).is_err());
    let mut system = with(json!({}));
    system["metadata"]["namespace"] = json!("kube-system");
    reviewing.create(system).unwrap();
    reviewing.user("root", &[]);
    reviewing.create(with(json!({}))).unwrap();
}
