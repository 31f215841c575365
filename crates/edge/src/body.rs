//! Bodies that stream through the edge, with the limits and deadlines of their direction.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::{access::Passage, connection::Activity, upstream::Lease};

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the request body is larger than {0} bytes")]
    TooLarge(u64),
    #[error("no data for {0:?}")]
    Stalled(Duration),
    #[error("the connection failed")]
    Connection(#[source] hyper::Error),
}

/// What the forwarding side knows about a request body that is under way.
#[derive(Debug)]
pub(crate) struct Progress {
    began: Instant,
    /// Milliseconds after `began` of the last data.
    last: AtomicU64,
    done: AtomicBool,
    too_large: AtomicBool,
}

/// What is sent to a backend.
pub(crate) struct RequestBody(Option<Streamed>);

struct Streamed {
    incoming: Incoming,
    /// Bytes that may still come.
    limit: Option<u64>,
    rest: u64,
    progress: Arc<Progress>,
    stall: Stall,
}

/// What is sent to a client.
pub(crate) struct EdgeBody {
    kind: Kind,
    /// What counts the request as under way until its response is complete.
    held: Option<(Activity, Option<Passage>)>,
}

enum Kind {
    Empty,
    Full(Bytes),
    Upstream { incoming: Incoming, lease: Option<Lease>, stall: Stall },
}

/// A deadline that exists only while there is something to wait for.
struct Stall {
    after: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

// === impl Progress ===

impl Progress {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            last: AtomicU64::new(0),
            done: AtomicBool::new(false),
            too_large: AtomicBool::new(false),
        }
    }

    /// Whether the whole body was passed on.
    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Relaxed)
    }

    /// Whether the body broke its size limit.
    pub(crate) fn is_too_large(&self) -> bool {
        self.too_large.load(Relaxed)
    }

    /// When the last data was passed on.
    pub(crate) fn last(&self) -> Instant {
        self.began + Duration::from_millis(self.last.load(Relaxed))
    }

    fn touch(&self) {
        self.last.store(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX), Relaxed);
    }
}

// === impl RequestBody ===

impl RequestBody {
    pub(crate) const fn empty() -> Self {
        Self(None)
    }

    /// A body that fails when it exceeds `limit` bytes or pauses for `stall`.
    pub(crate) fn streamed(incoming: Incoming, limit: Option<u64>, stall: Duration) -> (Self, Arc<Progress>) {
        let progress = Arc::new(Progress::new());
        let streamed = Streamed {
            incoming,
            limit,
            rest: limit.unwrap_or(u64::MAX),
            progress: progress.clone(),
            stall: Stall { after: stall, sleep: None },
        };
        (Self(Some(streamed)), progress)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let frame = match Pin::new(&mut body.incoming).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                ready!(body.stall.poll(cx));
                return Poll::Ready(Some(Err(BodyError::Stalled(body.stall.after))));
            }
        };
        body.stall.sleep = None;
        body.progress.touch();
        let Some(frame) = frame.transpose().map_err(BodyError::Connection)? else {
            body.progress.done.store(true, Relaxed);
            return Poll::Ready(None);
        };
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        let Some(rest) = body.rest.checked_sub(length) else {
            body.progress.too_large.store(true, Relaxed);
            return Poll::Ready(Some(Err(BodyError::TooLarge(body.limit.unwrap_or(u64::MAX)))));
        };
        body.rest = rest;
        if body.incoming.is_end_stream() {
            body.progress.done.store(true, Relaxed);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|body| body.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |body| body.incoming.size_hint())
    }
}

// === impl EdgeBody ===

impl EdgeBody {
    pub(crate) const fn empty() -> Self {
        Self { kind: Kind::Empty, held: None }
    }

    pub(crate) const fn full(bytes: Bytes) -> Self {
        Self { kind: Kind::Full(bytes), held: None }
    }

    /// The body of a backend's response; `lease` goes back to its endpoint when the body is complete.
    pub(crate) fn upstream(incoming: Incoming, lease: Lease, stall: Duration) -> Self {
        let mut lease = Some(lease);
        if incoming.is_end_stream() {
            finish(&mut lease);
        }
        let kind = Kind::Upstream { incoming, lease, stall: Stall { after: stall, sleep: None } };
        Self { kind, held: None }
    }
}

impl EdgeBody {
    /// Keeps `activity` and `passage` until the response is complete or given up.
    #[must_use]
    pub(crate) fn hold(mut self, activity: Activity, passage: Option<Passage>) -> Self {
        self.held = Some((activity, passage));
        self
    }
}

impl Body for EdgeBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.kind = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Upstream { incoming, lease, stall } => {
                let Poll::Ready(frame) = Pin::new(&mut *incoming).poll_frame(cx) else {
                    ready!(stall.poll(cx));
                    return Poll::Ready(Some(Err(BodyError::Stalled(stall.after))));
                };
                stall.sleep = None;
                match &frame {
                    None => finish(lease),
                    Some(Ok(_)) if incoming.is_end_stream() => finish(lease),
                    Some(_) => {}
                }
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Connection)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Upstream { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Upstream { incoming, .. } => incoming.size_hint(),
        }
    }
}

impl fmt::Debug for EdgeBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EdgeBody").finish_non_exhaustive()
    }
}

fn finish(lease: &mut Option<Lease>) {
    if let Some(lease) = lease.take() {
        lease.give_back();
    }
}

// === impl Stall ===

impl Stall {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let after = self.after;
        self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(after))).as_mut().poll(cx)
    }
}
