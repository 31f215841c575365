use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

struct Probe {
    running: AtomicUsize,
    most: AtomicUsize,
    runs: AtomicUsize,
    failures: usize,
}

impl Probe {
    fn new(failures: usize) -> Self {
        Self { running: 0.into(), most: 0.into(), runs: 0.into(), failures }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("not yet")]
struct NotYet;

impl Reconciler for Arc<Probe> {
    type Error = NotYet;

    fn name(&self) -> &'static str {
        "probe"
    }

    async fn reconcile(&self, _: &Key) -> Result<Next, NotYet> {
        let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.running.fetch_sub(1, Ordering::SeqCst);
        let run = self.runs.fetch_add(1, Ordering::SeqCst);
        if run < self.failures { Err(NotYet) } else { Ok(Next::Done) }
    }
}

#[tokio::test(start_paused = true)]
async fn one_key_never_runs_twice_at_once_and_runs_again_when_named_meanwhile() {
    let probe = Arc::new(Probe::new(0));
    let driver = Driver::new(probe.clone());
    let trigger = driver.trigger();
    let task = tokio::spawn(driver.run());
    for _ in 0..5 {
        trigger(Key::cluster("a"));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    task.abort();
    assert_eq!(probe.most.load(Ordering::SeqCst), 1);
    assert_eq!(probe.runs.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn failures_are_retried_with_growing_delay_until_they_succeed() {
    let probe = Arc::new(Probe::new(4));
    let driver = Driver::new(probe.clone());
    let trigger = driver.trigger();
    let task = tokio::spawn(driver.run());
    trigger(Key::cluster("a"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    // 50 + 100 ms have passed and the third delay of 200 ms runs.
    assert_eq!(probe.runs.load(Ordering::SeqCst), 3);
    tokio::time::sleep(Duration::from_secs(10)).await;
    task.abort();
    assert_eq!(probe.runs.load(Ordering::SeqCst), 5);
}

#[tokio::test(start_paused = true)]
async fn different_keys_run_side_by_side_up_to_the_limit() {
    let probe = Arc::new(Probe::new(0));
    let driver = Driver::new(probe.clone()).concurrency(3);
    let trigger = driver.trigger();
    let task = tokio::spawn(driver.run());
    for name in ["a", "b", "c", "d", "e"] {
        trigger(Key::cluster(name));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    task.abort();
    assert_eq!(probe.most.load(Ordering::SeqCst), 3);
    assert_eq!(probe.runs.load(Ordering::SeqCst), 5);
}

#[derive(Debug, thiserror::Error)]
#[error("create Pod a/b")]
struct Refused {
    source: Box<kube::Error>,
}

#[test]
fn a_namespace_that_goes_ends_the_trying_and_an_answer_is_one_sentence() {
    let refused = |reason: &str| {
        let status = serde_json::json!({
            "status": "Failure", "code": 403, "reason": "Forbidden", "message": "pods \"b\" is forbidden",
            "details": {"causes": [{"reason": reason, "message": "", "field": "metadata.namespace"}]},
        });
        Refused { source: Box::new(kube::Error::Api(Box::new(serde_json::from_value(status).unwrap()))) }
    };
    assert!(in_vain(&refused("NamespaceTerminating")));
    assert!(!in_vain(&refused("FieldValueInvalid")) && !in_vain(&NotYet));
    assert_eq!(chain(&refused("")), "create Pod a/b: pods \"b\" is forbidden");
}

#[test]
fn only_an_object_that_changed_or_went_meanwhile_is_a_race() {
    let answer = |code: u16| {
        let status = serde_json::json!({"status": "Failure", "code": code, "message": "no"});
        Refused { source: Box::new(kube::Error::Api(Box::new(serde_json::from_value(status).unwrap()))) }
    };
    for (code, race) in [(404, true), (409, true), (403, false), (422, false), (500, false)] {
        assert_eq!(is_race(&answer(code)), race, "{code}");
    }
    assert!(!is_race(&NotYet));
}
