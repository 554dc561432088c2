//! Gives each sandbox the next address of the node's range.

use std::cell::RefCell;

use serde_json::Value;

wit_bindgen::generate!({ path: "../../../../../wit", world: "cni-plugin" });

use exports::pintle::plugin::cni::{
    AddResult, Description, Guest, InterfaceResult, LinkIn, NetOp, Node, Peer, Reservation, Sandbox, Veth,
};
use pintle::plugin::types::{Context, Manifest};

struct Counting;

thread_local! {
    static CONFIG: RefCell<Value> = const { RefCell::new(Value::Null) };
}

impl Guest for Counting {
    fn describe(config: Vec<u8>) -> Result<Description, String> {
        let config = serde_json::from_slice(&config).map_err(|error| error.to_string())?;
        CONFIG.set(config);
        Ok(Description { manifest: Manifest { name: "counting".into(), version: "1".into(), needs: Vec::new() } })
    }

    fn add(_: Context, node: Node, sandbox: Sandbox, reserved: Vec<Reservation>) -> Result<AddResult, String> {
        if CONFIG.with_borrow(|config| config["add"] == "trap") {
            panic!("asked to trap");
        }
        let range = node.pod_cidrs.first().ok_or("the node has no range yet")?;
        let prefix = range.rsplit_once('.').ok_or("not a range")?.0;
        let address = format!("{prefix}.{}", reserved.len() + 2);
        let host = format!("{}{}", node.interface_prefix, reserved.len());
        Ok(AddResult {
            plan: vec![NetOp::VethAdd(Veth {
                host,
                peer: "eth0".into(),
                peer_netns: sandbox.netns,
                mtu: sandbox.mtu,
                host_mac: String::new(),
                peer_mac: String::new(),
            })],
            reserve: vec![address.clone()],
            interfaces: vec![InterfaceResult { name: "eth0".into(), addresses: vec![format!("{address}/32")], gateway: None }],
        })
    }

    fn del(_: Context, node: Node, _: Sandbox) -> Result<Vec<NetOp>, String> {
        Ok(vec![NetOp::LinkDelete(LinkIn { netns: None, link: node.interface_prefix })])
    }

    fn check(_: Context, _: Node, _: Sandbox, _: Vec<String>) -> Result<Vec<NetOp>, String> {
        Ok(Vec::new())
    }

    fn nodes_changed(_: Context, _: Node, before: Vec<Peer>, now: Vec<Peer>) -> Result<Vec<NetOp>, String> {
        Err(format!("{} to {} peers", before.len(), now.len()))
    }
}

export!(Counting);
