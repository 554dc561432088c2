//! The real kubectl against the real server. Passes over itself where the
//! machine has no kubectl.

mod support;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use pintle_apiserver::AdmitAll;
use pintle_apiserver::pki::Kubeconfig;
use support::TestServer;
use support::node::PlaybackNode;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: demo}
spec:
  replicas: REPLICAS
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: c, image: busybox, command: [sleep, '100']}]
";

const NODE: &str = "
apiVersion: v1
kind: Node
metadata: {name: n1}
";

const LIST: &str = "
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: listed, namespace: demo}
  data: {a: b}
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: listed, namespace: demo}
  spec:
    selector: {matchLabels: {app: listed}}
    strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 25%}}
    template:
      metadata: {labels: {app: listed}}
      spec:
        containers: [{name: c, image: busybox, resources: {limits: {cpu: 1, memory: 1Gi}}}]
";

struct Kubectl {
    config: PathBuf,
    cache: PathBuf,
}

impl Kubectl {
    async fn run(&self, arguments: &str, input: &str) -> (bool, String) {
        let mut child = Command::new("kubectl")
            .args(arguments.split_whitespace())
            .env("KUBECONFIG", &self.config)
            .env("HOME", &self.cache)
            .env("KUBECACHEDIR", &self.cache)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        let output = child.wait_with_output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    /// Runs a command that must succeed and say something.
    async fn ok(&self, arguments: &str, input: &str, expect: &str) {
        let (success, text) = self.run(arguments, input).await;
        assert!(
            success && text.contains(expect),
            "kubectl {arguments}: expected {expect:?} in\n{text}"
        );
    }

    async fn fails(&self, arguments: &str, expect: &str) {
        let (success, text) = self.run(arguments, "").await;
        assert!(
            !success && text.contains(expect),
            "kubectl {arguments}: expected {expect:?} in\n{text}"
        );
    }
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir: PathBuf| Path::new(&dir).join(program).is_file())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_works_unchanged() {
    if !on_path("kubectl") {
        eprintln!("no kubectl on this machine, skipped");
        return;
    }
    let server = TestServer::with(Arc::new(AdmitAll), Arc::new(PlaybackNode)).await;
    let config = server.dir.path().join("kubeconfig");
    let url = format!("https://{}", server.address);
    Kubeconfig::new(&server.ca, &url, "admin", &server.admin).write(&config).unwrap();
    let kubectl = Kubectl { config, cache: server.dir.path().join("home") };
    let web = |replicas: &str| WEB.replace("REPLICAS", replicas);

    kubectl.ok("version", "", "v1.35.0+pintle.0.1.0").await;
    kubectl.ok("api-resources", "", "deployments").await;
    kubectl.ok("get namespaces", "", "kube-system").await;
    kubectl.ok("create namespace demo", "", "namespace/demo created").await;
    kubectl
        .ok(
            "create configmap settings --from-literal=a=b -n demo",
            "",
            "configmap/settings created",
        )
        .await;
    kubectl.ok("create secret generic s --from-literal=a=b -n demo", "", "secret/s created").await;
    kubectl.ok("get configmap settings -n demo -o jsonpath={.data.a}", "", "b").await;
    kubectl.ok("apply -f -", &web("2"), "deployment.apps/web created").await;
    kubectl.ok("apply -f -", &web("3"), "deployment.apps/web configured").await;
    kubectl.ok("apply -f -", &web("3"), "deployment.apps/web unchanged").await;
    kubectl.ok("apply -f - --dry-run=server", &web("9"), "(server dry run)").await;
    kubectl.ok("get deployment web -n demo", "", "0/3").await;
    kubectl.ok("describe deployment web -n demo", "", "busybox").await;
    kubectl.ok("scale deployment web -n demo --replicas=5", "", "scaled").await;
    kubectl.ok("label deployment web -n demo tier=front", "", "labeled").await;
    kubectl.ok("annotate deployment web -n demo note=x", "", "annotated").await;
    kubectl.ok("get deployment -n demo -l tier=front -o name", "", "deployment.apps/web").await;
    kubectl.ok("explain deployment.spec.replicas", "", "FIELD: replicas").await;
    kubectl.ok("auth whoami", "", "admin").await;
    kubectl.ok("auth can-i create pods", "", "yes").await;
    kubectl
        .ok(
            "wait --for=jsonpath={.spec.replicas}=5 deployment/web -n demo --timeout=5s",
            "",
            "condition met",
        )
        .await;
    kubectl.ok("create -f -", LIST, "configmap/listed created").await;
    kubectl.ok("apply -f -", LIST, "configmap/listed").await;
    kubectl.fails("create configmap x -n nowhere", "namespaces \"nowhere\" not found").await;
    kubectl.fails("create namespace demo", "already exists").await;
    kubectl.fails("get pod nobody -n demo", "pods \"nobody\" not found").await;
    kubectl
        .fails("get configmaps --as=jane", "User \"jane\" cannot list resource \"configmaps\"")
        .await;
    kubectl
        .ok(
            "create deployment made --image=busybox --replicas=2 -n demo",
            "",
            "deployment.apps/made created",
        )
        .await;
    kubectl.ok("run p --image=busybox -n demo", "", "pod/p created").await;
    let bind = r#"{"target":{"kind":"Node","name":"n1"}}"#;
    kubectl.ok("create --raw /api/v1/namespaces/demo/pods/p/binding -f -", bind, "Success").await;
    kubectl.ok("logs p -n demo", "", "p line 2").await;
    kubectl.ok("logs p -n demo --tail=1", "", "p line 0").await;
    kubectl.fails("logs p -n demo --previous", "previous container").await;
    let (success, text) = kubectl.run("exec -i p -n demo -- sh -c x", "hello").await;
    assert!(!success && text.contains(r#"["sh","-c","x"]hello"#), "{text}");
    assert!(text.contains("command terminated with exit code 3"), "{text}");
    kubectl.ok("create -f -", NODE, "node/n1 created").await;
    kubectl.ok("cordon n1", "", "cordoned").await;
    kubectl.ok("taint node n1 a=b:NoSchedule", "", "tainted").await;
    kubectl
        .ok(
            "drain n1 --force --disable-eviction=false --timeout=10s --grace-period=0",
            "",
            "drained",
        )
        .await;
    kubectl.fails("get pod p -n demo", "not found").await;
    kubectl.ok("delete deployment web -n demo", "", "deleted").await;
    kubectl.ok("delete namespace demo --wait=false", "", "deleted").await;
    kubectl.ok("get namespace demo", "", "Terminating").await;
}
