//! Who may do what, asked with the real kubectl: roles and bindings that it
//! creates, users by certificate and by impersonation, reviews, nodes.

use pintle_e2e::{Cluster, IMAGE, Output, require_kubectl, run_ok};

fn words(text: &str) -> Vec<&str> {
    text.split(' ').collect()
}

/// A person at the keyboard.
struct Person<'a> {
    cluster: &'a Cluster,
    /// What every command of theirs begins with.
    flags: Vec<String>,
}

impl<'a> Person<'a> {
    fn administrator(cluster: &'a Cluster) -> Self {
        Self { cluster, flags: Vec::new() }
    }

    /// In whose name the administrator acts.
    fn impersonated(cluster: &'a Cluster, user: &str, groups: &[&str]) -> Self {
        let mut flags = vec![format!("--as={user}")];
        flags.extend(groups.iter().map(|group| format!("--as-group={group}")));
        Self { cluster, flags }
    }

    /// With a certificate of the cluster's CA, made here.
    fn certified(cluster: &'a Cluster, user: &str, group: &str) -> Self {
        let stem = user.replace(':', "-");
        let file = |suffix: &str| {
            cluster.path().join(format!("{stem}.{suffix}")).to_string_lossy().into_owned()
        };
        let pki = cluster.path().join("server/pki");
        let (ca, ca_key) = (pki.join("ca.crt"), pki.join("ca.key"));
        let (key, request, certificate) = (file("key"), file("csr"), file("crt"));
        let subject = format!("/O={group}/CN={user}");
        run_ok(
            "openssl",
            &[
                "req",
                "-new",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-keyout",
                &key,
                "-subj",
                &subject,
                "-out",
                &request,
            ],
        );
        let extensions = file("ext");
        std::fs::write(&extensions, "extendedKeyUsage=clientAuth\n").unwrap();
        let (ca, ca_key, serial) = (ca.to_string_lossy(), ca_key.to_string_lossy(), file("srl"));
        run_ok(
            "openssl",
            &[
                "x509",
                "-req",
                "-in",
                &request,
                "-CA",
                &ca,
                "-CAkey",
                &ca_key,
                "-CAserial",
                &serial,
                "-CAcreateserial",
                "-days",
                "1",
                "-extfile",
                &extensions,
                "-out",
                &certificate,
            ],
        );
        let config = file("kubeconfig");
        std::fs::copy(cluster.kubeconfig(), &config).unwrap();
        let configure = |arguments: &[&str]| {
            let mut all = vec!["config", "--kubeconfig", config.as_str()];
            all.extend(arguments);
            run_ok("kubectl", &all);
        };
        configure(&[
            "set-credentials",
            user,
            "--client-certificate",
            &certificate,
            "--client-key",
            &key,
        ]);
        configure(&["set-context", "--current", "--user", user]);
        Self { cluster, flags: vec![format!("--kubeconfig={config}")] }
    }

    fn tries(&self, command: &str) -> Output {
        let mut arguments = words(command);
        arguments.extend(self.flags.iter().map(String::as_str));
        self.cluster.try_kubectl(&arguments)
    }

    fn does(&self, command: &str) -> String {
        let output = self.tries(command);
        assert!(output.success, "{command}: {}{}", output.stdout, output.stderr);
        output.stdout
    }

    /// What is said to them instead.
    fn may_not(&self, command: &str) -> String {
        let output = self.tries(command);
        assert!(!output.success, "{command} was done: {}", output.stdout);
        output.stderr
    }

    fn can(&self, question: &str) -> bool {
        let answer = self.tries(&format!("auth can-i {question}"));
        // With a reason, if there is one.
        match answer.stdout.split_whitespace().next() {
            Some("yes") => true,
            Some("no") => false,
            _ => panic!("{question}: {}{}", answer.stdout, answer.stderr),
        }
    }
}

#[test]
fn roles_decide_what_people_may_do() {
    require_kubectl!("openssl");
    let mut cluster = Cluster::start(0);
    people(&cluster);
    // Roles that a person has changed or removed come back where they must.
    let admin = Person::administrator(&cluster);
    admin.does("delete clusterrole system:monitoring");
    admin.does("create clusterrole mine --verb=get --resource=nodes");
    let patch =
        r#"{"subjects":[{"kind":"Group","name":"guests","apiGroup":"rbac.authorization.k8s.io"}]}"#;
    cluster.kubectl(&[
        "patch",
        "clusterrolebinding",
        "system:basic-user",
        "--type=merge",
        "-p",
        patch,
    ]);
    let untouched = "get clusterrole system:kube-scheduler -o jsonpath={.metadata.resourceVersion}";
    let before = admin.does(untouched);
    cluster.server = None;
    cluster.start_server();
    cluster.wait("the server to answer", |c| c.try_kubectl(&["get", "ns"]).success);
    let admin = Person::administrator(&cluster);
    assert_eq!(admin.does(untouched), before, "what lacks nothing is not written");
    assert!(admin.does("get clusterrole system:monitoring -o yaml").contains("rbac-defaults"));
    let subjects =
        admin.does("get clusterrolebinding system:basic-user -o jsonpath={.subjects[*].name}");
    assert!(subjects.contains("guests") && subjects.contains("system:authenticated"), "{subjects}");
    // What was in force before the restart is in force after it, from the first answer on.
    let jane = Person::impersonated(&cluster, "jane", &[]);
    assert!(jane.does("get configmaps -n shop").contains("settings"));
    assert!(jane.may_not("get configmaps").contains("is forbidden"));
}

fn people(cluster: &Cluster) {
    let admin = Person::administrator(cluster);
    let jane = Person::impersonated(cluster, "jane", &[]);
    admin.does("create namespace shop");
    admin.does("create configmap settings -n shop --from-literal=a=1");
    let refused = jane.may_not("get configmaps -n shop");
    assert_eq!(
        refused.trim(),
        r#"Error from server (Forbidden): configmaps is forbidden: User "jane" cannot list resource "configmaps" in API group "" in the namespace "shop""#
    );

    // What was written decides from the next request on, and no longer than it is there.
    admin.does("create role reader -n shop --verb=get,list --resource=configmaps");
    for _ in 0..5 {
        admin.does("create rolebinding jane-reads -n shop --role=reader --user=jane");
        assert!(jane.does("get configmaps -n shop").contains("settings"));
        admin.does("delete rolebinding jane-reads -n shop");
        jane.may_not("get configmaps -n shop");
    }
    admin.does("create rolebinding jane-reads -n shop --role=reader --user=jane");
    for (question, expect) in [
        ("get configmaps -n shop", true),
        ("get configmaps/settings -n shop", true),
        ("get configmaps -n default", false),
        ("delete configmaps -n shop", false),
        ("get /version", true),
        ("get /metrics", false),
        ("* *", false),
    ] {
        assert_eq!(jane.can(question), expect, "{question}");
    }
    let listed = jane.does("auth can-i --list -n shop");
    let line = listed.lines().find(|line| line.starts_with("configmaps ")).unwrap_or_default();
    assert!(line.contains("[get list]"), "{listed}");
    let elsewhere = jane.does("auth can-i --list -n default");
    assert!(!elsewhere.contains("configmaps"), "{elsewhere}");

    // Roles that a cluster has from the beginning, aggregated ones included.
    admin.does("create clusterrolebinding ops-edit --clusterrole=edit --group=ops");
    let joe = Person::impersonated(cluster, "joe", &["ops"]);
    cluster.wait("the rules of edit", |_| joe.can("create deployments.apps -n shop"));
    assert!(!joe.can("create roles.rbac.authorization.k8s.io -n shop"));
    assert!(!joe.can("get nodes"));
    admin.does("create clusterrole node-reader --verb=get,list --resource=nodes");
    admin.does("label clusterrole node-reader rbac.authorization.k8s.io/aggregate-to-edit=true");
    cluster.wait("the rules to be aggregated", |_| joe.can("list nodes"));
    admin.does("delete clusterrole node-reader");
    cluster.wait("the rules to be gone", |_| !joe.can("list nodes"));

    // Nobody gives away what they do not have, unless they may.
    admin.does("create rolebinding ann-admin -n shop --clusterrole=admin --user=ann");
    let ann = Person::impersonated(cluster, "ann", &[]);
    cluster.wait("the rules of admin", |_| ann.can("create rolebindings -n shop"));
    ann.does("create rolebinding eve-views -n shop --clusterrole=view --user=eve");
    let refused =
        ann.may_not("create rolebinding eve-all -n shop --clusterrole=cluster-admin --user=eve");
    assert!(
        refused.contains(
            r#"rolebindings.rbac.authorization.k8s.io "eve-all" is forbidden: user "ann" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:"#
        ),
        "{refused}"
    );
    let refused = ann.may_not("create role more -n shop --verb=get --resource=nodes");
    assert!(
        refused.contains(r#"{APIGroups:[""], Resources:["nodes"], Verbs:["get"]}"#),
        "{refused}"
    );
    ann.does("create role less -n shop --verb=get --resource=pods");
    admin.does(
        "create clusterrole escalates --verb=escalate --resource=roles.rbac.authorization.k8s.io",
    );
    admin.does("create rolebinding ann-escalates -n shop --clusterrole=escalates --user=ann");
    ann.does("create role more -n shop --verb=get --resource=nodes");
    admin.does(
        "create clusterrole binds --verb=bind --resource=clusterroles --resource-name=cluster-admin",
    );
    admin.does("create rolebinding ann-binds -n shop --clusterrole=binds --user=ann");
    ann.does("create rolebinding eve-all -n shop --clusterrole=cluster-admin --user=eve");
    assert!(Person::impersonated(cluster, "eve", &[]).can("delete pods -n shop"));
    let file = cluster.path().join("reconciled.yaml");
    std::fs::write(&file, RECONCILED).unwrap();
    admin.does(&format!("auth reconcile -f {}", file.display()));
    assert!(jane.can("watch configmaps -n shop") && jane.can("get configmaps -n shop"));

    // A user with a certificate of their own, who may act as somebody else once allowed.
    let kim = Person::certified(cluster, "kim", "dev");
    assert!(kim.may_not("get pods -n shop").contains(r#"User "kim" cannot list resource "pods""#));
    admin.does("create clusterrolebinding devs-view --clusterrole=view --group=dev");
    assert!(kim.tries("get pods -n shop").stderr.contains("No resources found"));
    let who = kim.does("auth whoami");
    assert!(who.contains("kim") && who.contains("[dev system:authenticated]"), "{who}");
    assert!(kim.may_not("get secrets -n shop").contains("is forbidden"));
    let refused = kim.may_not("get configmaps -n shop --as=jane");
    assert!(
        refused.contains(r#"users "jane" is forbidden: User "kim" cannot impersonate resource "users" in API group "" at the cluster scope"#),
        "{refused}"
    );
    admin.does(
        "create clusterrole acts-as-jane --verb=impersonate --resource=users --resource-name=jane",
    );
    admin.does("create clusterrolebinding kim-acts --clusterrole=acts-as-jane --user=kim");
    assert!(kim.does("auth whoami --as=jane").contains("jane"));
    kim.may_not("auth whoami --as=ann");
    kim.may_not("auth whoami --as=jane --as-group=system:masters");
}

const RECONCILED: &str = r#"apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: shop}
rules:
- {apiGroups: [""], resources: [configmaps], verbs: [watch]}
"#;

#[test]
fn policy_lines_and_broken_authorizers() {
    require_kubectl!("openssl");
    let cluster = Cluster::start(0);
    let admin = Person::administrator(&cluster);
    let pat = Person::impersonated(&cluster, "pat", &[]);
    pat.may_not("get configmaps");
    let policy = r#"{"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy", "spec": {"user": "pat", "namespace": "*", "resource": "*", "apiGroup": "*", "readonly": true}}"#;
    let patch = serde_json::json!({"spec": {"suspended": false, "config": {"policy": policy}}});
    let load = ["patch", "plugin", "authorizer-abac", "--type=merge", "-p", &patch.to_string()];
    cluster.kubectl(&load);
    cluster.wait("the policy to be in force", |_| pat.can("list configmaps"));
    assert!(!pat.can("delete configmaps"));

    // Lines that make no sense change nothing.
    let wrong = serde_json::json!({"spec": {"config": {"policy": "{}"}}}).to_string();
    cluster.kubectl(&["patch", "plugin", "authorizer-abac", "--type=merge", "-p", &wrong]);
    cluster.wait("the refusal", |_| {
        let shown = admin.does("get plugin authorizer-abac -o jsonpath={.status}");
        shown.contains("Rejected") && shown.contains("line 1")
    });
    assert!(pat.can("list configmaps"));

    // Without authorizers administrators go on, and nobody else does.
    for name in ["authorizer-abac", "authorizer-rbac", "authorizer-node"] {
        admin.does(&format!("delete plugin {name}"));
    }
    cluster.wait("the authorizers to be gone", |_| !pat.can("list configmaps"));
    admin.does("create rolebinding pat-views --clusterrole=view --user=pat");
    assert!(pat.may_not("get configmaps").contains("is forbidden"));
    assert!(admin.can("* *"));
}

#[test]
fn a_node_reads_what_its_pods_use_and_nothing_else() {
    require_kubectl!("openssl");
    let cluster = Cluster::start(1);
    let admin = Person::administrator(&cluster);
    let node = Person::certified(&cluster, "system:node:node-0", "system:nodes");
    let other = Person::certified(&cluster, "system:node:elsewhere", "system:nodes");
    admin.does("create secret generic used --from-literal=a=1");
    admin.does("create secret generic unused --from-literal=a=1");
    assert!(node.may_not("get secret used").contains("is forbidden"));
    cluster.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: reader, labels: {{app: reader}}}}\nspec:\n  containers:\n  - name: main\n    image: {IMAGE}\n    command: [sleep, '3600']\n    envFrom: [{{secretRef: {{name: used}}}}]\n"
    ));
    // The agent itself reads the Secret as this node.
    cluster.wait_ready_pods("app=reader", 1);
    assert!(node.does("get secret used -o name").contains("secret/used"));
    let refused = node.may_not("get secret unused");
    assert!(
        refused.contains(r#"no relationship found between node "node-0" and this object"#),
        "{refused}"
    );
    assert!(node.may_not("get secrets").contains("is forbidden"));
    assert!(node.may_not("delete node node-0").contains("is forbidden"));
    assert!(node.may_not("get pods").contains("is forbidden"));
    assert!(node.does("get pods --field-selector=spec.nodeName=node-0").contains("reader"));
    assert!(other.may_not("get secret used").contains("is forbidden"));
    assert!(other.may_not("label node node-0 a=b").contains("is forbidden"));

    // A node whose authorizer is broken is denied what might not be its business.
    let patch = r#"{"spec":{"config":{"unknown":true}}}"#;
    cluster.kubectl(&["patch", "plugin", "authorizer-node", "--type=merge", "-p", patch]);
    let phase =
        |name: &str| admin.does(&format!("get plugin {name} -o jsonpath={{.status.phase}}"));
    cluster.wait("the refusal", |_| phase("authorizer-node") == "Rejected");
    assert!(
        node.does("get secret used -o name").contains("secret/used"),
        "the version before goes on"
    );
    cluster.kubectl(&["delete", "plugin", "authorizer-node"]);
    cluster.wait("the fixed scope alone", |_| node.tries("get secret unused").success);
    assert!(node.may_not("get secret -n kube-system bootstrap-token").contains("is forbidden"));

    // One that is to decide and cannot be loaded lets nobody through.
    cluster.apply(
        "apiVersion: plugins.pintle.dev/v1alpha1\nkind: Plugin\nmetadata: {name: authorizer-node}\nspec:\n  role: Authorizer\n  source: {embedded: {name: authorizer-node}}\n  grants: []\n",
    );
    cluster.wait("the failure", |_| phase("authorizer-node") == "Failed");
    let refused = node.may_not("get secret used");
    assert!(refused.contains(r#"authorizer plugin "authorizer-node" gave no answer"#), "{refused}");
    assert!(node.does("get nodes").contains("node-0"), "the rest of the fixed scope holds");
}
