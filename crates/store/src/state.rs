//! The newest state of every key and the window of recent history.
//!
//! The window is one ring of events shared by everybody: lists at an older revision undo the newer events, watchers
//! read events from it by revision. For every watched prefix a *topic* records which revisions in the window concern
//! it. So finding the next event of a watcher is a binary search, a commit wakes only the watchers that it concerns,
//! and a watcher of quiet keys never falls out of the window, however busy the rest is.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::{Entry, Error, Event, EventKind, List, ListOptions, Revision};

/// How much history stays available to watches and to lists at an older revision. It is memory: an event keeps the
/// values that it replaced alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Events kept.
    pub max_events: usize,
    /// Sum of keys and values kept, in bytes.
    pub max_bytes: usize,
    /// Events younger than this stay beyond `max_events` and `max_bytes`, up to twice `max_bytes`.
    pub min_age: Duration,
}

impl Default for History {
    fn default() -> Self {
        Self { max_events: 10_000, max_bytes: 16 << 20, min_age: Duration::from_secs(5) }
    }
}

/// What an event costs besides its key and value: two entries, the ring and the topics.
const EVENT_OVERHEAD: usize = 256;

fn cost(event: &Event) -> usize {
    event.entry.key.len() + event.entry.value.len() + EVENT_OVERHEAD
}

fn size(entry: &Entry) -> u64 {
    (entry.key.len() + entry.value.len()) as u64
}

struct Recent {
    event: Arc<Event>,
    at: Instant,
}

/// The revisions in the window that concern one watched prefix.
struct Topic {
    prefix: Arc<str>,
    /// Ascending.
    revisions: VecDeque<Revision>,
    /// Nothing is known of matching events up to here.
    known_after: Revision,
    changed: Arc<Notify>,
}

/// A watcher's claim on a topic; the topic exists while somebody holds one.
#[derive(Clone)]
pub(crate) struct Subscription {
    pub(crate) prefix: Arc<str>,
    pub(crate) changed: Arc<Notify>,
}

/// What a watcher at some position finds.
pub(crate) enum Next {
    Event(Arc<Event>),
    /// Nothing matches up to this revision.
    CaughtUp(Revision),
}

pub(crate) struct State {
    entries: BTreeMap<Arc<str>, Entry>,
    bytes: u64,
    revision: Revision,
    recent: VecDeque<Recent>,
    recent_bytes: usize,
    topics: BTreeMap<Arc<str>, Topic>,
    history: History,
}

impl State {
    /// The state after a start: `entries` as of `revision`, no history.
    pub(crate) fn new(entries: BTreeMap<Arc<str>, Entry>, revision: Revision, history: History) -> Self {
        let bytes = entries.values().map(size).sum();
        Self { entries, bytes, revision, recent: VecDeque::new(), recent_bytes: 0, topics: BTreeMap::new(), history }
    }

    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn keys(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Events in the window and the bytes they are charged with.
    pub(crate) fn window(&self) -> (usize, usize) {
        (self.recent.len(), self.recent_bytes)
    }

    /// The state is known at every revision from this one on.
    pub(crate) fn oldest(&self) -> Revision {
        self.revision - self.recent.len() as u64
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub(crate) fn count(&self, prefix: &str) -> usize {
        self.range(prefix, None).count()
    }

    pub(crate) fn list(&self, prefix: &str, options: ListOptions<'_>) -> Result<List, Error> {
        let revision = self.available(options.at)?;
        let limit = options.limit.unwrap_or(usize::MAX);
        let mut page = Page { entries: Vec::new(), limit, remaining: 0 };
        if revision == self.revision {
            self.range(prefix, options.after).for_each(|entry| page.push(entry));
        } else {
            self.list_past(prefix, options.after, revision, &mut page);
        }
        Ok(List { entries: page.entries, revision, remaining: page.remaining })
    }

    fn available(&self, at: Option<Revision>) -> Result<Revision, Error> {
        match at {
            None => Ok(self.revision),
            Some(requested) if requested > self.revision => Err(Error::Future { requested, newest: self.revision }),
            Some(requested) if requested < self.oldest() => Err(Error::Compacted { requested, oldest: self.oldest() }),
            Some(requested) => Ok(requested),
        }
    }

    /// Merges the newest state with what the events after `revision` replaced.
    fn list_past(&self, prefix: &str, after: Option<&str>, revision: Revision, page: &mut Page) {
        let mut replaced: BTreeMap<&str, Option<&Entry>> = BTreeMap::new();
        let skip = (revision - self.oldest()) as usize;
        // Newest first: what stays is what the oldest of these events replaced.
        for recent in self.recent.range(skip.min(self.recent.len())..).rev() {
            let key = &*recent.event.entry.key;
            if key.starts_with(prefix) && after.is_none_or(|after| key > after) {
                replaced.insert(key, recent.event.previous.as_ref());
            }
        }
        let mut replaced = replaced.into_iter().peekable();
        for entry in self.range(prefix, after) {
            while let Some((_, past)) = replaced.next_if(|(key, _)| *key < &*entry.key) {
                past.into_iter().for_each(|entry| page.push(entry));
            }
            match replaced.next_if(|(key, _)| *key == &*entry.key) {
                Some((_, past)) => past.into_iter().for_each(|entry| page.push(entry)),
                None => page.push(entry),
            }
        }
        replaced.filter_map(|(_, past)| past).for_each(|entry| page.push(entry));
    }

    fn range<'a>(&'a self, prefix: &'a str, after: Option<&'a str>) -> impl Iterator<Item = &'a Entry> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.entries
            .range::<str, _>((from, Bound::Unbounded))
            .map(|(_, entry)| entry)
            .take_while(move |entry| entry.key.starts_with(prefix))
    }

    /// Makes committed events visible. Gives back what left memory, to be dropped after the lock, and whom to wake.
    #[must_use]
    pub(crate) fn publish(&mut self, events: Vec<Arc<Event>>, now: Instant) -> Published {
        let mut published = Published::default();
        self.topics.retain(|_, topic| Arc::strong_count(&topic.changed) > 1);
        for event in events {
            debug_assert_eq!(event.entry.revision, self.revision + 1, "revisions have no gaps");
            self.revision = event.entry.revision;
            let key = &event.entry.key;
            for topic in self.topics.values_mut().filter(|topic| key.starts_with(&*topic.prefix)) {
                let woken = topic.revisions.back() >= published.first.as_ref() && published.first.is_some();
                if !woken {
                    published.wake.push(Arc::clone(&topic.changed));
                }
                topic.revisions.push_back(event.entry.revision);
            }
            published.first.get_or_insert(event.entry.revision);
            self.bytes -= event.previous.as_ref().map_or(0, size);
            if event.kind == EventKind::Deleted {
                self.entries.remove(key);
            } else {
                self.bytes += size(&event.entry);
                self.entries.insert(Arc::clone(key), event.entry.clone());
            }
            self.recent_bytes += cost(&event);
            self.recent.push_back(Recent { event, at: now });
        }
        self.forget(now, &mut published.forgotten);
        published
    }

    fn forget(&mut self, now: Instant, forgotten: &mut Vec<Arc<Event>>) {
        let History { max_events, max_bytes, min_age } = self.history;
        while let Some(oldest) = self.recent.front() {
            let wanted = self.recent.len() <= max_events && self.recent_bytes <= max_bytes;
            let young = now.saturating_duration_since(oldest.at) < min_age;
            if wanted || (young && self.recent_bytes <= max_bytes.saturating_mul(2)) {
                break;
            }
            self.recent_bytes -= cost(&oldest.event);
            forgotten.extend(self.recent.pop_front().map(|recent| recent.event));
        }
        let oldest = self.oldest();
        for topic in self.topics.values_mut() {
            while topic.revisions.front().is_some_and(|revision| *revision <= oldest) {
                topic.known_after = topic.revisions.pop_front().unwrap_or(oldest);
            }
        }
    }

    /// Whether a watch of `prefix` after this revision would miss nothing.
    pub(crate) fn subscribe(&mut self, prefix: &str, after: Revision) -> Result<Subscription, Error> {
        if after > self.revision {
            return Err(Error::Future { requested: after, newest: self.revision });
        }
        let known_after = self.topics.get(prefix).map_or(self.oldest(), |topic| topic.known_after);
        if after < known_after {
            return Err(Error::Compacted { requested: after, oldest: self.oldest() });
        }
        if !self.topics.contains_key(prefix) {
            let prefix: Arc<str> = prefix.into();
            let revisions = self
                .recent
                .iter()
                .map(|recent| &recent.event.entry)
                .filter(|entry| entry.key.starts_with(&*prefix))
                .map(|entry| entry.revision)
                .collect();
            let changed = Arc::new(Notify::new());
            self.topics.insert(Arc::clone(&prefix), Topic { prefix, revisions, known_after, changed });
        }
        match self.topics.get(prefix) {
            Some(topic) => Ok(Subscription { prefix: Arc::clone(&topic.prefix), changed: Arc::clone(&topic.changed) }),
            None => Err(Error::Closed),
        }
    }

    /// The first event after `position` for a subscriber.
    pub(crate) fn next(&self, subscription: &Subscription, position: Revision) -> Result<Next, Error> {
        let Some(topic) = self.topics.get::<str>(subscription.prefix.borrow()) else { return Err(Error::Closed) };
        if position < topic.known_after {
            return Err(Error::Compacted { requested: position, oldest: self.oldest() });
        }
        let index = topic.revisions.partition_point(|revision| *revision <= position);
        let Some(revision) = topic.revisions.get(index) else { return Ok(Next::CaughtUp(self.revision)) };
        let index = (revision - self.oldest() - 1) as usize;
        self.recent
            .get(index)
            .map(|recent| Next::Event(Arc::clone(&recent.event)))
            .ok_or(Error::Compacted { requested: position, oldest: self.oldest() })
    }

    /// Everybody who watches anything.
    pub(crate) fn watchers(&self) -> Vec<Arc<Notify>> {
        self.topics.values().map(|topic| Arc::clone(&topic.changed)).collect()
    }
}

/// What is left to do after the lock is released.
#[derive(Default)]
pub(crate) struct Published {
    first: Option<Revision>,
    pub(crate) wake: Vec<Arc<Notify>>,
    forgotten: Vec<Arc<Event>>,
}

struct Page {
    entries: Vec<Entry>,
    limit: usize,
    remaining: usize,
}

impl Page {
    fn push(&mut self, entry: &Entry) {
        if self.entries.len() < self.limit {
            self.entries.push(entry.clone());
        } else {
            self.remaining += 1;
        }
    }
}
