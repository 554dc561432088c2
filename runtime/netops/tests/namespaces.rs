//! Plans against a real kernel, each test inside network namespaces of its own:
//! the test's thread moves to a fresh namespace that stands for the node.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use pintle_netops::{Executor, NetOp, Scope, is_netns};

struct Node {
    dir: tempfile::TempDir,
    executor: Executor,
}

impl Node {
    /// None where the test may not make namespaces.
    fn fresh() -> Option<Node> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: network namespaces need root");
            return None;
        }
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let executor = Executor::new(Scope {
            interface_prefix: "pt".into(),
            cidrs: vec!["10.244.0.0/16".parse().unwrap()],
            table_prefix: "pintle".into(),
            netns_dir: dir.path().to_owned(),
        });
        Some(Node { dir, executor })
    }

    fn netns(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn plan(&self, ops: &[String]) -> Vec<NetOp> {
        let dir = self.dir.path().to_str().unwrap();
        ops.iter().map(|op| serde_json::from_str(&op.replace("DIR", dir)).unwrap()).collect()
    }

    fn pod_plan(&self, name: &str, ip: &str) -> Vec<NetOp> {
        self.plan(&[
            format!(r#"{{"op":"netns-create","path":"DIR/{name}"}}"#),
            format!(
                r#"{{"op":"veth-add","host":"pt{name}","host_mac":"ee:ee:ee:ee:ee:ee","peer":"eth0","peer_netns":"DIR/{name}","mtu":1400}}"#
            ),
            format!(r#"{{"op":"link-up","link":"pt{name}"}}"#),
            format!(r#"{{"op":"link-up","netns":"DIR/{name}","link":"eth0"}}"#),
            format!(r#"{{"op":"address-add","netns":"DIR/{name}","link":"eth0","cidr":"{ip}/32"}}"#),
            format!(
                r#"{{"op":"route-replace","netns":"DIR/{name}","destination":"169.254.1.1/32","link":"eth0"}}"#
            ),
            format!(
                r#"{{"op":"route-replace","netns":"DIR/{name}","destination":"0.0.0.0/0","via":"169.254.1.1","link":"eth0"}}"#
            ),
            format!(
                r#"{{"op":"neighbour-replace","netns":"DIR/{name}","link":"eth0","ip":"169.254.1.1","mac":"ee:ee:ee:ee:ee:ee","permanent":true}}"#
            ),
            format!(r#"{{"op":"route-replace","destination":"{ip}/32","link":"pt{name}"}}"#),
            r#"{"op":"sysctl-set","key":"net/ipv4/ip_forward","value":"1"}"#.to_owned(),
            format!(r#"{{"op":"sysctl-set","netns":"DIR/{name}","key":"net/ipv4/ip_unprivileged_port_start","value":"0"}}"#),
        ])
    }
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text + &String::from_utf8_lossy(&output.stderr)
}

fn inside(netns: &Path, command: &[&str]) -> String {
    let net = format!("--net={}", netns.display());
    output("nsenter", &[&[net.as_str()], command].concat())
}

#[test]
fn two_pods_reach_each_other_and_plans_repeat() {
    let Some(node) = Node::fresh() else { return };
    let home = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    for (name, ip) in [("a", "10.244.0.2"), ("b", "10.244.0.3")] {
        let plan = node.pod_plan(name, ip);
        node.executor.apply(&plan).unwrap();
        node.executor.apply(&plan).unwrap();
        assert!(is_netns(&node.netns(name)));
    }
    assert_eq!(std::fs::read_link("/proc/thread-self/ns/net").unwrap(), home);
    let address = inside(&node.netns("a"), &["ip", "-o", "addr"]);
    assert!(address.contains("10.244.0.2/32"), "{address}");
    assert!(inside(&node.netns("a"), &["ip", "link"]).contains("mtu 1400"));
    let ping = inside(&node.netns("a"), &["busybox", "ping", "-c1", "-W2", "10.244.0.3"]);
    assert!(ping.contains("1 packets received"), "{ping}");
    let port = inside(&node.netns("a"), &["cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"]);
    assert_eq!(port.trim(), "0");
    let here = std::fs::read_to_string("/proc/thread-self/net/route").unwrap();
    assert_eq!(here.lines().filter(|line| line.starts_with("pt")).count(), 2, "{here}");

    let remove = node.plan(&[
        r#"{"op":"route-delete","destination":"10.244.0.2/32","link":"pta"}"#.into(),
        r#"{"op":"address-delete","netns":"DIR/a","link":"eth0","cidr":"10.244.0.2/32"}"#.into(),
        r#"{"op":"neighbour-delete","netns":"DIR/a","link":"eth0","ip":"169.254.1.1"}"#.into(),
        r#"{"op":"link-delete","link":"pta"}"#.into(),
        r#"{"op":"netns-delete","path":"DIR/a"}"#.into(),
    ]);
    node.executor.apply(&remove).unwrap();
    node.executor.apply(&remove).unwrap();
    assert!(!node.netns("a").exists());
    assert!(is_netns(&node.netns("b")));
    node.executor.apply(&node.plan(&[r#"{"op":"netns-delete","path":"DIR/b"}"#.into()])).unwrap();
}

#[test]
fn a_veth_of_an_earlier_life_is_replaced() {
    let Some(node) = Node::fresh() else { return };
    let plan = node.pod_plan("a", "10.244.0.2");
    node.executor.apply(&plan).unwrap();
    // Another process keeps the old namespace alive while the pod gets a new one.
    let old = node.netns("a");
    let keeper = std::fs::File::open(&old).unwrap();
    node.executor.apply(&node.plan(&[r#"{"op":"netns-delete","path":"DIR/a"}"#.into()])).unwrap();
    node.executor.apply(&plan).unwrap();
    drop(keeper);
    assert!(inside(&node.netns("a"), &["ip", "-o", "addr"]).contains("10.244.0.2/32"));
    node.executor.apply(&node.plan(&[r#"{"op":"netns-delete","path":"DIR/a"}"#.into()])).unwrap();
}

#[test]
fn a_plan_outside_its_scope_changes_nothing() {
    let Some(node) = Node::fresh() else { return };
    let plan = node.plan(&[
        r#"{"op":"netns-create","path":"DIR/a"}"#.into(),
        r#"{"op":"link-delete","link":"lo"}"#.into(),
    ]);
    let error = node.executor.apply(&plan).unwrap_err();
    assert_eq!((error.index, error.op), (1, "link-delete"));
    assert!(!node.netns("a").exists());
}

#[test]
fn a_missing_namespace_and_a_missing_link_say_so() {
    let Some(node) = Node::fresh() else { return };
    let check = |op: &str, expect: &str| {
        let error = node.executor.apply(&node.plan(&[op.to_owned()])).unwrap_err();
        assert!(error.source.to_string().contains(expect), "{}", error.source);
    };
    check(r#"{"op":"link-up","netns":"DIR/none","link":"eth0"}"#, "cannot use network namespace");
    check(r#"{"op":"link-up","link":"ptnone"}"#, "no interface named `ptnone`");
    std::fs::write(node.netns("plain"), "").unwrap();
    check(r#"{"op":"link-up","netns":"DIR/plain","link":"eth0"}"#, "cannot use network namespace");
}

#[test]
fn a_table_is_replaced_as_a_whole() {
    let Some(node) = Node::fresh() else { return };
    let apply = |body: &str| {
        node.executor.apply(&[NetOp::NftApply {
            family: "ip".into(),
            table: "pintle-test".into(),
            body: body.into(),
        }])
    };
    apply("chain one { counter; }").unwrap();
    apply("chain two { counter; }").unwrap();
    let tables = output("nft", &["list", "tables"]);
    assert!(tables.contains("table ip pintle-test"), "{tables}");
    let table = output("nft", &["list", "table", "ip", "pintle-test"]);
    assert!(table.contains("chain two") && !table.contains("chain one"), "{table}");
    assert!(apply("nonsense").is_err());
    apply("").unwrap();
    assert!(!output("nft", &["list", "tables"]).contains("pintle-test"));
}
