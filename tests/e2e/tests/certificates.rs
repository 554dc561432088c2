//! Certificates as the Kubernetes documentation asks for them: keys and requests
//! of openssl, approvals of kubectl, and what the API says to whoever comes with
//! the certificate.

mod support;

use std::collections::BTreeSet;
use std::process::Child;

use pintle_e2e::{Cluster, Output, items, name};
use serde_json::{Value, json};
use support::{digest, variant};

const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET: &str = "kubernetes.io/kube-apiserver-client-kubelet";

/// A key and a request in the cluster's folder; the request in base64.
fn request(cluster: &Cluster, name: &str, key: &str, subject: &str) -> String {
    cluster.shell(&format!(
        "cd {} && openssl req -new -newkey {key} -nodes -keyout {name}.key -subj '{subject}' -out {name}.csr 2>/dev/null && \
         base64 -w0 {name}.csr",
        cluster.path().display()
    ))
}

fn manifest(name: &str, request: &str, signer: &str, usages: &str) -> String {
    format!(
        "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{name: {name}}}\n\
         spec: {{request: {request}, signerName: {signer}, expirationSeconds: 3600, usages: [{usages}]}}\n"
    )
}

fn create(cluster: &Cluster, name: &str, manifest: &str, more: &[&str]) -> Output {
    let file = cluster.path().join(format!("{name}.yaml"));
    std::fs::write(&file, manifest).unwrap();
    let file = file.to_string_lossy();
    let mut arguments = vec!["create", "-f", &*file];
    arguments.extend(more);
    cluster.try_kubectl(&arguments)
}

fn get(cluster: &Cluster, name: &str, path: &str) -> String {
    let path = format!("jsonpath={path}");
    cluster.try_kubectl(&["get", "csr", name, "-o", &path]).stdout
}

/// Waits for the certificate; makes a kubeconfig user of it.
fn take(cluster: &Cluster, name: &str) {
    cluster.wait(&format!("the certificate of {name}"), |c| {
        !get(c, name, "{.status.certificate}").is_empty()
    });
    cluster.shell(&format!(
        "cd {0} && kubectl get csr {name} -o 'jsonpath={{.status.certificate}}' | base64 -d > {name}.crt && \
         openssl verify -CAfile server/pki/ca.crt {name}.crt && \
         kubectl config set-credentials {name} --client-key={name}.key --client-certificate={name}.crt --embed-certs",
        cluster.path().display()
    ));
}

fn as_user(cluster: &Cluster, user: &str, arguments: &str) -> Output {
    let mut whole = vec!["--user", user];
    whole.extend(arguments.split(' '));
    cluster.try_kubectl(&whole)
}

/// One cluster for all of it: they do not get in each other's way.
#[test]
fn certificates_are_asked_for_approved_and_used() {
    pintle_e2e::require_kubectl!("openssl");
    let cluster = Cluster::start(0);
    a_person_gets_a_certificate(&cluster);
    a_person_is_denied(&cluster);
    approving_is_a_right(&cluster);
    bad_requests_are_refused(&cluster);
    nodes_are_approved_by_themselves(&cluster);
    every_namespace_knows_the_authority(&cluster);
    signers_are_swapped_while_requests_flow(&cluster);
}

fn a_person_gets_a_certificate(cluster: &Cluster) {
    let asked = request(cluster, "jane", "rsa:2048", "/CN=jane/O=dev/O=ops/O=web");
    let made = create(cluster, "jane", &manifest("jane", &asked, CLIENT, "client auth"), &[]);
    assert!(
        made.stdout.contains("certificatesigningrequest.certificates.k8s.io/jane created"),
        "{made:?}"
    );
    let table = cluster.kubectl(&["get", "csr"]);
    let lines: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        lines[0],
        ["NAME", "AGE", "SIGNERNAME", "REQUESTOR", "REQUESTEDDURATION", "CONDITION"]
    );
    assert_eq!(lines[1][0], "jane");
    assert_eq!(lines[1][2..], [CLIENT, "pintle-admin", "60m", "Pending"]);
    assert_eq!(get(cluster, "jane", "{.spec.groups[0]}"), "system:masters");

    assert!(cluster.kubectl(&["certificate", "approve", "jane"]).contains("jane approved"));
    take(cluster, "jane");
    assert!(cluster.kubectl(&["get", "csr", "jane"]).contains("Approved,Issued"));
    let whoami = as_user(cluster, "jane", "auth whoami -o json");
    let user = &serde_json::from_str::<Value>(&whoami.stdout).unwrap()["status"]["userInfo"];
    assert_eq!(user["username"], "jane");
    assert_eq!(user["groups"], json!(["dev", "ops", "web", "system:authenticated"]));
    let refused = as_user(cluster, "jane", "get pods");
    let expect = "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"";
    assert!(refused.stderr.contains(expect), "{refused:?}");
    cluster.kubectl(&["create", "rolebinding", "web-views", "--clusterrole=view", "--group=web"]);
    cluster.wait("jane to be allowed", |c| as_user(c, "jane", "get pods").success);

    let text = cluster
        .shell(&format!("openssl x509 -in {}/jane.crt -noout -text", cluster.path().display()));
    for part in ["TLS Web Client Authentication", "CA:FALSE", "CN = jane", "O = ops"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let mode = cluster.shell(&format!("stat -c %a {}/server/pki/ca.key", cluster.path().display()));
    assert_eq!(mode.trim(), "600");

    // What was asked, and the certificate, are for ever.
    let signer = r#"{"spec":{"signerName":"example.com/other"}}"#;
    cluster.kubectl(&["patch", "csr", "jane", "--type=merge", "-p", signer]);
    assert_eq!(get(cluster, "jane", "{.spec.signerName}"), CLIENT);
    let other = r#"{"status":{"certificate":"QUJD"}}"#;
    let refused = cluster.try_kubectl(&[
        "patch",
        "csr",
        "jane",
        "--type=merge",
        "--subresource=status",
        "-p",
        other,
    ]);
    assert!(
        refused.stderr.contains("updates may not modify existing certificate content"),
        "{refused:?}"
    );
    let selected = cluster.kubectl(&[
        "get",
        "csr",
        "-o",
        "name",
        &format!("--field-selector=spec.signerName={KUBELET}"),
    ]);
    assert_eq!(selected, "");
}

fn a_person_is_denied(cluster: &Cluster) {
    let asked = request(cluster, "eve", "ed25519", "/CN=eve");
    create(cluster, "eve", &manifest("eve", &asked, CLIENT, "client auth"), &[]);
    assert!(cluster.kubectl(&["certificate", "deny", "eve"]).contains("eve denied"));
    assert!(cluster.kubectl(&["get", "csr", "eve"]).contains("Denied"));
    let refused = cluster.try_kubectl(&["certificate", "approve", "eve"]);
    assert!(refused.stderr.contains("\"eve\" is already Denied"), "{refused:?}");
    let both = r#"{"status":{"conditions":[{"type":"Denied","status":"True"},{"type":"Approved","status":"True"}]}}"#;
    let refused = cluster.try_kubectl(&[
        "patch",
        "csr",
        "eve",
        "--type=merge",
        "--subresource=approval",
        "-p",
        both,
    ]);
    assert!(
        refused.stderr.contains("Approved and Denied conditions are mutually exclusive"),
        "{refused:?}"
    );
    let gone = r#"{"status":{"conditions":[]}}"#;
    let refused = cluster.try_kubectl(&[
        "patch",
        "csr",
        "eve",
        "--type=merge",
        "--subresource=approval",
        "-p",
        gone,
    ]);
    assert!(
        refused.stderr.contains("updates may not remove a condition of type \"Denied\""),
        "{refused:?}"
    );
    assert_eq!(get(cluster, "eve", "{.status.certificate}"), "");
}

/// Jane may write approvals, but for no signer until she has that right, too.
fn approving_is_a_right(cluster: &Cluster) {
    cluster.shell(
        "kubectl create clusterrole approvals --verb=get,list,watch --resource=certificatesigningrequests && \
         kubectl create clusterrole approving --verb=update --resource=certificatesigningrequests/approval && \
         kubectl create clusterrolebinding jane-reads --clusterrole=approvals --user=jane && \
         kubectl create clusterrolebinding jane-writes --clusterrole=approving --user=jane",
    );
    let asked = request(cluster, "bob", "ed25519", "/CN=bob");
    create(cluster, "bob", &manifest("bob", &asked, CLIENT, "client auth"), &[]);
    let expect = format!(
        "certificatesigningrequests.certificates.k8s.io \"bob\" is forbidden: user not permitted to approve requests with signerName \"{CLIENT}\""
    );
    cluster.wait("the right to write approvals", |c| {
        as_user(c, "jane", "auth can-i update certificatesigningrequests --subresource=approval")
            .success
    });
    let refused = as_user(cluster, "jane", "certificate approve bob");
    assert!(refused.stderr.contains(&expect), "{refused:?}");
    cluster.shell(
        "kubectl apply -f - <<'END'\n\
         {\"apiVersion\": \"rbac.authorization.k8s.io/v1\", \"kind\": \"ClusterRole\", \"metadata\": {\"name\": \"signer\"}, \
          \"rules\": [{\"apiGroups\": [\"certificates.k8s.io\"], \"resources\": [\"signers\"], \"verbs\": [\"approve\"], \"resourceNames\": [\"kubernetes.io/*\"]}]}\n\
         END\n\
         kubectl create clusterrolebinding jane-approves --clusterrole=signer --user=jane",
    );
    let approved = as_user(cluster, "jane", "certificate approve bob");
    assert!(approved.stdout.contains("bob approved"), "{approved:?}");
    take(cluster, "bob");
}

fn bad_requests_are_refused(cluster: &Cluster) {
    let jane = cluster.shell(&format!("base64 -w0 {}/jane.csr", cluster.path().display()));
    let refuse = |name: &str, manifest: &str, expect: &str| {
        let refused = create(cluster, name, manifest, &[]);
        assert!(!refused.success && refused.stderr.contains(expect), "{name}: {}", refused.stderr);
        refused
    };
    let not_pem = "PEM block type must be CERTIFICATE REQUEST";
    refuse(
        "garbage",
        &manifest("garbage", "Z2FyYmFnZQ==", "example.com/mine", "client auth"),
        &format!("spec.request: Invalid value: \"Z2FyYmFnZQ==\": {not_pem}"),
    );
    let expect = format!("is forbidden: failed to parse CSR: {not_pem}");
    refuse("garbage", &manifest("garbage", "Z2FyYmFnZQ==", CLIENT, "client auth"), &expect);
    let huge = "eHh4".repeat(250_000);
    let refused =
        refuse("huge", &manifest("huge", &huge, "example.com/mine", "client auth"), not_pem);
    assert!(refused.stderr.len() < 4096, "{} bytes", refused.stderr.len());
    let curve = request(cluster, "p521", "ec -pkeyopt ec_paramgen_curve:secp521r1", "/CN=x");
    let unknown = "x509: cannot verify signature: algorithm unimplemented";
    refuse("p521", &manifest("p521", &curve, CLIENT, "client auth"), unknown);
    refuse(
        "twice",
        &manifest("twice", &jane, CLIENT, "client auth, client auth"),
        "spec.usages[1]: Duplicate value: \"client auth\"",
    );
    refuse(
        "flying",
        &manifest("flying", &jane, CLIENT, "fly"),
        "spec.usages[0]: Unsupported value: \"fly\": supported values: \"any\"",
    );
    refuse(
        "legacy",
        &manifest("legacy", &jane, "kubernetes.io/legacy-unknown", "client auth"),
        "the legacy signerName is not allowed via this API version",
    );
    let brief =
        manifest("brief", &jane, CLIENT, "client auth").replace("Seconds: 3600", "Seconds: 599");
    refuse("brief", &brief, "may not specify a duration less than 600 seconds (10 minutes)");
    for group in ["system:masters", "system:pintle:plugins"] {
        let asked = request(cluster, "root", "ed25519", &format!("/CN=root/O={group}"));
        let expect = format!("use of {CLIENT} signer with {group} group is not allowed");
        refuse("root", &manifest("root", &asked, CLIENT, "client auth"), &expect);
    }
    // A request that its signer does not take is only found out when it is approved.
    create(cluster, "server", &manifest("server", &jane, CLIENT, "server auth"), &[]);
    cluster.kubectl(&["certificate", "approve", "server"]);
    cluster.wait("the signer's refusal", |c| {
        c.kubectl(&["get", "csr", "server"]).contains("Approved,Failed")
    });
    let failed = r#"{.status.conditions[?(@.type=="Failed")]['reason','message']}"#;
    assert_eq!(
        get(cluster, "server", failed),
        "SignerValidationFailure invalid usage for client certificate: server auth"
    );
}

fn nodes_are_approved_by_themselves(cluster: &Cluster) {
    let usages = "digital signature, client auth";
    let asked = request(cluster, "n9", "ed25519", "/O=system:nodes/CN=system:node:n9");
    let join = ["--as=system:bootstrap:abcdef", "--as-group=system:bootstrappers"];
    let made = create(cluster, "n9", &manifest("n9", &asked, KUBELET, usages), &join);
    assert!(made.success, "{made:?}");
    take(cluster, "n9");
    assert_eq!(get(cluster, "n9", "{.spec.username}"), "system:bootstrap:abcdef");
    assert_eq!(
        get(cluster, "n9", "{.status.conditions[0].message}"),
        "Auto approving kubelet client certificate after SubjectAccessReview."
    );
    let whoami = as_user(cluster, "n9", "auth whoami -o json");
    assert!(whoami.stdout.contains("system:node:n9"), "{whoami:?}");
    // With it the node renews it.
    let again = request(cluster, "n9b", "ed25519", "/O=system:nodes/CN=system:node:n9");
    let made = create(cluster, "n9b", &manifest("n9b", &again, KUBELET, usages), &["--user=n9"]);
    assert!(made.success, "{made:?}");
    take(cluster, "n9b");
    assert_eq!(
        get(cluster, "n9b", "{.status.conditions[0].message}"),
        "Auto approving self kubelet client certificate after SubjectAccessReview."
    );
    // It does not become another node by asking.
    let other = request(cluster, "n8", "ed25519", "/O=system:nodes/CN=system:node:n8");
    create(cluster, "n8", &manifest("n8", &other, KUBELET, usages), &["--user=n9"]);
    assert_eq!(get(cluster, "n8", "{.spec.username}{.status.conditions}"), "system:node:n9");
}

fn every_namespace_knows_the_authority(cluster: &Cluster) {
    cluster.kubectl(&["create", "namespace", "fresh"]);
    let read = |c: &Cluster| {
        c.try_kubectl(&[
            "get",
            "cm",
            "kube-root-ca.crt",
            "-n",
            "fresh",
            "-o",
            "jsonpath={.data.ca\\.crt}",
        ])
        .stdout
    };
    let authority = std::fs::read_to_string(cluster.path().join("server/pki/ca.crt")).unwrap();
    cluster.wait("the authority in a new namespace", |c| read(c) == authority);
    cluster.kubectl(&["delete", "cm", "kube-root-ca.crt", "-n", "fresh"]);
    cluster.wait("the authority to be back", |c| read(c) == authority);
}

/// Requests arrive and are approved all the time, and the signer is replaced
/// three times. Each of them is signed, once.
fn signers_are_swapped_while_requests_flow(cluster: &Cluster) {
    let workspace = pintle_e2e::workspace();
    let package = ["pintle-plugin-certificate-signer"];
    let built = pintle_plugin_build::build(&workspace, &package, &workspace.join("target/guests"));
    let component = std::fs::read(&built.expect("the signer builds")[0].path).unwrap();
    let asked = request(cluster, "flow", "ed25519", "/CN=flow");
    let body = manifest("flow-$i", &asked, CLIENT, "client auth");
    let (stop, count) = (cluster.path().join("stop"), cluster.path().join("count"));
    let script = format!(
        "i=0; while [ ! -e {} ]; do i=$((i+1)); kubectl create -f - <<END || exit 1\n{body}END\n\
         kubectl certificate approve flow-$i || exit 1; done > /dev/null; echo $i > {}",
        stop.display(),
        count.display()
    );
    let mut flow: Child = cluster.client().spawn_program("sh", &["-c", &script]);
    let flowing = |csr: &&Value| name(csr).starts_with("flow-");
    let begun =
        |c: &Cluster| items(&c.get("certificatesigningrequests")).iter().filter(flowing).count();
    for mark in 1..=3_u8 {
        let before = begun(cluster);
        cluster.wait("requests to flow", |c| begun(c) > before);
        let version = variant(&component, mark);
        let file = cluster.path().join(format!("signer-{mark}.wasm"));
        std::fs::write(&file, &version).unwrap();
        let swap = ["plugin", "swap", "certificate-signer", &file.to_string_lossy()];
        let swapped = cluster.pintle(&swap);
        assert!(swapped.contains(&format!("active, {}", digest(&version))), "{swapped}");
    }
    let before = begun(cluster);
    cluster.wait("requests to go on after the swaps", |c| begun(c) > before);
    std::fs::write(&stop, "").unwrap();
    assert!(flow.wait().unwrap().success());
    let count: usize = std::fs::read_to_string(&count).unwrap().trim().parse().unwrap();
    let certificates = |c: &Cluster| -> Vec<String> {
        let list = c.get("certificatesigningrequests");
        let csrs = items(&list).iter().filter(flowing);
        csrs.filter_map(|csr| Some(csr["status"]["certificate"].as_str()?.to_owned())).collect()
    };
    cluster.wait("a certificate for every request", |c| certificates(c).len() == count);
    let distinct: BTreeSet<String> = certificates(cluster).into_iter().collect();
    assert_eq!(distinct.len(), count);
    let plugin = cluster.get("plugins certificate-signer");
    assert_eq!(plugin["status"]["phase"], "Active", "{plugin}");
    assert_eq!(plugin["status"]["strikes"].as_i64().unwrap_or(0), 0, "{plugin}");
}
