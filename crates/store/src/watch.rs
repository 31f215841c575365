//! A running watch.

use std::sync::Arc;

use crate::{
    BoxFuture, Error, Event, Revision, Watch,
    engine::Shared,
    state::{Next, Subscription},
};

pub(crate) struct WindowWatch {
    pub(crate) shared: Arc<Shared>,
    pub(crate) subscription: Subscription,
    /// Every matching event up to here has been returned.
    pub(crate) position: Revision,
}

impl WindowWatch {
    fn look(&mut self) -> Result<Option<Arc<Event>>, Error> {
        match self.shared.read().next(&self.subscription, self.position)? {
            Next::Event(event) => {
                self.position = event.entry.revision;
                Ok(Some(event))
            }
            Next::CaughtUp(revision) => {
                self.position = revision;
                Ok(None)
            }
        }
    }
}

impl Watch for WindowWatch {
    fn next(&mut self) -> BoxFuture<'_, Result<Arc<Event>, Error>> {
        Box::pin(async move {
            let changed = Arc::clone(&self.subscription.changed);
            loop {
                // Registered before looking, so that no publication falls between the look and the wait.
                let mut notified = std::pin::pin!(changed.notified());
                notified.as_mut().enable();
                let ended = self.shared.has_ended();
                if let Some(event) = self.look()? {
                    return Ok(event);
                }
                if ended {
                    return Err(Error::Closed);
                }
                notified.await;
            }
        })
    }

    fn position(&self) -> Revision {
        match self.shared.read().next(&self.subscription, self.position) {
            Ok(Next::Event(event)) => event.entry.revision - 1,
            Ok(Next::CaughtUp(revision)) => revision,
            Err(_) => self.position,
        }
    }
}
