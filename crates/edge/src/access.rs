//! Who may pass: source ranges, passwords, rates.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use ipnet::IpNet;

use crate::annotations::Policy;

/// Sources that one shard of a limiter remembers; beyond it the idle ones are forgotten.
const SOURCES_PER_SHARD: usize = 4096;
const SHARDS: usize = 16;

/// What is limited, per source address. Also the identity of the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Limits {
    per_second: Option<u32>,
    per_minute: Option<u32>,
    burst_multiplier: u32,
    connections: Option<u32>,
}

/// Counters per source address.
pub(crate) struct Limiter {
    limits: Limits,
    hasher: RandomState,
    shards: [Mutex<HashMap<IpAddr, Source>>; SHARDS],
}

struct Source {
    /// Requests above the rate, in the leaky bucket of each rate.
    second: f64,
    minute: f64,
    seen: Instant,
    in_flight: u32,
}

/// A request in flight that counts against `limit-connections` until dropped.
pub(crate) struct Passage {
    limiter: Arc<Limiter>,
    source: IpAddr,
}

/// Whether `source` may reach an Ingress with `policy`: a denied source never, otherwise when nothing or it is allowed.
pub(crate) fn admits(policy: &Policy, source: IpAddr) -> bool {
    let within = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&source));
    !within(&policy.deny) && (policy.allow.is_empty() || within(&policy.allow))
}

// === impl Limits ===

impl Limits {
    /// The limits of `policy`, if it has any.
    pub(crate) fn of(policy: &Policy) -> Option<Self> {
        let limits = Self {
            per_second: policy.requests_per_second,
            per_minute: policy.requests_per_minute,
            burst_multiplier: policy.burst_multiplier.max(1),
            connections: policy.connections,
        };
        (limits.per_second.is_some() || limits.per_minute.is_some() || limits.connections.is_some()).then_some(limits)
    }
}

// === impl Limiter ===

impl Limiter {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, hasher: RandomState::new(), shards: std::array::from_fn(|_| Mutex::default()) }
    }

    /// Counts a request of `source`; `None` when it is one too many.
    pub(crate) fn pass(self: &Arc<Self>, source: IpAddr) -> Option<Passage> {
        self.admit(bucket_of(source), Instant::now())
            .then(|| Passage { limiter: self.clone(), source: bucket_of(source) })
    }

    fn admit(&self, source: IpAddr, now: Instant) -> bool {
        let mut shard = self.shard(source);
        if shard.len() >= SOURCES_PER_SHARD && !shard.contains_key(&source) {
            shard.retain(|_, known| known.in_flight > 0 || now.duration_since(known.seen).as_secs() < 60);
            if shard.len() >= SOURCES_PER_SHARD {
                return false;
            }
        }
        let known = shard.entry(source).or_insert(Source { second: 0.0, minute: 0.0, seen: now, in_flight: 0 });
        let elapsed = now.duration_since(known.seen).as_secs_f64();
        known.seen = now;
        let burst = f64::from(self.limits.burst_multiplier);
        let leak = |level: &mut f64, rate: Option<u32>, seconds: f64| {
            let rate = rate.map(f64::from)?;
            *level = (*level - elapsed * rate / seconds).max(0.0);
            Some(*level <= rate * burst)
        };
        let second = leak(&mut known.second, self.limits.per_second, 1.0).unwrap_or(true);
        let minute = leak(&mut known.minute, self.limits.per_minute, 60.0).unwrap_or(true);
        let connection = self.limits.connections.is_none_or(|limit| known.in_flight < limit);
        if !(second && minute && connection) {
            return false;
        }
        known.second += 1.0;
        known.minute += 1.0;
        known.in_flight += 1;
        true
    }

    fn shard(&self, source: IpAddr) -> std::sync::MutexGuard<'_, HashMap<IpAddr, Source>> {
        let index = (self.hasher.hash_one(source) as usize) % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One IPv6 customer has a /64; counting addresses would count nothing.
fn bucket_of(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if let Some(known) = self.limiter.shard(self.source).get_mut(&self.source) {
            known.in_flight = known.in_flight.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::time::Duration;

    use super::*;

    fn limiter(per_second: Option<u32>, connections: Option<u32>) -> Arc<Limiter> {
        Arc::new(Limiter::new(Limits { per_second, per_minute: None, burst_multiplier: 1, connections }))
    }

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let limiter = limiter(Some(10), None);
        let (source, start) = ("192.0.2.1".parse().unwrap(), Instant::now());
        let passed = (0..100).filter(|_| limiter.admit(source, start)).count();
        assert_eq!(passed, 11, "the burst of ten and one at the rate");
        let passed = (0..100).filter(|_| limiter.admit(source, start + Duration::from_secs(1))).count();
        assert_eq!(passed, 10);
        assert!(limiter.admit("192.0.2.2".parse().unwrap(), start), "another source is not concerned");
    }

    #[test]
    fn requests_in_flight_are_limited_until_they_end() {
        let limiter = limiter(None, Some(2));
        let source: IpAddr = "2001:db8::1".parse().unwrap();
        let first = limiter.pass(source).unwrap();
        let _second = limiter.pass("2001:db8::2".parse().unwrap()).unwrap();
        assert!(limiter.pass(source).is_none(), "the two addresses are of one /64");
        drop(first);
        assert!(limiter.pass(source).is_some());
    }

    #[test]
    fn a_denied_source_stays_denied_when_it_is_allowed_too() {
        let policy = Policy {
            allow: vec!["10.0.0.0/8".parse().unwrap()],
            deny: vec!["10.1.0.0/16".parse().unwrap()],
            ..Policy::default()
        };
        for (source, expected) in [("10.0.0.1", true), ("10.1.0.1", false), ("192.0.2.1", false)] {
            assert_eq!(admits(&policy, source.parse().unwrap()), expected, "{source}");
        }
    }
}
