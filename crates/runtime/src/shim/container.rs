//! One container inside the shim: creating it, its output, its end.
#![allow(unsafe_code)]

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixListener,
    },
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use libcontainer::{container::builder::ContainerBuilder, syscall::syscall::SyscallType};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl, open},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::Signal,
        socket::{ControlMessageOwned, MsgFlags, recvmsg},
        stat::Mode,
        wait::WaitStatus,
    },
    unistd::pipe2,
};

use super::{
    executor::Program,
    log::{Framer, LogFile, Stream},
    protocol::{Exit, StartOptions, Started},
};
use crate::{cgroup::Hierarchies, durable};

/// Read at once from a container's output.
const CHUNK: usize = 64 << 10;
/// Most output that is read after a container's end: what pipes can hold, with room to spare.
const LAST_OUTPUT: usize = 16 << 20;
/// What an attached client may leave unread before it is cut off.
const ATTACH_BUFFER: i32 = 1 << 20;

/// A client that watches the output.
pub(super) struct Attachment {
    /// The connection it came by.
    pub connection: u64,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

struct Output {
    descriptor: OwnedFd,
    stream: Stream,
    framer: Framer,
}

/// A container that has been started.
pub(super) struct Container {
    pub pid: i32,
    pub started: Timestamp,
    directory: PathBuf,
    cgroup: String,
    log: LogFile,
    outputs: Vec<Output>,
    stdin: Option<OwnedFd>,
    stdin_once: bool,
    terminal: Option<OwnedFd>,
    pub attachments: Vec<Attachment>,
}

/// Where `libcontainer` keeps its own state.
pub(super) fn state_root(pod: &Path) -> PathBuf {
    pod.join("oci")
}

/// Descriptors for a client.
pub(super) struct ClientStreams {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

impl Container {
    /// Creates and starts a container whose directory the daemon has prepared.
    pub(super) fn start(pod: &Path, id: &str) -> Result<Self, String> {
        let directory = pod.join("containers").join(id);
        let options: StartOptions = durable::read_json(&directory.join("start.json"))
            .map_err(|error| error.chain())?
            .ok_or("the container's directory is not prepared")?;
        let log = LogFile::open(&options.log_path)
            .map_err(|error| format!("log file {}: {error}", options.log_path.display()))?;
        let result = Self::create(pod, id, &directory, &options);
        let (pid, outputs, stdin, terminal) = match result {
            Ok(parts) => parts,
            Err(message) => {
                discard(pod, id, &options.cgroup);
                return Err(message);
            }
        };
        let started = Timestamp::now();
        let record = Started { pid: pid.unsigned_abs(), started };
        let container = Self {
            pid,
            started,
            directory,
            cgroup: options.cgroup,
            log,
            outputs,
            stdin,
            stdin_once: options.stdin_once,
            terminal,
            attachments: Vec::new(),
        };
        if let Err(error) = durable::replace_json(&container.directory.join("started.json"), &record) {
            discard(pod, id, &container.cgroup);
            return Err(error.chain());
        }
        Ok(container)
    }

    #[allow(clippy::type_complexity)]
    fn create(
        pod: &Path,
        id: &str,
        directory: &Path,
        options: &StartOptions,
    ) -> Result<(i32, Vec<Output>, Option<OwnedFd>, Option<OwnedFd>), String> {
        let failed = |error: io::Error| error.to_string();
        let builder = ContainerBuilder::new(id.to_owned(), SyscallType::Linux)
            .with_root_path(state_root(pod))
            .map_err(|error| describe(&error))?
            .with_executor(Program);
        let finish = |builder: ContainerBuilder| {
            let mut container =
                builder.as_init(directory).with_systemd(false).build().map_err(|error| describe(&error))?;
            container.start().map_err(|error| describe(&error))?;
            container.pid().map(|pid| pid.as_raw()).ok_or_else(|| "the container has no process".to_owned())
        };
        if options.tty {
            let console = ConsoleSocket::new(directory)?;
            let pid = finish(builder.with_console_socket(Some(&console.path)))?;
            let terminal = console.receive()?;
            set_nonblocking(&terminal).map_err(failed)?;
            let descriptor = terminal.try_clone().map_err(failed)?;
            let output = Output { descriptor, stream: Stream::Stdout, framer: Framer::new(Stream::Stdout) };
            return Ok((pid, vec![output], None, Some(terminal)));
        }
        let (stdin, input) = if options.stdin {
            let (reader, writer) = pipe().map_err(failed)?;
            (reader, Some(writer))
        } else {
            (null().map_err(failed)?, None)
        };
        let (stdout, stdout_writer) = pipe().map_err(failed)?;
        let (stderr, stderr_writer) = pipe().map_err(failed)?;
        let pid = finish(builder.with_stdin(stdin).with_stdout(stdout_writer).with_stderr(stderr_writer))?;
        let outputs = [(stdout, Stream::Stdout), (stderr, Stream::Stderr)]
            .into_iter()
            .map(|(descriptor, stream)| {
                set_nonblocking(&descriptor)?;
                Ok(Output { descriptor, stream, framer: Framer::new(stream) })
            })
            .collect::<io::Result<Vec<_>>>()
            .map_err(failed)?;
        Ok((pid, outputs, input, None))
    }

    /// Descriptors to wait on for output.
    pub(super) fn output_descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.outputs.iter().map(|output| output.descriptor.as_raw_fd())
    }

    /// Takes one chunk of the output that is ready on `descriptor`.
    pub(super) fn read_output(&mut self, descriptor: RawFd) {
        let Some(position) = self.outputs.iter().position(|output| output.descriptor.as_raw_fd() == descriptor) else {
            return;
        };
        let mut chunk = [0; CHUNK];
        self.read_one(position, &mut chunk);
    }

    /// Reads one chunk; whether there was something.
    fn read_one(&mut self, position: usize, chunk: &mut [u8]) -> bool {
        let Some(output) = self.outputs.get_mut(position) else { return false };
        match nix::unistd::read(&output.descriptor, chunk) {
            Ok(count) if count > 0 => {
                let bytes = chunk.get(..count).unwrap_or_default();
                self.log.write(&mut output.framer, bytes);
                let stream = output.stream;
                self.attachments.retain(|attachment| attachment.forward(stream, bytes));
                true
            }
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => false,
            // A terminal answers EIO once nobody has its other end open.
            Ok(_) | Err(_) => {
                let mut output = self.outputs.remove(position);
                self.log.finish(&mut output.framer);
                false
            }
        }
    }

    /// Connects a client to the streams from now on.
    pub(super) fn attach(&mut self, connection: u64, wants_stdin: bool) -> Result<ClientStreams, String> {
        let failed = |error: io::Error| error.to_string();
        let mut wanted: [Option<(OwnedFd, OwnedFd)>; 2] = [None, None];
        for output in &self.outputs {
            let (reader, writer) = pipe().map_err(failed)?;
            set_nonblocking(&writer).map_err(failed)?;
            // Only a wish: the kernel's own default is enough for most.
            let _ = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(ATTACH_BUFFER));
            wanted[usize::from(output.stream == Stream::Stderr)] = Some((reader, writer));
        }
        let [stdout, stderr] = wanted;
        let (stdout, stdout_writer) = stdout.unzip();
        let (stderr, stderr_writer) = stderr.unzip();
        let stdin = match &self.terminal {
            _ if !wants_stdin => None,
            Some(terminal) => Some(terminal.try_clone().map_err(failed)?),
            // No copy stays here: the client's end is the end of the container's input.
            None if self.stdin_once => self.stdin.take(),
            None => self.stdin.as_ref().map(OwnedFd::try_clone).transpose().map_err(failed)?,
        };
        self.attachments.push(Attachment { connection, stdout: stdout_writer, stderr: stderr_writer });
        Ok(ClientStreams { stdin, stdout, stderr })
    }

    /// Whether it has a terminal.
    pub(super) fn has_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// Sends a signal to its first process, or to all in its cgroup.
    pub(super) fn signal(&self, signal: Signal, all: bool) -> Result<(), String> {
        if all {
            Hierarchies::discover().map_err(|error| error.chain())?.signal(&self.cgroup, signal);
        }
        match nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(error) => Err(format!("sending {signal}: {error}")),
        }
    }

    /// Records the end: the rest of the output, then the status on disk. What the container has left behind is killed.
    pub(super) fn finish(&mut self, status: WaitStatus) -> i32 {
        let hierarchies = Hierarchies::discover().ok();
        let mut oom_kills = 0;
        if let Some(hierarchies) = &hierarchies {
            oom_kills = hierarchies.oom_kills(&self.cgroup);
            hierarchies.signal(&self.cgroup, Signal::SIGKILL);
        }
        let mut chunk = [0; CHUNK];
        let mut rest = LAST_OUTPUT / CHUNK;
        while !self.outputs.is_empty() && rest > 0 {
            let before = self.outputs.len();
            let mut read = false;
            for position in (0..before).rev() {
                read |= self.read_one(position, &mut chunk);
            }
            if !read && self.outputs.len() == before {
                break;
            }
            rest -= 1;
        }
        for mut output in std::mem::take(&mut self.outputs) {
            self.log.finish(&mut output.framer);
        }
        self.attachments.clear();
        let (code, signal) = exit_code(status);
        let exit = Exit {
            code,
            signal,
            // A shell passes the death of its child on as a plain exit code.
            out_of_memory: oom_kills > 0 && code == 128 + Signal::SIGKILL as i32,
            started: self.started,
            finished: Timestamp::now(),
        };
        // Without the file the daemon still learns of the end and reports it as lost.
        let _ = durable::replace_json(&self.directory.join("exit.json"), &exit);
        code
    }

    /// Removes the cgroup and `libcontainer`'s state after the end.
    pub(super) fn discard(&self, pod: &Path, id: &str) {
        discard(pod, id, &self.cgroup);
    }
}

impl Attachment {
    /// Passes output on; `false` when the client has gone or has left too much unread.
    fn forward(&self, stream: Stream, bytes: &[u8]) -> bool {
        let target = match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        };
        let Some(target) = target else { return true };
        let mut rest = bytes;
        while !rest.is_empty() {
            match nix::unistd::write(target, rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(nix::errno::Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
        true
    }
}

/// Removes a container that never ran, or runs no more.
fn discard(pod: &Path, id: &str, cgroup: &str) {
    let state = state_root(pod).join(id);
    if let Ok(hierarchies) = Hierarchies::discover() {
        let _ = hierarchies.kill(cgroup);
        let _ = hierarchies.remove(cgroup);
    }
    let _ = fs::remove_dir_all(state);
}

/// Exit code and signal, the way shells and Kubernetes count.
pub(super) fn exit_code(status: WaitStatus) -> (i32, Option<i32>) {
    match status {
        WaitStatus::Exited(_, code) => (code, None),
        WaitStatus::Signaled(_, signal, _) => (128 + signal as i32, Some(signal as i32)),
        _ => (255, None),
    }
}

/// A command started in a container.
pub(super) struct Exec {
    pub pid: i32,
    pub streams: ClientStreams,
}

/// Runs a command in a container.
pub(super) fn exec(
    pod: &Path,
    id: &str,
    scratch: &Path,
    process: &serde_json::Value,
    wants_stdin: bool,
    tty: bool,
) -> Result<Exec, String> {
    let failed = |error: io::Error| error.to_string();
    let process_file = scratch.join("process.json");
    fs::write(&process_file, process.to_string()).map_err(failed)?;
    let builder = ContainerBuilder::new(id.to_owned(), SyscallType::Linux)
        .with_root_path(state_root(pod))
        .map_err(|error| describe(&error))?
        .with_executor(Program);
    if tty {
        let console = ConsoleSocket::new(scratch)?;
        let pid = builder
            .with_console_socket(Some(&console.path))
            .as_tenant()
            .with_detach(true)
            .with_process(Some(&process_file))
            .build()
            .map_err(|error| describe(&error))?;
        let terminal = console.receive()?;
        let stdin = wants_stdin.then(|| terminal.try_clone()).transpose().map_err(failed)?;
        let streams = ClientStreams { stdin, stdout: Some(terminal), stderr: None };
        return Ok(Exec { pid: pid.as_raw(), streams });
    }
    let (stdin, input) = if wants_stdin {
        let (reader, writer) = pipe().map_err(failed)?;
        (reader, Some(writer))
    } else {
        (null().map_err(failed)?, None)
    };
    let (stdout, stdout_writer) = pipe().map_err(failed)?;
    let (stderr, stderr_writer) = pipe().map_err(failed)?;
    let pid = builder
        .with_stdin(stdin)
        .with_stdout(stdout_writer)
        .with_stderr(stderr_writer)
        .as_tenant()
        .with_detach(false)
        .with_process(Some(&process_file))
        .build()
        .map_err(|error| describe(&error))?;
    Ok(Exec { pid: pid.as_raw(), streams: ClientStreams { stdin: input, stdout: Some(stdout), stderr: Some(stderr) } })
}

/// Where `libcontainer` sends the terminal it has made.
struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
    link: PathBuf,
}

impl ConsoleSocket {
    fn new(directory: &Path) -> Result<Self, String> {
        // Bound through a descriptor, since the directory's path may be longer than a socket's name can be.
        let link = directory.join("console.sock");
        let _ = fs::remove_file(&link);
        let handle = open(directory, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|error| format!("console: {error}"))?;
        let short = crate::beneath::descriptor_path(&handle).join("console.sock");
        let listener = UnixListener::bind(&short).map_err(|error| format!("console: {error}"))?;
        Ok(Self { listener, path: link.clone(), link })
    }

    fn receive(&self) -> Result<OwnedFd, String> {
        let failed = |error: io::Error| format!("console: {error}");
        let mut waiting = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut waiting, PollTimeout::from(5000_u16)).map_err(|error| failed(error.into()))?;
        if ready == 0 {
            return Err("the container has sent no terminal".into());
        }
        let (stream, _) = self.listener.accept().map_err(failed)?;
        let mut name = [0; 4096];
        let mut slices = [io::IoSliceMut::new(&mut name)];
        let mut control = nix::cmsg_space!([RawFd; 1]);
        let message = recvmsg::<()>(stream.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)
            .map_err(|error| failed(error.into()))?;
        for control in message.cmsgs().map_err(|error| failed(error.into()))? {
            if let ControlMessageOwned::ScmRights(received) = control {
                let mut owned = received.into_iter().map(|descriptor| {
                    // SAFETY: the kernel has just made this descriptor for us and nothing else knows it.
                    unsafe { OwnedFd::from_raw_fd(descriptor) }
                });
                if let Some(terminal) = owned.next() {
                    return Ok(terminal);
                }
            }
        }
        Err("the container has sent no terminal".into())
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.link);
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe2(OFlag::O_CLOEXEC)?)
}

fn null() -> io::Result<OwnedFd> {
    Ok(File::open("/dev/null")?.into())
}

fn set_nonblocking(descriptor: &OwnedFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(descriptor, FcntlArg::F_GETFL)?);
    fcntl(descriptor, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// One sentence for a chain of errors: the innermost ones say what happened.
fn describe(error: &dyn std::error::Error) -> String {
    let mut messages: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let message = error.to_string();
        if !messages.iter().any(|earlier| earlier.ends_with(&message)) {
            messages.push(message);
        }
        next = error.source();
    }
    let text = messages.join(": ");
    // What the executor says is meant for the user as it is.
    match text.find("exec: \"") {
        Some(position) => text.get(position..).unwrap_or_default().to_owned(),
        None => text,
    }
}
