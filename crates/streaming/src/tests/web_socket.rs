//! Raw messages, as Python's client and browsers send them.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message, client::IntoClientRequest},
};

use super::server::{Server, eventually};

const WAIT: Duration = Duration::from_secs(10);

pub(super) async fn connect(
    server: &Server,
    path: &str,
    protocol: &str,
) -> Result<WebSocketStream<TcpStream>, tungstenite::Error> {
    let url = format!("ws://{}/api/v1/namespaces/default/pods/web/{path}", server.address);
    let mut request = url.into_client_request()?;
    if !protocol.is_empty() {
        request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
    }
    Ok(client_async(request, TcpStream::connect(server.address).await?).await?.0)
}

/// Everything that arrives until the server closes, by channel.
async fn read_all(socket: &mut WebSocketStream<TcpStream>) -> [Vec<u8>; 5] {
    let mut channels: [Vec<u8>; 5] = Default::default();
    while let Some(message) = timeout(WAIT, socket.next()).await.expect("the server closes in time") {
        match message.unwrap() {
            Message::Binary(bytes) => channels[usize::from(bytes[0])].extend_from_slice(&bytes[1..]),
            Message::Text(text) => {
                channels[usize::from(text.as_bytes()[0] - b'0')].extend_from_slice(&text.as_bytes()[1..])
            }
            Message::Close(frame) => assert_eq!(u16::from(frame.unwrap().code), 1000),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
    channels
}

fn exec(script: &str, streams: &str) -> String {
    let script: String = script.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("exec?command=sh&command=-c&command={script}&{streams}")
}

#[tokio::test]
async fn output_arrives_before_the_status_and_the_status_names_the_exit_code() {
    let server = Server::start().await;
    let path = exec("echo out; echo err >&2; exit 3", "stdout=true&stderr=true");
    let mut socket = connect(&server, &path, "v4.channel.k8s.io").await.unwrap();
    let [_, stdout, stderr, status, _] = read_all(&mut socket).await;
    assert_eq!((&stdout[..], &stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
    let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
    assert_eq!(status["details"]["causes"][0]["message"], "3");
}

#[tokio::test]
async fn the_close_signal_of_v5_ends_standard_input_and_nothing_else() {
    let server = Server::start().await;
    let path = exec("cat; echo end", "stdin=true&stdout=true");
    let mut socket = connect(&server, &path, "v5.channel.k8s.io").await.unwrap();
    // Text in a binary protocol, as Python sends strings.
    socket.send(Message::text("\0hello ")).await.unwrap();
    socket.send(Message::binary(b"\0world\n".to_vec())).await.unwrap();
    socket.send(Message::binary(vec![255, 0])).await.unwrap();
    let [_, stdout, _, status, _] = read_all(&mut socket).await;
    assert_eq!(stdout, b"hello world\nend\n");
    assert!(String::from_utf8(status).unwrap().contains("Success"));
}

#[tokio::test]
async fn old_protocols_get_a_sentence_instead_of_a_status() {
    let server = Server::start().await;
    for protocol in ["", "channel.k8s.io"] {
        let mut socket = connect(&server, &exec("exit 3", "stdout=true"), protocol).await.unwrap();
        let [_, _, _, error, _] = read_all(&mut socket).await;
        assert!(String::from_utf8(error).unwrap().contains("non-zero exit code"));
        let mut socket = connect(&server, &exec("true", "stdout=true"), protocol).await.unwrap();
        assert_eq!(read_all(&mut socket).await[3], b"");
    }
    let mut socket = connect(&server, &exec("printf hi", "stdout=true"), "base64.channel.k8s.io").await.unwrap();
    assert_eq!(read_all(&mut socket).await[1], b"aGk=");
}

#[tokio::test]
async fn a_session_that_cannot_be_opened_is_reported_in_the_protocol() {
    let server = Server::start().await;
    let mut socket = connect(&server, "exec?command=/nowhere&stdout=true", "v4.channel.k8s.io").await.unwrap();
    let status: serde_json::Value = serde_json::from_slice(&read_all(&mut socket).await[3]).unwrap();
    assert_eq!(status["reason"], "InternalError");
    assert!(status["message"].as_str().unwrap().contains("cannot start \"/nowhere\""), "{status}");
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_process_with_it() {
    let server = Server::start().await;
    let path = "exec?command=sleep&command=1000&stdin=true&stdout=true";
    for politely in [true, false] {
        let mut socket = connect(&server, path, "v5.channel.k8s.io").await.unwrap();
        socket.next().await.unwrap().unwrap();
        eventually("the process runs", || server.process_runs()).await;
        if politely {
            socket.close(None).await.unwrap();
        }
        drop(socket);
        eventually("the process is gone", || !server.process_runs()).await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_process_up_and_gets_all_in_the_end() {
    let server = Server::start().await;
    let path = "exec?command=head&command=-c&command=30000000&command=/dev/zero&stdout=true";
    let mut socket = connect(&server, path, "v5.channel.k8s.io").await.unwrap();
    socket.next().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(server.process_runs(), "30 MB have been buffered");
    let channels = read_all(&mut socket).await;
    assert_eq!(channels[1].len(), 30_000_000);
    assert!(String::from_utf8_lossy(&channels[3]).contains("Success"));
}

#[tokio::test]
async fn a_child_left_behind_does_not_hold_the_answer_up() {
    let server = Server::start().await;
    let path = exec("sleep 30 & echo started", "stdout=true&stderr=true");
    let mut socket = connect(&server, &path, "v4.channel.k8s.io").await.unwrap();
    let [_, stdout, _, status, _] = read_all(&mut socket).await;
    assert_eq!(stdout, b"started\n");
    assert!(String::from_utf8(status).unwrap().contains("Success"));
}

#[tokio::test]
async fn input_that_nobody_reads_does_not_keep_the_status_back() {
    let server = Server::start().await;
    let path = exec("exec 0<&-; exit 4", "stdin=true&stdout=true");
    let mut socket = connect(&server, &path, "v4.channel.k8s.io").await.unwrap();
    let (mut sink, mut stream) = (&mut socket).split();
    let flood = async {
        // One message far larger than all queues; the server may close before it is taken.
        let _ = sink.send(Message::binary(vec![0; 8 << 20])).await;
        std::future::pending::<()>().await;
    };
    let status = async {
        loop {
            match stream.next().await.unwrap().unwrap() {
                Message::Binary(bytes) if bytes[0] == 3 => break bytes,
                _ => {}
            }
        }
    };
    let status = tokio::select! {
        () = flood => unreachable!(),
        status = timeout(WAIT, status) => status.unwrap(),
    };
    assert!(String::from_utf8_lossy(&status).contains("ExitCode"));
}

#[tokio::test]
async fn terminal_sizes_reach_the_session() {
    let server = Server::start().await;
    let path = "exec?command=cat&stdin=true&stdout=true&tty=true";
    let mut socket = connect(&server, path, "v5.channel.k8s.io").await.unwrap();
    socket.send(Message::binary(b"\x04{\"Width\":132,\"Height\":50}".to_vec())).await.unwrap();
    eventually("the size is set", || *server.seen.sizes.lock().unwrap() == [(132, 50)]).await;
    socket.send(Message::Ping(b"are you there".to_vec().into())).await.unwrap();
    loop {
        if let Message::Pong(bytes) = timeout(WAIT, socket.next()).await.unwrap().unwrap().unwrap() {
            break assert_eq!(&bytes[..], b"are you there");
        }
    }
}

#[tokio::test]
async fn requests_that_cannot_be_served_start_nothing() {
    let server = Server::start().await;
    let cases = [
        ("exec?command=true&stdout=true", "v99.channel.k8s.io", 403),
        ("exec?command=true", "v4.channel.k8s.io", 400),
        ("portforward", "v4.channel.k8s.io", 400),
        ("portforward?ports=99999", "v4.channel.k8s.io", 400),
        ("portforward?ports=80", "v5.channel.k8s.io", 403),
    ];
    for (path, protocol, status) in cases {
        match connect(&server, path, protocol).await {
            Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), status, "{path}"),
            other => panic!("{path}: {other:?}"),
        }
    }
    assert!(server.seen.pids.lock().unwrap().is_empty());
}

#[tokio::test]
async fn five_hundred_aborted_sessions_leave_nothing_behind() {
    let server = Server::start().await;
    let path = "exec?command=sleep&command=1000&stdin=true&stdout=true";
    for _ in 0..10 {
        let sockets: Vec<_> =
            (0..50).map(async |_| connect(&server, path, "v5.channel.k8s.io").await.unwrap()).collect();
        drop(futures::future::join_all(sockets).await);
    }
    eventually("all processes are gone", || server.running() == 0).await;
}
