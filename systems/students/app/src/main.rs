//! Students: a REST API with a PostgreSQL database.
//!
//! `GET /api/student`, `GET|DELETE /api/student/{id}`, `POST /api/student`, the interactive API description at `/swagger`, metrics
//! at `/metrics`, probes at `/healthz` (the process lives) and `/readyz` (the database answers).

mod api;
mod config;
mod database;
mod metrics;

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use tokio::{net::TcpListener, signal::unix::SignalKind};

use crate::{config::Config, database::Database};

/// How long new connections are still accepted after SIGTERM: load balancers learn of the termination at the same moment
/// as we do, and need a moment to send requests elsewhere.
const DRAIN: Duration = Duration::from_secs(2);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    // First of all: the kernel drops signals that process 1 of a container does not handle yet.
    let mut terminate = tokio::signal::unix::signal(SignalKind::terminate())?;
    let mut interrupt = tokio::signal::unix::signal(SignalKind::interrupt())?;
    let config = Config::from_environment()?;
    let address = SocketAddr::from(([0, 0, 0, 0], config.port));
    let database = Database::new(&config)?;
    let listener = TcpListener::bind(address).await?;
    tracing::info!(%address, "listening");
    // Requests are answered with 503 until the schema is there; the process waits for its database instead of dying.
    let migration = tokio::spawn(database.clone().migrate_with_retries());
    axum::serve(listener, api::router(database))
        .with_graceful_shutdown(async move {
            tokio::select! {
                _ = terminate.recv() => tokio::time::sleep(DRAIN).await,
                _ = interrupt.recv() => {}
            }
        })
        .await?;
    migration.abort();
    Ok(())
}
