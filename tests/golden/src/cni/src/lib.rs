//! Uses everything that world `cni-plugin` of 0.1.0 has: every call and every
//! network operation, with every field set.

wit_bindgen::generate!({ path: "../../../../wit", world: "cni-plugin" });

use exports::pintle::plugin::cni::{
    AddResult, Address, Description, Guest, InterfaceResult, LinkIn, Neighbour, NetOp, Node, Peer,
    Reservation, Route, Sandbox, Sysctl, Veth,
};
use pintle::plugin::log::{Level, log};
use pintle::plugin::types::{Context, Manifest};

struct Golden;

impl Guest for Golden {
    fn describe(config: Vec<u8>) -> Result<Description, String> {
        if config == br#"{"refuse":true}"# {
            return Err("refused as asked".into());
        }
        log(Level::Info, "ready");
        Ok(Description {
            manifest: Manifest {
                name: "golden-cni".into(),
                version: "0.1.0".into(),
                needs: Vec::new(),
            },
        })
    }

    fn add(_: Context, node: Node, sandbox: Sandbox, reserved: Vec<Reservation>) -> Result<AddResult, String> {
        if sandbox.name == "trapping" {
            panic!("asked to trap");
        }
        let Some(range) = node.pod_cidrs.first() else {
            return Err(format!("{} at {} has no range", node.name, node.internal_ip));
        };
        let prefix = range.rsplit_once('.').ok_or("not a range")?.0;
        let taken: Vec<&str> = reserved.iter().map(|one| one.address.as_str()).collect();
        let address = (2..255)
            .map(|last| format!("{prefix}.{last}"))
            .find(|address| !taken.contains(&address.as_str()))
            .ok_or("the range is used up")?;
        let cidr = format!("{address}/32");
        let host = format!("{}{}", node.interface_prefix, sandbox.id);
        let outside = LinkIn { netns: None, link: host.clone() };
        let inside = LinkIn { netns: Some(sandbox.netns.clone()), link: "eth0".into() };
        let gateway = "169.254.1.1";
        let plan = vec![
            NetOp::NetnsCreate(sandbox.netns.clone()),
            NetOp::VethAdd(Veth {
                host: host.clone(),
                peer: "eth0".into(),
                peer_netns: sandbox.netns.clone(),
                mtu: sandbox.mtu,
                host_mac: "ee:ee:ee:ee:ee:ee".into(),
                peer_mac: String::new(),
            }),
            NetOp::LinkUp(outside),
            NetOp::LinkUp(inside.clone()),
            NetOp::AddressAdd(Address { link: inside.clone(), cidr: cidr.clone() }),
            NetOp::RouteReplace(Route {
                netns: Some(sandbox.netns.clone()),
                destination: "0.0.0.0/0".into(),
                via: Some(gateway.into()),
                link: Some("eth0".into()),
                onlink: true,
                blackhole: false,
            }),
            NetOp::NeighbourReplace(Neighbour {
                link: inside,
                address: gateway.into(),
                mac: "ee:ee:ee:ee:ee:ee".into(),
            }),
            NetOp::SysctlSet(Sysctl {
                netns: None,
                key: format!("net.ipv4.conf.{host}.proxy_arp"),
                value: "1".into(),
            }),
        ];
        Ok(AddResult {
            plan,
            reserve: vec![address],
            interfaces: vec![InterfaceResult {
                name: "eth0".into(),
                addresses: vec![cidr],
                gateway: Some(gateway.into()),
            }],
        })
    }

    fn del(_: Context, node: Node, sandbox: Sandbox) -> Result<Vec<NetOp>, String> {
        Ok(vec![
            NetOp::LinkDelete(LinkIn { netns: None, link: format!("{}{}", node.interface_prefix, sandbox.id) }),
            NetOp::NetnsDelete(sandbox.netns),
        ])
    }

    fn check(_: Context, _: Node, sandbox: Sandbox, addresses: Vec<String>) -> Result<Vec<NetOp>, String> {
        if addresses.is_empty() {
            return Err(format!("nothing is reserved for {}/{}", sandbox.namespace, sandbox.name));
        }
        Ok(Vec::new())
    }

    fn nodes_changed(_: Context, _: Node, before: Vec<Peer>, now: Vec<Peer>) -> Result<Vec<NetOp>, String> {
        let route = |peer: &Peer, blackhole: bool| Route {
            netns: None,
            destination: peer.pod_cidrs.first().cloned().unwrap_or_default(),
            via: (!blackhole).then(|| peer.internal_ip.clone()),
            link: None,
            onlink: false,
            blackhole,
        };
        let gone = before.iter().filter(|one| now.iter().all(|other| other.name != one.name));
        let mut plan: Vec<NetOp> = gone.map(|peer| NetOp::RouteDelete(route(peer, false))).collect();
        plan.extend(now.iter().map(|peer| NetOp::RouteReplace(route(peer, !peer.ready))));
        Ok(plan)
    }
}

export!(Golden);
