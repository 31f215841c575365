//! What the daemon and a shim say to each other: length-prefixed JSON over a unix socket, descriptors by `SCM_RIGHTS`.
//!
//! Every request has a connection of its own. [`Request::Subscribe`], [`Request::Exec`] and [`Request::Attach`] keep it open
//! for later messages; closing it ends the command or the attachment.

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
};

use jiff::Timestamp;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::process_identity::ProcessIdentity;

/// Longest message.
const FRAME_BYTES: usize = 1 << 20;
/// Most descriptors with one message: the three standard streams.
const DESCRIPTORS: usize = 3;

/// What the daemon asks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Answered by [`Response::Containers`], then one [`Response::ContainerExited`] for each exit.
    Subscribe,
    /// Creates and starts the container whose directory is prepared.
    Start { id: String },
    /// Sends a signal to the container's first process, or to all in its cgroup.
    Signal { id: String, signal: i32, all: bool },
    /// Runs a command; `process` is the OCI process object.
    Exec { id: String, process: serde_json::Value, stdin: bool, tty: bool },
    /// Connects to a container's streams.
    Attach { id: String, stdin: bool },
}

/// What the shim answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Response {
    /// It is done.
    Done,
    /// It cannot be done; one sentence.
    Failed { message: String },
    /// The containers that run.
    Containers { running: Vec<String> },
    /// A container runs.
    Started { pid: u32, started: Timestamp },
    /// Descriptors follow in the order standard input, output, error; those that are false are not sent.
    Streams { stdin: bool, stdout: bool, stderr: bool, terminal: bool },
    /// The command, or the attached container, has ended.
    Exited { code: i32 },
    /// A container has ended; `exit.json` says how.
    ContainerExited { id: String },
}

/// `start.json` in a container's directory: what the shim needs beyond the OCI configuration.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StartOptions {
    pub log_path: std::path::PathBuf,
    pub stdin: bool,
    #[serde(default)]
    pub stdin_once: bool,
    pub tty: bool,
    pub cgroup: String,
}

/// `started.json`: written by the shim once the process runs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Started {
    pub pid: u32,
    pub started: Timestamp,
}

/// `exit.json`: written by the shim before it tells anybody.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Exit {
    pub code: i32,
    pub signal: Option<i32>,
    pub out_of_memory: bool,
    pub started: Timestamp,
    pub finished: Timestamp,
}

/// `shim.json` in the pod's directory: written by the shim once it serves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ShimIdentity {
    pub process: ProcessIdentity,
    /// The first process of the shared PID namespace.
    pub pause: Option<u32>,
}

/// Encodes one message.
pub(crate) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = frame.len() - 4;
    if length > FRAME_BYTES {
        return Err(io::Error::other("the message is too long"));
    }
    frame[..4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(frame)
}

/// Takes one message from the front of `buffer`, if it is complete.
pub(crate) fn decode<T: DeserializeOwned>(buffer: &mut Vec<u8>) -> io::Result<Option<T>> {
    let Some((prefix, rest)) = buffer.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*prefix) as usize;
    if length > FRAME_BYTES {
        return Err(io::Error::other("the message is too long"));
    }
    let Some(body) = rest.get(..length) else { return Ok(None) };
    let message = serde_json::from_slice(body)?;
    buffer.drain(..4 + length);
    Ok(Some(message))
}

/// Sends one message with descriptors.
pub(crate) fn send(mut stream: &UnixStream, message: &impl Serialize, descriptors: &[RawFd]) -> io::Result<()> {
    let frame = encode(message)?;
    let mut sent = 0;
    if !descriptors.is_empty() {
        let rights = [ControlMessage::ScmRights(descriptors)];
        sent = sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(&frame)], &rights, MsgFlags::MSG_NOSIGNAL, None)?;
    }
    stream.write_all(frame.get(sent..).unwrap_or_default())
}

/// Receives one message and the descriptors that came with it. Blocks up to the stream's timeout.
pub(crate) fn receive<T: DeserializeOwned>(mut stream: &UnixStream) -> io::Result<(T, Vec<OwnedFd>)> {
    let mut descriptors = Vec::new();
    let mut prefix = [0; 4];
    let mut control = nix::cmsg_space!([RawFd; DESCRIPTORS]);
    let count = {
        let mut slices = [IoSliceMut::new(&mut prefix)];
        let message = recvmsg::<()>(stream.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)?;
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(received) = control {
                // SAFETY: the kernel has just made these descriptors for us and nothing else knows them.
                descriptors.extend(received.into_iter().map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) }));
            }
        }
        message.bytes
    };
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    stream.read_exact(&mut prefix[count..])?;
    let length = u32::from_le_bytes(prefix) as usize;
    if length > FRAME_BYTES {
        return Err(io::Error::other("the message is too long"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((serde_json::from_slice(&body)?, descriptors))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn messages_survive_being_cut_anywhere() {
        let frame = encode(&Request::Attach { id: "x".into(), stdin: true }).unwrap();
        let mut buffer = Vec::new();
        for (position, byte) in frame.iter().enumerate() {
            buffer.push(*byte);
            let decoded: Option<Request> = decode(&mut buffer).unwrap();
            assert_eq!(decoded.is_some(), position + 1 == frame.len());
        }
        assert!(buffer.is_empty());
        assert!(decode::<Request>(&mut vec![255; 8]).is_err());
    }

    #[test]
    fn descriptors_travel_with_their_message() {
        let (a, b) = UnixStream::pair().unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        send(&a, &Response::Done, &[reader.as_raw_fd()]).unwrap();
        let (message, mut descriptors) = receive::<Response>(&b).unwrap();
        assert!(matches!(message, Response::Done));
        writer.write_all(b"hi").unwrap();
        drop(writer);
        let mut text = String::new();
        std::fs::File::from(descriptors.pop().unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "hi");
    }
}
