//! ctnetlink: forgetting flows whose translation is no longer wanted. Numbers are those of
//! linux/netfilter/nfnetlink_conntrack.h.
//!
//! TCP needs none of this: a connection to a pod that is gone ends by itself. A UDP client that keeps its source port
//! would be sent to the old address for as long as it keeps talking.

use std::{collections::HashSet, net::Ipv4Addr};

use nix::libc;

use super::{
    ACK, DUMP, REQUEST,
    message::{Writer, find, find_path},
    socket::{INET, Socket},
};
use crate::Error;

const GET: u16 = 0x101;
const DELETE: u16 = 0x102;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_ZONE: u16 = 18;

/// A UDP flow to forget: sent to `frontend`'s port and answered by `endpoint`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flow {
    /// Where clients sent it; `None` is any address.
    pub(crate) frontend: Option<Ipv4Addr>,
    pub(crate) frontend_port: u16,
    pub(crate) endpoint: Ipv4Addr,
    pub(crate) endpoint_port: u16,
}

/// Forgets all flows that match one of `flows` and returns how many these were.
pub(crate) fn forget(socket: &Socket, flows: &HashSet<Flow>) -> Result<usize, Error> {
    let mut doomed = Vec::new();
    let mut writer = Writer::default();
    writer.begin(GET, REQUEST | DUMP, 1);
    writer.raw(&[INET, 0, 0, 0]);
    writer.end();
    socket.dump(writer.finish(), "list tracked connections", &mut |message| {
        let attributes = message.payload.get(4..).unwrap_or_default();
        let matches = |frontend| tuple_flow(attributes, frontend).is_some_and(|flow| flows.contains(&flow));
        if (matches(true) || matches(false))
            && let Some(original) = find(attributes, CTA_TUPLE_ORIG)
        {
            doomed.push((original.to_vec(), find(attributes, CTA_ZONE).map(<[u8]>::to_vec)));
        }
    })?;
    let mut count = 0;
    for (original, zone) in doomed {
        let mut writer = Writer::default();
        writer.begin(DELETE, REQUEST | ACK, 1);
        writer.raw(&[INET, 0, 0, 0]);
        writer.nested(CTA_TUPLE_ORIG, |writer| writer.raw(&original));
        if let Some(zone) = zone {
            writer.attribute(CTA_ZONE, &zone);
        }
        writer.end();
        match socket.execute(writer.finish(), 1, "forget a tracked connection") {
            Ok(()) => count += 1,
            // It ended by itself meanwhile.
            Err(error) if error.is_absent() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// The flow that a conntrack entry describes, if it is UDP.
fn tuple_flow(attributes: &[u8], with_frontend: bool) -> Option<Flow> {
    let (original, reply) = (find(attributes, CTA_TUPLE_ORIG)?, find(attributes, CTA_TUPLE_REPLY)?);
    if i32::from(*find_path(original, &[CTA_TUPLE_PROTO, CTA_PROTO_NUM])?.first()?) != libc::IPPROTO_UDP {
        return None;
    }
    let address = |bytes: &[u8]| Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?));
    let port = |bytes: &[u8]| Some(u16::from_be_bytes(bytes.try_into().ok()?));
    Some(Flow {
        frontend: if with_frontend {
            Some(address(find_path(original, &[CTA_TUPLE_IP, CTA_IP_V4_DST])?)?)
        } else {
            None
        },
        frontend_port: port(find_path(original, &[CTA_TUPLE_PROTO, CTA_PROTO_DST_PORT])?)?,
        endpoint: address(find_path(reply, &[CTA_TUPLE_IP, CTA_IP_V4_SRC])?)?,
        endpoint_port: port(find_path(reply, &[CTA_TUPLE_PROTO, CTA_PROTO_SRC_PORT])?)?,
    })
}
