//! Exec and attach: connects a [`Session`] with the client's channels, whichever transport carries them.

use std::{future::pending, io, time::Duration};

use bytes::{Bytes, BytesMut};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Status, StatusCause, StatusDetails};
use lotse_node::streaming::OpenSession;
use lotse_runtime::Session;
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::watch,
    time::{sleep, timeout},
};

use crate::channels::{Gone, Incoming, Input, Output, PIECE};

/// How long opening a session may take.
const OPEN: Duration = Duration::from_secs(60);
/// A process may leave children behind that hold its output open. After its exit, this long without a byte is the end.
const QUIET: Duration = Duration::from_secs(2);
/// Most bytes of an unfinished resize message.
const MAX_RESIZE: usize = 4096;

/// Which of the two it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Exec: the exit code is part of the answer.
    Exec,
    /// Attach: the client learns the exit code from the pod's status.
    Attach,
}

/// What the error channel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusFormat {
    /// Before `v4.channel.k8s.io`: a sentence, and nothing on success.
    Sentence,
    /// A `metav1.Status` as JSON.
    Json,
}

/// The client's channels.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) stdin: Option<Input>,
    pub(crate) resize: Option<Input>,
    pub(crate) stdout: Option<Output>,
    pub(crate) stderr: Option<Output>,
    pub(crate) error: Output,
    pub(crate) format: StatusFormat,
}

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;
type SetSize = Box<dyn Fn(u16, u16) + Send + Sync>;

/// Opens the session and serves it until the process has ended and its output is sent. Being dropped ends the session.
pub(crate) async fn serve(command: Command, operation: Operation, open: OpenSession) -> Result<(), Gone> {
    let Command { stdin, resize, stdout, stderr, error, format } = command;
    let outcome = match timeout(OPEN, open()).await {
        Ok(Ok(session)) => converse(session, stdin, resize, stdout, stderr).await,
        Ok(Err(sentence)) => Err(sentence),
        Err(_) => Err(format!("the container did not answer within {} s", OPEN.as_secs())),
    };
    if let Some(text) = render(&status(operation, outcome), format) {
        error.send(text).await?;
    }
    error.close().await
}

async fn converse(
    session: Session,
    stdin: Option<Input>,
    resize: Option<Input>,
    stdout: Option<Output>,
    stderr: Option<Output>,
) -> Result<i32, String> {
    let Session { stdin: writer, stdout: output, stderr: errors, resize: set_size, exit } = session;
    let (exited, has_exited) = watch::channel(false);
    let exit = async {
        let result = exit.await;
        exited.send_replace(true);
        result
    };
    let incoming = async {
        tokio::join!(feed(stdin, writer), follow_size(resize, set_size));
        pending::<()>().await;
    };
    let outgoing = async {
        // Complaints first where both wait: `kubectl cp` leaves when it has read the end of the archive.
        let errors = forward(errors, stderr, has_exited.clone());
        tokio::join!(biased; errors, forward(output, stdout, has_exited.clone()), exit).2
    };
    tokio::select! {
        result = outgoing => result.map_err(|error| sentence(&error)),
        () = incoming => Err("standard input has ended the session".into()),
    }
}

/// An error and its causes as one line.
fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Client to standard input. Goes on reading once nobody wants the bytes: they would hold up the connection.
async fn feed(input: Option<Input>, writer: Option<Writer>) {
    let Some(mut input) = input else { return };
    if let Some(mut writer) = writer {
        while let Some(Incoming::Data(bytes)) = input.next().await {
            let written = async {
                writer.write_all(&bytes).await?;
                writer.flush().await
            };
            if written.await.is_err() {
                break;
            }
        }
        // A process that does not care is no error.
        let _: io::Result<()> = writer.shutdown().await;
    }
    input.discard().await;
}

/// Standard output or error to the client. Without a client's channel the bytes are read and dropped, so that the process
/// does not block on them.
async fn forward(reader: Option<Reader>, output: Option<Output>, mut exited: watch::Receiver<bool>) {
    if let Some(mut reader) = reader {
        let mut buffer = BytesMut::with_capacity(PIECE);
        loop {
            buffer.reserve(PIECE / 4);
            let read = tokio::select! {
                biased;
                read = reader.read_buf(&mut buffer) => read,
                () = quiet(&mut exited) => break,
            };
            if !matches!(read, Ok(1..)) {
                break;
            }
            let bytes = buffer.split().freeze();
            if let Some(output) = &output
                && output.send(bytes).await.is_err()
            {
                // The driver has ended, and with it, in a moment, this future.
                return;
            }
        }
    }
    if let Some(output) = output {
        let _: Result<(), Gone> = output.close().await;
    }
}

async fn quiet(exited: &mut watch::Receiver<bool>) {
    if exited.wait_for(|exited| *exited).await.is_err() {
        pending::<()>().await;
    }
    sleep(QUIET).await;
}

/// remotecommand's `TerminalSize`.
#[derive(Deserialize)]
struct TerminalSize {
    #[serde(rename = "Width", alias = "width")]
    width: u16,
    #[serde(rename = "Height", alias = "height")]
    height: u16,
}

async fn follow_size(input: Option<Input>, set_size: Option<SetSize>) {
    let Some(mut input) = input else { return };
    let Some(set_size) = set_size else { return input.discard().await };
    let mut pending = Vec::new();
    while let Some(Incoming::Data(bytes)) = input.next().await {
        pending.extend_from_slice(&bytes);
        for size in take_sizes(&mut pending) {
            set_size(size.width, size.height);
        }
    }
    input.discard().await;
}

/// Takes all complete messages from the front. They follow one another without a frame of their own: SPDY's data frames
/// may cut them anywhere. What is not JSON is thrown away.
fn take_sizes(pending: &mut Vec<u8>) -> Vec<TerminalSize> {
    let mut sizes = Vec::new();
    let mut stream = serde_json::Deserializer::from_slice(pending).into_iter::<TerminalSize>();
    let used = loop {
        match stream.next() {
            Some(Ok(size)) => sizes.push(size),
            Some(Err(error)) if error.is_eof() => break stream.byte_offset(),
            Some(Err(_)) | None => break pending.len(),
        }
    };
    pending.drain(..used.min(pending.len()));
    if pending.len() > MAX_RESIZE {
        pending.clear();
    }
    sizes
}

/// The kubelet's answers, by the text of `remotecommand.ServeExec` and `ServeAttach`.
fn status(operation: Operation, outcome: Result<i32, String>) -> Status {
    match (operation, outcome) {
        (Operation::Exec, Ok(0)) | (Operation::Attach, Ok(_)) => {
            Status { status: Some("Success".into()), ..Status::default() }
        }
        (Operation::Exec, Ok(code)) => Status {
            status: Some("Failure".into()),
            reason: Some("NonZeroExitCode".into()),
            message: Some(format!("command terminated with non-zero exit code: exit status {code}")),
            details: Some(StatusDetails {
                causes: Some(vec![StatusCause {
                    reason: Some("ExitCode".into()),
                    message: Some(code.to_string()),
                    field: None,
                }]),
                ..StatusDetails::default()
            }),
            ..Status::default()
        },
        (operation, Err(sentence)) => {
            let message = match operation {
                Operation::Exec => format!("error executing command in container: {sentence}"),
                Operation::Attach => format!("error attaching to container: {sentence}"),
            };
            Status {
                status: Some("Failure".into()),
                reason: Some("InternalError".into()),
                code: Some(500),
                message: Some(format!("Internal error occurred: {message}")),
                details: Some(StatusDetails {
                    causes: Some(vec![StatusCause { message: Some(message), ..StatusCause::default() }]),
                    ..StatusDetails::default()
                }),
                ..Status::default()
            }
        }
    }
}

fn render(status: &Status, format: StatusFormat) -> Option<Bytes> {
    match format {
        // A status of our own making always serialises.
        StatusFormat::Json => Some(serde_json::to_vec(status).unwrap_or_default().into()),
        StatusFormat::Sentence if status.status.as_deref() == Some("Success") => None,
        StatusFormat::Sentence => status.message.clone().map(Bytes::from),
    }
}

/// The output that gets an empty message first, which tells the client that the connection stands.
pub(crate) async fn greet(command: &Command) -> Result<(), Gone> {
    let first = command.stdout.as_ref().or(command.stderr.as_ref()).unwrap_or(&command.error);
    first.send(Bytes::new()).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn json(operation: Operation, outcome: Result<i32, String>) -> serde_json::Value {
        serde_json::from_slice(&render(&status(operation, outcome), StatusFormat::Json).unwrap()).unwrap()
    }

    #[test]
    fn exit_codes_are_what_client_go_looks_for() {
        let failed = json(Operation::Exec, Ok(3));
        assert_eq!(failed["reason"], "NonZeroExitCode");
        assert_eq!(failed["details"]["causes"][0], serde_json::json!({"reason": "ExitCode", "message": "3"}));
        assert_eq!(json(Operation::Exec, Ok(0))["status"], "Success");
        assert_eq!(json(Operation::Attach, Ok(3))["status"], "Success");
    }

    #[test]
    fn an_error_names_itself_in_both_formats() {
        let failure = || Err("container \"a\" is not running".to_owned());
        assert_eq!(json(Operation::Exec, failure())["reason"], "InternalError");
        assert_eq!(json(Operation::Exec, failure())["code"], 500);
        let text = render(&status(Operation::Attach, failure()), StatusFormat::Sentence).unwrap();
        assert_eq!(&text[..], b"Internal error occurred: error attaching to container: container \"a\" is not running");
        assert_eq!(render(&status(Operation::Exec, Ok(0)), StatusFormat::Sentence), None);
    }

    #[test]
    fn sizes_are_found_however_they_are_cut() {
        let text = b"{\"Width\":80,\"Height\":24}\n{\"Height\":50,\"Width\":132}\n";
        for cut in 0..text.len() {
            let (mut pending, mut found) = (Vec::new(), Vec::new());
            for part in [&text[..cut], &text[cut..]] {
                pending.extend_from_slice(part);
                found.extend(take_sizes(&mut pending).into_iter().map(|size| (size.width, size.height)));
            }
            assert_eq!(found, [(80, 24), (132, 50)], "cut at {cut}");
        }
    }

    #[test]
    fn resize_rubbish_does_not_pile_up() {
        let mut pending = b"nonsense".to_vec();
        assert!(take_sizes(&mut pending).is_empty() && pending.is_empty());
        pending = vec![b'['; MAX_RESIZE + 1];
        assert!(take_sizes(&mut pending).is_empty() && pending.is_empty());
        pending = [b"{\"Width\":".as_slice(), &[b' '; MAX_RESIZE]].concat();
        assert!(take_sizes(&mut pending).is_empty() && pending.is_empty());
    }
}
