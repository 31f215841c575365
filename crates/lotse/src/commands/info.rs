//! `lotse kubeconfig`, `lotse logs`, `lotse version`.

use std::{
    collections::VecDeque,
    fs::File,
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    time::Duration,
};

use serde_json::json;

use crate::{
    cli::Logs,
    exit::{Failure, Kind},
    output::{self, Format},
    profile::Profile,
};

pub(crate) fn kubeconfig(profile: &Profile, path_only: bool) -> Result<(), Failure> {
    let path = profile.kubeconfig();
    if !path.exists() {
        return Err(Failure::new(Kind::NotFound, format!("profile {} has never been started", profile.name))
            .with_hint("`lotse up --detach` starts it"));
    }
    if path_only {
        return output::print(&path.display().to_string());
    }
    let text = std::fs::read_to_string(&path).map_err(|error| Failure::from_error(path.display(), &error))?;
    output::print(&text)
}

pub(crate) fn logs(profile: &Profile, arguments: &Logs) -> Result<(), Failure> {
    let path = profile.log();
    let failure = |error: std::io::Error| Failure::from_error(path.display(), &error);
    let mut file = File::open(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::new(
            Kind::NotFound,
            format!("profile {} has no log: it was never started with --detach", profile.name),
        ),
        _ => failure(error),
    })?;
    match arguments.tail {
        Some(lines) => {
            let mut last = VecDeque::with_capacity(lines.min(10_000));
            for line in BufReader::new(&file).lines() {
                if last.len() == lines {
                    last.pop_front();
                }
                if lines > 0 {
                    last.push_back(line.map_err(failure)?);
                }
            }
            for line in last {
                output::print(&line)?;
            }
            file.seek(SeekFrom::End(0)).map_err(failure)?;
        }
        None => copy(&mut file).map_err(failure)?,
    }
    if !arguments.follow {
        return Ok(());
    }
    loop {
        // A file has no event that std offers; five looks a second cost nothing.
        std::thread::park_timeout(Duration::from_millis(200));
        copy(&mut file).map_err(failure)?;
    }
}

fn copy(file: &mut File) -> std::io::Result<()> {
    let mut text = Vec::new();
    loop {
        text.clear();
        Read::take(&mut *file, 64 * 1024).read_to_end(&mut text)?;
        if text.is_empty() {
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        out.write_all(&text)?;
        out.flush()?;
    }
}

pub(crate) fn version(format: Format) -> Result<(), Failure> {
    let data = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "kubernetes": crate::daemon::kubernetes_version(),
    });
    format.print(&data, || {
        format!("lotse {}\nKubernetes API {}", env!("CARGO_PKG_VERSION"), crate::daemon::kubernetes_version())
    })
}
