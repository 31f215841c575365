//! A blocking netlink socket with deadlines.
//!
//! It belongs to the network namespace of the thread that opens it, whichever thread uses it later.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        socket::{
            AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
            socket, sockopt,
        },
        time::TimeVal,
    },
};

use super::message::{Message, messages, u32_at};
use crate::Error;

/// The kernel answers within a millisecond; after this long something is badly wrong.
const DEADLINE_SECONDS: i64 = 10;
/// One read; the kernel never sends more than 32 KiB at once unless the reader's buffer is larger.
const READ: usize = 64 * 1024;
/// `NLMSG_*` of linux/netlink.h.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// A full dump restarts this often when the kernel's buffer overflowed.
const EINTR_RETRIES: usize = 4;

pub(crate) struct Socket {
    descriptor: OwnedFd,
}

/// What a request needs for an answer.
enum Until {
    /// The acknowledgement of this sequence number, or the first error.
    Acknowledged(u32),
    /// The end of the dump.
    Done,
}

// === impl Socket ===

impl Socket {
    /// Opens a socket for links, addresses and routes.
    pub(crate) fn route() -> Result<Self, Error> {
        Self::open(SockProtocol::NetlinkRoute)
    }

    /// Opens a socket for nftables and connection tracking.
    pub(crate) fn netfilter() -> Result<Self, Error> {
        Self::open(SockProtocol::NetlinkNetFilter)
    }

    fn open(protocol: SockProtocol) -> Result<Self, Error> {
        let context = "open a netlink socket";
        let descriptor = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
            .map_err(Error::errno(context))?;
        bind(descriptor.as_raw_fd(), &NetlinkAddr::new(0, 0)).map_err(Error::errno(context))?;
        let deadline = TimeVal::new(DEADLINE_SECONDS, 0);
        setsockopt(&descriptor, sockopt::ReceiveTimeout, &deadline).map_err(Error::errno(context))?;
        setsockopt(&descriptor, sockopt::SendTimeout, &deadline).map_err(Error::errno(context))?;
        Ok(Self { descriptor })
    }

    /// Sends `request`, one or several messages, and waits for the acknowledgement of the message `last`.
    pub(crate) fn execute(&self, request: Option<Vec<u8>>, last: u32, context: &str) -> Result<(), Error> {
        self.send(request, context)?;
        self.receive(Until::Acknowledged(last), context, &mut |_| {})
    }

    /// Sends a dump request and hands every message of the answer to `take`.
    pub(crate) fn dump(
        &self,
        request: Option<Vec<u8>>,
        context: &str,
        take: &mut dyn FnMut(Message<'_>),
    ) -> Result<(), Error> {
        self.send(request, context)?;
        self.receive(Until::Done, context, take)
    }

    fn send(&self, request: Option<Vec<u8>>, context: &str) -> Result<(), Error> {
        let netlink = |source: Errno| Error::Netlink { context: context.to_owned(), source: source.into() };
        let request = request.ok_or_else(|| Error::Netlink {
            context: context.to_owned(),
            source: io::Error::new(io::ErrorKind::InvalidInput, "the request is too large for one netlink message"),
        })?;
        if request.len() > 128 * 1024 {
            // The default buffer takes about 200 KB; a whole ruleset is larger. Forcing needs CAP_NET_ADMIN, which
            // every change here needs anyway.
            let size = request.len().saturating_mul(2).min(256 << 20);
            setsockopt(&self.descriptor, sockopt::SndBufForce, &size).map_err(netlink)?;
        }
        loop {
            match send(self.descriptor.as_raw_fd(), &request, MsgFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(netlink(errno)),
            }
        }
    }

    fn receive(&self, until: Until, context: &str, take: &mut dyn FnMut(Message<'_>)) -> Result<(), Error> {
        let netlink = |source: io::Error| Error::Netlink { context: context.to_owned(), source };
        let mut buffer = vec![0; READ];
        let mut interrupted = 0;
        loop {
            let length = match recv(self.descriptor.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => length,
                Err(Errno::EINTR) if interrupted < EINTR_RETRIES => {
                    interrupted += 1;
                    continue;
                }
                Err(Errno::EAGAIN) => return Err(netlink(io::ErrorKind::TimedOut.into())),
                Err(errno) => return Err(netlink(errno.into())),
            };
            for message in messages(buffer.get(..length).unwrap_or_default()) {
                match (message.kind, &until) {
                    (NLMSG_ERROR, _) => {
                        let code = u32_at(message.payload, 0)
                            .ok_or_else(|| Error::Malformed { context: context.to_owned() })?
                            .cast_signed();
                        if code != 0 {
                            return Err(netlink(io::Error::from_raw_os_error(code.saturating_neg())));
                        }
                        match until {
                            Until::Acknowledged(last) if message.sequence != last => {}
                            _ => return Ok(()),
                        }
                    }
                    (NLMSG_DONE, _) => return Ok(()),
                    _ => take(message),
                }
            }
        }
    }
}

/// `AF_INET` as the family headers want it.
pub(crate) const INET: u8 = libc::AF_INET as u8;
