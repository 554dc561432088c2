//! Plans of a node on which pods come and go, and around which nodes do.

use pintle_plugin_cni_routed::{Config, Plugin, plan};
use pintle_sdk::Context;
use pintle_sdk::cni::{Cni, LinkIn, NetOp, Node, Peer, Reservation, Route, Sandbox};
use proptest::prelude::*;

fn plugin() -> Plugin {
    Plugin::new(Config::default()).unwrap()
}

fn node() -> Node {
    Node {
        name: "n1".to_owned(),
        internal_ip: "192.168.7.1".to_owned(),
        pod_cidrs: vec!["10.244.3.0/24".to_owned()],
        interface_prefix: "pt".to_owned(),
    }
}

fn sandbox(id: &str) -> Sandbox {
    Sandbox {
        id: id.to_owned(),
        namespace: "default".to_owned(),
        name: "web".to_owned(),
        netns: format!("/run/pintle/netns/{id}"),
        mtu: 1500,
    }
}

fn peer(name: &str, ip: &str, cidr: &str, ready: bool) -> Peer {
    let pod_cidrs = if cidr.is_empty() { Vec::new() } else { vec![cidr.to_owned()] };
    Peer { name: name.to_owned(), internal_ip: ip.to_owned(), pod_cidrs, ready }
}

#[test]
fn a_pod_is_connected() {
    let added = plugin().add(&Context::default(), &node(), &sandbox("abc"), &[]).unwrap();
    assert_eq!(added.reserve, ["10.244.3.2"]);
    assert_eq!(added.interfaces[0].addresses, ["10.244.3.2/32"]);
    assert_eq!(added.interfaces[0].gateway.as_deref(), Some("169.254.1.1"));
    let host = plan::host_interface("pt", "abc").unwrap();
    assert!(host.starts_with("pt") && host.len() == 15);
    let netns = Some("/run/pintle/netns/abc".to_owned());
    let in_pod = |link: &str| LinkIn { netns: netns.clone(), link: link.to_owned() };
    for wanted in [
        NetOp::LinkUp(in_pod("lo")),
        NetOp::LinkUp(in_pod("eth0")),
        NetOp::AddressAdd { link: in_pod("eth0"), cidr: "10.244.3.2/32".to_owned() },
        NetOp::NeighbourReplace {
            link: in_pod("eth0"),
            address: "169.254.1.1".to_owned(),
            mac: "ee:ee:ee:ee:ee:ee".to_owned(),
        },
        NetOp::RouteReplace(Route {
            destination: "10.244.3.2/32".to_owned(),
            link: Some(host.clone()),
            ..Route::default()
        }),
        NetOp::SysctlSet {
            netns: None,
            key: "net.ipv4.ip_forward".to_owned(),
            value: "1".to_owned(),
        },
    ] {
        assert!(added.plan.contains(&wanted), "{wanted:?}");
    }
    // The check repairs with the very same plan.
    let repair =
        plugin().check(&Context::default(), &node(), &sandbox("abc"), &added.reserve).unwrap();
    assert_eq!(repair, added.plan);
    assert!(plugin().check(&Context::default(), &node(), &sandbox("abc"), &[]).is_err());
    let gone = plugin().del(&Context::default(), &node(), &sandbox("abc")).unwrap();
    assert_eq!(gone[0], NetOp::LinkDelete(LinkIn { netns: None, link: host }));
}

#[test]
fn asked_again_it_gives_the_same_address() {
    let reserved = [Reservation { sandbox: "abc".to_owned(), address: "10.244.3.9".to_owned() }];
    let added = plugin().add(&Context::default(), &node(), &sandbox("abc"), &reserved).unwrap();
    assert_eq!(added.reserve, ["10.244.3.9"]);
}

#[test]
fn routes_follow_the_nodes() {
    let routes = |before: &[Peer], now: &[Peer]| {
        plugin().nodes_changed(&Context::default(), &node(), before, now).unwrap()
    };
    let to = |destination: &str, via: &str| {
        NetOp::RouteReplace(Route {
            destination: destination.to_owned(),
            via: Some(via.to_owned()),
            ..Route::default()
        })
    };
    let two = [
        peer("n2", "192.168.7.2", "10.244.1.0/24", true),
        peer("n3", "192.168.7.3", "10.244.2.0/24", false),
    ];
    let first = routes(&[], &two);
    assert!(
        first.contains(&to("10.244.1.0/24", "192.168.7.2"))
            && first.contains(&to("10.244.2.0/24", "192.168.7.3"))
    );
    let own = NetOp::RouteReplace(Route {
        destination: "10.244.3.0/24".to_owned(),
        blackhole: true,
        ..Route::default()
    });
    assert!(first.contains(&own));
    assert!(routes(&two, &two).is_empty());
    // A node goes, another one takes over its range, a third has none yet.
    let later =
        [peer("n3", "192.168.7.3", "10.244.2.0/24", true), peer("n4", "192.168.7.4", "", true)];
    let gone =
        NetOp::RouteDelete(Route { destination: "10.244.1.0/24".to_owned(), ..Route::default() });
    assert_eq!(routes(&two, &later), [gone]);
    let moved = [peer("n2", "192.168.7.9", "10.244.1.0/24", true), two[1].clone()];
    assert_eq!(routes(&two, &moved), [to("10.244.1.0/24", "192.168.7.9")]);
}

#[test]
fn mistakes_are_named() {
    let no_range = Node { pod_cidrs: Vec::new(), ..node() };
    let error = plugin().add(&Context::default(), &no_range, &sandbox("a"), &[]).unwrap_err();
    assert!(error.contains("spec.podCIDRs"), "{error}");
    let long = Node { interface_prefix: "verylongone".to_owned(), ..node() };
    let error = plugin().add(&Context::default(), &long, &sandbox("a"), &[]).unwrap_err();
    assert!(error.contains("at most 7 characters"), "{error}");
    assert!(Plugin::new(Config { mtu: 70 }).is_err());
}

proptest! {
    /// Names are valid for any sandbox and prefix, and differ between sandboxes.
    #[test]
    fn interface_names(prefix in "[a-z]{0,7}", ids in prop::collection::btree_set("[a-z0-9-]{1,40}", 2..50)) {
        let names: std::collections::BTreeSet<String> =
            ids.iter().map(|id| plan::host_interface(&prefix, id).unwrap()).collect();
        prop_assert_eq!(names.len(), ids.len());
        prop_assert!(names.iter().all(|name| name.len() == 15 && name.starts_with(&prefix)));
    }

    /// Whatever the way, applying the changes one after the other ends with the
    /// routes of the last state.
    #[test]
    fn routes_converge(states in prop::collection::vec(prop::collection::btree_map(2..6u8, 0..6u8, 0..5), 1..8)) {
        let mut table = std::collections::BTreeMap::new();
        let mut before: Vec<Peer> = Vec::new();
        for state in states {
            let now: Vec<Peer> = state
                .iter()
                .map(|(node, range)| peer(&format!("n{node}"), &format!("192.168.7.{node}"), &format!("10.244.1{range}.0/24"), true))
                .collect();
            for op in plugin().nodes_changed(&Context::default(), &node(), &before, &now).unwrap() {
                match op {
                    NetOp::RouteReplace(route) if !route.blackhole => {
                        table.insert(route.destination, route.via.unwrap());
                    }
                    NetOp::RouteDelete(route) => {
                        table.remove(&route.destination);
                    }
                    _ => {}
                }
            }
            let mut expect = std::collections::BTreeMap::new();
            for peer in &now {
                expect.insert(peer.pod_cidrs[0].clone(), peer.internal_ip.clone());
            }
            prop_assert_eq!(&table, &expect);
            before = now;
        }
    }
}
