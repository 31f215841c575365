//! kube-rs, which offers v5 and v4 over WebSocket.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{AttachParams, TerminalSize},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::server::{Server, eventually};
use futures::SinkExt;

fn pods(server: &Server) -> Api<Pod> {
    Api::namespaced(server.client(), "default")
}

#[tokio::test]
async fn exec_gives_output_and_exit_code() {
    let server = Server::start().await;
    let command = ["sh", "-c", "cat; echo err >&2; exit 5"];
    let mut process =
        pods(&server).exec("web", command, &AttachParams::default().stdin(true).stderr(true)).await.unwrap();
    let mut stdin = process.stdin().unwrap();
    stdin.write_all(b"through and back").await.unwrap();
    stdin.shutdown().await.unwrap();
    drop(stdin);
    let (mut out, mut err) = (String::new(), String::new());
    let status = process.take_status().unwrap();
    let (mut stdout, mut stderr) = (process.stdout().unwrap(), process.stderr().unwrap());
    let read = async { tokio::try_join!(stdout.read_to_string(&mut out), stderr.read_to_string(&mut err)).unwrap() };
    let (status, _) = tokio::join!(status, read);
    assert_eq!((out.as_str(), err.as_str()), ("through and back", "err\n"));
    assert_eq!(status.unwrap().details.unwrap().causes.unwrap()[0].message.as_deref(), Some("5"));
    process.join().await.unwrap();
}

#[tokio::test]
async fn attach_ends_with_success_whatever_the_exit_code() {
    let server = Server::start().await;
    let mut process = pods(&server).attach("web", &AttachParams::default().stdin(true)).await.unwrap();
    let status = process.take_status().unwrap();
    let mut stdin = process.stdin().unwrap();
    stdin.write_all(b"line\n").await.unwrap();
    stdin.shutdown().await.unwrap();
    drop(stdin);
    let mut out = String::new();
    let mut stdout = process.stdout().unwrap();
    let (status, _) = tokio::join!(status, stdout.read_to_string(&mut out));
    assert_eq!(out, "attached\nline\n");
    assert_eq!(status.unwrap().status.as_deref(), Some("Success"));
}

#[tokio::test]
async fn a_terminal_is_resized() {
    let server = Server::start().await;
    let mut process = pods(&server).exec("web", ["cat"], &AttachParams::interactive_tty()).await.unwrap();
    let mut sizes = process.terminal_size().unwrap();
    sizes.send(TerminalSize { width: 100, height: 40 }).await.unwrap();
    eventually("the size is set", || *server.seen.sizes.lock().unwrap() == [(100, 40)]).await;
    process.abort();
    drop(process);
    eventually("the process is gone", || !server.process_runs()).await;
}

#[tokio::test]
async fn ports_are_forwarded_in_both_directions() {
    let server = Server::start().await;
    let listeners = [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()];
    let ports = listeners.each_ref().map(|listener| listener.local_addr().unwrap().port());
    for listener in listeners {
        tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 4];
            connection.read_exact(&mut request).await.unwrap();
            let port = connection.local_addr().unwrap().port();
            connection.write_all(format!("{} at {port}", String::from_utf8_lossy(&request)).as_bytes()).await.unwrap();
        });
    }
    let mut forwarder = pods(&server).portforward("web", &ports).await.unwrap();
    for port in ports {
        let mut stream = forwarder.take_stream(port).unwrap();
        stream.write_all(b"ping").await.unwrap();
        let expected = format!("ping at {port}");
        let mut answer = vec![0; expected.len()];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8(answer).unwrap(), expected);
    }
}

#[tokio::test]
async fn a_refused_port_is_an_error_on_its_channel() {
    let server = Server::start().await;
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let mut forwarder = pods(&server).portforward("web", &[port]).await.unwrap();
    let error = forwarder.take_error(port).unwrap().await.unwrap();
    assert_eq!(error, format!("error forwarding port {port} to pod web: connection refused"));
}
