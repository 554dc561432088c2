//! The suite of network plugins: addresses come from the node's range and are
//! given to one pod each, the same question has the same plan, what was planned
//! can be taken back, and nonsense is refused without a fault.

use std::path::Path;

use pintle_plugin_host::cni::{CniError, CniPlugin, Node, Peer, Reservation, Sandbox};
use pintle_plugin_host::plugin::BudgetSpec;
use pintle_plugin_host::{Compiler, inspect};
use pintle_plugins::components;
use serde_json::json;

pub const PLUGIN: &str = "cni-routed";

fn load(cache: &Path) -> CniPlugin {
    let bytes = std::fs::read(&components::built()[PLUGIN]).unwrap();
    let inspection = inspect::inspect(&bytes).unwrap();
    let described = inspection.described.unwrap();
    assert_eq!(described.name, PLUGIN);
    assert!(described.needs.is_empty(), "it reads no cluster");
    let (compiler, budgets) = (Compiler::InProcess, BudgetSpec::default());
    CniPlugin::load(cache, &compiler, PLUGIN, &bytes, None, &json!({}), &budgets).unwrap()
}

fn node(ranges: &[&str]) -> Node {
    Node {
        name: "n1".into(),
        internal_ip: "192.0.2.1".into(),
        pod_cidrs: ranges.iter().map(|range| (*range).to_owned()).collect(),
        interface_prefix: "pin".into(),
    }
}

fn sandbox(id: usize) -> Sandbox {
    Sandbox {
        id: format!("sandbox-{id}"),
        namespace: "shop".into(),
        name: format!("web-{id}"),
        netns: format!("/run/netns/{id}"),
        mtu: 1500,
    }
}

fn peer(name: &str, range: &str) -> Peer {
    Peer {
        name: name.into(),
        internal_ip: "192.0.2.2".into(),
        pod_cidrs: vec![range.into()],
        ready: true,
    }
}

#[test]
fn network_plugins_pass_their_suite() {
    let directory = tempfile::tempdir().unwrap();
    pintle_e2e::compiled::provide(directory.path());
    let plugin = load(&directory.path().join("plugin-cache"));
    let here = node(&["10.244.3.0/28"]);

    let mut reserved: Vec<Reservation> = Vec::new();
    let full = (0..).find_map(|id| {
        let added = plugin.add(0, &here, &sandbox(id), &reserved);
        // The same of an instance that has answered nothing before.
        plugin.reset();
        let again = plugin.add(0, &here, &sandbox(id), &reserved);
        assert_eq!(format!("{added:?}"), format!("{again:?}"), "{id}");
        let added = match added {
            Ok(added) => added,
            Err(error) => return Some(error),
        };
        assert!(!added.plan.is_empty() && !added.interfaces.is_empty());
        assert_eq!(added.reserve.len(), 1, "one range, one address");
        let address: std::net::Ipv4Addr = added.reserve[0].parse().unwrap();
        assert_eq!(address.octets()[..3], [10, 244, 3]);
        assert!((1..15).contains(&address.octets()[3]), "{address} is not of the range");
        assert!(reserved.iter().all(|one| one.address != added.reserve[0]), "{address} twice");
        reserved.push(Reservation { sandbox: sandbox(id).id, address: added.reserve[0].clone() });
        assert!(reserved.len() < 20, "a range of 16 has no end");
        None
    });
    assert!(matches!(full, Some(CniError::Refused(_))), "{full:?}");
    assert!(reserved.len() >= 10, "{} of 16 addresses are used", reserved.len());

    let taken = plugin.del(0, &here, &sandbox(0)).unwrap();
    assert!(!taken.is_empty(), "what was made is taken back");
    plugin.check(0, &here, &sandbox(0), &[reserved[0].address.clone()]).unwrap();
    let (one, other) = (peer("n2", "10.244.4.0/24"), peer("n3", "10.244.5.0/24"));
    let routed = plugin.nodes_changed(0, &here, &[], std::slice::from_ref(&one)).unwrap();
    assert!(!routed.is_empty(), "a new node can be reached");
    let gone = plugin.nodes_changed(0, &here, std::slice::from_ref(&one), &[]).unwrap();
    assert!(!gone.is_empty(), "one that is gone is forgotten");
    let same = [one, other];
    assert!(plugin.nodes_changed(0, &here, &same, &same).unwrap().is_empty(), "nothing is new");

    nonsense(&plugin);
    assert_eq!(plugin.counters().traps, 0);
}

/// Each is planned or refused; nothing faults.
fn nonsense(plugin: &CniPlugin) {
    let long = "x".repeat(10_000);
    let words = ["", "garbage", "10.244.3.0", "10.244.3.0/33", "::/0", "fd00::/64", &long, "\u{0}"];
    let sound = |result: Result<(), CniError>, what: &str| match result {
        Ok(()) | Err(CniError::Refused(_)) => {}
        Err(error) => panic!("{what:?}: {error}"),
    };
    for word in words {
        for ranges in [vec![word], vec![word, word], vec!["10.244.3.0/24", word]] {
            let here = node(&ranges);
            let reserved = [Reservation { sandbox: word.into(), address: word.into() }];
            sound(plugin.add(0, &here, &sandbox(1), &reserved).map(drop), word);
            sound(plugin.nodes_changed(0, &here, &[], &[peer(word, word)]).map(drop), word);
        }
        let mut odd = sandbox(1);
        (odd.id, odd.netns, odd.mtu) = (word.into(), word.into(), 0);
        let here = node(&["10.244.3.0/24"]);
        sound(plugin.add(0, &here, &odd, &[]).map(drop), word);
        sound(plugin.del(0, &here, &odd).map(drop), word);
        sound(plugin.check(0, &here, &odd, &[word.to_owned()]).map(drop), word);
        let mut nameless = here;
        (nameless.interface_prefix, nameless.internal_ip) = (word.into(), word.into());
        sound(plugin.add(0, &nameless, &sandbox(1), &[]).map(drop), word);
    }
}
