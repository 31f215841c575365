//! Success and failure thresholds: the pure part of a probe.

use k8s_openapi::api::core::v1::Probe;

/// What a probe decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Startup,
    Liveness,
    Readiness,
}

// === impl Kind ===

impl Kind {
    /// As events spell it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Kind::Startup => "Startup",
            Kind::Liveness => "Liveness",
            Kind::Readiness => "Readiness",
        }
    }
}

/// Counts equal outcomes in a row and turns them into a result at the threshold.
#[derive(Clone, Debug)]
pub(crate) struct State {
    result: Option<bool>,
    last: Option<bool>,
    run: u32,
    success_threshold: u32,
    failure_threshold: u32,
}

// === impl State ===

impl State {
    /// A startup probe knows nothing at first, liveness is assumed, readiness is `initial`.
    pub(crate) fn new(kind: Kind, probe: &Probe, initial: bool) -> Self {
        let threshold = |value: Option<i32>, default| {
            value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
        };
        let result = match kind {
            Kind::Startup => None,
            Kind::Liveness => Some(true),
            Kind::Readiness => Some(initial),
        };
        Self {
            result,
            last: None,
            run: 0,
            success_threshold: threshold(probe.success_threshold, 1),
            failure_threshold: threshold(probe.failure_threshold, 3),
        }
    }

    /// Adds one outcome; the new result if this changed it.
    pub(crate) fn observe(&mut self, success: bool) -> Option<bool> {
        self.run = if self.last == Some(success) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(success);
        let threshold = if success { self.success_threshold } else { self.failure_threshold };
        if self.run < threshold || self.result == Some(success) {
            return None;
        }
        self.result = Some(success);
        Some(success)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(kind: Kind, success: i32, failure: i32, initial: bool, outcomes: &str) -> String {
        let probe = Probe { success_threshold: Some(success), failure_threshold: Some(failure), ..Probe::default() };
        let mut state = State::new(kind, &probe, initial);
        let letter = |change| match change {
            None => '.',
            Some(true) => 'Y',
            Some(false) => 'N',
        };
        outcomes.chars().map(|outcome| letter(state.observe(outcome == '+'))).collect()
    }

    #[test]
    fn results_change_only_at_the_threshold() {
        for (kind, success, failure, initial, outcomes, expected) in [
            (Kind::Readiness, 1, 3, false, "+++", "Y.."),
            (Kind::Readiness, 1, 3, false, "---", "..."),
            (Kind::Readiness, 1, 3, false, "+--+---+", "Y.....NY"),
            (Kind::Readiness, 2, 1, false, "+-++", "...Y"),
            (Kind::Readiness, 1, 3, true, "+---", "...N"),
            (Kind::Liveness, 1, 3, false, "--+---", ".....N"),
            (Kind::Startup, 1, 3, false, "--+", "..Y"),
            (Kind::Startup, 1, 3, false, "---", "..N"),
            (Kind::Startup, 0, 0, false, "---", "..N"),
        ] {
            assert_eq!(changes(kind, success, failure, initial, outcomes), expected, "{kind:?} {outcomes}");
        }
    }
}
