//! Opening the file: lock, permissions, schema, recovery of the state.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{
    SqliteOptions,
    journal::{Dead, Limits, SqliteJournal, footprint, limit_pages},
};
use crate::{Entry, Revision, engine::Recovered};

/// Marks the file as a store of ours ("LTSE").
const APPLICATION_ID: i32 = 0x4c54_5345;

/// Raised with every change of the schema.
const SCHEMA_VERSION: i32 = 1;

/// Append-only in revision order. A row without value is a deletion; the newest row of a key counts. The row with the
/// highest revision is never removed, so that revisions go on from there.
const SCHEMA: &str = "CREATE TABLE revisions (
    revision INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    created INTEGER NOT NULL,
    value BLOB
) STRICT";

/// Pages after which the write-ahead log is copied back.
const CHECKPOINT_PAGES: i64 = 1000;

/// The write-ahead log is cut to this size, in bytes, once it has been copied back.
const LOG_BYTES: i64 = 4 << 20;

/// Why a store file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Another process (or this one) has it open.
    #[error("{path} is in use by another process; stop that one first")]
    InUse {
        /// The store.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("cannot {operation} {path}")]
    File {
        /// What was attempted.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is a SQLite database of somebody else's.
    #[error("{path} is a database, but not a Lotse store; choose another data directory")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// It was written by a newer version.
    #[error("{path} has format {found}, this version knows formats up to {known}; use the newer version that wrote it")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i32,
        /// The newest known format.
        known: i32,
    },
    /// Its content makes no sense.
    #[error("{path} is damaged; restore it from a snapshot")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// SQLite refused.
    #[error("cannot {operation} {path}")]
    Database {
        /// What was attempted.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
}

impl FileError {
    /// For `map_err`: an I/O error with its context.
    pub(super) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { operation, path, source }
    }

    /// For `map_err`: a database error with its context.
    pub(super) fn database(operation: &'static str, path: &Path) -> impl FnOnce(rusqlite::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged { path, source: Box::new(source) }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::InUse { path },
            _ => Self::Database { operation, path, source },
        }
    }
}

pub(super) struct Opened {
    pub(super) journal: SqliteJournal,
    pub(super) recovered: Recovered,
}

/// `path` with something appended to its last component.
pub(super) fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(super) fn open(path: &Path, options: &SqliteOptions) -> Result<Opened, FileError> {
    let lock = lock(path)?;
    create(path)?;
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let limits = prepare(&connection, path, options)?;
    let (recovered, dead, newest_is_deletion) = recover(&connection, path)?;
    let live_bytes = recovered.entries.values().map(|entry| footprint(&entry.key, &entry.value)).sum();
    let journal =
        SqliteJournal::new(connection, lock, limits, recovered.revision, live_bytes, dead, newest_is_deletion);
    Ok(Opened { journal, recovered })
}

/// The lock has a file of its own: closing any descriptor of the database file would release SQLite's own locks on it.
fn lock(path: &Path) -> Result<File, FileError> {
    let name = sibling(path, "-lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&name)
        .map_err(FileError::io("open the lock", &name))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(FileError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(FileError::io("lock", &name)(source)),
    }
}

/// Makes sure that the file exists and that only its owner can read it. SQLite gives its other files the same mode.
fn create(path: &Path) -> Result<(), FileError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => sync_directory(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::set_permissions(path, Permissions::from_mode(0o600))
                .map_err(FileError::io("restrict the permissions of", path))
        }
        Err(source) => Err(FileError::io("create", path)(source)),
    }
}

/// Makes a new name in the directory of `path` durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), FileError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(FileError::io("synchronise the directory", directory))
}

pub(super) fn connect(path: &Path, access: OpenFlags) -> Result<Connection, FileError> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(FileError::database("open", path))?;
    connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(FileError::database("open", path))?;
    Ok(connection)
}

fn prepare(connection: &Connection, path: &Path, options: &SqliteOptions) -> Result<Limits, FileError> {
    let read = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let failed = || FileError::database("read", path);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed())?;
    let application = read("application_id").map_err(failed())?;
    let version = read("user_version").map_err(failed())?;
    match (application, version, tables) {
        (0, 0, 0) => initialise(connection).map_err(FileError::database("initialise", path))?,
        (APPLICATION_ID, SCHEMA_VERSION, _) => {}
        (APPLICATION_ID, found, _) if found > SCHEMA_VERSION => {
            return Err(FileError::Newer { path: path.to_owned(), found, known: SCHEMA_VERSION });
        }
        _ => return Err(FileError::Foreign { path: path.to_owned() }),
    }
    configure(connection, options).map_err(FileError::database("configure", path))
}

fn initialise(connection: &Connection) -> rusqlite::Result<()> {
    // Must precede the first table.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    let transaction = connection.unchecked_transaction()?;
    transaction.execute(SCHEMA, [])?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    transaction.commit()
}

fn configure(connection: &Connection, options: &SqliteOptions) -> rusqlite::Result<Limits> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    connection.pragma_update(None, "cell_size_check", "ON")?;
    // In KiB. Appending touches few pages; what is read often is in memory anyway.
    connection.pragma_update(None, "cache_size", -1024)?;
    let mut limits = Limits { slack_bytes: options.slack_bytes, pages: None };
    if let Some(max_bytes) = options.max_bytes {
        let page_size: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let pages = (i64::try_from(max_bytes).unwrap_or(i64::MAX) / page_size.max(1)).max(1);
        limits.pages = Some(pages);
        limit_pages(connection, pages)?;
    }
    Ok(limits)
}

/// Reads all rows in the order in which they were written; finds the superseded ones in passing, in the order in which
/// they were superseded.
fn recover(connection: &Connection, path: &Path) -> Result<(Recovered, VecDeque<Dead>, bool), FileError> {
    let failed = || FileError::database("read", path);
    let damaged = |what: String| FileError::Damaged { path: path.to_owned(), source: what.into() };
    let mut entries: BTreeMap<Arc<str>, Entry> = BTreeMap::new();
    let mut dead = VecDeque::new();
    let mut newest: Revision = 0;
    let mut newest_is_deletion = false;
    let mut statement =
        connection.prepare("SELECT revision, key, created, value FROM revisions ORDER BY revision").map_err(failed())?;
    let mut rows = statement.query([]).map_err(failed())?;
    while let Some(row) = rows.next().map_err(failed())? {
        let field = |index| row.get_ref(index).map_err(failed());
        let number = |index| {
            let number = field(index)?.as_i64().ok().and_then(|number| Revision::try_from(number).ok());
            number.ok_or_else(|| damaged(format!("the row after revision {newest} has an invalid number")))
        };
        let (revision, created) = (number(0)?, number(2)?);
        if revision <= newest || created > revision {
            return Err(damaged(format!("the row after revision {newest} is out of order")));
        }
        let key = field(1)?;
        let key = key.as_str().map_err(|_| damaged(format!("the key of revision {revision} is not text")))?;
        let value = field(3)?;
        let value =
            value.as_blob_or_null().map_err(|_| damaged(format!("the value of revision {revision} is not a blob")))?;
        newest = revision;
        newest_is_deletion = value.is_none();
        let previous = match value {
            Some(value) => {
                let value = Bytes::copy_from_slice(value);
                match entries.get_mut(key) {
                    Some(entry) => {
                        let update = Entry { key: Arc::clone(&entry.key), value, revision, created };
                        Some(std::mem::replace(entry, update))
                    }
                    None => {
                        let key: Arc<str> = key.into();
                        entries.insert(Arc::clone(&key), Entry { key, value, revision, created })
                    }
                }
            }
            None => entries.remove(key),
        };
        dead.extend(previous.map(|entry| Dead::new(entry.revision, footprint(&entry.key, &entry.value))));
        if newest_is_deletion {
            dead.push_back(Dead::new(revision, footprint(key, &[])));
        }
    }
    Ok((Recovered { entries, revision: newest }, dead, newest_is_deletion))
}
