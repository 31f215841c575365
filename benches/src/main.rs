//! The figures of Lotse, each beside its peer's, measured in the same run on the same machine.
//!
//! `lotse-bench DIRECTORY-OF-BINARIES [SCENARIO...]`, from the repository's root, as root. Every scenario uses a cluster of its
//! own with everything running, as a user has it, and the real interfaces: the binary, HTTPS, watches, Git.

mod client;
mod cluster;
mod etcd;
mod load;
mod process;
mod report;
mod scenarios;
mod stats;

use std::{path::Path, process::ExitCode};

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// One thread: what the client takes from the server under test is bounded, and the same for every peer.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(binaries) = arguments.next() else {
        eprintln!("usage: lotse-bench DIRECTORY-OF-BINARIES [SCENARIO...]");
        return ExitCode::from(2);
    };
    let chosen: Vec<String> = arguments.collect();
    if let Some(unknown) = chosen.iter().find(|name| !scenarios::ALL.contains(&name.as_str())) {
        eprintln!("there is no scenario {unknown}; there are {}", scenarios::ALL.join(", "));
        return ExitCode::from(2);
    }
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("the TLS provider is already installed");
        return ExitCode::FAILURE;
    }
    println!("load average before: {}", process::load_average());
    println!(
        "durability: every acknowledged write is synchronised on both sides (SQLite WAL with synchronous=FULL; etcd with its"
    );
    println!(
        "default fdatasync of the WAL), on the same file system. TLS with client certificates on ours, none on etcd's."
    );
    println!("client and server share the machine's {} processors and are not pinned.\n", processors());
    let mut rows = Vec::new();
    let mut failed = false;
    for name in
        scenarios::ALL.into_iter().filter(|name| chosen.is_empty() || chosen.iter().any(|wanted| wanted == name))
    {
        eprintln!("measuring: {name}");
        if let Err(error) = scenarios::run(name, Path::new(&binaries), &mut rows).await {
            eprintln!("{name}: {error}");
            failed = true;
        }
    }
    report::print(&rows);
    println!("\nload average after: {}", process::load_average());
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
