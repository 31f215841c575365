//! The decisions of delivery, as pure functions: whether to sync, in which order, how long to wait.

use std::time::Duration;

use jiff::Timestamp;
use lotse_render::helm::INSTALL_ORDER;
use serde_json::Value;

use crate::application::{ApplicationSpec, Backoff, HELM_HOOK, HOOK, OperationState, Retry, SYNC_OPTIONS, SYNC_WAVE};

/// After the retries of a failed sync are used up, and where none are configured, it is tried again this seldom.
const LAST_RESORT: Duration = Duration::from_secs(180);

/// So many repairs in a row, less than a minute apart, are made without a pause.
const HEALS_AT_ONCE: u32 = 20;

/// A sync that the comparison calls for, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing to do.
    Nothing,
    /// Begin, or go on with, a sync.
    Sync {
        /// Delete what is no longer in the repository.
        prune: bool,
        /// How often this sync has failed before.
        retry_count: i64,
    },
    /// Look again after this time.
    Wait(Duration),
}

/// What the decision depends on besides the spec.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The commit that was compared.
    pub revision: &'a str,
    /// An object differs or is missing.
    pub out_of_sync: bool,
    /// An object is no longer in the repository.
    pub requires_pruning: bool,
    /// The repository has no object at all.
    pub empty: bool,
    /// The current or last sync.
    pub last: Option<&'a OperationState>,
    /// How often self-healing has repeated lately; others may be fighting over the same fields.
    pub heals: u32,
    /// When the last of them was.
    pub last_heal: Option<Timestamp>,
    /// Now.
    pub now: Timestamp,
}

/// Whether the automation of `spec` wants a sync now.
pub fn decide(spec: &ApplicationSpec, situation: Situation<'_>) -> Decision {
    let Some(automated) = spec.automated() else { return Decision::Nothing };
    let prune = automated.prune && (!situation.empty || automated.allow_empty);
    let differs = situation.out_of_sync || (situation.requires_pruning && prune);
    if !differs {
        return Decision::Nothing;
    }
    let sync = |retry_count| Decision::Sync { prune, retry_count };
    let Some(last) = situation.last else { return sync(0) };
    let attempted = last.sync_result.as_ref().map(|result| (result.revision.as_str(), &result.source));
    let same = attempted.is_some_and(|(revision, source)| {
        revision == situation.revision && spec.all_sources().first().is_some_and(|wanted| *wanted == source)
    });
    if !same {
        return sync(0);
    }
    match last.phase.as_str() {
        "Running" => sync(last.retry_count),
        "Succeeded" if automated.self_heal => {
            let delay = heal_delay(situation.heals);
            let ready = situation.last_heal.and_then(|at| at.checked_add(delay).ok());
            after(ready, situation.now, sync(0))
        }
        "Succeeded" => Decision::Nothing,
        _ => {
            let retry = spec.sync_policy.as_ref().and_then(|policy| policy.retry.as_ref());
            let delay = retry_delay(retry, last.retry_count);
            let ready = last.finished_at.and_then(|at| at.checked_add(delay).ok());
            after(ready, situation.now, sync(last.retry_count + 1))
        }
    }
}

fn after(ready: Option<Timestamp>, now: Timestamp, then: Decision) -> Decision {
    match ready {
        Some(ready) if ready > now => Decision::Wait(now.duration_until(ready).unsigned_abs()),
        _ => then,
    }
}

/// Repairs are immediate, as many as a person can ask for; only a fight with another controller, which never ends, slows down.
fn heal_delay(heals: u32) -> Duration {
    match heals.checked_sub(HEALS_AT_ONCE) {
        None => Duration::ZERO,
        Some(more) => Duration::from_secs(60.min(1 << more.min(6))),
    }
}

/// How long to wait after the failure number `count` (from 0).
pub fn retry_delay(retry: Option<&Retry>, count: i64) -> Duration {
    let Some(retry) = retry else { return LAST_RESORT };
    if retry.limit >= 0 && count >= retry.limit {
        return LAST_RESORT;
    }
    let Backoff { duration, factor, max_duration } = retry.backoff.clone().unwrap_or_default();
    let first = parse_duration(&duration).unwrap_or(Duration::from_secs(5));
    let most = parse_duration(&max_duration).unwrap_or(LAST_RESORT);
    let growth = factor.max(1).saturating_pow(u32::try_from(count.clamp(0, 30)).unwrap_or(30));
    first.saturating_mul(growth).min(most)
}

/// Whether an object is for a moment of a sync or a release instead of for good. Helm's `crd-install` of old is for good.
pub fn is_hook(object: &Value) -> bool {
    let helm = annotation(object, HELM_HOOK).is_some_and(|events| events.trim() != "crd-install");
    annotation(object, HOOK).is_some() || helm
}

/// `5s`, `3m`, `1h30m`, `500ms`, or plain seconds, as in Argo CD.
pub fn parse_duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let (mut total, mut rest) = (Duration::ZERO, text);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit())?;
        let amount: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let end = rest.find(|character: char| character.is_ascii_digit()).unwrap_or(rest.len());
        let unit = rest.get(..end)?;
        total = total.checked_add(match unit {
            "ms" => Duration::from_millis(amount),
            "s" => Duration::from_secs(amount),
            "m" => Duration::from_secs(amount.checked_mul(60)?),
            "h" => Duration::from_secs(amount.checked_mul(3600)?),
            _ => return None,
        })?;
        rest = rest.get(end..)?;
    }
    Some(total)
}

/// Where an object stands in the order: wave, kind as Helm orders them (unlisted ones last), namespace and name.
pub fn apply_order(object: &Value) -> (i64, usize, String, String) {
    let kind = object["kind"].as_str().unwrap_or_default();
    let position = INSTALL_ORDER.iter().position(|listed| *listed == kind).unwrap_or(INSTALL_ORDER.len());
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    (wave(object), position, text("/metadata/namespace"), text("/metadata/name"))
}

/// The object's sync wave; 0 when absent or malformed.
pub fn wave(object: &Value) -> i64 {
    annotation(object, SYNC_WAVE).and_then(|wave| wave.trim().parse().ok()).unwrap_or(0)
}

/// One annotation.
pub fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(name)?.as_str()
}

/// Whether the object's own sync options contain `option`, e.g. `Prune=false`.
pub fn has_sync_option(annotation: Option<&str>, option: &str) -> bool {
    annotation.is_some_and(|options| options.split(',').any(|set| set.trim() == option))
}

/// Whether the object's own sync options contain `option`.
pub fn object_has_option(object: &Value, option: &str) -> bool {
    has_sync_option(annotation(object, SYNC_OPTIONS), option)
}

/// The merge patch (RFC 7386) that turns `old` into `new`; `None` when they are equal.
pub fn merge_diff(old: &Value, new: &Value) -> Option<Value> {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let mut patch = serde_json::Map::new();
            for name in old.keys().filter(|name| !new.contains_key(*name)) {
                patch.insert(name.clone(), Value::Null);
            }
            for (name, value) in new {
                match old.get(name) {
                    Some(previous) => {
                        if let Some(change) = merge_diff(previous, value) {
                            patch.insert(name.clone(), change);
                        }
                    }
                    None => {
                        patch.insert(name.clone(), value.clone());
                    }
                }
            }
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        _ => (old != new).then(|| new.clone()),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
