//! Port-forward: connects a pair of channels (data, error) with a port of the pod, whichever transport carries them.

use std::{fmt, io, sync::Arc, time::Duration};

use bytes::BytesMut;
use lotse_node::streaming::Connect;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

use crate::channels::{Gone, Incoming, Input, Output, PIECE};

/// How long connecting to a port inside the pod may take.
const CONNECT: Duration = Duration::from_secs(30);

/// Where connections go.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) connect: Connect,
    /// The pod's name, for messages.
    pub(crate) pod: Arc<str>,
}

/// The channels of one forwarded connection. The input of `error` is kept by the transport's side: clients send nothing.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) port: u16,
    pub(crate) input: Input,
    pub(crate) output: Output,
    pub(crate) error: Output,
}

// === impl Target ===

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("pod", &self.pod).finish_non_exhaustive()
    }
}

/// Serves one connection: until the pod has closed its side, as the kubelet does, or the client has given up.
pub(crate) async fn forward(target: &Target, pair: Pair) -> Result<(), Gone> {
    let Pair { port, mut input, output, error } = pair;
    let connection = match timeout(CONNECT, (target.connect)(port)).await {
        Ok(connection) => connection,
        Err(_) => Err(format!("no answer within {} s", CONNECT.as_secs())),
    };
    let failure = match connection {
        Ok(connection) => copy(connection, &mut input, &output).await?,
        Err(sentence) => Some(sentence),
    };
    if let Some(failure) = failure {
        let pod = &target.pod;
        error.send(format!("error forwarding port {port} to pod {pod}: {failure}")).await?;
    }
    error.close().await?;
    output.close().await?;
    // The pod is not interested any more; the client learns it from the closed channel.
    drop(input);
    Ok(())
}

/// Copies in both directions; the sentence of an error, if there was one.
async fn copy(connection: TcpStream, input: &mut Input, output: &Output) -> Result<Option<String>, Gone> {
    // Interactive protocols are forwarded: small packets must not wait for one another.
    let _: io::Result<()> = connection.set_nodelay(true);
    let (reader, writer) = connection.into_split();
    tokio::select! {
        down = from_pod(reader, output) => down,
        () = to_pod(input, writer) => Ok(None),
    }
}

async fn from_pod(mut reader: OwnedReadHalf, output: &Output) -> Result<Option<String>, Gone> {
    let mut buffer = BytesMut::with_capacity(PIECE);
    loop {
        buffer.reserve(PIECE / 4);
        match reader.read_buf(&mut buffer).await {
            Ok(0) => return Ok(None),
            Ok(_) => output.send(buffer.split().freeze()).await?,
            Err(error) => return Ok(Some(error.to_string())),
        }
    }
}

/// Ends only when the client has given the stream up; its orderly end is passed on and the other direction continues.
async fn to_pod(input: &mut Input, mut writer: OwnedWriteHalf) {
    let mut open = true;
    loop {
        match input.next().await {
            // A pod that does not read any more may still have something to say.
            Some(Incoming::Data(bytes)) => open = open && writer.write_all(&bytes).await.is_ok(),
            Some(Incoming::Reset) => return,
            None => break,
        }
    }
    let _: io::Result<()> = writer.shutdown().await;
    std::future::pending::<()>().await;
}
