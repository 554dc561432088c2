//! A network plugin as the node agent uses it: loaded, asked, and asked again
//! after it has misbehaved.

mod support;

use pintle_plugin_host::cni::{CniError, NetOp, Node, Peer, Reservation, Sandbox};
use pintle_plugin_host::plugin::BudgetSpec;
use pintle_plugin_host::{CniPlugin, Compiler};
use serde_json::{Value, json};
use support::guests;

fn node(ranges: &[&str]) -> Node {
    Node {
        name: "node-1".into(),
        internal_ip: "192.0.2.1".into(),
        pod_cidrs: ranges.iter().map(|range| (*range).to_owned()).collect(),
        interface_prefix: "pin".into(),
    }
}

fn sandbox() -> Sandbox {
    Sandbox {
        id: "s".into(),
        namespace: "default".into(),
        name: "web".into(),
        netns: "/run/netns/s".into(),
        mtu: 1500,
    }
}

fn load(config: Value) -> (tempfile::TempDir, Result<CniPlugin, CniError>) {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("cache");
    let plugin = CniPlugin::load(
        &cache,
        &Compiler::InProcess,
        "counting",
        &guests::cni(),
        None,
        &config,
        &BudgetSpec::default(),
    );
    (directory, plugin)
}

#[test]
fn plans_come_back_as_operations() {
    let (_directory, plugin) = load(Value::Null);
    let plugin = plugin.unwrap();
    let reserved = [Reservation { sandbox: "r".into(), address: "10.244.3.2".into() }];
    let added = plugin.add(0, &node(&["10.244.3.0/24"]), &sandbox(), &reserved).unwrap();
    assert_eq!(added.reserve, ["10.244.3.3"]);
    let NetOp::VethAdd(veth) = &added.plan[0] else { panic!("{:?}", added.plan) };
    assert_eq!((veth.host.as_str(), veth.peer.as_str()), ("pin1", "eth0"));
    assert!(matches!(&plugin.del(0, &node(&[]), &sandbox()).unwrap()[0], NetOp::LinkDelete(_)));
    assert!(plugin.check(0, &node(&[]), &sandbox(), &[]).unwrap().is_empty());
    let peer =
        Peer { name: "n".into(), internal_ip: String::new(), pod_cidrs: Vec::new(), ready: true };
    let refused = plugin.nodes_changed(0, &node(&[]), &[], &[peer]).unwrap_err();
    assert_eq!(refused.to_string(), "the network plugin says: 0 to 1 peers");
    assert_eq!(plugin.counters().calls, 4);
}

#[test]
fn a_trap_costs_one_call() {
    let (_directory, plugin) = load(json!({ "add": "trap" }));
    let plugin = plugin.unwrap();
    let error = plugin.add(0, &node(&["10.244.3.0/24"]), &sandbox(), &[]).unwrap_err();
    assert!(matches!(error, CniError::Fault(_)), "{error}");
    assert!(plugin.check(0, &node(&[]), &sandbox(), &[]).unwrap().is_empty());
    assert_eq!(plugin.counters().traps, 1);
}

#[test]
fn another_role_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let budgets = BudgetSpec::default();
    let cache = directory.path().join("cache");
    let error = CniPlugin::load(
        &cache,
        &Compiler::InProcess,
        "x",
        &guests::scheduler(),
        None,
        &Value::Null,
        &budgets,
    )
    .err()
    .unwrap();
    assert!(error.to_string().contains("role CNI"), "{error}");
}
