//! Performs plans.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::{NetOpError, OpError};
use crate::netns;
use crate::nft;
use crate::op::NetOp;
use crate::rtnl::{Route, Rtnl, VethEnd};
use crate::scope::Scope;
use crate::sysctl;

/// Applies plans within one [`Scope`]. Cheap to clone behind an `Arc`; plans of
/// different pods may run at the same time.
#[derive(Debug)]
pub struct Executor {
    scope: Scope,
}

impl Executor {
    pub fn new(scope: Scope) -> Executor {
        Executor { scope }
    }

    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Checks the whole plan, then performs it in order and stops at the first
    /// failure. Blocks for a few milliseconds: call it where blocking is fine.
    ///
    /// The work runs on a thread of its own because entering a network
    /// namespace moves the thread; the caller's thread never moves.
    pub fn apply(&self, plan: &[NetOp]) -> Result<(), NetOpError> {
        for (index, op) in plan.iter().enumerate() {
            self.scope.check(op).map_err(|error| at(index, op, OpError::Scope(error)))?;
        }
        let Some(first) = plan.first() else {
            return Ok(());
        };
        let run = || -> Result<(), NetOpError> {
            let mut worker = Worker::new().map_err(|error| at(0, first, error))?;
            for (index, op) in plan.iter().enumerate() {
                worker.perform(op).map_err(|error| at(index, op, error))?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("netops".into());
            match thread.spawn_scoped(scope, run) {
                Ok(handle) => handle.join().unwrap_or_else(|_| {
                    let reason = std::io::Error::other("it panicked");
                    Err(at(0, first, OpError::Worker(reason)))
                }),
                Err(error) => Err(at(0, first, OpError::Worker(error))),
            }
        })
    }
}

fn at(index: usize, op: &NetOp, source: OpError) -> NetOpError {
    NetOpError { index, op: op.name(), source }
}

/// The state of one plan on its thread: sockets already open, by namespace.
struct Worker {
    home: File,
    home_socket: Rtnl,
    sockets: HashMap<PathBuf, Rtnl>,
}

impl Worker {
    fn new() -> Result<Worker, OpError> {
        Ok(Worker {
            home: netns::current().map_err(OpError::Socket)?,
            home_socket: Rtnl::open()?,
            sockets: HashMap::new(),
        })
    }

    fn perform(&mut self, op: &NetOp) -> Result<(), OpError> {
        match op {
            NetOp::NetnsCreate { path } => self.netns_create(path),
            NetOp::NetnsDelete { path } => {
                self.sockets.remove(path);
                netns::delete(path)
            }
            NetOp::VethAdd { host, host_mac, peer, peer_netns, peer_mac, mtu } => {
                let host = VethEnd { name: host, mac: *host_mac };
                let peer = VethEnd { name: peer, mac: *peer_mac };
                self.veth_add(host, peer, peer_netns, *mtu)
            }
            NetOp::LinkUp { netns, link } => {
                self.socket(netns)?.link_change(link, true, None, None)
            }
            NetOp::LinkSet { netns, link, mtu, mac } => {
                self.socket(netns)?.link_change(link, false, *mtu, *mac)
            }
            NetOp::LinkDelete { netns, link } => match self.socket_if_there(netns)? {
                Some(socket) => socket.link_delete(link),
                None => Ok(()),
            },
            NetOp::AddressAdd { netns, link, cidr } => self.socket(netns)?.address_add(link, *cidr),
            NetOp::AddressDelete { netns, link, cidr } => match self.socket_if_there(netns)? {
                Some(socket) => socket.address_delete(link, *cidr),
                None => Ok(()),
            },
            NetOp::RouteReplace { netns, destination, via, link, source, onlink, blackhole } => {
                self.socket(netns)?.route_replace(&Route {
                    destination: *destination,
                    via: *via,
                    link: link.as_deref(),
                    source: *source,
                    onlink: *onlink,
                    blackhole: *blackhole,
                })
            }
            NetOp::RouteDelete { netns, destination, via, link } => {
                let route = Route {
                    destination: *destination,
                    via: *via,
                    link: link.as_deref(),
                    source: None,
                    onlink: false,
                    blackhole: false,
                };
                match self.socket_if_there(netns)? {
                    Some(socket) => socket.route_delete(&route),
                    None => Ok(()),
                }
            }
            NetOp::NeighbourReplace { netns, link, ip, mac, permanent } => {
                self.socket(netns)?.neighbour_replace(link, *ip, *mac, *permanent)
            }
            NetOp::NeighbourDelete { netns, link, ip } => match self.socket_if_there(netns)? {
                Some(socket) => socket.neighbour_delete(link, *ip),
                None => Ok(()),
            },
            NetOp::SysctlSet { netns, key, value } => match netns {
                None => sysctl::set(key, value),
                Some(path) => {
                    let namespace = netns::open(path)?;
                    self.inside(&namespace, path, || sysctl::set(key, value))
                }
            },
            NetOp::NftApply { family, table, body } => nft::replace_table(family, table, body),
        }
    }

    fn netns_create(&mut self, path: &Path) -> Result<(), OpError> {
        let created = netns::create(path);
        // Whatever happened, the thread may have moved: bring it home first.
        let back = netns::enter(&self.home).map_err(|source| netns_error(path, source));
        let created = created?;
        back?;
        if created {
            self.socket(&Some(path.to_owned()))?.link_change("lo", true, None, None)?;
        }
        Ok(())
    }

    fn veth_add(
        &mut self,
        host: VethEnd<'_>,
        peer: VethEnd<'_>,
        peer_netns: &Path,
        mtu: Option<u32>,
    ) -> Result<(), OpError> {
        let namespace = netns::open(peer_netns)?;
        let peer_there =
            self.socket(&Some(peer_netns.to_owned()))?.link_index(peer.name)?.is_some();
        if self.home_socket.link_index(host.name)?.is_some() {
            if peer_there {
                return Ok(());
            }
            // A left-over whose other end went to a namespace that is no longer
            // this pod's.
            self.home_socket.link_delete(host.name)?;
        }
        self.home_socket.veth_add(host, peer, &namespace, mtu)
    }

    fn socket(&mut self, netns: &Option<PathBuf>) -> Result<&mut Rtnl, OpError> {
        let Some(path) = netns else {
            return Ok(&mut self.home_socket);
        };
        if !self.sockets.contains_key(path) {
            let namespace = netns::open(path)?;
            let socket = self.inside(&namespace, path, Rtnl::open)?;
            self.sockets.insert(path.clone(), socket);
        }
        self.sockets
            .get_mut(path)
            .ok_or_else(|| netns_error(path, std::io::Error::other("its socket is gone")))
    }

    /// For deletes: what lay in a namespace that is gone is gone too.
    fn socket_if_there(&mut self, netns: &Option<PathBuf>) -> Result<Option<&mut Rtnl>, OpError> {
        match netns {
            Some(path) if !netns::is_netns(path) => Ok(None),
            _ => self.socket(netns).map(Some),
        }
    }

    fn inside<T>(
        &self,
        namespace: &File,
        path: &Path,
        work: impl FnOnce() -> Result<T, OpError>,
    ) -> Result<T, OpError> {
        netns::enter(namespace).map_err(|source| netns_error(path, source))?;
        let result = work();
        netns::enter(&self.home).map_err(|source| netns_error(path, source))?;
        result
    }
}

fn netns_error(path: &Path, source: std::io::Error) -> OpError {
    OpError::Netns { path: path.to_owned(), source }
}
