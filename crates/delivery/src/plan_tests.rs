#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::json;

use super::*;
use crate::application::{Automated, Source, SyncPolicy, SyncResult};

fn spec(prune: bool, self_heal: bool, retry: Option<Retry>) -> ApplicationSpec {
    ApplicationSpec {
        source: Some(Source::default()),
        sync_policy: Some(SyncPolicy {
            automated: Some(Automated { prune, self_heal, ..Automated::default() }),
            retry,
            ..SyncPolicy::default()
        }),
        ..ApplicationSpec::default()
    }
}

fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn last(phase: &str, revision: &str, retry_count: i64) -> OperationState {
    OperationState {
        phase: phase.to_owned(),
        retry_count,
        finished_at: Some(now()),
        sync_result: Some(SyncResult { revision: revision.to_owned(), ..SyncResult::default() }),
        ..OperationState::default()
    }
}

fn situation<'a>(last: Option<&'a OperationState>) -> Situation<'a> {
    Situation {
        revision: "abc",
        out_of_sync: true,
        requires_pruning: false,
        empty: false,
        last,
        heals: 0,
        last_heal: None,
        now: now(),
    }
}

#[test]
fn automation_syncs_new_revisions_and_heals_only_when_told() {
    let (succeeded, other) = (last("Succeeded", "abc", 0), last("Succeeded", "old", 0));
    let sync = Decision::Sync { prune: true, retry_count: 0 };
    assert_eq!(decide(&spec(true, false, None), situation(None)), sync);
    assert_eq!(decide(&spec(true, false, None), situation(Some(&other))), sync);
    assert_eq!(decide(&spec(true, false, None), situation(Some(&succeeded))), Decision::Nothing);
    assert_eq!(decide(&spec(true, true, None), situation(Some(&succeeded))), sync);
    assert_eq!(decide(&ApplicationSpec::default(), situation(None)), Decision::Nothing);
    let synced = Situation { out_of_sync: false, ..situation(None) };
    assert_eq!(decide(&spec(true, true, None), synced), Decision::Nothing);
}

#[test]
fn pruning_alone_is_a_reason_only_with_prune_and_never_for_an_empty_repository() {
    let prune = Situation { out_of_sync: false, requires_pruning: true, ..situation(None) };
    assert_eq!(decide(&spec(true, true, None), prune), Decision::Sync { prune: true, retry_count: 0 });
    assert_eq!(decide(&spec(false, true, None), prune), Decision::Nothing);
    assert_eq!(decide(&spec(true, true, None), Situation { empty: true, ..prune }), Decision::Nothing);
}

#[test]
fn failures_are_retried_with_the_configured_backoff_and_then_seldom() {
    let backoff = Backoff { duration: "1s".to_owned(), factor: 2, max_duration: "30s".to_owned() };
    let retry = Retry { limit: 2, backoff: Some(backoff) };
    let spec = spec(true, true, Some(retry.clone()));
    for (count, seconds) in [(0, 1), (1, 2), (2, 180), (3, 180)] {
        let failed = last("Failed", "abc", count);
        assert_eq!(decide(&spec, situation(Some(&failed))), Decision::Wait(Duration::from_secs(seconds)), "{count}");
        let later = Situation { now: now() + Duration::from_secs(seconds), ..situation(Some(&failed)) };
        assert_eq!(decide(&spec, later), Decision::Sync { prune: true, retry_count: count + 1 });
    }
    assert_eq!(retry_delay(Some(&Retry { limit: -1, ..retry }), 40), Duration::from_secs(30));
    assert_eq!(retry_delay(None, 0), LAST_RESORT);
}

#[test]
fn repeated_healing_slows_down() {
    let succeeded = last("Succeeded", "abc", 0);
    let at = |heals| Situation { heals, last_heal: Some(now()), ..situation(Some(&succeeded)) };
    let spec = spec(true, true, None);
    assert_eq!(decide(&spec, at(19)), Decision::Sync { prune: true, retry_count: 0 });
    assert_eq!(decide(&spec, at(21)), Decision::Wait(Duration::from_secs(2)));
    assert_eq!(decide(&spec, at(50)), Decision::Wait(Duration::from_secs(60)));
}

#[test]
fn durations_are_read_as_in_argo_cd() {
    for (text, expected) in [
        ("5s", Some(5_000)),
        ("3m", Some(180_000)),
        ("1h30m", Some(5_400_000)),
        ("500ms", Some(500)),
        ("7", Some(7_000)),
        ("", None),
        ("s", None),
        ("5x", None),
        ("99999999999999999999s", None),
    ] {
        assert_eq!(parse_duration(text), expected.map(Duration::from_millis), "{text}");
    }
}

#[test]
fn what_others_refer_to_is_applied_first() {
    let object =
        |kind: &str, wave: &str| json!({"kind": kind, "metadata": {"name": "x", "annotations": {SYNC_WAVE: wave}}});
    let mut objects = [
        object("Ingress", "0"),
        object("Widget", "0"),
        object("Deployment", "0"),
        object("Secret", "0"),
        object("Job", "-1"),
        object("Namespace", "2"),
    ];
    objects.sort_by_key(apply_order);
    let kinds: Vec<_> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Job", "Secret", "Deployment", "Ingress", "Widget", "Namespace"]);
}

#[test]
fn merge_diff_is_the_smallest_patch() {
    let old = json!({"a": 1, "b": {"c": 1, "d": 2}, "e": [1]});
    assert_eq!(merge_diff(&old, &old), None);
    let new = json!({"a": 1, "b": {"c": 3}, "e": [2], "f": 4});
    assert_eq!(merge_diff(&old, &new), Some(json!({"b": {"c": 3, "d": null}, "e": [2], "f": 4})));
}

#[test]
fn sync_options_of_an_object_are_a_list() {
    let object = json!({"metadata": {"annotations": {SYNC_OPTIONS: "Prune=false, Replace=true"}}});
    assert!(object_has_option(&object, "Prune=false") && object_has_option(&object, "Replace=true"));
    assert!(!object_has_option(&object, "Delete=false"));
}
