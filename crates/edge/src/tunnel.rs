//! Connections that changed their protocol (WebSocket) and are now only copied.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional},
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::upstream::Lease;

/// How long a tunnel may take to get both its ends after the backend agreed.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections that changed their protocol and are now only copied.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tunnels {
    tracker: TaskTracker,
    cancel: CancellationToken,
}

// === impl Tunnels ===

impl Tunnels {
    /// Copies between both ends until one closes, `idle` passes without a byte, or the server shuts down.
    pub(crate) fn spawn(&self, client: OnUpgrade, backend: OnUpgrade, lease: Lease, idle: Duration) {
        let cancel = self.cancel.clone();
        self.tracker.spawn(async move {
            // Counts as pending at its endpoint for as long as it lives.
            let _lease = lease;
            let ends = async { tokio::try_join!(client, backend) };
            let Ok(Ok((client, backend))) = timeout(UPGRADE_TIMEOUT, ends).await else { return };
            let moved = Arc::new(Moved { began: Instant::now(), last: AtomicU64::new(0) });
            let mut client = Watched { stream: TokioIo::new(client), moved: moved.clone() };
            let mut backend = Watched { stream: TokioIo::new(backend), moved: moved.clone() };
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut backend) => {}
                () = moved.still_for(idle) => {}
                () = cancel.cancelled() => {}
            }
        });
    }

    /// Ends all tunnels and waits until they are gone.
    pub(crate) async fn close(&self) {
        self.cancel.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// When bytes last moved through a tunnel.
struct Moved {
    began: Instant,
    last: AtomicU64,
}

impl Moved {
    async fn still_for(&self, limit: Duration) {
        loop {
            let still = (self.began + Duration::from_millis(self.last.load(Relaxed))).elapsed();
            if still >= limit {
                return;
            }
            sleep(limit.saturating_sub(still).max(Duration::from_millis(10))).await;
        }
    }

    fn touch(&self) {
        self.last.store(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX), Relaxed);
    }
}

struct Watched<S> {
    stream: S,
    moved: Arc<Moved>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        if outcome.is_ready() {
            self.moved.touch();
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
