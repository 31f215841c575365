//! Waiting times between attempts: 10 s, doubled up to 5 min, forgotten after a good run.

use std::time::Duration;

use jiff::Timestamp;

/// Kubernetes' figures (`k8s.io/kubernetes/pkg/kubelet`: `backOffPeriod`, `MaxCrashLoopBackOff`).
const FIRST: Duration = Duration::from_secs(10);
const MAX: Duration = Duration::from_secs(300);
/// A container that has run as long as this starts from the beginning.
const RESET_AFTER: Duration = Duration::from_secs(600);

/// How long the next attempt waits after the last one ended. The first repetition does not wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    delay: Duration,
}

// === impl Backoff ===

impl Backoff {
    /// Time between the end of the last run and the next start; zero after a run that was long enough.
    pub(crate) fn delay(self, ran_for: Duration) -> Duration {
        if ran_for >= RESET_AFTER { Duration::ZERO } else { self.delay }
    }

    /// The state after one more attempt that follows a run of `ran_for`.
    #[must_use]
    pub(crate) fn next(self, ran_for: Duration) -> Self {
        let delay = self.delay(ran_for);
        Self { delay: if delay.is_zero() { FIRST } else { delay.saturating_mul(2).min(MAX) } }
    }

    /// The delay that follows a failed attempt which did not run at all (pulls, creation).
    pub(crate) fn fail(&mut self) -> Duration {
        *self = self.next(Duration::ZERO);
        self.delay
    }
}

/// `time` plus `delay`; the far future where that cannot be represented.
pub(crate) fn after(time: Timestamp, delay: Duration) -> Timestamp {
    time.checked_add(delay).unwrap_or(Timestamp::MAX)
}

/// Time from `earlier` to `later`, zero when it is the other way round.
pub(crate) fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

/// A duration as Kubernetes' messages spell it: `10s`, `1m20s`, `5m0s`.
pub(crate) fn spell(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_from_ten_seconds_to_five_minutes() {
        let mut backoff = Backoff::default();
        let mut delays = Vec::new();
        for _ in 0..8 {
            delays.push(backoff.delay(Duration::from_secs(1)).as_secs());
            backoff = backoff.next(Duration::from_secs(1));
        }
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn ten_good_minutes_are_forgiven() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.fail();
        }
        assert_eq!(backoff.delay(Duration::from_secs(600)), Duration::ZERO);
        assert_eq!(backoff.next(Duration::from_secs(600)).delay(Duration::ZERO), FIRST);
    }

    #[test]
    fn durations_are_spelled_as_in_kubernetes() {
        for (seconds, text) in [(10, "10s"), (80, "1m20s"), (300, "5m0s")] {
            assert_eq!(spell(Duration::from_secs(seconds)), text);
        }
    }
}
