//! The record of syncs in an Application's status: the current operation, its results, the history.

use jiff::Timestamp;

use crate::application::*;

/// History entries that are kept unless the Application says otherwise.
const HISTORY: usize = 10;

/// A sync that is under way goes on with the revision that it began with, if it asked for one.
pub(crate) fn running_revision(status: &ApplicationStatus) -> Option<&str> {
    let state = status.operation_state.as_ref().filter(|state| state.phase == "Running")?;
    Some(state.operation.sync.as_ref()?.revision.as_str())
}

pub(crate) fn finish(status: &mut ApplicationStatus, phase: &str, message: &str, now: Timestamp) {
    if let Some(state) = &mut status.operation_state {
        phase.clone_into(&mut state.phase);
        message.clone_into(&mut state.message);
        state.finished_at = Some(now);
    }
}

pub(crate) fn fail_operation(status: &mut ApplicationStatus, application: &Application, message: &str, now: Timestamp) {
    status.operation_state = Some(OperationState {
        operation: application.operation.clone().unwrap_or_default(),
        phase: "Error".to_owned(),
        message: message.to_owned(),
        started_at: Some(now),
        finished_at: Some(now),
        ..OperationState::default()
    });
}

pub(crate) fn set_message(status: &mut ApplicationStatus, message: String) {
    if let Some(state) = &mut status.operation_state {
        state.message = message;
    }
}

pub(crate) fn previous_results(status: &ApplicationStatus) -> Vec<ResourceResult> {
    let state = status.operation_state.as_ref();
    state.and_then(|state| state.sync_result.as_ref()).map(|result| result.resources.clone()).unwrap_or_default()
}

/// The newest result for an object replaces an older one.
pub(crate) fn merge_results(results: &mut Vec<ResourceResult>, newer: Vec<ResourceResult>) {
    for result in newer {
        let same = |other: &ResourceResult| {
            (&other.group, &other.kind, &other.namespace, &other.name)
                == (&result.group, &result.kind, &result.namespace, &result.name)
        };
        match results.iter_mut().find(|other| same(other)) {
            Some(slot) => *slot = result,
            None => results.push(result),
        }
    }
}

/// Causes that a message names before it only counts the rest.
const CAUSES_NAMED: usize = 3;

pub(crate) fn failure_message(status: &ApplicationStatus) -> String {
    let results = previous_results(status);
    let failed: Vec<&ResourceResult> = results.iter().filter(|result| result.status == "SyncFailed").collect();
    let mut causes: Vec<String> = failed
        .iter()
        .take(CAUSES_NAMED)
        .map(|result| format!("{} {}: {}", result.kind, result.name, result.message))
        .collect();
    if failed.len() > CAUSES_NAMED {
        causes.push(format!("and {} more", failed.len() - CAUSES_NAMED));
    }
    // A sync that is tried again has results for those objects only that differed.
    let all = results.len().max(status.resources.len());
    format!("{} of {all} objects could not be synced: {}", failed.len(), causes.join("; "))
}

/// Adds to the history when something new was deployed.
pub(crate) fn record(
    status: &mut ApplicationStatus,
    spec: &ApplicationSpec,
    revision: &str,
    source: Source,
    initiated_by: Option<InitiatedBy>,
    started: Timestamp,
    by_user: bool,
) {
    let newest = status.history.last();
    let same = newest.is_some_and(|entry| entry.revision == revision && entry.source == source);
    if same && !by_user {
        return;
    }
    let id = newest.map_or(0, |entry| entry.id + 1);
    status.history.push(HistoryEntry {
        id,
        revision: revision.to_owned(),
        deployed_at: Some(Timestamp::now()),
        deploy_started_at: Some(started),
        source,
        initiated_by,
    });
    let limit = spec.revision_history_limit.unwrap_or(HISTORY).max(1);
    if status.history.len() > limit {
        status.history.drain(..status.history.len() - limit);
    }
}

/// A condition that says the same as before has been there since before.
pub(crate) fn keep_transition_times(previous: &[Condition], conditions: &mut [Condition], now: Timestamp) {
    for condition in conditions.iter_mut().filter(|condition| condition.last_transition_time.is_none()) {
        let before = previous.iter().find(|other| other.kind == condition.kind && other.message == condition.message);
        condition.last_transition_time = before.and_then(|other| other.last_transition_time).or(Some(now));
    }
}
