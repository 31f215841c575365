//! Port-forward: how pairs of channels come about on SPDY, on SPDY inside WebSocket, and on plain WebSocket.

use std::collections::HashMap;

use axum::{
    body::Body,
    extract::{Query, Request},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use http::Uri;
use lotse_node::streaming::Connect;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, MissedTickBehavior, interval},
};

use super::{Connection, STREAM_CREATION, upgrade};
use crate::{
    channels::{Channel, Gone, Reset, drive},
    error::Error,
    negotiate::{Agreement, Offer, Refusal},
    port_forward::{Pair, Target, forward},
    spdy::{self, Acceptor, Opened, Tunnel},
    websocket::{self, Encoding},
};

/// KEP-4006: SPDY inside WebSocket messages.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const OFFER: Offer = Offer {
    web_socket: &[TUNNEL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "portforward.k8s.io"],
    spdy: &["portforward.k8s.io"],
};
/// Channel numbers are one byte, and each port has two.
const MAX_PORTS: usize = 64;

/// Serves port-forward.
pub(crate) fn port_forward(request: Request<Body>, connect: Connect) -> Response {
    let target = Target { connect, pod: pod_name(request.uri().path()).into() };
    // Only the plain WebSocket form names its ports in the query.
    let ports = match negotiate_ports(&request) {
        Ok(ports) => ports,
        Err(refusal) => return refusal.into_response(),
    };
    upgrade(request, &OFFER, async move |agreement, connection| match agreement {
        Agreement::Spdy { .. } => over_spdy(connection, target).await,
        Agreement::WebSocket { protocol: Some(TUNNEL), .. } => over_spdy(Tunnel::new(connection).await, target).await,
        Agreement::WebSocket { protocol, .. } => {
            over_web_socket(connection, protocol.unwrap_or_default(), ports, target).await
        }
    })
}

/// The pod in the path of the kubelet (`/portForward/{namespace}/{pod}`) or the API server (`…/pods/{pod}/portforward`).
fn pod_name(path: &str) -> &str {
    let mut segments = path.trim_end_matches('/').rsplit('/');
    match segments.next() {
        Some("portforward") => segments.next().unwrap_or_default(),
        last => last.unwrap_or_default(),
    }
}

fn negotiate_ports(request: &Request<Body>) -> Result<Vec<u16>, Refusal> {
    let plain = matches!(
        crate::negotiate::negotiate(request.headers(), &OFFER),
        Ok(Agreement::WebSocket { protocol, .. }) if protocol != Some(TUNNEL)
    );
    if plain { ports(request.uri()) } else { Ok(Vec::new()) }
}

/// `port=80&port=443`, as the API server asks the kubelet, or `ports=80,443`, as clients ask the API server.
fn ports(uri: &Uri) -> Result<Vec<u16>, Refusal> {
    let query = Query::<Vec<(String, String)>>::try_from_uri(uri);
    let query = query.map_err(|error| Refusal::bad_request(format!("the query cannot be read: {error}")))?.0;
    let values = query.iter().filter(|(name, _)| matches!(name.as_str(), "port" | "ports"));
    let values = values.flat_map(|(_, value)| value.split(',')).map(str::trim).filter(|value| !value.is_empty());
    let ports: Result<Vec<u16>, Refusal> = values.map(port).collect();
    let ports = ports?;
    match ports.len() {
        0 => Err(Refusal::bad_request("query parameter \"ports\" is required")),
        1..=MAX_PORTS => Ok(ports),
        more => Err(Refusal::bad_request(format!("ports: {more} are more than {MAX_PORTS} on one connection"))),
    }
}

fn port(text: &str) -> Result<u16, Refusal> {
    match text.parse() {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(Refusal::bad_request(format!("port: {text:?} is not a number between 1 and 65535"))),
    }
}

/// Channel 2n is the data and 2n+1 the errors of the n-th port; both begin with the port, little endian.
async fn over_web_socket(
    connection: Connection,
    protocol: &'static str,
    ports: Vec<u16>,
    target: Target,
) -> Result<(), Error> {
    let encoding = Encoding { base64: protocol.contains("base64."), close_signal: false };
    let readable = ports.iter().flat_map(|_| [true, false]).collect();
    let (channels, driver) = websocket::channels(connection, encoding, readable).await;
    let mut channels = channels.into_iter();
    let mut pairs = Vec::with_capacity(ports.len());
    for port in ports {
        if let (Some(data), Some(error)) = (channels.next(), channels.next())
            && let Some(input) = data.input
        {
            pairs.push(Pair { port, input, output: data.output, error: error.output });
        }
    }
    let work = async move {
        let target = &target;
        join_all(pairs.into_iter().map(async |pair| {
            let port = pair.port.to_le_bytes().to_vec();
            pair.output.send(port.clone()).await?;
            pair.error.send(port).await?;
            forward(target, pair).await
        }))
        .await;
        Ok(())
    };
    drive(driver, work).await
}

async fn over_spdy<T>(io: T, target: Target) -> Result<(), Error>
where
    T: AsyncRead + AsyncWrite + Send,
{
    let (acceptor, driver) = spdy::connection(io);
    let work = async move {
        let _: Result<(), Gone> = serve_pairs(acceptor, target).await;
        Ok(())
    };
    drive(driver, work).await
}

/// The streams of one connection so far.
struct Partial {
    since: Instant,
    port: u16,
    data: Option<Channel>,
    error: Option<Channel>,
}

/// Forwards every pair of streams that the client opens, until it goes.
async fn serve_pairs(mut acceptor: Acceptor, target: Target) -> Result<(), Gone> {
    let mut partial: HashMap<String, Partial> = HashMap::new();
    let mut running = FuturesUnordered::new();
    let mut expiry = interval(STREAM_CREATION / 6);
    expiry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            opened = acceptor.next() => {
                let Some(opened) = opened else { return Ok(()) };
                if let Some(pair) = pair_up(&mut partial, opened).await? {
                    running.push(forward(&target, pair));
                }
            }
            Some(_) = running.next() => {}
            _ = expiry.tick() => expire(&mut partial).await?,
        }
    }
}

/// Adds a stream to its pair, and returns the pair when it is complete. A stream with bad headers is refused.
async fn pair_up(partial: &mut HashMap<String, Partial>, opened: Opened) -> Result<Option<Pair>, Gone> {
    let is_error = match opened.headers.get("streamtype") {
        Some("error") => true,
        Some("data") => false,
        _ => return opened.refuse(Reset::Protocol).await.map(|()| None),
    };
    let Some(port) = opened.headers.get("port").and_then(|text| port(text).ok()) else {
        return opened.refuse(Reset::Protocol).await.map(|()| None);
    };
    let id = match opened.headers.get("requestid") {
        Some(id) => id.to_owned(),
        // Kubernetes 1.0: the data stream is the one after the error stream.
        None if is_error => opened.stream.to_string(),
        None => opened.stream.saturating_sub(2).to_string(),
    };
    let pair =
        partial.entry(id.clone()).or_insert_with(|| Partial { since: Instant::now(), port, data: None, error: None });
    let slot = if is_error { &mut pair.error } else { &mut pair.data };
    if slot.is_some() || pair.port != port {
        return opened.refuse(Reset::Protocol).await.map(|()| None);
    }
    *slot = Some(opened.accept().await?);
    if pair.data.is_none() || pair.error.is_none() {
        return Ok(None);
    }
    let complete = partial.remove(&id).and_then(|pair| Some((pair.data?, pair.error?)));
    Ok(complete.map(|(data, error)| Pair { port, input: data.input, output: data.output, error: error.output }))
}

/// Ends pairs whose other half has not come in time.
async fn expire(partial: &mut HashMap<String, Partial>) -> Result<(), Gone> {
    let late: Vec<Partial> =
        partial.extract_if(|_, pair| pair.since.elapsed() >= STREAM_CREATION).map(|(_, pair)| pair).collect();
    for pair in late {
        if let Some(error) = pair.error {
            error.output.send("timed out waiting for the data stream").await?;
            error.output.close().await?;
        }
        if let Some(data) = pair.data {
            data.output.reset(Reset::Cancelled).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn ports_come_from_either_spelling() {
        let cases = [
            ("/?port=80&port=443", Ok(vec![80, 443])),
            ("/?ports=80%2C443", Ok(vec![80, 443])),
            ("/", Err("required")),
            ("/?ports=0", Err("\"0\" is not")),
            ("/?ports=65536", Err("\"65536\" is not")),
            ("/?port=http", Err("\"http\" is not")),
        ];
        for (uri, expected) in cases {
            match (ports(&uri.parse().unwrap()), expected) {
                (Ok(ports), Ok(expected)) => assert_eq!(ports, expected),
                (Err(refusal), Err(part)) => {
                    assert!(format!("{refusal:?}").replace('\\', "").contains(part), "{refusal:?}")
                }
                (actual, expected) => panic!("{uri}: {actual:?} instead of {expected:?}"),
            }
        }
        let many = format!("/?ports={}", vec!["80"; MAX_PORTS + 1].join(","));
        assert!(ports(&many.parse().unwrap()).is_err());
    }

    #[test]
    fn the_pod_is_named_by_either_path() {
        assert_eq!(pod_name("/portForward/default/web-0"), "web-0");
        assert_eq!(pod_name("/api/v1/namespaces/default/pods/web-0/portforward"), "web-0");
    }
}
