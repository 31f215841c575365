//! Exec and attach: which channels a session has on either transport.

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use lotse_node::streaming::{OpenSession, Streams};
use tokio::time::timeout;

use super::{Connection, STREAM_CREATION, upgrade};
use crate::{
    channels::{Channel, Gone, Reset, drive},
    error::Error,
    negotiate::{Agreement, Offer, Refusal},
    remote_command::{Command, Operation, StatusFormat, greet, serve},
    spdy::{self, Acceptor},
    websocket::{self, Encoding, Numbered},
};

const OFFER: Offer = Offer {
    web_socket: &[
        "v5.channel.k8s.io",
        "v4.channel.k8s.io",
        "v4.base64.channel.k8s.io",
        "v3.channel.k8s.io",
        "v2.channel.k8s.io",
        "channel.k8s.io",
        "base64.channel.k8s.io",
    ],
    spdy: &["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"],
};

/// Serves exec or attach.
pub(crate) fn command(request: Request<Body>, streams: Streams, operation: Operation, open: OpenSession) -> Response {
    if !(streams.stdin || streams.stdout || streams.stderr) {
        return Refusal::bad_request("you must specify at least 1 of stdin, stdout, stderr").into_response();
    }
    upgrade(request, &OFFER, async move |agreement, connection| match agreement {
        Agreement::WebSocket { protocol, .. } => {
            over_web_socket(connection, protocol.unwrap_or_default(), streams, operation, open).await
        }
        Agreement::Spdy { protocol } => over_spdy(connection, protocol, streams, operation, open).await,
    })
}

fn format(protocol: &str) -> StatusFormat {
    if protocol.starts_with("v4.") || protocol.starts_with("v5.") { StatusFormat::Json } else { StatusFormat::Sentence }
}

async fn over_web_socket(
    connection: Connection,
    protocol: &'static str,
    streams: Streams,
    operation: Operation,
    open: OpenSession,
) -> Result<(), Error> {
    let encoding = Encoding { base64: protocol.contains("base64."), close_signal: protocol.starts_with("v5.") };
    // By number: standard input, output, error, status, size of the terminal.
    let readable = vec![streams.stdin, false, false, false, streams.tty];
    let (channels, driver) = websocket::channels(connection, encoding, readable).await;
    let Some(command) = by_number(channels, streams, format(protocol)) else { return Ok(()) };
    let work = async move {
        let served = async {
            greet(&command).await?;
            serve(command, operation, open).await
        };
        // A client that has gone is what the driver reports.
        let _: Result<(), Gone> = served.await;
        Ok(())
    };
    drive(driver, work).await
}

/// Takes what is needed; the other channels are dropped here, for the driver runs until the last is.
fn by_number(channels: Vec<Numbered>, streams: Streams, format: StatusFormat) -> Option<Command> {
    let [stdin, stdout, stderr, error, resize] = <[Numbered; 5]>::try_from(channels).ok()?;
    let output = |channel: Numbered, wanted: bool| wanted.then_some(channel.output);
    Some(Command {
        stdin: stdin.input,
        resize: resize.input,
        stdout: output(stdout, streams.stdout),
        stderr: output(stderr, streams.stderr),
        error: error.output,
        format,
    })
}

async fn over_spdy(
    connection: Connection,
    protocol: &'static str,
    streams: Streams,
    operation: Operation,
    open: OpenSession,
) -> Result<(), Error> {
    let (acceptor, driver) = spdy::connection(connection);
    let resize = streams.tty && !matches!(protocol, "channel.k8s.io" | "v2.channel.k8s.io");
    let work = async move {
        let collected = timeout(STREAM_CREATION, collect(acceptor, streams, resize, format(protocol))).await;
        if let Some(command) = collected.map_err(|_| Error::StreamCreation(STREAM_CREATION))? {
            let _: Result<(), Gone> = serve(command, operation, open).await;
        }
        Ok(())
    };
    drive(driver, work).await
}

/// A stream that the client has to open.
struct Expected {
    kind: &'static str,
    channel: Option<Channel>,
}

/// Waits until the client has opened all streams that its request has announced; `None` if it has gone before.
async fn collect(mut acceptor: Acceptor, streams: Streams, resize: bool, format: StatusFormat) -> Option<Command> {
    let kinds = [
        ("error", true),
        ("stdin", streams.stdin),
        ("stdout", streams.stdout),
        ("stderr", streams.stderr),
        ("resize", resize),
    ];
    let wanted = kinds.into_iter().filter(|(_, wanted)| *wanted);
    let mut expected: Vec<Expected> = wanted.map(|(kind, _)| Expected { kind, channel: None }).collect();
    while expected.iter().any(|one| one.channel.is_none()) {
        let opened = acceptor.next().await?;
        let kind = opened.headers.get("streamtype").unwrap_or_default();
        match expected.iter_mut().find(|one| one.kind == kind && one.channel.is_none()) {
            Some(one) => one.channel = Some(opened.accept().await.ok()?),
            None => opened.refuse(Reset::Protocol).await.ok()?,
        }
    }
    let mut take = |kind: &str| expected.iter_mut().find(|one| one.kind == kind)?.channel.take();
    Some(Command {
        error: take("error")?.output,
        stdin: take("stdin").map(|channel| channel.input),
        resize: take("resize").map(|channel| channel.input),
        stdout: take("stdout").map(|channel| channel.output),
        stderr: take("stderr").map(|channel| channel.output),
        format,
    })
}
