//! The service proxy: follows Services and EndpointSlices and keeps the rules equal to them.

mod localhost;
mod plan;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};

use lotse_client::Informers;
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::{Instant, sleep_until},
};

use crate::{
    Network,
    catalog::{Catalog, Follower},
    program::chain,
    ruleset::{Backends, Frontend},
};

/// The first change after a quiet time waits this long for its companions: a Service and its slice, say.
const GATHER: Duration = Duration::from_millis(2);
/// After a transaction as much time passes as it took, at most this long: additions are quick and follow each other at
/// once, while removals, for which the kernel waits, are gathered.
const WINDOW: Duration = Duration::from_millis(25);
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How often it is checked that the rules are still there.
const REPAIR: Duration = Duration::from_secs(10);

/// Keeps service addresses, node ports and ports of 127.0.0.1 leading to ready endpoints. Replaces the whole ruleset
/// in one transaction at first, and then changes single elements. Runs until the future is dropped or the caches end;
/// the rules stay.
pub async fn run_services(network: Arc<Network>, informers: Informers) {
    let mut tasks = JoinSet::new();
    tasks.spawn(localhost::run(network.local_ports()));
    let (mut follower, mut catalog) = Follower::start(&informers).await;
    let mut applied = None;
    let mut retry = RETRY_MIN;
    loop {
        let began = Instant::now();
        let wanted = desired(&network, &catalog);
        let outcome = if applied.as_ref() == Some(&wanted) { Ok(()) } else { program(&network, &wanted).await };
        let failed = match outcome {
            Ok(()) => {
                applied = Some(wanted);
                retry = RETRY_MIN;
                None
            }
            Err(error) => {
                tracing::error!(error, "services are not up to date, trying again");
                applied = None;
                let next = began + retry;
                retry = (retry * 2).min(RETRY_MAX);
                Some(next)
            }
        };
        let rested = Instant::now() + began.elapsed().min(WINDOW);
        if !next_state(&network, &mut follower, &mut catalog, failed).await {
            return;
        }
        sleep_until(rested.max(Instant::now() + GATHER)).await;
        while let Some(event) = follower.try_next() {
            follower.apply(&mut catalog, &event);
        }
    }
}

/// Waits for a change of the catalog or for the time to try again; false when the caches have ended.
async fn next_state(
    network: &Arc<Network>,
    follower: &mut Follower,
    catalog: &mut Catalog,
    retry: Option<Instant>,
) -> bool {
    let mut repair = Instant::now() + REPAIR;
    loop {
        tokio::select! {
            event = follower.next() => return match event {
                Some(event) => {
                    follower.apply(catalog, &event);
                    true
                }
                None => false,
            },
            () = sleep_until(retry.unwrap_or(repair)) => {
                if retry.is_some() {
                    return true;
                }
                let network = network.clone();
                match spawn_blocking(move || network.repair()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(error = chain(&error), "rules could not be checked"),
                    Err(error) => tracing::warn!(%error, "rules could not be checked"),
                }
                repair = Instant::now() + REPAIR;
            }
        }
    }
}

fn desired(network: &Network, catalog: &Catalog) -> BTreeMap<Frontend, Backends> {
    let config = network.config();
    let options = plan::Options {
        service_cidr: config.service_cidr,
        dns_ip: config.dns_ip,
        reserved_ports: config.reserved_ports.iter().copied().collect(),
        external_ips: config.external_ips,
        local_addresses: local_addresses(),
    };
    plan::frontends(catalog, &options)
}

async fn program(network: &Arc<Network>, wanted: &BTreeMap<Frontend, Backends>) -> Result<(), String> {
    let (network, wanted) = (network.clone(), wanted.clone());
    let began = Instant::now();
    let count = wanted.len();
    match spawn_blocking(move || network.set_services(wanted)).await {
        Ok(Ok(())) => {
            tracing::debug!(frontends = count, elapsed = ?began.elapsed(), "services programmed");
            Ok(())
        }
        Ok(Err(error)) => Err(chain(&error)),
        Err(error) => Err(error.to_string()),
    }
}

/// The machine's own addresses; they change when a cable is plugged in.
fn local_addresses() -> BTreeSet<Ipv4Addr> {
    nix::ifaddrs::getifaddrs()
        .into_iter()
        .flatten()
        .filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip()))
        .collect()
}
