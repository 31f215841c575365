//! The daemon's ends of a command's or container's streams.
#![allow(unsafe_code)]

use std::{
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    libc,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, unix::AsyncFd};

use crate::{
    Error, Session,
    error::IoContext,
    shim::protocol::{self, Response},
};

/// A pipe or terminal, not blocking.
struct Stream(AsyncFd<Arc<OwnedFd>>);

impl Stream {
    fn new(descriptor: Arc<OwnedFd>) -> io::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(&descriptor, FcntlArg::F_GETFL)?);
        fcntl(&descriptor, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        // SAFETY: the descriptor is owned by what is registered, so it stays open and the same until deregistered.
        unsafe { AsyncFd::register(descriptor) }.map(Self).map_err(io::Error::from)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(context))?;
            let read = guard.try_io(|descriptor| {
                match nix::unistd::read(descriptor.get_ref(), buffer.initialize_unfilled()) {
                    // A terminal answers EIO once nobody has its other end open.
                    Err(Errno::EIO) => Ok(0),
                    other => other.map_err(io::Error::from),
                }
            });
            match read {
                Ok(Ok(count)) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(context))?;
            match guard.try_io(|descriptor| nix::unistd::write(descriptor.get_ref(), bytes).map_err(io::Error::from)) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Makes a session of what the shim has sent. `connection` stays open for as long as the session lives.
pub(crate) fn open(connection: UnixStream, response: &Response, descriptors: Vec<OwnedFd>) -> Result<Session, Error> {
    let Response::Streams { stdin, stdout, stderr, terminal } = *response else {
        return Err(Error::InvalidInput { message: "the shim has answered something else".into() });
    };
    let mut descriptors = descriptors.into_iter().map(Arc::new);
    let mut next = |wanted: bool| if wanted { descriptors.next() } else { None };
    let (input, output, errors) = (next(stdin), next(stdout), next(stderr));
    let stream =
        |descriptor: Option<Arc<OwnedFd>>| descriptor.map(Stream::new).transpose().context(|| "opening the streams");
    let resize = if terminal { input.clone().or_else(|| output.clone()) } else { None };
    connection.set_nonblocking(true).context(|| "opening the streams")?;
    let connection = tokio::net::UnixStream::from_std(connection).context(|| "opening the streams")?;
    Ok(Session {
        stdin: stream(input)?.map(|stream| Box::new(stream) as Box<dyn AsyncWrite + Send + Unpin>),
        stdout: stream(output)?.map(|stream| Box::new(stream) as Box<dyn AsyncRead + Send + Unpin>),
        stderr: stream(errors)?.map(|stream| Box::new(stream) as Box<dyn AsyncRead + Send + Unpin>),
        resize: resize.map(|descriptor| {
            Box::new(move |columns, rows| set_size(&descriptor, columns, rows)) as Box<dyn Fn(u16, u16) + Send + Sync>
        }),
        exit: Box::pin(wait(connection)),
    })
}

async fn wait(mut connection: tokio::net::UnixStream) -> Result<i32, Error> {
    let mut buffer = Vec::new();
    loop {
        match protocol::decode::<Response>(&mut buffer).context(|| "waiting for the exit code")? {
            Some(Response::Exited { code }) => return Ok(code),
            Some(_) => {}
            None => {
                if connection.read_buf(&mut buffer).await.context(|| "waiting for the exit code")? == 0 {
                    return Err(Error::InvalidInput {
                        message: "the pod has ended before the exit code was known".into(),
                    });
                }
            }
        }
    }
}

fn set_size(terminal: &OwnedFd, columns: u16, rows: u16) {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is open and TIOCSWINSZ reads one `winsize`.
    unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &size) };
}
