//! Jobs: pods until enough of them have succeeded.
//!
//! `plan` decides (pure), this file carries out. Pods carry the finalizer `batch.kubernetes.io/job-tracking` until their
//! outcome is in the Job's status, so that a pod that is deleted early is still counted once (KEP-2307).

mod plan;

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod},
};
use kube::{ResourceExt, api::DeleteParams, runtime::events::EventType};
use lotse_client::{Driver, Key, Next};
use serde_json::json;

use self::plan::{FINALIZER, INDEX, Observed, Step};
use crate::{
    Context, Error, claim,
    context::{Controller, Managed, now},
    pod,
};

const NAME: &str = "job";

struct Jobs;

/// Runs the controller until dropped.
pub(crate) async fn run(context: Context) {
    let (jobs, pods) = (context.cache::<Job>(), context.cache::<Pod>());
    jobs.ready().await;
    pods.ready().await;
    Driver::new(Managed::new(Jobs, &context)).on_kind(&jobs).on_owned::<Job, Pod>(&pods).run().await;
}

impl Controller for Jobs {
    const NAME: &'static str = NAME;

    async fn reconcile(&self, context: &Context, key: &Key) -> Result<Next, Error> {
        let Some(job) = context.cache::<Job>().get(key) else {
            return release_orphans(context, key).await;
        };
        if job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref()).is_some_and(|by| by != plan::MANAGED_BY) {
            return Ok(Next::Done);
        }
        let pods = pods_of(context, &job).await?;
        if let Some(field) = plan::unsupported(&job) {
            let note = format!(
                "spec.{field} is not supported by this cluster and has no effect; remove it or use spec.backoffLimit"
            );
            if job.status.as_ref().and_then(|status| status.start_time.as_ref()).is_none() {
                context.event(NAME, job.as_ref(), EventType::Warning, "UnsupportedField", note).await;
            }
        }
        let now = now();
        let plan = plan::plan(&Observed { job: &job, pods: &pods, now });
        if plan.expired {
            let api = context.namespaced::<Job>(key.namespace());
            context.delete_with(api, job.as_ref(), DeleteParams::background()).await?;
            return Ok(Next::Done);
        }
        // The outcome of pods is written down before anything lets go of them.
        context.status(NAME, job.as_ref(), job.status.as_ref(), &plan.status).await?;
        for (kind, reason, note) in &plan.events {
            context.event(NAME, job.as_ref(), *kind, reason, note.clone()).await;
        }
        let (mut creates, mut failure) = (Vec::new(), None);
        for step in &plan.steps {
            match step {
                Step::Create { index } => creates.push(*index),
                Step::Delete(pod) => match context.delete(pod.as_ref()).await {
                    Ok(()) => {
                        let note = format!("Deleted pod: {}", pod.name_any());
                        context.event(NAME, job.as_ref(), EventType::Normal, "SuccessfulDelete", note).await;
                    }
                    Err(error) => failure = Some(error),
                },
                Step::Release(pod) => release(context, pod).await?,
            }
        }
        create(context, &job, creates).await?;
        match failure {
            Some(error) => Err(error),
            None => Ok(plan.next.map_or(Next::Done, Next::After)),
        }
    }
}

/// The pods of a Job. A Job without selector (its server does not generate one) owns by reference alone.
async fn pods_of(context: &Context, job: &Arc<Job>) -> Result<Vec<Arc<Pod>>, Error> {
    let selector = job.spec.as_ref().and_then(|spec| spec.selector.clone());
    if let Some(selector) = selector {
        return claim::claim(context, NAME, job.as_ref(), &selector).await;
    }
    let uid = job.uid().unwrap_or_default();
    Ok(context
        .cache::<Pod>()
        .filter(|pod| pod.metadata.namespace == job.metadata.namespace && claim::is_controlled_by(&pod.metadata, &uid)))
}

/// Pods of a Job that is gone must not be held back by its finalizer.
async fn release_orphans(context: &Context, key: &Key) -> Result<Next, Error> {
    let orphans = context.cache::<Pod>().filter(|pod| {
        pod.metadata.namespace == key.namespace
            && pod.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
            && claim::controller_of(&pod.metadata).is_some_and(|owner| owner.kind == "Job" && owner.name == key.name)
    });
    for pod in orphans {
        release(context, &pod).await?;
    }
    Ok(Next::Done)
}

async fn release(context: &Context, pod: &Arc<Pod>) -> Result<(), Error> {
    // The newest state: this may be the second write to the pod in one pass.
    let Some(pod) = context.cache::<Pod>().get(&Key::of(pod.as_ref())) else { return Ok(()) };
    let finalizers: Vec<_> = pod.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER).collect();
    match context.merge(NAME, pod.as_ref(), json!({"metadata": {"finalizers": finalizers}})).await {
        Err(error) if error.is_not_found() => Ok(()),
        outcome => outcome.map(drop),
    }
}

/// The pod of a Job; `index` for Indexed completion.
fn new_pod(job: &Job, index: Option<i32>) -> Pod {
    let (name, uid) = (job.name_any(), job.uid().unwrap_or_default());
    let template = job.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let prefix = index.map_or_else(|| format!("{name}-"), |index| format!("{name}-{index}-"));
    let mut pod =
        pod::from_template(&template, &job.namespace().unwrap_or_default(), prefix, claim::controller_reference(job));
    pod.metadata.finalizers.get_or_insert_default().push(FINALIZER.to_owned());
    let labels = pod.metadata.labels.get_or_insert_default();
    if job.spec.as_ref().and_then(|spec| spec.manual_selector) != Some(true) {
        for (label, value) in labels_of(&name, &uid) {
            labels.insert(label.to_owned(), value.to_owned());
        }
    }
    let Some(index) = index else { return pod };
    labels.insert(INDEX.to_owned(), index.to_string());
    pod.metadata.annotations.get_or_insert_default().insert(INDEX.to_owned(), index.to_string());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(format!("{name}-{index}"));
    let variable = EnvVar {
        name: "JOB_COMPLETION_INDEX".to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: None,
                field_path: format!("metadata.labels['{INDEX}']"),
            }),
            ..EnvVarSource::default()
        }),
    };
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        let env = container.env.get_or_insert_default();
        if env.iter().all(|existing| existing.name != variable.name) {
            env.push(variable.clone());
        }
    }
    pod
}

fn labels_of<'a>(name: &'a str, uid: &'a str) -> BTreeMap<&'static str, &'a str> {
    [
        ("batch.kubernetes.io/controller-uid", uid),
        ("batch.kubernetes.io/job-name", name),
        ("controller-uid", uid),
        ("job-name", name),
    ]
    .into()
}

/// Creates pods in batches of 1, 2, 4, …, so that a refused template costs one request.
async fn create(context: &Context, job: &Arc<Job>, indexes: Vec<Option<i32>>) -> Result<(), Error> {
    let (mut rest, mut batch) = (indexes.as_slice(), 1);
    while !rest.is_empty() {
        let (now, later) = rest.split_at(batch.min(rest.len()));
        let pods: Vec<_> = now.iter().map(|index| new_pod(job, *index)).collect();
        for outcome in futures::future::join_all(pods.iter().map(|pod| context.create(NAME, pod))).await {
            match outcome {
                Ok(created) => {
                    let note = format!("Created pod: {}", created.name_any());
                    context.event(NAME, job.as_ref(), EventType::Normal, "SuccessfulCreate", note).await;
                }
                Err(error) => {
                    let note = format!("Error creating: {}", error.user_message());
                    context.event(NAME, job.as_ref(), EventType::Warning, "FailedCreate", note).await;
                    return Err(error);
                }
            }
        }
        (rest, batch) = (later, batch * 2);
    }
    Ok(())
}
