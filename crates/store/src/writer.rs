//! The writer thread: orders all writes, commits them in groups, and only then lets anybody see them.

use std::{
    collections::{HashMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    Change, Entry, Error, Event, EventKind, Expect, Journal, JournalError, Revision,
    engine::Shared,
    queue::{Request, Taken},
};

/// A group is closed once it holds this many bytes of values; a larger transaction would grow the log beyond its bound.
const GROUP_BYTES: usize = 4 << 20;

/// How long the queue must be empty before housekeeping that can wait is done, and the pause between its steps.
const IDLE_PAUSE: Duration = Duration::from_millis(10);

/// How long housekeeping rests after it failed.
const MAINTENANCE_RETRY: Duration = Duration::from_secs(5);

/// Runs until the store is closed and everything submitted before is answered.
pub(crate) fn run(shared: &Shared, journal: &mut dyn Journal) {
    let _closed = CloseOnExit(shared);
    let mut more = true;
    let mut rest_until: Option<Instant> = None;
    loop {
        let patience = match (more, rest_until) {
            (false, _) => None,
            (true, Some(until)) => Some(until.saturating_duration_since(Instant::now()).max(IDLE_PAUSE)),
            (true, None) => Some(IDLE_PAUSE),
        };
        let idle = match shared.queue.take(patience) {
            Taken::Closed => return,
            Taken::Idle => true,
            Taken::Requests(mut requests) => {
                while !requests.is_empty() {
                    commit_group(shared, journal, &mut requests);
                    if !requests.is_empty() {
                        maintain(journal, false, &mut rest_until);
                    }
                }
                false
            }
        };
        more = maintain(journal, idle, &mut rest_until);
    }
}

fn maintain(journal: &mut dyn Journal, idle: bool, rest_until: &mut Option<Instant>) -> bool {
    if rest_until.is_some_and(|until| Instant::now() < until) {
        return true;
    }
    let result =
        catch_unwind(AssertUnwindSafe(|| journal.maintain(idle))).unwrap_or_else(|panic| Err(panicked(&*panic)));
    match result {
        Ok(more) => {
            *rest_until = None;
            more
        }
        Err(error) => {
            tracing::warn!(error = &*error, "compaction of the store failed, it is tried again later");
            *rest_until = Some(Instant::now() + MAINTENANCE_RETRY);
            true
        }
    }
}

/// Takes requests from the front until the group is full, commits and publishes it, and answers.
fn commit_group(shared: &Shared, journal: &mut dyn Journal, requests: &mut VecDeque<Request>) {
    let mut group = Group::new(shared);
    while group.bytes < GROUP_BYTES {
        let Some(request) = requests.pop_front() else { break };
        group.plan(request);
    }
    let Group { events, answers, .. } = group;
    if !events.is_empty() {
        let appended =
            catch_unwind(AssertUnwindSafe(|| journal.append(&events))).unwrap_or_else(|panic| Err(panicked(&*panic)));
        if let Err(error) = appended {
            // Conflicts too: they may have been judged by writes of this group that never happened.
            let error = Arc::new(error);
            for answer in answers {
                let source = Box::new(SharedError(Arc::clone(&error)));
                let _ = answer.reply.send(Err(Error::Backend { operation: "commit", source }));
            }
            return;
        }
        let published = shared.write().publish(events, Instant::now());
        for changed in &published.wake {
            changed.notify_waiters();
        }
    }
    for answer in answers {
        // The caller may have gone; the write stands.
        let _ = answer.reply.send(answer.result);
    }
}

struct Answer {
    reply: oneshot::Sender<Result<Entry, Error>>,
    result: Result<Entry, Error>,
    _request: tokio::sync::OwnedSemaphorePermit,
}

/// Writes that become durable together.
struct Group<'a> {
    shared: &'a Shared,
    revision: Revision,
    bytes: usize,
    /// Keys written by this group and what they hold after it.
    pending: HashMap<Arc<str>, Option<Entry>>,
    events: Vec<Arc<Event>>,
    answers: Vec<Answer>,
}

impl<'a> Group<'a> {
    fn new(shared: &'a Shared) -> Self {
        let revision = shared.read().revision();
        Self { shared, revision, bytes: 0, pending: HashMap::new(), events: Vec::new(), answers: Vec::new() }
    }

    fn plan(&mut self, request: Request) {
        let Request { change, reply, _slot } = request;
        let result = self.apply(change);
        self.answers.push(Answer { reply, result, _request: _slot });
    }

    fn apply(&mut self, change: Change) -> Result<Entry, Error> {
        let (key, expect, encode, deletes) = match change {
            Change::Put { key, expect, encode } => (key, expect, encode, false),
            Change::Delete { key, expect, encode } => (key, expect, encode, true),
        };
        let previous = match self.pending.get(&key) {
            Some(pending) => pending.clone(),
            None => self.shared.read().get(&key).cloned(),
        };
        let actual = previous.as_ref().map(|entry| entry.revision);
        if !holds(expect, actual) || (deletes && actual.is_none()) {
            return Err(Error::Conflict { key, actual });
        }
        let revision = self.revision + 1;
        let value: Bytes = catch_unwind(AssertUnwindSafe(|| encode(revision)))
            .map_err(|panic| Error::Backend { operation: "encode", source: panicked(&*panic) })?;
        self.revision = revision;
        self.bytes += value.len();
        let kind = match (deletes, &previous) {
            (true, _) => EventKind::Deleted,
            (false, Some(_)) => EventKind::Updated,
            (false, None) => EventKind::Created,
        };
        // One allocation of the key for its whole life.
        let key = previous.as_ref().map_or(key, |entry| Arc::clone(&entry.key));
        let created = previous.as_ref().map_or(revision, |entry| entry.created);
        let entry = Entry { key: Arc::clone(&key), value, revision, created };
        self.pending.insert(key, (!deletes).then(|| entry.clone()));
        self.events.push(Arc::new(Event { kind, entry: entry.clone(), previous }));
        Ok(entry)
    }
}

fn holds(expect: Expect, actual: Option<Revision>) -> bool {
    match expect {
        Expect::Absent => actual.is_none(),
        Expect::Present => actual.is_some(),
        Expect::Revision(revision) => actual == Some(revision),
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> JournalError {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "unknown cause".to_owned());
    format!("panicked: {text}").into()
}

/// One cause for all writes of a group.
#[derive(Debug)]
struct SharedError(Arc<JournalError>);

impl std::fmt::Display for SharedError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for SharedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

/// However the thread ends, nobody may wait for it.
struct CloseOnExit<'a>(&'a Shared);

impl Drop for CloseOnExit<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
