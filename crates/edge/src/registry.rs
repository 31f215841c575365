//! What outlives one table: connections, counters of limits, parsed certificates and expressions.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use regex::{Regex, RegexBuilder};
use rustls::sign::CertifiedKey;

use crate::{
    access::{Limiter, Limits},
    annotations::Protocol,
    metrics::Metrics,
    tls,
    upstream::Endpoint,
};

/// What outlives one table. A table is built from objects and from here; what no table uses is forgotten.
pub(crate) struct Registry {
    pub(crate) metrics: Metrics,
    upstream_tls: Arc<rustls::ClientConfig>,
    endpoints: Mutex<HashMap<(SocketAddr, Protocol), Arc<Endpoint>>>,
    limiters: Mutex<HashMap<(String, Limits), Weak<Limiter>>>,
    certificates: Mutex<HashMap<(String, String), Weak<CertifiedKey>>>,
    expressions: Mutex<HashMap<String, Arc<Regex>>>,
}

// === impl Registry ===

impl Registry {
    pub(crate) fn new(metrics: Metrics) -> Result<Self, rustls::Error> {
        Ok(Self {
            metrics,
            upstream_tls: Arc::new(tls::upstream_config()?),
            endpoints: Mutex::default(),
            limiters: Mutex::default(),
            certificates: Mutex::default(),
            expressions: Mutex::default(),
        })
    }

    /// The endpoint at `address`, with the connections it has.
    pub(crate) fn endpoint(&self, address: SocketAddr, protocol: Protocol) -> Arc<Endpoint> {
        let mut endpoints = lock(&self.endpoints);
        let new = || Arc::new(Endpoint::new(address, protocol, self.upstream_tls.clone()));
        endpoints.entry((address, protocol)).or_insert_with(new).clone()
    }

    /// The counters of `limits` for `ingress`; a change of the table does not reset them.
    pub(crate) fn limiter(&self, ingress: &str, limits: Limits) -> Arc<Limiter> {
        let mut limiters = lock(&self.limiters);
        let key = (ingress.to_owned(), limits);
        if let Some(limiter) = limiters.get(&key).and_then(Weak::upgrade) {
            return limiter;
        }
        let limiter = Arc::new(Limiter::new(limits));
        limiters.insert(key, Arc::downgrade(&limiter));
        limiter
    }

    /// The certificate of a Secret at a revision.
    pub(crate) fn certificate(
        &self,
        secret: &str,
        revision: &str,
        parse: impl FnOnce() -> Result<CertifiedKey, String>,
    ) -> Result<Arc<CertifiedKey>, String> {
        let mut certificates = lock(&self.certificates);
        let key = (secret.to_owned(), revision.to_owned());
        if let Some(certificate) = certificates.get(&key).and_then(Weak::upgrade) {
            return Ok(certificate);
        }
        let certificate = Arc::new(parse()?);
        certificates.insert(key, Arc::downgrade(&certificate));
        Ok(certificate)
    }

    /// `pattern` compiled; linear in its input and limited in size, whatever an Ingress says.
    pub(crate) fn expression(&self, pattern: &str) -> Result<Arc<Regex>, String> {
        let mut expressions = lock(&self.expressions);
        if let Some(expression) = expressions.get(pattern) {
            return Ok(expression.clone());
        }
        let expression = RegexBuilder::new(pattern)
            .size_limit(1 << 20)
            .dfa_size_limit(1 << 20)
            .nest_limit(64)
            .build()
            .map_err(|error| error.to_string())?;
        let expression = Arc::new(expression);
        expressions.insert(pattern.to_owned(), expression.clone());
        Ok(expression)
    }

    /// Forgets what the table that is served now does not use. Called after it was swapped in and the old one dropped
    /// from service; requests under way keep what they hold.
    pub(crate) fn forget_unused(&self, used: impl Fn(&Arc<Endpoint>) -> bool) {
        lock(&self.endpoints).retain(|_, endpoint| {
            let keep = used(endpoint);
            if !keep {
                endpoint.retire();
            }
            keep
        });
        lock(&self.limiters).retain(|_, limiter| limiter.strong_count() > 0);
        lock(&self.certificates).retain(|_, certificate| certificate.strong_count() > 0);
        lock(&self.expressions).retain(|_, expression| Arc::strong_count(expression) > 1);
    }

    /// Closes connections that idled too long.
    pub(crate) fn sweep(&self) {
        let endpoints: Vec<_> = lock(&self.endpoints).values().cloned().collect();
        endpoints.iter().for_each(|endpoint| endpoint.sweep());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
