//! Plugins from a real registry: pulled by digest, vouched for by keys, kept for
//! a restart without it; and everything that a registry can do wrong.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use pintle_e2e::registry::{Fate, Login, Proxy, Registry, USER};
use pintle_e2e::{Cluster, require_machine, require_registry};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Guests of the plugin host's own tests: a controller that copies ConfigMaps, a
/// scheduler, and an extension of schedulers.
static GUESTS: LazyLock<Vec<PathBuf>> = LazyLock::new(|| {
    let workspace = pintle_e2e::workspace();
    let packages = ["guest-controller", "guest-scheduler", "guest-extension"];
    let source = workspace.join("runtime/plugin-host/tests/guests");
    let target = workspace.join("target/host-guests");
    let built = pintle_plugin_build::build(&source, &packages, &target).expect("guests build");
    built.into_iter().map(|built| built.path).collect()
});

fn guest(number: usize) -> String {
    GUESTS[number].display().to_string()
}

/// The copier with another mark in it, and so under another digest.
fn variant(cluster: &Cluster, mark: u8) -> String {
    let mut bytes = std::fs::read(&GUESTS[0]).unwrap();
    bytes.extend([0, 3, 1, b'v', mark]);
    let file = cluster.path().join(format!("variant-{mark}.wasm"));
    std::fs::write(&file, bytes).unwrap();
    file.display().to_string()
}

fn digest_of(file: &str) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(std::fs::read(file).unwrap())))
}

fn registry(cluster: &Cluster, login: Login) -> Registry {
    cluster.beside_the_server(|| Registry::start(login))
}

fn path(cluster: &Cluster, name: &str) -> String {
    cluster.path().join(name).display().to_string()
}

/// The status when it is about the present spec and in that phase.
fn phase(cluster: &Cluster, plugin: &str, phase: &str) -> Value {
    cluster.wait(&format!("{plugin} to be {phase}"), |c| {
        let object = c.get(&format!("plugins {plugin}"));
        object["metadata"]["generation"] == object["status"]["observedGeneration"]
            && object["status"]["phase"] == phase
    });
    cluster.get(&format!("plugins {plugin}"))["status"].clone()
}

/// Pushes and returns what is printed: the artifact by its digest.
fn push(cluster: &Cluster, reference: &str, file: &str, more: &[&str]) -> String {
    let mut arguments = vec!["plugin", "push", reference, file, "--insecure"];
    arguments.extend(more);
    let said = cluster.pintle(&arguments);
    said.lines().next().unwrap().to_owned()
}

/// What the command says when it fails.
fn refused(cluster: &Cluster, arguments: &[&str]) -> String {
    let output = cluster.try_pintle(arguments);
    assert!(!output.success, "{arguments:?}: {}", output.stdout);
    assert_eq!(output.stderr.trim().lines().count(), 1, "one line: {}", output.stderr);
    output.stderr
}

/// Has the controller copy a ConfigMap, to see that it decides.
fn assert_copies(cluster: &Cluster, name: &str) {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"copy": "please"}}, "data": {},
    });
    cluster.apply(&object.to_string());
    let copy = format!("configmaps {name}-copy");
    cluster.wait(&copy, |c| c.get(&copy)["data"]["by"].is_string());
}

#[test]
fn signed_artifacts_decide_and_need_no_registry_afterwards() {
    require_machine!();
    require_registry!();
    let mut cluster = Cluster::start(0);
    let server = registry(&cluster, Login::None);
    let (key, public) = (path(&cluster, "release.key"), path(&cluster, "release.pub"));
    cluster.pintle(&["plugin", "keygen", &path(&cluster, "release")]);

    let copier = server.reference("team/copier:1.0");
    let by_digest = push(&cluster, &copier, &guest(0), &["--sign", &key]);
    assert!(by_digest.starts_with(&format!("oci://{}/team/copier@sha256:", server.address)));
    let counting = server.reference("team/counting:1.0");
    push(&cluster, &counting, &guest(1), &["--sign", &key]);

    // What can be known without loading it, by tag and by digest.
    for reference in [&format!("oci://{copier}"), &by_digest] {
        let said = cluster.pintle(&[
            "plugin",
            "inspect",
            reference,
            "--insecure",
            "--json",
            "--public-key",
            &public,
        ]);
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["role"], "Controller");
        assert_eq!(said["digest"], digest_of(&guest(0)));
        assert_eq!(said["signatures"], "1, one is by a given key");
        assert!(by_digest.ends_with(said["artifact"].as_str().unwrap()));
    }

    // The role is what it exports; the object names the artifact by its digest.
    let tagged = format!("oci://{copier}");
    let trusted = ["--insecure", "--public-key", &public];
    let mut load = vec!["plugin", "load", "copier", &tagged, "--grant"];
    load.extend(trusted);
    cluster.pintle(&load);
    let spec = cluster.get("plugins copier")["spec"].clone();
    assert_eq!(spec["role"], "Controller");
    assert_eq!(spec["digest"], digest_of(&guest(0)));
    let reference = spec["source"]["oci"]["reference"].as_str().unwrap();
    assert!(reference.contains(":1.0@sha256:"), "{reference}");
    let source = format!("oci://{counting}");
    let mut swap = vec!["plugin", "swap", "scheduler", &source];
    swap.extend(trusted);
    cluster.pintle(&swap);
    let rule = server.reference("team/rule:1.0");
    push(&cluster, &rule, &guest(2), &["--sign", &key]);
    let source = format!("oci://{rule}");
    let mut load = vec!["plugin", "load", "rule", &source, "--grant", "--weight", "2"];
    load.extend(["--config", r#"{"score":"number"}"#]);
    load.extend(trusted);
    cluster.pintle(&load);
    let spec = cluster.get("plugins rule")["spec"].clone();
    assert_eq!((&spec["role"], &spec["weight"]), (&json!("SchedulerExtension"), &json!(2)));
    assert_copies(&cluster, "with-registry");

    drop(server);
    cluster.server.take().unwrap().kill_9();
    cluster.start_server();
    for (plugin, file) in [("copier", guest(0)), ("scheduler", guest(1)), ("rule", guest(2))] {
        let status = phase(&cluster, plugin, "Active");
        assert_eq!(status["activeDigest"], digest_of(&file), "{status}");
    }
    assert_copies(&cluster, "without-registry");
    // Nothing of it may be readable by others.
    let kept = cluster.path().join("server/plugin-cache");
    for entry in std::fs::read_dir(kept).unwrap() {
        use std::os::unix::fs::MetadataExt;
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().mode() & 0o077, 0, "{:?}", entry.path());
    }
    cluster.pintle(&["plugin", "rollback", "scheduler"]);
}

#[test]
fn what_nobody_trusted_signed_is_not_loaded() {
    require_machine!();
    require_registry!();
    let mut cluster = Cluster::start(0);
    let server = registry(&cluster, Login::None);
    for name in ["right", "wrong"] {
        cluster.pintle(&["plugin", "keygen", &path(&cluster, name)]);
    }
    let (right, wrong) = (path(&cluster, "right.key"), path(&cluster, "wrong.key"));
    let (public, other) = (path(&cluster, "right.pub"), path(&cluster, "wrong.pub"));
    let reference = |tag: &str| server.reference(&format!("copier:{tag}"));
    let check = |tag: &str, reason: &str| {
        let source = format!("oci://{}", reference(tag));
        let said = refused(
            &cluster,
            &["plugin", "load", tag, &source, "--insecure", "--public-key", &public],
        );
        assert!(said.contains("is Failed") && said.contains(reason), "{said}");
        assert_eq!(phase(&cluster, tag, "Failed")["reason"], reason);
    };
    push(&cluster, &reference("unsigned"), &variant(&cluster, 1), &[]);
    check("unsigned", "SignatureMissing");
    push(&cluster, &reference("wrong"), &variant(&cluster, 2), &["--sign", &wrong]);
    check("wrong", "SignatureInvalid");

    // Signed later: a new look finds the signature.
    push(&cluster, &reference("unsigned"), &variant(&cluster, 1), &["--sign", &right]);
    cluster.pintle(&["plugin", "rm", "unsigned"]);
    let source = format!("oci://{}", reference("unsigned"));
    let load = ["plugin", "load", "unsigned", &source, "--insecure", "--grant", "--public-key"];
    cluster.pintle(&[&load[..], &[&public]].concat());

    // A tampered layer, whoever signed the artifact.
    let tampered = variant(&cluster, 3);
    let by_digest = push(&cluster, &reference("tampered"), &tampered, &["--sign", &right]);
    let layer = server.blob_file(&digest_of(&tampered));
    let mut bytes = std::fs::read(&layer).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(&layer, bytes).unwrap();
    let whole = by_digest.as_str();
    let said = refused(
        &cluster,
        &["plugin", "load", "tampered", whole, "--insecure", "--role", "controller"],
    );
    assert!(said.contains("DigestMismatch"), "{said}");
    let said = refused(&cluster, &["plugin", "inspect", whole, "--insecure"]);
    assert!(said.contains("the component from registry"), "{said}");

    // What is no component is not even pushed.
    let torn = path(&cluster, "torn.wasm");
    let bytes = std::fs::read(&GUESTS[0]).unwrap();
    std::fs::write(&torn, &bytes[..bytes.len() / 2]).unwrap();
    let said = refused(&cluster, &["plugin", "push", &reference("torn"), &torn, "--insecure"]);
    assert!(said.contains("does not compile"), "{said}");

    // A server that demands signatures of all that was not built into it.
    cluster.settings = vec!["--plugin-public-keys".into(), other.clone()];
    cluster.server.take().unwrap().kill_9();
    cluster.start_server();
    assert_eq!(phase(&cluster, "scheduler", "Active")["reason"], "");
    assert_eq!(phase(&cluster, "unsigned", "Failed")["reason"], "SignatureInvalid");
    let file = guest(0);
    let said = refused(&cluster, &["plugin", "load", "bare", &file]);
    assert!(said.contains("SignatureMissing"), "{said}");
    cluster.pintle(&["plugin", "rm", "bare"]);
    let signature = cluster.pintle(&["plugin", "sign", &file, "--key", &wrong]);
    let load = ["plugin", "load", "bare", &file, "--grant", "--signature", signature.trim()];
    cluster.pintle(&load);
    assert_copies(&cluster, "signed");
}

#[test]
fn a_registry_that_vanishes_is_waited_for() {
    require_machine!();
    require_registry!();
    let cluster = Cluster::start(0);
    let server = registry(&cluster, Login::None);
    let file = guest(0);
    let pushed = push(&cluster, &server.reference("copier:1"), &file, &[]);
    let manifest = pushed.split_once('@').unwrap().1.to_owned();
    let (away, layer) = (Arc::new(AtomicBool::new(true)), digest_of(&file));
    let is_away = away.clone();
    let upstream = server.address;
    let proxy = cluster.beside_the_server(move || {
        Proxy::start(upstream, move |head| {
            match is_away.load(Ordering::SeqCst) && head.contains(&layer) {
                // It dies in the middle, and does not come back at once.
                true if head.contains("range: ") => Fate::Cut(0),
                true => Fate::Cut(20_000),
                false => Fate::Forward,
            }
        })
    });
    // While one is slow, everything else goes on, and it can be given up.
    let slow = cluster.beside_the_server(move || {
        Proxy::start(upstream, |head| match head.contains("/blobs/") {
            true => Fate::Stall(30_000),
            false => Fate::Forward,
        })
    });
    let object = json!({
        "apiVersion": "plugins.pintle.dev/v1alpha1", "kind": "Plugin",
        "metadata": {"name": "slow"},
        "spec": {"role": "Controller", "source": {"oci": {
            "reference": format!("{}/copier@{manifest}", slow.address), "insecure": true,
        }}},
    });
    cluster.apply(&object.to_string());
    cluster.wait("the slow pull to show how far it is", |c| {
        let status = &c.get("plugins slow")["status"];
        let message = status["message"].as_str().unwrap_or_default();
        status["phase"] == "Loading" && message.starts_with("pulling ") && message.ends_with(" KiB")
    });

    let through = format!("oci://{}/copier@{manifest}", proxy.address);
    let load =
        ["plugin", "load", "copier", &through, "--insecure", "--role", "controller", "--grant"];
    let said = refused(&cluster, &load);
    assert!(said.contains("SourceUnavailable") && said.contains("vanished after"), "{said}");
    // It is not the only one; the others have not noticed.
    assert_eq!(phase(&cluster, "deployment", "Active")["reason"], "");
    assert_eq!(cluster.get("plugins slow")["status"]["phase"], "Loading");
    cluster.pintle(&["plugin", "rm", "slow"]);

    let generation = cluster.get("plugins copier")["metadata"]["generation"].clone();
    away.store(false, Ordering::SeqCst);
    // By itself: the host asks again, and then for the grants that it was not given.
    cluster.wait("the component to be pulled", |c| {
        c.get("plugins copier")["status"]["reason"] == "NeedsNotGranted"
    });
    assert_eq!(cluster.get("plugins copier")["metadata"]["generation"], generation);
}

#[test]
fn certificates_of_ones_own_are_trusted_when_named() {
    require_machine!();
    require_registry!();
    let temporary = tempfile::tempdir().unwrap();
    let file = |name: &str| temporary.path().join(name);
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(file("tls.crt"), made.cert.pem()).unwrap();
    std::fs::write(file("tls.key"), made.signing_key.serialize_pem()).unwrap();
    let certificate = file("tls.crt");
    let server = Registry::start_with(Login::None, Some((&certificate, &file("tls.key"))));
    let reference = server.reference("copier:1");
    let pintle = |roots: &std::path::Path, arguments: &[&str]| {
        let output = std::process::Command::new(pintle_e2e::bin_dir().join("pintle"))
            .args(arguments)
            .env("SSL_CERT_FILE", roots)
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let push = ["plugin", "push", &reference, &guest(0)];
    let (pushed, said) = pintle(&certificate, &push);
    assert!(pushed, "{said}");
    let inspect = ["plugin", "inspect", &format!("oci://{reference}")];
    assert!(pintle(&certificate, &inspect).0);
    // Nobody else's certificate will do, nor will plain HTTP.
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(file("other.crt"), other.cert.pem()).unwrap();
    let (pulled, said) = pintle(&file("other.crt"), &inspect);
    assert!(!pulled && said.contains("certificate"), "{said}");
    let (pulled, said) = pintle(&certificate, &[&inspect[..], &["--insecure"]].concat());
    assert!(!pulled, "{said}");
}

#[test]
fn logins_come_from_secrets() {
    require_machine!();
    require_registry!();
    let cluster = Cluster::start(0);
    let server = registry(&cluster, Login::Basic);
    let config = json!({"auths": {
        server.address.to_string(): {"username": USER.0, "password": USER.1},
    }});
    // The command line logs in as docker does.
    std::fs::write(cluster.path().join("config.json"), config.to_string()).unwrap();
    let reference = server.reference("copier:1");
    let said = cluster.shell(&format!(
        "DOCKER_CONFIG={} {} plugin push {reference} {} --insecure",
        cluster.path().display(),
        pintle_e2e::bin_dir().join("pintle").display(),
        guest(0),
    ));
    let pushed = said.lines().next().unwrap().to_owned();
    let said = refused(&cluster, &["plugin", "inspect", &pushed, "--insecure"]);
    assert!(said.contains("401"), "{said}");

    let load = ["plugin", "load", "copier", &pushed, "--insecure", "--role", "controller"];
    let secret = ["--pull-secret", "default/registry"];
    let said = refused(&cluster, &[&load[..], &secret[..]].concat());
    assert!(said.contains("the pull secret default/registry does not exist"), "{said}");
    let data = base64::engine::general_purpose::STANDARD.encode(config.to_string());
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": "registry", "namespace": "default"},
        "data": {".dockerconfigjson": data},
    });
    cluster.apply(&object.to_string());
    cluster.wait("the component to be pulled", |c| {
        c.get("plugins copier")["status"]["reason"] == "NeedsNotGranted"
    });
}
