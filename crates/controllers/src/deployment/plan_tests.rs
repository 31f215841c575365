#![allow(clippy::unwrap_used, clippy::expect_used)]
//! A tiny model of ReplicaSets and pods runs rollouts to their end and checks the limits at every step.

use serde_json::{Value, json};

use super::*;

/// One pod of the model: it becomes ready after some rounds, or never.
#[derive(Clone)]
struct ModelPod {
    ready_in: Option<u32>,
}

struct Model {
    deployment: Deployment,
    sets: Vec<Arc<ReplicaSet>>,
    pods: BTreeMap<String, Vec<ModelPod>>,
    ready_after: Option<u32>,
    now: Timestamp,
    clock: u32,
    /// Least pods available and most pods in existence that were ever seen.
    least: usize,
    most: usize,
}

fn deployment(replicas: i32, strategy: Value, image: &str) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "d", "uid": "u", "generation": 1},
        "spec": {
            "replicas": replicas,
            "strategy": strategy,
            "selector": {"matchLabels": {"app": "web"}},
            "template": template(image),
        },
    }))
    .unwrap()
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

fn rolling(surge: Value, unavailable: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

impl Model {
    fn new(deployment: Deployment) -> Self {
        Self {
            deployment,
            sets: Vec::new(),
            pods: BTreeMap::new(),
            ready_after: Some(1),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            clock: 0,
            least: usize::MAX,
            most: 0,
        }
    }

    fn set_image(&mut self, image: &str) {
        self.deployment.spec.template = serde_json::from_value(template(image)).unwrap();
        *self.deployment.metadata.generation.as_mut().unwrap() += 1;
    }

    /// One pass of the Deployment controller, then one of the ReplicaSet controller and the kubelet. Returns whether
    /// anything changed.
    fn round(&mut self) -> bool {
        self.clock += 1;
        self.now = self.now.checked_add(jiff::SignedDuration::from_secs(1)).unwrap();
        let pods = self.pods.clone();
        let running = |set: &ReplicaSet| pods.get(&set.name_any()).is_some_and(|pods| !pods.is_empty());
        let plan = plan(&Observed { deployment: &self.deployment, sets: &self.sets, now: self.now, running: &running });
        let mut changed = !plan.steps.is_empty();
        for step in plan.steps {
            match step {
                Step::Create(mut set) => {
                    set.metadata.uid = Some(set.name_any());
                    set.metadata.generation = Some(1);
                    set.metadata.creation_timestamp = Some(crate::pod::time(self.now));
                    assert!(self.sets.iter().all(|old| old.metadata.name != set.metadata.name), "created twice");
                    self.sets.push(Arc::new(*set));
                }
                Step::Scale { set, replicas, annotations } => self.change(&set.name_any(), |set| {
                    set.spec.replicas = Some(replicas);
                    set.metadata.annotations.get_or_insert_default().extend(annotations);
                }),
                Step::Annotate { set, annotations, min_ready_seconds } => self.change(&set.name_any(), |set| {
                    set.spec.min_ready_seconds = min_ready_seconds;
                    set.metadata.annotations.get_or_insert_default().extend(annotations);
                }),
                Step::Revision(revision) => {
                    let annotations = self.deployment.metadata.annotations.get_or_insert_default();
                    annotations.insert(REVISION.to_owned(), revision.to_string());
                }
                Step::Delete(set) => self.sets.retain(|other| other.metadata.name != set.metadata.name),
            }
        }
        changed |= self.deployment.status.as_ref() != Some(&plan.status);
        self.deployment.status = Some(plan.status);
        changed | self.replica_sets()
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut ReplicaSet)) {
        let set = self.sets.iter_mut().find(|set| set.name_any() == name).unwrap();
        change(Arc::make_mut(set));
    }

    fn replica_sets(&mut self) -> bool {
        let mut changed = false;
        for pod in self.pods.values_mut().flatten() {
            if let Some(left) = pod.ready_in.as_mut().filter(|left| **left > 0) {
                *left -= 1;
                changed = true;
            }
        }
        for set in &mut self.sets {
            let pods = self.pods.entry(set.name_any()).or_default();
            let wanted = usize::try_from(size(set)).unwrap();
            changed |= pods.len() != wanted;
            // Pods that are not ready go first.
            pods.sort_by_key(|pod| pod.ready_in != Some(0));
            pods.resize(wanted, ModelPod { ready_in: self.ready_after });
            let ready = i32::try_from(pods.iter().filter(|pod| pod.ready_in == Some(0)).count()).unwrap();
            let set = Arc::make_mut(set);
            let status = set.status.get_or_insert_default();
            (status.replicas, status.ready_replicas, status.available_replicas) =
                (i32::try_from(pods.len()).unwrap(), Some(ready), Some(ready));
            status.observed_generation = set.metadata.generation;
        }
        let available = self.pods.values().flatten().filter(|pod| pod.ready_in == Some(0)).count();
        self.least = self.least.min(available);
        self.most = self.most.max(self.pods.values().map(Vec::len).sum());
        changed
    }

    fn settle(&mut self) {
        for _ in 0..400 {
            if !self.round() {
                return;
            }
        }
        panic!("the rollout does not end");
    }

    /// Settles, then watches the extremes of what follows.
    fn watch(&mut self) {
        self.settle();
        (self.least, self.most) = (usize::MAX, 0);
    }

    fn sizes(&self) -> Vec<i32> {
        self.sets.iter().map(|set| size(set)).collect()
    }

    fn condition(&self, kind: &str) -> (String, String) {
        let status = self.deployment.status.as_ref().unwrap();
        let found = status.conditions.iter().flatten().find(|c| c.type_.as_deref() == Some(kind)).unwrap();
        (found.status.clone().unwrap(), found.reason.clone().unwrap())
    }

    fn revision(&self) -> &str {
        &self.deployment.metadata.annotations.as_ref().unwrap()[REVISION]
    }
}

#[test]
fn rollouts_end_and_never_leave_the_limits() {
    for replicas in [1, 2, 3, 5, 10] {
        for (surge, unavailable) in [
            (json!(1), json!(0)),
            (json!(0), json!(1)),
            (json!("25%"), json!("25%")),
            (json!(0), json!(0)),
            (json!("100%"), json!(0)),
            (json!(3), json!(2)),
            (json!("50%"), json!("50%")),
        ] {
            for delay in [0, 1, 3] {
                let strategy = rolling(surge.clone(), unavailable.clone());
                let case = format!("{replicas} replicas, {strategy}, ready after {delay}");
                let mut model = Model::new(deployment(replicas, strategy, "a"));
                let limits = Limits::of(&model.deployment);
                model.ready_after = Some(delay);
                model.watch();
                model.set_image("b");
                model.settle();
                assert_eq!(model.sizes(), [0, replicas], "{case}");
                let least = usize::try_from(limits.desired - limits.max_unavailable).unwrap();
                let most = usize::try_from(limits.desired + limits.max_surge).unwrap();
                assert!(model.least >= least, "{case}: {} available, {least} promised", model.least);
                assert!(model.most <= most, "{case}: {} pods, {most} allowed", model.most);
                let done = ("True".to_owned(), "NewReplicaSetAvailable".to_owned());
                assert_eq!(model.condition("Progressing"), done, "{case}");
                assert_eq!(model.condition("Available").0, "True", "{case}");
                assert_eq!(model.revision(), "2", "{case}");
            }
        }
    }
}

#[test]
fn a_broken_template_leaves_the_old_pods_serving_and_says_when_time_is_up() {
    let mut model = Model::new(deployment(3, rolling(json!(1), json!(0)), "a"));
    model.deployment.spec.progress_deadline_seconds = Some(30);
    model.watch();
    model.ready_after = None;
    model.set_image("broken");
    for _ in 0..40 {
        model.round();
    }
    assert_eq!(model.sizes(), [3, 1]);
    assert_eq!(model.least, 3);
    assert_eq!(model.condition("Progressing"), ("False".to_owned(), "ProgressDeadlineExceeded".to_owned()));
    assert_eq!(model.condition("Available").0, "True");
    // The way back is the old template under a new revision.
    model.ready_after = Some(1);
    model.set_image("a");
    model.settle();
    assert_eq!(model.sizes(), [3, 0]);
    assert_eq!(model.revision(), "3");
    assert_eq!(model.sets[0].metadata.annotations.as_ref().unwrap()[REVISION_HISTORY], "1");
    assert_eq!(model.condition("Progressing").1, "NewReplicaSetAvailable");
}

#[test]
fn recreate_starts_nothing_before_the_last_old_pod_is_gone() {
    let mut model = Model::new(deployment(3, json!({"type": "Recreate"}), "a"));
    model.watch();
    model.set_image("b");
    model.settle();
    assert_eq!(model.sizes(), [0, 3]);
    assert_eq!((model.least, model.most), (0, 3));
}

#[test]
fn scaling_reaches_the_number_without_a_rollout() {
    let mut model = Model::new(deployment(2, rolling(json!("25%"), json!("25%")), "a"));
    model.settle();
    for replicas in [5, 0, 3] {
        model.deployment.spec.replicas = Some(replicas);
        model.settle();
        assert_eq!(model.sizes(), [replicas]);
        assert_eq!(model.revision(), "1");
    }
}

#[test]
fn scaling_during_a_rollout_is_shared_in_proportion() {
    let mut model = Model::new(deployment(10, rolling(json!(3), json!(2)), "a"));
    model.settle();
    model.ready_after = None;
    model.set_image("b");
    model.settle();
    assert_eq!(model.sizes(), [8, 5]);
    model.deployment.spec.replicas = Some(15);
    model.round();
    // 18 pods may exist instead of 13: five more, 8 : 5.
    assert_eq!(model.sizes(), [11, 7]);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut model = Model::new(deployment(2, rolling(json!(1), json!(0)), "a"));
    model.settle();
    model.deployment.spec.paused = Some(true);
    model.set_image("b");
    model.settle();
    assert_eq!(model.sizes(), [2]);
    assert_eq!(model.condition("Progressing"), ("Unknown".to_owned(), "DeploymentPaused".to_owned()));
    model.deployment.spec.replicas = Some(4);
    model.settle();
    assert_eq!(model.sizes(), [4]);
    model.deployment.spec.paused = None;
    model.settle();
    assert_eq!(model.sizes(), [0, 4]);
    assert_eq!(model.condition("Progressing").1, "NewReplicaSetAvailable");
}

#[test]
fn only_the_history_that_was_asked_for_is_kept() {
    let mut model = Model::new(deployment(1, rolling(json!(1), json!(0)), "a"));
    model.deployment.spec.revision_history_limit = Some(2);
    for image in ["b", "c", "d", "e"] {
        model.settle();
        model.set_image(image);
    }
    model.settle();
    assert_eq!(model.sizes(), [0, 0, 1]);
    assert_eq!(model.revision(), "5");
}

#[test]
fn percentages_round_as_in_kubernetes() {
    let table = [
        (10, json!("25%"), json!("25%"), 3, 2),
        (1, json!("25%"), json!("25%"), 1, 0),
        (3, json!("25%"), json!("25%"), 1, 0),
        (4, json!(0), json!("10%"), 0, 1),
        (2, json!(1), json!(5), 1, 2),
    ];
    for (replicas, surge, unavailable, max_surge, max_unavailable) in table {
        let limits = Limits::of(&deployment(replicas, rolling(surge.clone(), unavailable.clone()), "a"));
        assert_eq!(
            (limits.max_surge, limits.max_unavailable),
            (max_surge, max_unavailable),
            "{replicas} {surge} {unavailable}"
        );
    }
}
