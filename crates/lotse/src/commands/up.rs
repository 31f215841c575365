//! `lotse up`.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use tracing_subscriber::EnvFilter;

use super::{app, block_on};
use crate::{
    cli::Up,
    client, daemon,
    daemon::Report,
    exit::{Failure, Kind},
    output,
    profile::Profile,
    settings::Settings,
};

/// How long a daemon that does not answer is given to do so, or to end.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(name: &str, arguments: &Up) -> Result<(), Failure> {
    let started = Instant::now();
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::new(
            Kind::Environment,
            "Lotse starts containers and sets up a network, which only root may",
        )
        .with_hint("run it with sudo"));
    }
    let profile = Profile::create(name, arguments.data_dir.as_deref())?;
    let settings = Settings::resolve(&profile, &arguments.settings())?;
    if arguments.background {
        return in_background(&profile, &settings, started);
    }
    if arguments.detach {
        if block_on(is_serving(&profile))? {
            output::print(&format!("profile {name} is running already"))?;
        } else {
            output::print(&daemon::spawn_background(&profile, &background_arguments(name, &settings))?)?;
        }
        return deliver(&profile, arguments);
    }
    log_to_stderr();
    let delivery = arguments.repo.is_some().then(|| {
        let (profile, arguments) = (profile.clone(), arguments.repo.clone().zip(Some(arguments.source.clone())));
        std::thread::spawn(move || deliver_when_up(&profile, arguments))
    });
    let outcome = daemon::run(&profile, &settings, started, Report::Terminal);
    if let Some(delivery) = delivery.filter(std::thread::JoinHandle::is_finished) {
        let _ = delivery.join();
    }
    outcome
}

/// Whether a daemon runs and answers. One that is just ending, by whatever hand, is waited for: it is as good as gone.
async fn is_serving(profile: &Profile) -> Result<bool, Failure> {
    let deadline = Instant::now() + PATIENCE;
    while let Some(pid) = profile.daemon() {
        let version = async { client::connect(profile).await.ok()?.apiserver_version().await.ok() };
        if let Ok(Some(_)) = tokio::time::timeout(Duration::from_secs(2), version).await {
            return Ok(true);
        }
        if Instant::now() > deadline {
            let message = format!("the daemon of profile {} (process {pid}) runs but does not answer", profile.name);
            return Err(
                Failure::new(Kind::Unreachable, message).with_hint("`lotse logs` shows why; stop it and try again")
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(false)
}

/// The daemon that `--detach` has started.
fn in_background(profile: &Profile, settings: &Settings, started: Instant) -> Result<(), Failure> {
    // Fails only for a process that leads a group already; it is then detached from the terminal anyway.
    let _ = nix::unistd::setsid();
    log_to_stderr();
    let outcome = daemon::run(profile, settings, started, Report::Parent);
    if let Err(failure) = &outcome {
        tracing::error!("{failure}");
        Report::Parent.failed(failure);
    }
    outcome
}

fn background_arguments(name: &str, settings: &Settings) -> Vec<String> {
    let Settings { api_port, http_port, https_port, poll_seconds } = settings;
    let mut arguments: Vec<String> = ["up", "--background", "--profile", name].map(str::to_owned).to_vec();
    for (flag, value) in [("--api-port", api_port), ("--http-port", http_port), ("--https-port", https_port)] {
        arguments.extend([flag.to_owned(), value.to_string()]);
    }
    arguments.extend(["--poll-seconds".to_owned(), poll_seconds.to_string()]);
    arguments
}

fn deliver(profile: &Profile, arguments: &Up) -> Result<(), Failure> {
    let Some(repo) = &arguments.repo else { return Ok(()) };
    block_on(async {
        let client = client::connect(profile).await?;
        let name = app::create_for_repo(&client, repo, &arguments.source).await?;
        output::print(&format!("application {name} delivers {repo}; `lotse app get {name}` shows how far it is"))
    })
}

/// In the foreground the daemon occupies the main thread; the Application is created from beside it.
fn deliver_when_up(profile: &Profile, source: Option<(String, crate::cli::SourceArgs)>) {
    let Some((repo, source)) = source else { return };
    let outcome = block_on(async {
        let mut attempts = 0;
        loop {
            let created = match client::connect(profile).await {
                Ok(client) => app::create_for_repo(&client, &repo, &source).await,
                Err(failure) => Err(failure),
            };
            attempts += 1;
            match created {
                Err(_) if attempts < 100 => tokio::time::sleep(std::time::Duration::from_millis(200)).await,
                other => return other,
            }
        }
    });
    match outcome {
        Ok(name) => tracing::info!("application {name} delivers {repo}"),
        Err(failure) => tracing::error!("{repo} is not delivered: {failure}"),
    }
}

/// `LOTSE_LOG` chooses what is logged, in the syntax of `RUST_LOG`.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("LOTSE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal());
    // A second subscriber cannot be there: this is the first thing that every daemon does.
    let _ = subscriber.try_init();
}
