//! `lotse reset`.

use std::{io, path::Path};

use crate::{
    daemon,
    exit::{Failure, Kind},
    output,
    profile::Profile,
};

pub(crate) fn run(profile: &Profile, yes: bool) -> Result<(), Failure> {
    if !yes {
        let message =
            format!("this deletes profile {} with all its volumes in {}", profile.name, profile.data_dir.display());
        return Err(Failure::new(Kind::Usage, message).with_hint("say --yes to go on"));
    }
    super::down::run(profile, 120)?;
    daemon::remove_traces(profile)?;
    for directory in [&profile.data_dir, &profile.run_dir] {
        remove(directory)?;
    }
    profile.remove()?;
    output::print(&format!("profile {} is deleted", profile.name))
}

fn remove(directory: &Path) -> Result<(), Failure> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failure::from_error(directory.display(), &error)),
        _ => Ok(()),
    }
}
