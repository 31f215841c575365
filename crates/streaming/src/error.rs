//! Why a streaming connection ended early. There is no one to answer any more: these go to the log.

use std::{io, time::Duration};

use crate::spdy;

/// Why a connection ended before its work was done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("switching protocols failed")]
    Upgrade(#[source] hyper::Error),
    #[error("the client did not switch protocols within {0:?}")]
    UpgradeTimeout(Duration),
    #[error("WebSocket connection failed")]
    WebSocket(#[source] Box<tokio_tungstenite::tungstenite::Error>),
    #[error("a WebSocket message is not what the subprotocol allows: {0}")]
    Message(&'static str),
    #[error("SPDY connection failed")]
    Spdy(#[source] spdy::ProtocolError),
    #[error("connection failed")]
    Io(#[source] io::Error),
    #[error("no data for {0:?}")]
    Idle(Duration),
    #[error("the client did not open its streams within {0:?}")]
    StreamCreation(Duration),
    #[error("the client did not take the last bytes within {0:?}")]
    Unread(Duration),
}

impl From<tokio_tungstenite::tungstenite::Error> for Error {
    fn from(error: tokio_tungstenite::tungstenite::Error) -> Self {
        Self::WebSocket(Box::new(error))
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
