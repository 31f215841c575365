//! The bounded queue between callers and the writer thread.
//!
//! Callers wait asynchronously for a slot, the writer takes everything that is there at once: what arrived during one
//! commit is the next group.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{Change, Entry, Error};

/// A write on its way to the writer thread.
pub(crate) struct Request {
    pub(crate) change: Change,
    pub(crate) reply: oneshot::Sender<Result<Entry, Error>>,
    /// Held until the request is answered, so that the bound covers the group in progress too.
    pub(crate) _slot: OwnedSemaphorePermit,
}

/// What the writer finds when it looks.
pub(crate) enum Taken {
    /// At least one request.
    Requests(VecDeque<Request>),
    /// Nothing came within the given time.
    Idle,
    /// Closed, and everything submitted before has been taken.
    Closed,
}

pub(crate) struct Queue {
    slots: Arc<Semaphore>,
    inner: Mutex<Inner>,
    arrived: Condvar,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Request>,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(capacity.clamp(1, Semaphore::MAX_PERMITS))),
            inner: Mutex::default(),
            arrived: Condvar::new(),
        }
    }

    /// Waits for a slot, submits, and waits for the answer.
    pub(crate) async fn submit(&self, change: Change) -> Result<Entry, Error> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| Error::Closed)?;
        let (reply, answer) = oneshot::channel();
        {
            let mut inner = self.lock();
            if inner.closed {
                return Err(Error::Closed);
            }
            inner.waiting.push_back(Request { change, reply, _slot: slot });
        }
        self.arrived.notify_one();
        answer.await.unwrap_or(Err(Error::Closed))
    }

    /// Takes all waiting requests; waits for the first one at most `patience`, without end if that is `None`.
    pub(crate) fn take(&self, patience: Option<Duration>) -> Taken {
        let nothing = |inner: &mut Inner| inner.waiting.is_empty() && !inner.closed;
        let inner = self.lock();
        let mut inner = match patience {
            Some(patience) => {
                self.arrived.wait_timeout_while(inner, patience, nothing).unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.arrived.wait_while(inner, nothing).unwrap_or_else(PoisonError::into_inner),
        };
        match (inner.waiting.is_empty(), inner.closed) {
            (false, _) => Taken::Requests(std::mem::take(&mut inner.waiting)),
            (true, true) => Taken::Closed,
            (true, false) => Taken::Idle,
        }
    }

    /// Refuses everything from now on. What was submitted before is still carried out.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.slots.close();
        self.arrived.notify_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Drops what nobody will take any more, so that its callers are answered with [`Error::Closed`].
    pub(crate) fn abandon(&self) {
        self.close();
        let waiting = std::mem::take(&mut self.lock().waiting);
        drop(waiting);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
