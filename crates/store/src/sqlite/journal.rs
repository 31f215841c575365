//! The revision table: appending groups, and keeping the file in proportion to what is alive.
//!
//! Space is won back in three ways, each in small transactions of its own. Superseded rows are deleted in the order in
//! which they were superseded: so a deletion mark never goes before the rows that it hides. Free pages are given back
//! to the file system. And since rows are only ever added at the end, pages from which most rows have gone would stay
//! half empty for ever; when that adds up, the surviving rows are deleted and inserted again, which packs them.

use std::{collections::VecDeque, fs::File, sync::Arc};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::{Event, EventKind, Journal, JournalError, Revision};

/// Rows deleted in one step; more only to keep pace with large groups.
const COMPACT_ROWS: usize = 512;

/// Pages given back in one step.
const VACUUM_PAGES: u32 = 256;

/// Rows and bytes moved in one step.
const PACK_ROWS: i64 = 128;
const PACK_BYTES: usize = 1 << 20;

/// Pages beyond the limit that a group with a deletion may use: a full store could not be emptied otherwise.
const RESERVED_PAGES: i64 = 64;

/// Pages in use may take this many times what is alive before rows are packed.
const SPARSE: f64 = 2.0;

/// What a row is counted with besides key and value.
const ROW_BYTES: usize = 16;

/// What a row takes in the file, roughly.
pub(super) fn footprint(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len() + ROW_BYTES) as u64
}

/// A superseded row.
pub(super) struct Dead {
    revision: Revision,
    bytes: u32,
}

impl Dead {
    pub(super) fn new(revision: Revision, bytes: u64) -> Self {
        Self { revision, bytes: u32::try_from(bytes).unwrap_or(u32::MAX) }
    }
}

/// How large the file may become.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Dead rows and free pages tolerated at least, in bytes.
    pub(super) slack_bytes: u64,
    /// Pages the file may have; no limit if `None`.
    pub(super) pages: Option<i64>,
}

pub(super) struct SqliteJournal {
    connection: Connection,
    /// Declared after the connection: released after it is closed.
    _lock: File,
    limits: Limits,
    newest: Revision,
    newest_is_deletion: bool,
    live_bytes: u64,
    /// In the order in which they were superseded.
    dead: VecDeque<Dead>,
    dead_bytes: u64,
    last_group: usize,
    /// An append failed; rows beyond `newest` may exist.
    uncertain: bool,
    /// Every commit is synchronised, as appends need it.
    synchronous: bool,
    /// Rows have gone since the pages were last counted.
    pages_changed: bool,
    /// The file is longer than its content until the log has been copied back.
    truncation_waits: bool,
    /// Where packing continues.
    packing: Option<Revision>,
    /// Pages in use per live byte that packing reached the last time.
    packed_ratio: f64,
}

/// What the file consists of.
struct Pages {
    page_size: u64,
    used: u64,
    free: u64,
}

impl SqliteJournal {
    pub(super) fn new(
        connection: Connection,
        lock: File,
        limits: Limits,
        newest: Revision,
        live_bytes: u64,
        dead: VecDeque<Dead>,
        newest_is_deletion: bool,
    ) -> Self {
        let dead_bytes = dead.iter().map(|dead| u64::from(dead.bytes)).sum();
        Self {
            connection,
            _lock: lock,
            limits,
            newest,
            newest_is_deletion,
            live_bytes,
            dead,
            dead_bytes,
            last_group: 0,
            uncertain: false,
            synchronous: true,
            pages_changed: true,
            truncation_waits: false,
            packing: None,
            packed_ratio: 0.0,
        }
    }

    /// Appends are synchronised to disk one by one; housekeeping need not be, for the log keeps the order.
    fn set_synchronous(&mut self, synchronous: bool) -> rusqlite::Result<()> {
        if self.synchronous != synchronous {
            self.connection.pragma_update(None, "synchronous", if synchronous { "FULL" } else { "NORMAL" })?;
            self.synchronous = synchronous;
        }
        Ok(())
    }

    fn begin(&mut self, synchronous: bool) -> rusqlite::Result<Transaction<'_>> {
        self.set_synchronous(synchronous)?;
        self.connection.transaction_with_behavior(TransactionBehavior::Immediate)
    }

    fn insert(&mut self, events: &[Arc<Event>]) -> rusqlite::Result<()> {
        let (newest, uncertain) = (integer(self.newest), self.uncertain);
        self.uncertain = true;
        if let Some(pages) = self.limits.pages {
            let deletes = events.iter().any(|event| event.kind == EventKind::Deleted);
            limit_pages(&self.connection, if deletes { pages + RESERVED_PAGES } else { pages })?;
        }
        let transaction = self.begin(true)?;
        if uncertain {
            transaction.execute("DELETE FROM revisions WHERE revision > ?1", [newest])?;
        }
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO revisions (revision, key, created, value) VALUES (?1, ?2, ?3, ?4)")?;
            for event in events {
                let entry = &event.entry;
                // Nobody needs a final value after a restart.
                let value = (event.kind != EventKind::Deleted).then_some(&entry.value[..]);
                insert.execute(params![integer(entry.revision), &*entry.key, integer(entry.created), value])?;
            }
        }
        transaction.commit()?;
        self.uncertain = false;
        Ok(())
    }

    fn account(&mut self, event: &Event) {
        if let Some(previous) = &event.previous {
            let bytes = footprint(&previous.key, &previous.value);
            self.live_bytes = self.live_bytes.saturating_sub(bytes);
            self.bury(Dead::new(previous.revision, bytes));
        }
        self.newest = event.entry.revision;
        self.newest_is_deletion = event.kind == EventKind::Deleted;
        if self.newest_is_deletion {
            self.bury(Dead::new(event.entry.revision, footprint(&event.entry.key, &[])));
        } else {
            self.live_bytes += footprint(&event.entry.key, &event.entry.value);
        }
    }

    fn bury(&mut self, dead: Dead) {
        self.dead_bytes += u64::from(dead.bytes);
        self.dead.push_back(dead);
    }

    /// Superseded rows that may go; the newest row stays, it carries the revision over a restart.
    fn removable(&self) -> usize {
        self.dead.len() - usize::from(self.newest_is_deletion && !self.dead.is_empty())
    }

    fn remove_dead(&mut self) -> rusqlite::Result<()> {
        let count = self.removable().min(COMPACT_ROWS.max(4 * self.last_group));
        let revisions: Vec<i64> = self.dead.iter().take(count).map(|dead| integer(dead.revision)).collect();
        let transaction = self.begin(false)?;
        {
            let mut delete = transaction.prepare_cached("DELETE FROM revisions WHERE revision = ?1")?;
            for revision in revisions {
                delete.execute([revision])?;
            }
        }
        transaction.commit()?;
        for dead in self.dead.drain(..count) {
            self.dead_bytes = self.dead_bytes.saturating_sub(u64::from(dead.bytes));
        }
        if self.dead.capacity() > 4 * self.dead.len().max(COMPACT_ROWS) {
            self.dead.shrink_to(2 * self.dead.len());
        }
        self.pages_changed = true;
        Ok(())
    }

    fn pages(&self) -> rusqlite::Result<Pages> {
        let read = |name| {
            let value: i64 = self.connection.pragma_query_value(None, name, |row| row.get(0))?;
            Ok::<_, rusqlite::Error>(u64::try_from(value).unwrap_or_default())
        };
        let free = read("freelist_count")?;
        Ok(Pages { page_size: read("page_size")?, used: read("page_count")?.saturating_sub(free), free })
    }

    fn give_back(&mut self) -> rusqlite::Result<()> {
        self.set_synchronous(false)?;
        let mut statement = self.connection.prepare(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
        let mut rows = statement.query([])?;
        // Every step frees one page.
        while rows.next()?.is_some() {}
        drop(rows);
        drop(statement);
        self.truncation_waits = true;
        Ok(())
    }

    /// Moves one stretch of rows together; gives the last revision moved, `None` at the end.
    fn pack(&mut self, after: Revision) -> rusqlite::Result<Option<Revision>> {
        let transaction = self.begin(false)?;
        let mut stretch = Vec::new();
        {
            let mut bytes = 0;
            let mut select = transaction.prepare_cached(
                "SELECT revision, key, created, value FROM revisions WHERE revision > ?1 ORDER BY revision LIMIT ?2",
            )?;
            let mut rows = select.query(params![integer(after), PACK_ROWS])?;
            while bytes < PACK_BYTES
                && let Some(row) = rows.next()?
            {
                let fields: (i64, String, i64, Option<Vec<u8>>) = row.try_into()?;
                bytes += fields.3.as_ref().map_or(0, Vec::len);
                stretch.push(fields);
            }
        }
        let (Some(first), Some(last)) = (stretch.first(), stretch.last()) else { return Ok(None) };
        let last = last.0;
        transaction.execute("DELETE FROM revisions WHERE revision BETWEEN ?1 AND ?2", [first.0, last])?;
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO revisions (revision, key, created, value) VALUES (?1, ?2, ?3, ?4)")?;
            for fields in &stretch {
                insert.execute(params![fields.0, fields.1, fields.2, fields.3])?;
            }
        }
        transaction.commit()?;
        Ok(Revision::try_from(last).ok())
    }

    fn tidy_pages(&mut self) -> rusqlite::Result<bool> {
        if let Some(after) = self.packing {
            self.packing = self.pack(after)?;
            if self.packing.is_none() {
                self.packed_ratio = self.ratio(&self.pages()?);
            }
            return Ok(true);
        }
        let pages = self.pages()?;
        if pages.free * pages.page_size > self.limits.slack_bytes / 2 + self.live_bytes / 8 {
            self.give_back()?;
            return Ok(true);
        }
        let sparse = self.ratio(&pages) > SPARSE.max(self.packed_ratio * 1.2);
        if sparse && pages.used * pages.page_size > self.live_bytes + self.limits.slack_bytes {
            self.packing = Some(0);
            return Ok(true);
        }
        self.pages_changed = false;
        Ok(false)
    }

    fn ratio(&self, pages: &Pages) -> f64 {
        (pages.used * pages.page_size) as f64 / (self.live_bytes + self.dead_bytes).max(1) as f64
    }
}

impl Journal for SqliteJournal {
    fn append(&mut self, events: &[Arc<Event>]) -> Result<(), JournalError> {
        self.insert(events)?;
        events.iter().for_each(|event| self.account(event));
        self.last_group = events.len();
        Ok(())
    }

    fn maintain(&mut self, idle: bool) -> Result<bool, JournalError> {
        let tolerated = match (self.uncertain, idle) {
            // The disk may be full: every page counts.
            (true, _) => 0,
            (false, true) => self.limits.slack_bytes / 8,
            (false, false) => self.limits.slack_bytes.max(self.live_bytes / 4),
        };
        if self.dead_bytes > tolerated && self.removable() > 0 {
            self.remove_dead()?;
            return Ok(true);
        }
        if self.pages_changed && self.tidy_pages()? {
            return Ok(true);
        }
        if idle && self.truncation_waits {
            self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
            self.truncation_waits = false;
        }
        Ok(self.truncation_waits || (self.dead_bytes > self.limits.slack_bytes / 8 && self.removable() > 0))
    }
}

/// Sets how many pages the file may have.
pub(super) fn limit_pages(connection: &Connection, pages: i64) -> rusqlite::Result<()> {
    connection.pragma_update(None, "max_page_count", pages)
}

/// SQLite's integers are signed; a revision beyond that would take longer than anybody writes.
fn integer(revision: Revision) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}
