//! The shim's loop: requests, output of containers, ended processes.
#![allow(unsafe_code)]

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::{
            fs::PermissionsExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::PathBuf,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        socket::{getsockopt, sockopt},
        stat::{Mode, umask},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use super::{
    Arguments,
    container::{ClientStreams, Container, exec, exit_code, state_root},
    memory,
    protocol::{self, Request, Response, ShimIdentity},
    setup::Sandbox,
};
use crate::{Error, durable, error::IoContext, process_identity::ProcessIdentity};

/// Most connections at a time; the daemon needs one and one for each open session.
const CONNECTIONS: usize = 256;

/// Time after the last request or exit until memory is given back. Containers' output does not count: it needs little, and
/// one that always writes must not put it off for ever.
const REST: Duration = Duration::from_secs(1);

/// What a connection is for.
enum Purpose {
    /// Has not asked for anything yet.
    Request,
    /// Gets exits.
    Subscriber,
    /// Owns a command.
    Exec { pid: i32 },
    /// Watches a container.
    Attach { id: String },
}

struct Connection {
    stream: UnixStream,
    buffer: Vec<u8>,
    purpose: Purpose,
}

/// The shim's state.
pub(super) struct Server {
    directory: PathBuf,
    socket: PathBuf,
    scratch: PathBuf,
    listener: UnixListener,
    signals: SignalFd,
    oom_score_adj: String,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    containers: BTreeMap<String, Container>,
    /// When to give memory back; `None` while there is nothing new to give.
    rest_at: Option<Instant>,
}

/// What became ready.
enum Ready {
    Signal,
    Listener,
    Connection(u64),
    Output(String, RawFd),
}

impl Server {
    /// Starts to listen and writes `shim.json`.
    pub(super) fn new(arguments: &Arguments, sandbox: Sandbox) -> Result<Self, Error> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block().context(|| "blocking SIGCHLD")?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .context(|| "opening a signalfd")?;
        let scratch = arguments.directory.join("shim");
        for directory in [&scratch, &state_root(&arguments.directory)] {
            fs::create_dir_all(directory).context(|| format!("making {}", directory.display()))?;
        }
        let _ = fs::remove_file(&arguments.socket);
        let listening = || format!("listening on {}", arguments.socket.display());
        let before = umask(Mode::from_bits_truncate(0o177));
        let listener = UnixListener::bind(&arguments.socket);
        umask(before);
        let listener = listener.context(listening)?;
        fs::set_permissions(&arguments.socket, fs::Permissions::from_mode(0o600)).context(listening)?;
        listener.set_nonblocking(true).context(listening)?;
        let process = ProcessIdentity::of(std::process::id())
            .ok_or_else(|| Error::InvalidInput { message: "/proc does not show this process".into() })?;
        durable::replace_json(&arguments.directory.join("shim.json"), &ShimIdentity { process, pause: sandbox.pause })?;
        Ok(Self {
            directory: arguments.directory.clone(),
            socket: arguments.socket.clone(),
            scratch,
            listener,
            signals,
            oom_score_adj: sandbox.oom_score_adj,
            connections: BTreeMap::new(),
            next_connection: 0,
            containers: BTreeMap::new(),
            rest_at: Some(Instant::now() + REST),
        })
    }

    /// Serves until it is killed or its pod's directory is gone.
    pub(super) fn serve(&mut self) -> Result<(), Error> {
        loop {
            for ready in self.wait()? {
                match ready {
                    Ready::Signal => while let Ok(Some(_)) = self.signals.read_signal() {},
                    Ready::Listener => self.accept(),
                    Ready::Connection(number) => self.read_request(number),
                    Ready::Output(id, descriptor) => {
                        if let Some(container) = self.containers.get_mut(&id) {
                            container.read_output(descriptor);
                        }
                    }
                }
            }
            self.reap();
            if self.rest_at.is_some_and(|at| Instant::now() >= at) {
                self.rest_at = None;
                memory::give_back();
            }
            if !self.directory.exists() {
                let _ = fs::remove_file(&self.socket);
                return Ok(());
            }
        }
    }

    fn wait(&self) -> Result<Vec<Ready>, Error> {
        let mut descriptors = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
        ];
        let mut meaning = vec![Ready::Signal, Ready::Listener];
        for (number, connection) in &self.connections {
            descriptors.push(PollFd::new(connection.stream.as_fd(), PollFlags::POLLIN));
            meaning.push(Ready::Connection(*number));
        }
        for (id, container) in &self.containers {
            for descriptor in container.output_descriptors() {
                // SAFETY: the descriptor belongs to `self.containers`, which is not changed before `descriptors` is dropped.
                let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
                descriptors.push(PollFd::new(borrowed, PollFlags::POLLIN));
                meaning.push(Ready::Output(id.clone(), descriptor));
            }
        }
        let timeout = self.rest_at.map_or(PollTimeout::NONE, |at| {
            // Rounded up, so as not to wake before the time.
            let rest = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(rest).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut descriptors, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context(|| "waiting for events"),
        }
        let fired: Vec<bool> = descriptors.iter().map(|descriptor| descriptor.any().unwrap_or(true)).collect();
        Ok(meaning.into_iter().zip(fired).filter(|(_, fired)| *fired).map(|(ready, _)| ready).collect())
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let own = nix::unistd::geteuid().as_raw();
            let trusted = getsockopt(&stream, sockopt::PeerCredentials).is_ok_and(|peer| peer.uid() == own);
            if !trusted || self.connections.len() >= CONNECTIONS || stream.set_nonblocking(true).is_err() {
                continue;
            }
            self.next_connection += 1;
            let connection = Connection { stream, buffer: Vec::new(), purpose: Purpose::Request };
            self.connections.insert(self.next_connection, connection);
        }
    }

    fn read_request(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let mut chunk = [0; 16 << 10];
        match connection.stream.read(&mut chunk) {
            Ok(count) if count > 0 => connection.buffer.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => return,
            _ => return self.close(number),
        }
        match protocol::decode::<Request>(&mut connection.buffer) {
            Ok(None) => {}
            Ok(Some(request)) => self.answer(number, request),
            Err(_) => self.close(number),
        }
    }

    /// Forgets a connection and ends what belonged to it.
    fn close(&mut self, number: u64) {
        let Some(connection) = self.connections.remove(&number) else { return };
        match connection.purpose {
            Purpose::Exec { pid } => {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            Purpose::Attach { .. } => {
                for container in self.containers.values_mut() {
                    container.attachments.retain(|attachment| attachment.connection != number);
                }
            }
            Purpose::Request | Purpose::Subscriber => {}
        }
    }

    fn send(&mut self, number: u64, response: &Response, descriptors: &[RawFd]) {
        let Some(connection) = self.connections.get(&number) else { return };
        // A client that does not read its few short messages is not waited for.
        if protocol::send(&connection.stream, response, descriptors).is_err() {
            self.close(number);
        }
    }

    fn answer(&mut self, number: u64, request: Request) {
        self.rest_at = Some(Instant::now() + REST);
        let failed = |message: String| Response::Failed { message };
        let response = match request {
            Request::Subscribe => {
                self.set_purpose(number, Purpose::Subscriber);
                Response::Containers { running: self.containers.keys().cloned().collect() }
            }
            Request::Start { id } => {
                let result = Container::start(&self.directory, &id);
                self.restore_oom_score();
                match result {
                    Ok(container) => {
                        let response =
                            Response::Started { pid: container.pid.unsigned_abs(), started: container.started };
                        self.containers.insert(id, container);
                        response
                    }
                    Err(message) => failed(message),
                }
            }
            Request::Signal { id, signal, all } => match (self.containers.get(&id), Signal::try_from(signal)) {
                (Some(container), Ok(signal)) => container.signal(signal, all).map_or_else(failed, |()| Response::Done),
                (None, _) => Response::Done,
                (_, Err(_)) => failed(format!("{signal} is not a signal")),
            },
            Request::Exec { id, process, stdin, tty } => {
                if !self.containers.contains_key(&id) {
                    return self.send(number, &failed("the container does not run".into()), &[]);
                }
                let result = exec(&self.directory, &id, &self.scratch, &process, stdin, tty);
                self.restore_oom_score();
                match result {
                    Ok(exec) => {
                        self.set_purpose(number, Purpose::Exec { pid: exec.pid });
                        return self.send_streams(number, &exec.streams, tty);
                    }
                    Err(message) => failed(message),
                }
            }
            Request::Attach { id, stdin } => match self.containers.get_mut(&id) {
                None => failed("the container does not run".into()),
                Some(container) => match container.attach(number, stdin) {
                    Ok(streams) => {
                        let terminal = container.has_terminal();
                        self.set_purpose(number, Purpose::Attach { id });
                        return self.send_streams(number, &streams, terminal);
                    }
                    Err(message) => failed(message),
                },
            },
        };
        self.send(number, &response, &[]);
    }

    fn set_purpose(&mut self, number: u64, purpose: Purpose) {
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.purpose = purpose;
        }
    }

    fn send_streams(&mut self, number: u64, streams: &ClientStreams, terminal: bool) {
        let all = [&streams.stdin, &streams.stdout, &streams.stderr];
        let descriptors: Vec<RawFd> = all.into_iter().flatten().map(OwnedFd::as_raw_fd).collect();
        let response = Response::Streams {
            stdin: streams.stdin.is_some(),
            stdout: streams.stdout.is_some(),
            stderr: streams.stderr.is_some(),
            terminal,
        };
        self.send(number, &response, &descriptors);
    }

    /// `libcontainer` gives the shim the container's score, and with it a container that eats memory would take the pod along.
    fn restore_oom_score(&self) {
        let _ = fs::write("/proc/self/oom_score_adj", &self.oom_score_adj);
    }

    /// Collects every ended child. All of them, not just those that are known: what a failed exec leaves would keep the
    /// container's first process from ending.
    fn reap(&mut self) {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(status @ (WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _))) => {
                    self.ended(pid.as_raw(), status)
                }
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }

    fn ended(&mut self, pid: i32, status: WaitStatus) {
        self.rest_at = Some(Instant::now() + REST);
        let id = self.containers.iter().find(|(_, container)| container.pid == pid).map(|(id, _)| id.clone());
        if let Some((id, mut container)) = id.and_then(|id| self.containers.remove_entry(&id)) {
            let watches =
                |connection: &Connection| matches!(&connection.purpose, Purpose::Attach { id: own } if *own == id);
            let attached: Vec<u64> = self
                .connections
                .iter()
                .filter(|(_, connection)| watches(connection))
                .map(|(number, _)| *number)
                .collect();
            let code = container.finish(status);
            let watching = |connection: &Connection| matches!(connection.purpose, Purpose::Subscriber);
            let subscribers: Vec<u64> = self
                .connections
                .iter()
                .filter(|(_, connection)| watching(connection))
                .map(|(number, _)| *number)
                .collect();
            for number in subscribers {
                self.send(number, &Response::ContainerExited { id: id.clone() }, &[]);
            }
            for number in attached {
                self.send(number, &Response::Exited { code }, &[]);
            }
            container.discard(&self.directory, &id);
            return;
        }
        let owner = self
            .connections
            .iter()
            .find(|(_, connection)| matches!(connection.purpose, Purpose::Exec { pid: own } if own == pid))
            .map(|(number, _)| *number);
        if let Some(number) = owner {
            let (code, _) = exit_code(status);
            self.set_purpose(number, Purpose::Request);
            self.send(number, &Response::Exited { code }, &[]);
        }
    }
}
