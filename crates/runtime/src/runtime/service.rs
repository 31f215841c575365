//! [`ContainerRuntime`] for [`Runtime`]: one change to a pod at a time, blocking work off the async threads.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::sync::broadcast;

use super::{Runtime, check_uid, lock};
use crate::{
    BoxFuture, ContainerRuntime, ContainerSpec, ContainerState, ContainerStats, ContainerStatus, Error, ExecSpec,
    Image, PodSpec, PodStatus, PullCredentials, RuntimeEvent, Session, durable,
    images::{self, import},
    pod::Pod,
    session,
    shim::protocol::{Request, Response},
    spec,
};

impl ContainerRuntime for Runtime {
    fn start_pod<'a>(&'a self, pod: &'a PodSpec) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            check_uid(&pod.uid)?;
            let guard = self.change(&pod.uid).await;
            if let Some(known) = self.inner.known(&pod.uid) {
                if known.is_alive() {
                    return Ok(());
                }
                return Err(Error::Shim {
                    pod: pod.uid.clone(),
                    message: "the sandbox is lost; remove the pod first".into(),
                });
            }
            let spec = pod.clone();
            self.blocking(move |inner| {
                // Held until the end, even if nobody waits for it any more.
                let _guard = guard;
                let pod = inner.start_pod(&spec)?;
                lock(&inner.pods).insert(spec.uid.clone(), Arc::clone(&pod));
                inner.follow(&pod);
                Ok(())
            })
            .await
        })
    }

    fn remove_pod<'a>(&'a self, pod: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let guard = self.change(pod).await;
            let Some(known) = self.inner.known(pod) else { return Ok(()) };
            // The shim writes the logs to their end if it may see the containers end.
            if known.is_alive() {
                for container in known.containers() {
                    if let Err(error) = self.stop(&known, &container.record.id, Duration::ZERO).await {
                        tracing::warn!(pod, error = %error.chain(), "a container of a pod that is removed could not be stopped");
                    }
                }
            }
            self.blocking(move |inner| {
                let _guard = guard;
                inner.remove_pod(&known)
            })
            .await
        })
    }

    fn pods(&self) -> Vec<PodStatus> {
        lock(&self.inner.pods).values().map(|pod| pod.status()).collect()
    }

    fn pod(&self, pod: &str) -> Option<PodStatus> {
        self.inner.known(pod).map(|pod| pod.status())
    }

    fn start_container<'a>(
        &'a self,
        pod: &'a str,
        container: &'a ContainerSpec,
    ) -> BoxFuture<'a, Result<ContainerStatus, Error>> {
        Box::pin(async move {
            let guard = self.change(pod).await;
            let known = self.inner.require(pod)?;
            let same = |status: &&ContainerStatus| status.name == container.name && status.attempt == container.attempt;
            if let Some(status) = known.status().containers.iter().find(same) {
                return Ok(status.clone());
            }
            let container = container.clone();
            self.blocking(move |inner| {
                let _guard = guard;
                inner.start_container(&known, &container)
            })
            .await
        })
    }

    fn stop_container<'a>(
        &'a self,
        pod: &'a str,
        container: &'a str,
        grace: Duration,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let Some(known) = self.inner.known(pod) else { return Ok(()) };
            self.stop(&known, container, grace).await
        })
    }

    fn remove_container<'a>(&'a self, pod: &'a str, container: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let guard = self.change(pod).await;
            let Some(known) = self.inner.known(pod) else { return Ok(()) };
            let id = container.to_owned();
            self.blocking(move |inner| {
                let _guard = guard;
                inner.remove_container(&known, &id)
            })
            .await
        })
    }

    fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.inner.events.subscribe()
    }

    fn exec<'a>(
        &'a self,
        pod: &'a str,
        container: &'a str,
        command: &'a ExecSpec,
    ) -> BoxFuture<'a, Result<Session, Error>> {
        Box::pin(async move {
            let known = self.inner.require(pod)?;
            running(&known, container)?;
            let (id, command) = (container.to_owned(), command.clone());
            let (response, descriptors, stream) = self
                .blocking(move |_| {
                    let config: serde_json::Value =
                        durable::read_json(&known.container_directory(&id).join("config.json"))?
                            .ok_or_else(|| Error::NotFound { what: "container", id: id.clone() })?;
                    let process = spec::exec_process(&config, &command.command, command.tty)?;
                    known.request(&Request::Exec { id, process, stdin: command.stdin, tty: command.tty })
                })
                .await?;
            match response {
                Response::Failed { message } => Err(Error::start(message)),
                streams => session::open(stream, &streams, descriptors),
            }
        })
    }

    fn attach<'a>(&'a self, pod: &'a str, container: &'a str, stdin: bool) -> BoxFuture<'a, Result<Session, Error>> {
        Box::pin(async move {
            let known = self.inner.require(pod)?;
            running(&known, container)?;
            let id = container.to_owned();
            let (response, descriptors, stream) =
                self.blocking(move |_| known.request(&Request::Attach { id, stdin })).await?;
            match response {
                Response::Failed { message } => Err(Error::start(message)),
                streams => session::open(stream, &streams, descriptors),
            }
        })
    }

    fn stats<'a>(&'a self, pod: &'a str, container: &'a str) -> BoxFuture<'a, Result<ContainerStats, Error>> {
        Box::pin(async move {
            let known = self.inner.require(pod)?;
            running(&known, container)?;
            let path = known.container_cgroup(container);
            self.inner
                .hierarchies
                .stats(&path)
                .ok_or_else(|| Error::NotFound { what: "running container", id: container.to_owned() })
        })
    }

    fn image(&self, reference: &str) -> Option<Image> {
        self.inner.images.find(reference)
    }

    fn images(&self) -> Vec<Image> {
        self.inner.images.list()
    }

    fn pull<'a>(
        &'a self,
        reference: &'a str,
        credentials: &'a [PullCredentials],
    ) -> BoxFuture<'a, Result<Image, Error>> {
        Box::pin(images::pull::pull(&self.inner.images, reference, credentials))
    }

    fn import<'a>(
        &'a self,
        archive: &'a Path,
        name: Option<&'a str>,
        config: Option<serde_json::Value>,
    ) -> BoxFuture<'a, Result<Vec<Image>, Error>> {
        let (archive, name) = (archive.to_owned(), name.map(str::to_owned));
        Box::pin(self.blocking(move |inner| {
            let result = import::import(&inner.images, &archive, name.as_deref(), config);
            // A pull keeps its layers for the next attempt, which would otherwise begin anew; an archive is at hand.
            if result.is_err()
                && let Err(error) = inner.images.collect()
            {
                tracing::warn!(archive = %archive.display(), error = %error.chain(), "layers of a failed import are left");
            }
            result
        }))
    }

    fn remove_image<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        let reference = reference.to_owned();
        Box::pin(self.blocking(move |inner| inner.images.remove(&reference)))
    }
}

fn running(pod: &Pod, id: &str) -> Result<(), Error> {
    match pod.container(id).map(|container| container.state) {
        Some(ContainerState::Running { .. }) => Ok(()),
        _ => Err(Error::NotFound { what: "running container", id: id.to_owned() }),
    }
}
