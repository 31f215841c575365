//! `grpc` probes: `grpc.health.v1.Health/Check` over HTTP/2 in clear text.
//!
//! The two messages have one field each, so they are written and read here
//! (https://github.com/grpc/grpc/blob/master/doc/health-checking.md, https://protobuf.dev/programming-guides/encoding/).

use bytes::{BufMut, Bytes, BytesMut};
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::{
    api::core::v1::{GRPCAction, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};
use tokio::net::TcpStream;

use super::{BoxFuture, Check, Target};

const MAX_MESSAGE: usize = 64 * 1024;
/// `HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: u64 = 1;

pub(super) fn of(probe: &Probe) -> Option<Box<dyn Check>> {
    probe.grpc.clone().map(|action| Box::new(Grpc(action)) as _)
}

struct Grpc(GRPCAction);

impl Check for Grpc {
    fn check<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let (host, port) = (target.host(None)?, target.port(&IntOrString::Int(self.0.port))?);
            let service = self.0.service.as_deref().unwrap_or_default();
            let failed = |error: &dyn std::fmt::Display| format!("service unhealthy: {host}:{port}: {error}");
            let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|error| failed(&error))?;
            match call(stream, &format!("{host}:{port}"), service).await {
                Ok(SERVING) => Ok(()),
                Ok(status) => Err(format!("service unhealthy (responded with status {status})")),
                Err(error) => Err(failed(&error)),
            }
        })
    }
}

async fn call(stream: TcpStream, authority: &str, service: &str) -> Result<u64, String> {
    let text = |error: hyper::Error| error.to_string();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(text)?;
    let request = Request::post(format!("http://{authority}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, "kube-probe/1.37")
        .body(Full::new(encode(service)))
        .map_err(|error| error.to_string())?;
    let talk = async {
        let response = sender.send_request(request).await.map_err(text)?;
        let status = |headers: &http::HeaderMap| {
            headers.get("grpc-status").and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let early = status(response.headers());
        let body =
            Limited::new(response.into_body(), MAX_MESSAGE).collect().await.map_err(|error| error.to_string())?;
        let code = body.trailers().and_then(status).or(early).unwrap_or_else(|| "0".into());
        if code != "0" {
            return Err(format!("rpc error: code = {code}"));
        }
        decode(&body.to_bytes()).ok_or_else(|| "the answer is not a HealthCheckResponse".to_owned())
    };
    tokio::pin!(talk);
    tokio::select! {
        answer = &mut talk => return answer,
        _ = connection => {}
    }
    talk.await
}

/// A length-prefixed `HealthCheckRequest { service }`.
fn encode(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(0));
    frame.put_slice(&message);
    frame.freeze()
}

/// `status` of a length-prefixed `HealthCheckResponse`; an absent field is 0 (`UNKNOWN`).
fn decode(frame: &[u8]) -> Option<u64> {
    let (prefix, rest) = frame.split_at_checked(5)?;
    let length = usize::try_from(u32::from_be_bytes(prefix.get(1..)?.try_into().ok()?)).ok()?;
    let mut message = rest.get(..length).filter(|_| prefix.first() == Some(&0))?;
    let mut status = 0;
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        match tag & 7 {
            0 => {
                let value = varint(&mut message)?;
                if tag >> 3 == 1 {
                    status = value;
                }
            }
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(data: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = data.split_first()?;
        *data = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_framed_as_protobuf() {
        assert_eq!(encode("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(encode("ab").as_ref(), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(decode(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(decode(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(decode(&[0, 0, 0, 0, 5, 0x12, 1, b'x', 8, 2]), Some(2));
        for broken in [&[][..], &[0, 0, 0, 0, 9, 8], &[1, 0, 0, 0, 0], &[0, 0, 0, 0, 1, 8], &[0, 0, 0, 0, 2, 0x12, 9]] {
            assert_eq!(decode(broken), None, "{broken:?}");
        }
    }
}
