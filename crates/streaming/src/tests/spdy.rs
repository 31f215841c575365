//! SPDY frame by frame: what Go's clients rely on, and what no client should do.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::tungstenite::Message;

use super::{
    server::{Server, eventually},
    web_socket,
};
use crate::spdy::testing::{Compressor, Decoder, Frame, HeaderReader};

const WAIT: Duration = Duration::from_secs(10);

struct Client {
    socket: TcpStream,
    buffer: BytesMut,
    decoder: Decoder,
    compressor: Compressor,
    headers: HeaderReader,
}

impl Client {
    async fn raw(server: &Server, path: &str, protocols: &[&str]) -> (TcpStream, String) {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        let mut request = format!(
            "POST /api/v1/namespaces/default/pods/web/{path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\
             Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
        );
        for protocol in protocols {
            request.push_str(&format!("X-Stream-Protocol-Version: {protocol}\r\n"));
        }
        socket.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(timeout(WAIT, socket.read_u8()).await.unwrap().unwrap());
        }
        (socket, String::from_utf8(answer).unwrap().to_ascii_lowercase())
    }

    async fn connect(server: &Server, path: &str, protocol: &str) -> Self {
        let (socket, answer) = Self::raw(server, path, &["v9", protocol]).await;
        assert!(answer.starts_with("http/1.1 101"), "{answer}");
        assert!(answer.contains(&format!("x-stream-protocol-version: {protocol}\r\n")), "{answer}");
        let (decoder, compressor, headers) = (Decoder::default(), Compressor::new(), HeaderReader::new());
        Self { socket, buffer: BytesMut::new(), decoder, compressor, headers }
    }

    async fn send(&mut self, frame: Frame) {
        let mut wire = BytesMut::new();
        frame.encode(&mut wire);
        self.socket.write_all(&wire).await.unwrap();
    }

    async fn open(&mut self, stream: u32, headers: &[(&str, &str)]) {
        let block = self.compressor.block(headers);
        self.send(Frame::SynStream { stream, fin: false, block }).await;
    }

    async fn data(&mut self, stream: u32, fin: bool, bytes: &'static [u8]) {
        self.send(Frame::Data { stream, fin, bytes: Bytes::from_static(bytes) }).await;
    }

    /// The next frame; `None` when the server has closed.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.buffer).unwrap() {
                if let Frame::SynReply { block, .. } = &frame {
                    self.headers.read(block).expect("replies inflate");
                }
                return Some(frame);
            }
            let read = timeout(WAIT, self.socket.read_buf(&mut self.buffer)).await.expect("the server answers in time");
            if !matches!(read, Ok(1..)) {
                return None;
            }
        }
    }

    /// Everything on a stream until its FIN, ignoring others.
    async fn read_stream(&mut self, wanted: u32) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            match self.next().await.expect("the stream ends before the connection") {
                Frame::Data { stream, fin, bytes } if stream == wanted => {
                    all.extend_from_slice(&bytes);
                    if fin {
                        return all;
                    }
                }
                Frame::RstStream { stream, status } if stream == wanted => panic!("reset with {status}"),
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn exec_sends_output_then_status_then_goes_away() {
    let server = Server::start().await;
    let path = "exec?command=sh&command=-c&command=cat%3Bexit%203&stdin=true&stdout=true";
    let mut client = Client::connect(&server, path, "v4.channel.k8s.io").await;
    client.open(1, &[("streamtype", "error")]).await;
    client.open(3, &[("streamtype", "stdin")]).await;
    client.open(5, &[("streamtype", "stdout")]).await;
    client.data(3, false, b"over ").await;
    client.data(3, true, b"SPDY").await;
    assert_eq!(client.read_stream(5).await, b"over SPDY");
    let status: serde_json::Value = serde_json::from_slice(&client.read_stream(1).await).unwrap();
    assert_eq!(status["reason"], "NonZeroExitCode");
    assert!(matches!(client.next().await, Some(Frame::GoAway { last: 5, status: 0 })));
    assert_eq!(client.next().await, None);
}

#[tokio::test]
async fn pings_are_answered_and_unexpected_streams_refused() {
    let server = Server::start().await;
    let mut client = Client::connect(&server, "exec?command=cat&stdin=true&stdout=true", "v4.channel.k8s.io").await;
    client.send(Frame::Ping { id: 7 }).await;
    assert_eq!(client.next().await, Some(Frame::Ping { id: 7 }));
    client.open(1, &[("streamtype", "nonsense")]).await;
    assert_eq!(client.next().await, Some(Frame::RstStream { stream: 1, status: 1 }));
    client.open(3, &[("streamtype", "stdout")]).await;
    assert!(matches!(client.next().await, Some(Frame::SynReply { stream: 3, .. })));
    client.open(5, &[("streamtype", "stdout")]).await;
    assert_eq!(client.next().await, Some(Frame::RstStream { stream: 5, status: 1 }));
    assert!(server.seen.pids.lock().unwrap().is_empty(), "nothing starts before all streams are there");
}

#[tokio::test]
async fn protocol_errors_end_the_connection_and_the_process() {
    let server = Server::start().await;
    let rubbish: [&[u8]; 3] = [
        &[0x80, 2, 0, 1, 0, 0, 0, 0],
        &[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff],
        &[0x80, 3, 0, 8, 0, 0, 0, 8, 0, 0, 0, 1, 1, 2, 3, 4],
    ];
    for bytes in rubbish {
        let mut client =
            Client::connect(&server, "exec?command=sleep&command=1000&stdout=true", "v4.channel.k8s.io").await;
        client.open(1, &[("streamtype", "error")]).await;
        client.open(3, &[("streamtype", "stdout")]).await;
        eventually("the process runs", || server.process_runs()).await;
        client.socket.write_all(bytes).await.unwrap();
        while client.next().await.is_some() {}
        eventually("the process is gone", || server.running() == 0).await;
    }
}

#[tokio::test]
async fn stream_numbers_may_not_be_used_twice() {
    let server = Server::start().await;
    let mut client = Client::connect(&server, "exec?command=cat&stdin=true", "v4.channel.k8s.io").await;
    client.open(1, &[("streamtype", "error")]).await;
    client.open(1, &[("streamtype", "stdin")]).await;
    while let Some(frame) = client.next().await {
        assert!(matches!(frame, Frame::SynReply { stream: 1, .. }), "{frame:?}");
    }
}

#[tokio::test]
async fn unknown_versions_are_refused_and_ours_are_named() {
    let server = Server::start().await;
    let (_, answer) = Client::raw(&server, "exec?command=cat&stdin=true", &["v9.channel.k8s.io"]).await;
    assert!(answer.starts_with("http/1.1 403"), "{answer}");
    assert!(answer.contains("x-accepted-stream-protocol-versions: v4.channel.k8s.io\r\n"), "{answer}");
}

/// Sends back what it gets, then says bye after the end of its input.
async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = connection.split();
                tokio::io::copy(&mut reader, &mut writer).await.unwrap();
                writer.write_all(b" bye").await.unwrap();
            });
        }
    });
    port
}

async fn open_pair(client: &mut Client, error: u32, port: &str, id: &str) {
    client.open(error, &[("streamtype", "error"), ("port", port), ("requestid", id)]).await;
    client.open(error + 2, &[("streamtype", "data"), ("port", port), ("requestid", id)]).await;
}

#[tokio::test]
async fn half_closed_connections_are_forwarded_side_by_side() {
    let server = Server::start().await;
    let port = echo().await.to_string();
    let mut client = Client::connect(&server, "portforward", "portforward.k8s.io").await;
    open_pair(&mut client, 1, &port, "0").await;
    open_pair(&mut client, 5, &port, "1").await;
    client.data(7, true, b"second").await;
    assert_eq!(client.read_stream(7).await, b"second bye");
    client.data(3, false, b"first").await;
    client.data(3, true, b"").await;
    assert_eq!(client.read_stream(3).await, b"first bye");
}

#[tokio::test]
async fn a_refused_port_is_an_error_on_its_stream_and_others_go_on() {
    let server = Server::start().await;
    let refused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let mut client = Client::connect(&server, "portforward", "portforward.k8s.io").await;
    open_pair(&mut client, 1, &refused.to_string(), "0").await;
    let message = String::from_utf8(client.read_stream(1).await).unwrap();
    assert_eq!(message, format!("error forwarding port {refused} to pod web: connection refused"));
    for (stream, kind, port) in [(5, "data", "0"), (7, "data", "x"), (9, "video", "80")] {
        client.open(stream, &[("streamtype", kind), ("port", port), ("requestid", "9")]).await;
        let reset = loop {
            if let Frame::RstStream { stream, status } = client.next().await.unwrap() {
                break (stream, status);
            }
        };
        assert_eq!(reset, (stream, 1));
    }
    open_pair(&mut client, 11, &echo().await.to_string(), "2").await;
    client.data(13, true, b"still here").await;
    assert_eq!(client.read_stream(13).await, b"still here bye");
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused() {
    let server = Server::start().await;
    let mut client = Client::connect(&server, "portforward", "portforward.k8s.io").await;
    for number in 0..520_u32 {
        client.open(2 * number + 1, &[("streamtype", "data"), ("port", "1"), ("requestid", &number.to_string())]).await;
    }
    let mut refused = 0;
    for _ in 0..520 {
        refused += usize::from(matches!(client.next().await, Some(Frame::RstStream { status: 3, .. })));
    }
    assert_eq!(refused, 8);
}

#[tokio::test]
async fn spdy_is_tunnelled_through_web_socket_messages() {
    let server = Server::start().await;
    let port = echo().await.to_string();
    let mut socket = web_socket::connect(&server, "portforward", "SPDY/3.1+portforward.k8s.io").await.unwrap();
    let (mut compressor, mut wire) = (Compressor::new(), BytesMut::new());
    for (stream, kind) in [(1, "error"), (3, "data")] {
        let block = compressor.block(&[("streamtype", kind), ("port", &port), ("requestid", "0")]);
        Frame::SynStream { stream, fin: false, block }.encode(&mut wire);
    }
    Frame::Data { stream: 3, fin: true, bytes: Bytes::from_static(b"tunnelled") }.encode(&mut wire);
    // Messages cut anywhere.
    for part in wire.chunks(7) {
        socket.send(Message::binary(part.to_vec())).await.unwrap();
    }
    let (mut decoder, mut buffer, mut received) = (Decoder::default(), BytesMut::new(), Vec::new());
    'all: while let Some(message) = timeout(WAIT, socket.next()).await.unwrap() {
        buffer.extend_from_slice(&message.unwrap().into_data());
        while let Some(frame) = decoder.decode(&mut buffer).unwrap() {
            if let Frame::Data { stream: 3, fin, bytes } = frame {
                received.extend_from_slice(&bytes);
                if fin {
                    break 'all;
                }
            }
        }
    }
    assert_eq!(received, b"tunnelled bye");
}
