//! Connects pods by routes: no bridge, no overlay, no address translation.
//!
//! Every pod gets one veth pair and one `/32` address out of its node's range.
//! In the pod, everything goes to `169.254.1.1`, a gateway that exists only as a
//! permanent neighbour entry with the host end's MAC address. On the node there
//! is one `/32` route per pod, one route per other node (to its range, through
//! its internal address), and a blackhole for the rest of the own range.
//!
//! Config (all optional): `mtu` (0: as the node says).
//!
//! Does not know: how an operation is executed, or who assigns ranges to nodes.
//! Read first: [`plan::connect`].

pub mod address;
pub mod plan;

use pintle_sdk::Context;
use pintle_sdk::cni::{AddResult, Cni, InterfaceResult, NetOp, Node, Peer, Reservation, Sandbox};
use pintle_sdk::prelude::Manifest;

#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Of the pods' interfaces; 0 takes what the node says.
    pub mtu: u32,
}

pub struct Plugin {
    config: Config,
}

impl Plugin {
    fn mtu(&self, sandbox: &Sandbox) -> u32 {
        if self.config.mtu == 0 { sandbox.mtu } else { self.config.mtu }
    }
}

impl Cni for Plugin {
    type Config = Config;

    fn new(config: Config) -> Result<Self, String> {
        match config.mtu {
            0 | 576..=65535 => Ok(Plugin { config }),
            mtu => Err(format!("spec.config.mtu: {mtu} must be 0 or lie between 576 and 65535")),
        }
    }

    fn describe(&self) -> Manifest {
        Manifest::new("cni-routed", env!("CARGO_PKG_VERSION"))
    }

    fn add(
        &self,
        _: &Context,
        node: &Node,
        sandbox: &Sandbox,
        reserved: &[Reservation],
    ) -> Result<AddResult, String> {
        let known = reserved.iter().find(|reservation| reservation.sandbox == sandbox.id);
        let address = match known {
            Some(reservation) => address::parse(&reservation.address)?,
            None => address::lowest_free(node, reserved)?,
        };
        Ok(AddResult {
            plan: plan::connect(node, sandbox, address, self.mtu(sandbox))?,
            reserve: vec![address.to_string()],
            interfaces: vec![InterfaceResult {
                name: plan::POD_INTERFACE.to_owned(),
                addresses: vec![format!("{address}/32")],
                gateway: Some(plan::GATEWAY.to_owned()),
            }],
        })
    }

    fn del(&self, _: &Context, node: &Node, sandbox: &Sandbox) -> Result<Vec<NetOp>, String> {
        plan::disconnect(node, sandbox)
    }

    /// Every operation is idempotent, so the whole plan is also the repair.
    fn check(
        &self,
        _: &Context,
        node: &Node,
        sandbox: &Sandbox,
        addresses: &[String],
    ) -> Result<Vec<NetOp>, String> {
        let Some(address) = addresses.first() else {
            return Err(format!(
                "sandbox {}: no address is reserved for it; add it again",
                sandbox.id
            ));
        };
        plan::connect(node, sandbox, address::parse(address)?, self.mtu(sandbox))
    }

    fn nodes_changed(
        &self,
        _: &Context,
        node: &Node,
        before: &[Peer],
        now: &[Peer],
    ) -> Result<Vec<NetOp>, String> {
        Ok(plan::routes(node, before, now))
    }
}

pintle_sdk::export_cni!(Plugin);
