//! A blocking rtnetlink socket: one request, one acknowledgement.
//!
//! The socket belongs to the network namespace of the thread that opened it,
//! for life; that is how a request reaches a pod's namespace.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
    RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::sys::socket::{
    AddressFamily as SocketFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind,
    recv, send, socket,
};

use crate::error::OpError;
use crate::op::MacAddr;

/// `NLMSG_ERROR` carries the errno (0 = done) right after the 16 byte header.
const NLMSG_ERROR: u16 = 2;
const HEADER_BYTES: usize = 16;
/// A link's description with all its attributes is a few KiB.
const RECEIVE_BYTES: usize = 64 * 1024;

pub(crate) struct Rtnl {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

pub(crate) struct VethEnd<'a> {
    pub name: &'a str,
    pub mac: Option<MacAddr>,
}

pub(crate) struct Route<'a> {
    pub destination: IpNet,
    pub via: Option<IpAddr>,
    pub link: Option<&'a str>,
    pub source: Option<IpAddr>,
    pub onlink: bool,
    pub blackhole: bool,
}

impl Rtnl {
    /// Opens the socket in the calling thread's network namespace.
    pub fn open() -> Result<Rtnl, OpError> {
        let fail = |errno: nix::Error| OpError::Socket(errno.into());
        let socket = socket(
            SocketFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )
        .map_err(fail)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0)).map_err(fail)?;
        Ok(Rtnl { socket, sequence: 0, buffer: vec![0; RECEIVE_BYTES] })
    }

    /// Creates both ends in one kernel operation: there is no moment at which
    /// the peer lies in the wrong namespace.
    pub fn veth_add(
        &mut self,
        host: VethEnd<'_>,
        peer: VethEnd<'_>,
        peer_netns: &impl AsRawFd,
        mtu: Option<u32>,
    ) -> Result<(), OpError> {
        let end = |end: VethEnd<'_>| {
            let mut message = LinkMessage::default();
            message.attributes.push(LinkAttribute::IfName(end.name.to_owned()));
            if let Some(mtu) = mtu {
                message.attributes.push(LinkAttribute::Mtu(mtu));
            }
            if let Some(mac) = end.mac {
                message.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
            }
            message
        };
        let mut peer = end(peer);
        peer.attributes.push(LinkAttribute::NetNsFd(peer_netns.as_raw_fd()));
        let mut message = end(host);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        self.request(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
            .map_err(OpError::Kernel)
    }

    pub fn link_index(&mut self, link: &str) -> Result<Option<u32>, OpError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(link.to_owned()));
        let sent = self.send(RouteNetlinkMessage::GetLink(message), 0);
        match sent.and_then(|sequence| self.receive(sequence)) {
            // `struct ifinfomsg`: family, padding, type, then the index.
            Ok(payload) => {
                let index = payload.get(4..8).and_then(|bytes| bytes.try_into().ok());
                Ok(index.map(u32::from_ne_bytes))
            }
            Err(error) if error.raw_os_error() == Some(libc_errno::ENODEV) => Ok(None),
            Err(error) => Err(OpError::Kernel(error)),
        }
    }

    pub fn link_change(
        &mut self,
        link: &str,
        up: bool,
        mtu: Option<u32>,
        mac: Option<MacAddr>,
    ) -> Result<(), OpError> {
        let mut message = LinkMessage::default();
        message.header.index = self.index_of(link)?;
        if up {
            message.header.flags = LinkFlags::Up;
            message.header.change_mask = LinkFlags::Up;
        }
        if let Some(mtu) = mtu {
            message.attributes.push(LinkAttribute::Mtu(mtu));
        }
        if let Some(mac) = mac {
            message.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
        }
        self.request(RouteNetlinkMessage::SetLink(message), 0).map_err(OpError::Kernel)
    }

    pub fn link_delete(&mut self, link: &str) -> Result<(), OpError> {
        let Some(index) = self.link_index(link)? else {
            return Ok(());
        };
        let mut message = LinkMessage::default();
        message.header.index = index;
        let result = self.request(RouteNetlinkMessage::DelLink(message), 0);
        accept(result, &[libc_errno::ENODEV])
    }

    pub fn address_add(&mut self, link: &str, cidr: IpNet) -> Result<(), OpError> {
        let message = self.address_message(link, cidr)?;
        let result =
            self.request(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE);
        accept(result, &[libc_errno::EEXIST])
    }

    pub fn address_delete(&mut self, link: &str, cidr: IpNet) -> Result<(), OpError> {
        if self.link_index(link)?.is_none() {
            return Ok(());
        }
        let message = self.address_message(link, cidr)?;
        let result = self.request(RouteNetlinkMessage::DelAddress(message), 0);
        accept(result, &[libc_errno::EADDRNOTAVAIL, libc_errno::ENODEV])
    }

    fn address_message(&mut self, link: &str, cidr: IpNet) -> Result<AddressMessage, OpError> {
        let mut message = AddressMessage::default();
        message.header.family = family(cidr.addr());
        message.header.prefix_len = cidr.prefix_len();
        message.header.scope = AddressScope::Universe;
        message.header.index = self.index_of(link)?;
        message.attributes.push(AddressAttribute::Address(cidr.addr()));
        message.attributes.push(AddressAttribute::Local(cidr.addr()));
        Ok(message)
    }

    pub fn route_replace(&mut self, route: &Route<'_>) -> Result<(), OpError> {
        let mut message = self.route_message(route)?;
        message.header.protocol = RouteProtocol::Static;
        message.header.kind = match route.blackhole {
            true => RouteType::BlackHole,
            false => RouteType::Unicast,
        };
        // Without a gateway the destination is on the link itself.
        message.header.scope = match route.via.is_some() || route.blackhole {
            true => RouteScope::Universe,
            false => RouteScope::Link,
        };
        if route.onlink {
            message.header.flags = RouteFlags::Onlink;
        }
        self.request(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)
            .map_err(OpError::Kernel)
    }

    pub fn route_delete(&mut self, route: &Route<'_>) -> Result<(), OpError> {
        if let Some(link) = route.link
            && self.link_index(link)?.is_none()
        {
            // The kernel removed the route together with its interface.
            return Ok(());
        }
        let mut message = self.route_message(route)?;
        // The widest scope matches a route of any scope.
        message.header.scope = RouteScope::NoWhere;
        let result = self.request(RouteNetlinkMessage::DelRoute(message), 0);
        accept(result, &[libc_errno::ESRCH, libc_errno::ENODEV])
    }

    fn route_message(&mut self, route: &Route<'_>) -> Result<RouteMessage, OpError> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(route.destination.addr());
        message.header.destination_prefix_length = route.destination.prefix_len();
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        let attributes = &mut message.attributes;
        if route.destination.prefix_len() > 0 {
            let network = RouteAddress::from(route.destination.network());
            attributes.push(RouteAttribute::Destination(network));
        }
        if let Some(via) = route.via {
            attributes.push(RouteAttribute::Gateway(via.into()));
        }
        if let Some(source) = route.source {
            attributes.push(RouteAttribute::PrefSource(source.into()));
        }
        if let Some(link) = route.link {
            let index = self.index_of(link)?;
            message.attributes.push(RouteAttribute::Oif(index));
        }
        Ok(message)
    }

    pub fn neighbour_replace(
        &mut self,
        link: &str,
        ip: IpAddr,
        mac: MacAddr,
        permanent: bool,
    ) -> Result<(), OpError> {
        let mut message = self.neighbour_message(link, ip)?;
        message.header.state = match permanent {
            true => NeighbourState::Permanent,
            false => NeighbourState::Reachable,
        };
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        self.request(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
            .map_err(OpError::Kernel)
    }

    pub fn neighbour_delete(&mut self, link: &str, ip: IpAddr) -> Result<(), OpError> {
        if self.link_index(link)?.is_none() {
            return Ok(());
        }
        let message = self.neighbour_message(link, ip)?;
        let result = self.request(RouteNetlinkMessage::DelNeighbour(message), 0);
        accept(result, &[libc_errno::ENOENT, libc_errno::ENODEV])
    }

    fn neighbour_message(&mut self, link: &str, ip: IpAddr) -> Result<NeighbourMessage, OpError> {
        let mut message = NeighbourMessage::default();
        message.header.family = family(ip);
        message.header.ifindex = self.index_of(link)?;
        message.attributes.push(NeighbourAttribute::Destination(ip.into()));
        Ok(message)
    }

    fn index_of(&mut self, link: &str) -> Result<u32, OpError> {
        self.link_index(link)?.ok_or_else(|| OpError::NoLink(link.to_owned()))
    }

    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let sequence = self.send(message, NLM_F_ACK | flags)?;
        self.receive(sequence).map(|_| ())
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<u32> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
        Ok(self.sequence)
    }

    /// The payload of the answer, empty for an acknowledgement.
    fn receive(&mut self, sequence: u32) -> io::Result<Vec<u8>> {
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty())?;
            let packet = &self.buffer[..length];
            let field = |range: std::ops::Range<usize>| {
                let short = || io::Error::new(io::ErrorKind::InvalidData, "short netlink message");
                packet.get(range).ok_or_else(short)
            };
            let number = |at: usize| -> io::Result<u32> {
                let mut bytes = [0; 4];
                bytes.copy_from_slice(field(at..at + 4)?);
                Ok(u32::from_ne_bytes(bytes))
            };
            if number(8)? != sequence {
                continue;
            }
            let mut kind = [0; 2];
            kind.copy_from_slice(field(4..6)?);
            if u16::from_ne_bytes(kind) == NLMSG_ERROR {
                let errno = number(HEADER_BYTES)? as i32;
                return match errno {
                    0 => Ok(Vec::new()),
                    errno => Err(io::Error::from_raw_os_error(errno.wrapping_neg())),
                };
            }
            return Ok(field(HEADER_BYTES..length)?.to_vec());
        }
    }
}

/// Turns the errors that mean "already so" into success.
fn accept(result: io::Result<()>, fine: &[i32]) -> Result<(), OpError> {
    match result {
        Err(error) if error.raw_os_error().is_some_and(|errno| fine.contains(&errno)) => Ok(()),
        other => other.map_err(OpError::Kernel),
    }
}

fn family(ip: IpAddr) -> AddressFamily {
    match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

mod libc_errno {
    use nix::errno::Errno;
    pub const ENOENT: i32 = Errno::ENOENT as i32;
    pub const ESRCH: i32 = Errno::ESRCH as i32;
    pub const EEXIST: i32 = Errno::EEXIST as i32;
    pub const ENODEV: i32 = Errno::ENODEV as i32;
    pub const EADDRNOTAVAIL: i32 = Errno::EADDRNOTAVAIL as i32;
}
