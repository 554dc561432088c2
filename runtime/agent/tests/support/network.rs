//! The smallest network plugin that connects a pod: a routed veth.

use async_trait::async_trait;
use ipnet::IpNet;
use pintle_agent::net::{
    AddPlan, Interface, NetworkPlugin, NodeInfo, Peer, Reservation, SandboxInfo,
};
use pintle_netops::NetOp;

pub struct Routed;

fn host_link(node: &NodeInfo, sandbox: &SandboxInfo) -> String {
    format!("{}{}", node.interface_prefix, &sandbox.id[..8])
}

fn plan(ops: Vec<serde_json::Value>) -> Vec<NetOp> {
    ops.into_iter().map(|op| serde_json::from_value(op).unwrap()).collect()
}

#[async_trait]
impl NetworkPlugin for Routed {
    async fn add(
        &self,
        node: &NodeInfo,
        sandbox: &SandboxInfo,
        reserved: &[Reservation],
    ) -> Result<AddPlan, String> {
        let range: IpNet =
            node.pod_cidrs.first().ok_or("no range")?.parse().map_err(|_| "bad range")?;
        let taken = |ip: &String| reserved.iter().any(|r| r.address == *ip);
        let ip = range.hosts().map(|ip| ip.to_string()).find(|ip| !taken(ip)).ok_or("full")?;
        let (host, netns, mac) = (host_link(node, sandbox), &sandbox.netns, "ee:ee:ee:ee:ee:ee");
        Ok(AddPlan {
            plan: plan(vec![
                serde_json::json!({"op": "veth-add", "host": host, "host_mac": mac, "peer": "eth0", "peer_netns": netns, "mtu": sandbox.mtu}),
                serde_json::json!({"op": "link-up", "link": host}),
                serde_json::json!({"op": "link-up", "netns": netns, "link": "eth0"}),
                serde_json::json!({"op": "address-add", "netns": netns, "link": "eth0", "cidr": format!("{ip}/32")}),
                serde_json::json!({"op": "route-replace", "netns": netns, "destination": "169.254.1.1/32", "link": "eth0"}),
                serde_json::json!({"op": "route-replace", "netns": netns, "destination": "0.0.0.0/0", "via": "169.254.1.1", "link": "eth0"}),
                serde_json::json!({"op": "neighbour-replace", "netns": netns, "link": "eth0", "ip": "169.254.1.1", "mac": mac, "permanent": true}),
                serde_json::json!({"op": "route-replace", "destination": format!("{ip}/32"), "link": host}),
            ]),
            reserve: vec![ip.clone()],
            interfaces: vec![Interface {
                name: "eth0".into(),
                addresses: vec![format!("{ip}/32")],
                gateway: None,
            }],
        })
    }

    async fn del(&self, node: &NodeInfo, sandbox: &SandboxInfo) -> Result<Vec<NetOp>, String> {
        Ok(plan(vec![serde_json::json!({"op": "link-delete", "link": host_link(node, sandbox)})]))
    }

    async fn check(
        &self,
        _: &NodeInfo,
        _: &SandboxInfo,
        _: &[String],
    ) -> Result<Vec<NetOp>, String> {
        Ok(Vec::new())
    }

    async fn nodes_changed(
        &self,
        _: &NodeInfo,
        _: &[Peer],
        _: &[Peer],
    ) -> Result<Vec<NetOp>, String> {
        Ok(Vec::new())
    }
}
