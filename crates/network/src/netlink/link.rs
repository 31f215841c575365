//! rtnetlink: links, addresses and routes. Numbers are those of linux/rtnetlink.h and linux/if_link.h.

use std::{
    net::Ipv4Addr,
    os::fd::{AsRawFd, BorrowedFd},
};

use nix::{libc, net::if_::if_nametoindex};

use super::{
    ACK, CREATE, DUMP, EXCL, REQUEST,
    message::{Writer, find, u32_at},
    socket::{INET, Socket},
};
use crate::Error;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_PROTINFO: u16 = 12;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;

/// A MAC address.
pub(crate) type Mac = [u8; 6];

/// A MAC address for the holder of `ip`: locally administered, so that neighbours' caches stay right when a pod is
/// made again.
pub(crate) fn mac_of(ip: Ipv4Addr) -> Mac {
    let [a, b, c, d] = ip.octets();
    [0x0a, 0x58, a, b, c, d]
}

/// A route to add.
pub(crate) struct Route {
    pub(crate) destination: Ipv4Addr,
    pub(crate) prefix: u8,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) source: Option<Ipv4Addr>,
    pub(crate) link: u32,
}

/// A series of rtnetlink requests that goes to the kernel in one call.
#[derive(Default)]
pub(crate) struct Requests {
    writer: Writer,
    sequence: u32,
}

// === impl Requests ===

impl Requests {
    fn begin(&mut self, kind: u16, flags: u16) {
        self.sequence += 1;
        self.writer.begin(kind, REQUEST | ACK | flags, self.sequence);
    }

    fn link_header(&mut self, index: u32, up: bool) {
        self.writer.raw(&link_header(index, up));
    }

    pub(crate) fn add_bridge(&mut self, name: &str, mac: Mac) {
        self.begin(RTM_NEWLINK, CREATE | EXCL);
        self.link_header(0, true);
        self.writer.string(IFLA_IFNAME, name);
        self.writer.attribute(IFLA_ADDRESS, &mac);
        self.writer.nested(IFLA_LINKINFO, |writer| writer.string(IFLA_INFO_KIND, "bridge"));
        self.writer.end();
    }

    /// A pair of links: `name` here, up and a port of `bridge`, and `peer` in `namespace`.
    pub(crate) fn add_veth(
        &mut self,
        name: &str,
        bridge: u32,
        peer: &str,
        peer_mac: Mac,
        namespace: Option<BorrowedFd<'_>>,
        mtu: u32,
    ) {
        self.begin(RTM_NEWLINK, CREATE | EXCL);
        self.link_header(0, true);
        self.writer.string(IFLA_IFNAME, name);
        self.writer.u32(IFLA_MTU, mtu);
        if bridge != 0 {
            self.writer.u32(IFLA_MASTER, bridge);
        }
        self.writer.nested(IFLA_LINKINFO, |writer| {
            writer.string(IFLA_INFO_KIND, "veth");
            writer.nested(IFLA_INFO_DATA, |writer| {
                writer.nested(VETH_INFO_PEER, |writer| {
                    writer.raw(&link_header(0, false));
                    writer.string(IFLA_IFNAME, peer);
                    writer.attribute(IFLA_ADDRESS, &peer_mac);
                    writer.u32(IFLA_MTU, mtu);
                    if let Some(namespace) = namespace {
                        writer.u32(IFLA_NET_NS_FD, namespace.as_raw_fd().cast_unsigned());
                    }
                });
            });
        });
        self.writer.end();
    }

    /// Lets the bridge send frames back out of the port `index` that they came in at.
    pub(crate) fn hairpin(&mut self, index: u32) {
        self.begin(RTM_SETLINK, 0);
        let mut header = link_header(index, true);
        if let Some(family) = header.first_mut() {
            *family = libc::AF_BRIDGE as u8;
        }
        self.writer.raw(&header);
        self.writer.nested(IFLA_PROTINFO, |writer| writer.u8(IFLA_BRPORT_MODE, 1));
        self.writer.end();
    }

    pub(crate) fn set_up(&mut self, index: u32) {
        self.begin(RTM_NEWLINK, 0);
        self.link_header(index, true);
        self.writer.end();
    }

    pub(crate) fn add_address(&mut self, link: u32, address: Ipv4Addr) {
        // Host prefix: what belongs to the link is said by routes alone.
        self.begin(RTM_NEWADDR, CREATE);
        self.writer.raw(&[INET, 32, 0, 0]);
        self.writer.raw(&link.to_ne_bytes());
        self.writer.attribute(IFA_LOCAL, &address.octets());
        self.writer.attribute(IFA_ADDRESS, &address.octets());
        self.writer.end();
    }

    pub(crate) fn add_route(&mut self, route: &Route) {
        const TABLE_MAIN: u8 = 254;
        const PROTOCOL_STATIC: u8 = 4;
        const SCOPE_UNIVERSE: u8 = 0;
        const SCOPE_LINK: u8 = 253;
        const UNICAST: u8 = 1;
        self.begin(RTM_NEWROUTE, CREATE);
        let scope = if route.gateway.is_some() { SCOPE_UNIVERSE } else { SCOPE_LINK };
        self.writer.raw(&[INET, route.prefix, 0, 0, TABLE_MAIN, PROTOCOL_STATIC, scope, UNICAST, 0, 0, 0, 0]);
        if route.prefix > 0 {
            self.writer.attribute(RTA_DST, &route.destination.octets());
        }
        if let Some(gateway) = route.gateway {
            self.writer.attribute(RTA_GATEWAY, &gateway.octets());
        }
        if let Some(source) = route.source {
            self.writer.attribute(RTA_PREFSRC, &source.octets());
        }
        self.writer.u32(RTA_OIF, route.link);
        self.writer.end();
    }

    pub(crate) fn delete_link(&mut self, index: u32) {
        self.begin(RTM_DELLINK, 0);
        self.link_header(index, false);
        self.writer.end();
    }

    /// Carries the requests out in order; the first that fails is the error, the others are carried out nevertheless.
    pub(crate) fn execute(self, socket: &Socket, context: &str) -> Result<(), Error> {
        socket.execute(self.writer.finish(), self.sequence, context)
    }
}

/// `struct ifinfomsg`.
fn link_header(index: u32, up: bool) -> [u8; 16] {
    let flag = if up { (libc::IFF_UP as u32).to_ne_bytes() } else { [0; 4] };
    let [i0, i1, i2, i3] = index.to_ne_bytes();
    let [f0, f1, f2, f3] = flag;
    [0, 0, 0, 0, i0, i1, i2, i3, f0, f1, f2, f3, f0, f1, f2, f3]
}

/// The index of the link `name` in the calling thread's namespace.
pub(crate) fn index_of(name: &str) -> Result<u32, Error> {
    if_nametoindex(name).map_err(Error::errno(format!("find link {name}")))
}

/// A link as far as the network cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) master: Option<u32>,
}

/// All links of the namespace that `socket` belongs to.
pub(crate) fn links(socket: &Socket) -> Result<Vec<Link>, Error> {
    let mut writer = Writer::default();
    writer.begin(RTM_GETLINK, REQUEST | DUMP, 1);
    writer.raw(&link_header(0, false));
    writer.end();
    let mut links = Vec::new();
    socket.dump(writer.finish(), "list links", &mut |message| {
        let Some(index) = u32_at(message.payload, 4) else { return };
        let attributes = message.payload.get(16..).unwrap_or_default();
        let name = find(attributes, IFLA_IFNAME).unwrap_or_default();
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        links.push(Link {
            index,
            name: String::from_utf8_lossy(name).into_owned(),
            master: find(attributes, IFLA_MASTER).and_then(|bytes| u32_at(bytes, 0)),
        });
    })?;
    Ok(links)
}
