//! Unmodified kubectl: 1.20 speaks SPDY only, since 1.31 it prefers WebSocket.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    process::Command,
    time::timeout,
};

use super::server::Server;

const WAIT: Duration = Duration::from_secs(30);

/// The programs to test with, from `KUBECTL` (separated by colons).
fn programs() -> Vec<String> {
    std::env::var("KUBECTL").unwrap_or_else(|_| "kubectl".into()).split(':').map(str::to_owned).collect()
}

fn kubectl(program: &str, server: &Server, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.arg(format!("--server=http://{}", server.address)).args(arguments);
    command.env("KUBECONFIG", "/dev/null").env("HOME", std::env::temp_dir()).kill_on_drop(true);
    command
}

#[tokio::test]
async fn exec_carries_input_output_and_exit_code() {
    let server = Server::start().await;
    for program in programs() {
        let script = "cat; echo err >&2; exit 42";
        let mut process = kubectl(&program, &server, &["exec", "-i", "web", "--", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = process.stdin.take().unwrap();
        let input = "0123456789abcdef".repeat(20_000);
        let (_, output) = tokio::join!(
            async {
                stdin.write_all(input.as_bytes()).await.unwrap();
                drop(stdin);
            },
            timeout(WAIT, process.wait_with_output())
        );
        let output = output.unwrap().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(42), "{program}: {errors}");
        assert!(output.stdout == input.as_bytes(), "{program}: {} bytes; {errors}", output.stdout.len());
        assert!(errors.starts_with("err\n"), "{program}: {errors}");
    }
}

#[tokio::test]
async fn cp_brings_files_there_and_back() {
    let server = Server::start().await;
    for program in programs() {
        let dir = std::env::temp_dir().join(format!("lotse-cp-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("pod")).unwrap();
        let content: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(dir.join("there"), &content).unwrap();
        let (there, back) = (dir.join("there"), dir.join("back"));
        let inside = format!("web:{}", dir.join("pod/file").display());
        for (from, to) in [(there.to_str().unwrap(), inside.as_str()), (inside.as_str(), back.to_str().unwrap())] {
            let output = timeout(WAIT, kubectl(&program, &server, &["cp", from, to]).output()).await.unwrap().unwrap();
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        }
        assert!(std::fs::read(back).unwrap() == content, "{program}: the file has changed");
        std::fs::remove_dir_all(dir).unwrap();
    }
}

#[tokio::test]
async fn port_forward_serves_many_connections_and_reports_refused_ones() {
    let server = Server::start().await;
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = target.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = target.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 5];
                connection.read_exact(&mut request).await.unwrap();
                connection.write_all(&request.repeat(100_000)).await.unwrap();
            });
        }
    });
    for program in programs() {
        let mut process = kubectl(&program, &server, &["port-forward", "pod/web", &format!(":{port}"), ":1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut local = Vec::new();
        while local.len() < 2 {
            let line = timeout(WAIT, lines.next_line()).await.unwrap().unwrap();
            let line = line.unwrap_or_else(|| panic!("{program} has ended"));
            if let Some(address) = line.strip_prefix("Forwarding from 127.0.0.1:") {
                local.push(address.split(' ').next().unwrap().parse::<u16>().unwrap());
            }
        }
        let connections = (0..20).map(async |_| {
            let mut connection = TcpStream::connect(("127.0.0.1", local[0])).await.unwrap();
            connection.write_all(b"hello").await.unwrap();
            let mut answer = Vec::new();
            timeout(WAIT, connection.read_to_end(&mut answer)).await.unwrap().unwrap();
            answer.len()
        });
        assert_eq!(futures::future::join_all(connections).await, [500_000; 20], "{program}");
        let mut refused = TcpStream::connect(("127.0.0.1", local[1])).await.unwrap();
        // Closed or reset; what matters is the message.
        let _ = timeout(WAIT, refused.read_u8()).await.unwrap();
        let mut errors = BufReader::new(process.stderr.take().unwrap()).lines();
        let line = timeout(WAIT, errors.next_line()).await.unwrap().unwrap().unwrap();
        assert!(line.contains("error forwarding port 1 to pod web: connection refused"), "{program}: {line}");
        process.kill().await.unwrap();
    }
}
