//! SPDY/3.1 as Kubernetes' clients speak it.

mod connection;
mod frame;
mod headers;
mod tunnel;

pub(crate) use connection::{Acceptor, Opened, connection};
pub(crate) use frame::ProtocolError;
pub(crate) use tunnel::Tunnel;

#[cfg(test)]
pub(crate) mod testing {
    //! A client's pieces.
    pub(crate) use super::{
        frame::{Decoder, Frame},
        headers::{HeaderReader, tests::Compressor},
    };
}
