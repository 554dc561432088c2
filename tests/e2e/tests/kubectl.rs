//! The real kubectl, unchanged.

use std::io::{BufRead, BufReader};

use pintle_e2e::{Cluster, IMAGE, require_kubectl};

#[test]
fn objects_are_made_seen_changed_and_removed() {
    require_kubectl!();
    let cluster = Cluster::start(0);
    let k = |arguments: &str| cluster.kubectl(&arguments.split(' ').collect::<Vec<_>>());

    assert!(k("version").contains("Server Version: v1.35.0+pintle"));
    let resources = k("api-resources");
    for kind in ["deployments", "pods", "configmaps", "plugins"] {
        assert!(resources.contains(kind), "{resources}");
    }
    assert!(k("explain deployment.spec.replicas").contains("FIELD: replicas <integer>"));
    assert!(k("auth whoami").contains("pintle-admin"));

    // create: typed clients send protobuf.
    assert_eq!(k("create namespace shop"), "namespace/shop created\n");
    k("create configmap settings -n shop --from-literal=a=1 --from-literal=b=2");
    k("create secret generic keys -n shop --from-literal=password=hidden");
    k("create deployment web -n shop --image=example/web --replicas=2");
    assert!(k("get configmap settings -n shop -o jsonpath={.data.a}") == "1");
    assert!(k("get secret keys -n shop -o jsonpath={.data.password}") == "aGlkZGVu");
    let twice = cluster.try_kubectl(&["create", "namespace", "shop"]);
    assert!(twice.stderr.contains("namespaces \"shop\" already exists"), "{}", twice.stderr);

    // get and describe
    let table = k("get deployments -n shop");
    assert!(
        table.starts_with("NAME   READY   UP-TO-DATE   AVAILABLE   AGE\nweb    0/2"),
        "{table}"
    );
    cluster.wait("the pods of web", |c| {
        c.try_kubectl(&["get", "pods", "-n", "shop", "-o", "name"]).stdout.lines().count() == 2
    });
    assert!(k("get pods -n shop -o wide").contains("Pending"));
    assert!(k("describe deployment web -n shop").contains("NewReplicaSet:"));
    assert!(k("describe namespace shop").contains("Status:       Active"));
    let events = || cluster.try_kubectl(&["describe", "pods", "-n", "shop"]).stdout;
    cluster.wait("the scheduler's event", |_| events().contains("FailedScheduling"));
    assert!(events().contains("no nodes available to schedule pods"), "{}", events());

    // label, annotate, scale, patch of all three kinds
    k("label deployment web -n shop tier=front");
    assert!(k("get deployment -n shop -l tier=front -o name").contains("web"));
    k("annotate deployment web -n shop note=hello");
    k("scale deployment web -n shop --replicas=3");
    assert_eq!(k("get deployment web -n shop -o jsonpath={.spec.replicas}"), "3");
    cluster.kubectl(&["patch", "deployment", "web", "-n", "shop", "-p",
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"A","value":"1"}]}]}}}}"#]);
    assert_eq!(
        k("get deployment web -n shop -o jsonpath={.spec.template.spec.containers[0].image}"),
        "example/web",
        "a strategic merge keeps what it does not name"
    );
    cluster.kubectl(&[
        "patch",
        "configmap",
        "settings",
        "-n",
        "shop",
        "--type=merge",
        "-p",
        r#"{"data":{"a":null}}"#,
    ]);
    assert_eq!(k("get configmap settings -n shop -o jsonpath={.data}"), r#"{"b":"2"}"#);
    cluster.kubectl(&[
        "patch",
        "configmap",
        "settings",
        "-n",
        "shop",
        "--type=json",
        "-p",
        r#"[{"op":"replace","path":"/data/b","value":"3"}]"#,
    ]);
    assert_eq!(k("get configmap settings -n shop -o jsonpath={.data.b}"), "3");

    // edit, with an editor that edits
    let editor = cluster.path().join("editor.sh");
    std::fs::write(&editor, "#!/bin/sh\nsed -i 's/b: \"3\"/b: \"4\"/' \"$1\"\n").unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&editor, std::fs::Permissions::from_mode(0o755)).unwrap();
    let script = format!("EDITOR={} kubectl edit configmap settings -n shop", editor.display());
    assert!(cluster.shell(&script).contains("edited"));
    assert_eq!(k("get configmap settings -n shop -o jsonpath={.data.b}"), "4");

    // apply: server-side validation names what is wrong; a second apply changes nothing
    let file = cluster.path().join("cm.yaml");
    std::fs::write(
        &file,
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {x: one}\n",
    )
    .unwrap();
    let file = file.to_string_lossy().into_owned();
    assert_eq!(k(&format!("apply -f {file}")), "configmap/applied created\n");
    assert_eq!(k(&format!("apply -f {file}")), "configmap/applied unchanged\n");
    std::fs::write(
        &file,
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {z: two}\n",
    )
    .unwrap();
    assert_eq!(k(&format!("apply -f {file}")), "configmap/applied configured\n");
    assert_eq!(k("get configmap applied -o jsonpath={.data}"), r#"{"z":"two"}"#);
    std::fs::write(
        &file,
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndatas: {z: two}\n",
    )
    .unwrap();
    let refused = cluster.try_kubectl(&["apply", "-f", &file]);
    assert!(refused.stderr.contains("unknown field \"datas\""), "{}", refused.stderr);
    assert!(k("delete configmap applied --dry-run=server").contains("(server dry run)"));

    // wait, and the end of a namespace takes everything with it
    k("delete namespace shop --wait=true --timeout=180s");
    let gone = cluster.try_kubectl(&["get", "namespace", "shop"]);
    assert!(gone.stderr.contains("namespaces \"shop\" not found"), "{}", gone.stderr);
    assert_eq!(cluster.try_kubectl(&["get", "pods", "-n", "shop", "-o", "name"]).stdout, "");
    assert!(k("get plugins").contains("scheduler"));
}

#[test]
fn running_pods_are_rolled_out_logged_and_entered() {
    require_kubectl!("script");
    let cluster = Cluster::start(1);
    let k = |arguments: &str| cluster.kubectl(&arguments.split(' ').collect::<Vec<_>>());
    let file = cluster.path().join("web.yaml");
    let manifest = |word: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  replicas: 2\n  selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec:\n      terminationGracePeriodSeconds: 1\n      containers:\n      - name: main\n        image: {IMAGE}\n        imagePullPolicy: Never\n        command: [sh, -c, 'echo {word}; exec sleep 100000']\n"
        )
    };
    std::fs::write(&file, manifest("one")).unwrap();
    let path = file.to_string_lossy().into_owned();
    k(&format!("apply -f {path}"));
    assert!(k("rollout status deployment/web --timeout=180s").contains("successfully rolled out"));
    // A container runs before its program has said anything.
    cluster.wait("the first version's log", |_| k("logs deployment/web") == "one\n");
    k("wait --for=condition=Available deployment/web --timeout=180s");

    std::fs::write(&file, manifest("two")).unwrap();
    k(&format!("apply -f {path}"));
    assert!(k("rollout status deployment/web --timeout=180s").contains("successfully rolled out"));
    cluster.wait("the second version's log", |c| {
        c.try_kubectl(&["logs", "-l", "app=web", "--prefix=false"]).stdout.contains("two\n")
    });
    assert!(k("rollout history deployment/web").contains("2 "));

    // exec: standard streams, exit code, terminal
    assert_eq!(k("exec deploy/web -- echo hello"), "hello\n");
    let failing = cluster.try_kubectl(&["exec", "deploy/web", "--", "sh", "-c", "exit 7"]);
    assert_eq!(failing.code, Some(7), "{}", failing.stderr);
    assert_eq!(
        cluster.shell("echo from stdin | kubectl exec -i deploy/web -- cat"),
        "from stdin\n"
    );
    // `script` gives kubectl a terminal of its own.
    let tty = cluster
        .shell("script -qec 'kubectl exec -it deploy/web -- sh -c \"tty; stty size\"' /dev/null");
    assert!(tty.contains("/dev/pts/"), "{tty}");

    cluster.wait("the first version's pods to go", |c| {
        c.try_kubectl(&["get", "pods", "-o", "name"]).stdout.lines().count() == 2
    });
    // logs -f ends when the container does
    let pods = k("get pods -l app=web -o name");
    let pod = pods.lines().next().unwrap();
    let mut following = cluster.client().spawn_program("kubectl", &["logs", "-f", pod]);
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "two");
    k("delete pod -l app=web --grace-period=1");
    assert!(lines.next().is_none(), "the log has one line and an end");
    assert!(following.wait().unwrap().success());
    // get -w sees it go
    let arguments = ["get", "pods", "-w", "--output-watch-events"];
    let mut watching = cluster.client().spawn_program("kubectl", &arguments);
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("ADDED")), "the watch begins");
    k("delete deployment web");
    assert!(lines.any(|line| line.starts_with("DELETED")), "the watch has ended");
    watching.kill().unwrap();
    watching.wait().unwrap();
    assert!(k("get nodes -o wide").contains("Ready"));
    assert!(k("describe node node-0").contains("Allocated resources"));
}
