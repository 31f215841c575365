//! Copying a store that is in use.

use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rusqlite::{
    OpenFlags,
    backup::{Backup, StepResult},
};

use super::file::{FileError, connect, sibling, sync_directory};
use crate::Revision;

/// Copies in one step: it reads one moment of the database, and the writer, who appends to the log meanwhile, is not
/// held up. `to` appears only when it is complete and on disk.
pub(super) fn take(from: &Path, to: &Path) -> Result<Revision, FileError> {
    if to.try_exists().map_err(FileError::io("look for", to))? {
        return Err(FileError::io("create", to)(std::io::ErrorKind::AlreadyExists.into()));
    }
    let partial = sibling(to, ".partial");
    let result = copy(from, &partial).and_then(|(revision, _lock)| {
        // Unlike a rename, a link never replaces what has appeared there meanwhile.
        std::fs::hard_link(&partial, to).map_err(FileError::io("create", to))?;
        Ok(revision)
    });
    if !matches!(result, Err(FileError::InUse { .. })) {
        let _ = std::fs::remove_file(&partial);
    }
    let revision = result?;
    sync_directory(to)?;
    Ok(revision)
}

/// Gives the revision copied, and the file, locked against another copy to the same place.
fn copy(from: &Path, to: &Path) -> Result<(Revision, File), FileError> {
    let file: File = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(to)
        .map_err(FileError::io("create", to))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(FileError::InUse { path: to.to_owned() }),
        Err(TryLockError::Error(source)) => return Err(FileError::io("lock", to)(source)),
    }
    // A copy that was interrupted may have left something.
    file.set_len(0).map_err(FileError::io("empty", to))?;
    let source = connect(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut target = connect(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let failed = || FileError::database("write the snapshot", to);
    {
        let backup = Backup::new(&source, &mut target).map_err(failed())?;
        match backup.step(-1).map_err(failed())? {
            StepResult::Done => {}
            _ => return Err(FileError::InUse { path: from.to_owned() }),
        }
    }
    // Reading with a rollback journal leaves no log next to the copy.
    target.pragma_update(None, "journal_mode", "DELETE").map_err(failed())?;
    let revision: i64 =
        target.query_row("SELECT coalesce(max(revision), 0) FROM revisions", [], |row| row.get(0)).map_err(failed())?;
    target.close().map_err(|(_, error)| failed()(error))?;
    file.sync_all().map_err(FileError::io("synchronise", to))?;
    Ok((Revision::try_from(revision).unwrap_or_default(), file))
}
