//! Fakes of what the node talks to.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub(crate) mod api;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Secret, Service};
use lotse_network::{Attachment, HostPort, PodNetwork};
use lotse_runtime::{
    ContainerRuntime, ContainerSpec, ContainerState, ContainerStats, ContainerStatus, Error, ExecSpec, Image,
    ImageOrigin, PodSpec, PodStatus, PullCredentials, RuntimeEvent, Session, interface::BoxFuture,
};
use tokio::sync::broadcast;

use crate::sources::Sources;

/// Objects by kind, namespace and name.
#[derive(Default)]
pub(crate) struct FakeSources(HashMap<(String, String, String), serde_json::Value>);

impl FakeSources {
    pub(crate) fn from_objects(objects: Vec<serde_json::Value>) -> Self {
        let text = |object: &serde_json::Value, path: &str| {
            object.pointer(path).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
        };
        let key = |object: &serde_json::Value| {
            (text(object, "/kind"), text(object, "/metadata/namespace"), text(object, "/metadata/name"))
        };
        Self(objects.into_iter().map(|object| (key(&object), object)).collect())
    }

    fn get<K: serde::de::DeserializeOwned>(&self, kind: &str, namespace: &str, name: &str) -> Option<Arc<K>> {
        let object = self.0.get(&(kind.to_owned(), namespace.to_owned(), name.to_owned()))?;
        let mut object = object.clone();
        object.as_object_mut().unwrap().remove("kind");
        Some(Arc::new(serde_json::from_value(object).unwrap()))
    }
}

impl Sources for FakeSources {
    fn config_map(&self, namespace: &str, name: &str) -> Option<Arc<ConfigMap>> {
        self.get("ConfigMap", namespace, name)
    }

    fn secret(&self, namespace: &str, name: &str) -> Option<Arc<Secret>> {
        self.get("Secret", namespace, name)
    }

    fn claim(&self, namespace: &str, name: &str) -> Option<Arc<PersistentVolumeClaim>> {
        self.get("PersistentVolumeClaim", namespace, name)
    }

    fn persistent_volume(&self, name: &str) -> Option<Arc<PersistentVolume>> {
        self.get("PersistentVolume", "", name)
    }

    fn services(&self, namespace: &str) -> Vec<Arc<Service>> {
        let keys = self.0.keys().filter(|(kind, own, _)| kind == "Service" && own == namespace);
        keys.filter_map(|(_, _, name)| self.get("Service", namespace, name)).collect()
    }
}

/// A runtime without processes: containers run until a test ends them.
pub(crate) struct FakeRuntime {
    pub(crate) pods: Mutex<BTreeMap<String, PodStatus>>,
    pub(crate) images: Mutex<BTreeMap<String, Image>>,
    /// What was asked for, in order.
    pub(crate) calls: Mutex<Vec<String>>,
    /// Specs of started containers.
    pub(crate) specs: Mutex<Vec<ContainerSpec>>,
    /// Sentences with which starting a container of this name fails.
    pub(crate) failures: Mutex<BTreeMap<String, String>>,
    /// Containers that end on their own as soon as they are started, with a code.
    pub(crate) short_lived: Mutex<BTreeMap<String, i32>>,
    events: broadcast::Sender<RuntimeEvent>,
    counter: Mutex<u64>,
}

impl Default for FakeRuntime {
    fn default() -> Self {
        Self {
            pods: Mutex::default(),
            images: Mutex::default(),
            calls: Mutex::default(),
            specs: Mutex::default(),
            failures: Mutex::default(),
            short_lived: Mutex::default(),
            events: broadcast::channel(64).0,
            counter: Mutex::default(),
        }
    }
}

impl FakeRuntime {
    pub(crate) fn add_image(&self, name: &str) {
        let image = Image {
            id: format!("sha256:{name}"),
            names: vec![name.to_owned()],
            digests: vec![],
            size_bytes: 1,
            added: Timestamp::now(),
            origin: ImageOrigin::Imported,
            user: String::new(),
        };
        self.images.lock().unwrap().insert(name.to_owned(), image);
    }

    pub(crate) fn call(&self, text: impl Into<String>) {
        self.calls.lock().unwrap().push(text.into());
    }

    /// Ends the newest instance of a container.
    pub(crate) fn end(&self, pod: &str, container: &str, code: i32) {
        let id = {
            let mut pods = self.pods.lock().unwrap();
            let all = &mut pods.get_mut(pod).unwrap().containers;
            let one = all.iter_mut().rfind(|one| one.name == container).unwrap();
            finish(one, code);
            one.id.clone()
        };
        let _ = self.events.send(RuntimeEvent::ContainerExited { pod: pod.to_owned(), container: id });
    }

    /// The machine was rebooted: nothing runs any more.
    pub(crate) fn reboot(&self) {
        self.pods.lock().unwrap().values_mut().for_each(|pod| pod.alive = false);
    }
}

fn finish(status: &mut ContainerStatus, code: i32) {
    if let ContainerState::Running { started, .. } = status.state {
        let (signal, out_of_memory, finished) = (None, false, Timestamp::now());
        status.state = ContainerState::Exited { code, signal, out_of_memory, started, finished };
    }
}

fn unknown(id: &str) -> Error {
    Error::NotFound { what: "container", id: id.to_owned() }
}

impl ContainerRuntime for FakeRuntime {
    fn start_pod<'a>(&'a self, pod: &'a PodSpec) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.call(format!("start_pod {}", pod.name));
            let fresh = || PodStatus { spec: pod.clone(), alive: true, shim_pid: Some(1), containers: vec![] };
            self.pods.lock().unwrap().entry(pod.uid.clone()).or_insert_with(fresh);
            Ok(())
        })
    }

    fn remove_pod<'a>(&'a self, pod: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            if self.pods.lock().unwrap().remove(pod).is_some() {
                self.call(format!("remove_pod {pod}"));
            }
            Ok(())
        })
    }

    fn pods(&self) -> Vec<PodStatus> {
        self.pods.lock().unwrap().values().cloned().collect()
    }

    fn pod(&self, pod: &str) -> Option<PodStatus> {
        self.pods.lock().unwrap().get(pod).cloned()
    }

    fn start_container<'a>(
        &'a self,
        pod: &'a str,
        container: &'a ContainerSpec,
    ) -> BoxFuture<'a, Result<ContainerStatus, Error>> {
        Box::pin(async move {
            self.call(format!("start {} #{}", container.name, container.attempt));
            if let Some(message) = self.failures.lock().unwrap().get(&container.name) {
                return Err(Error::StartContainer { message: message.clone() });
            }
            let number = {
                let mut counter = self.counter.lock().unwrap();
                *counter += 1;
                *counter
            };
            std::fs::write(
                &container.log_path,
                format!("2026-01-01T00:00:00Z stdout F attempt {}\n", container.attempt),
            )
            .unwrap();
            let mut status = ContainerStatus {
                id: format!("{number:064x}"),
                name: container.name.clone(),
                attempt: container.attempt,
                image: container.image.clone(),
                labels: container.labels.clone(),
                log_path: container.log_path.clone(),
                state: ContainerState::Running { pid: 1, started: Timestamp::now() },
            };
            let code = self.short_lived.lock().unwrap().get(&container.name).copied();
            if let Some(code) = code {
                finish(&mut status, code);
            }
            self.specs.lock().unwrap().push(container.clone());
            self.pods.lock().unwrap().get_mut(pod).ok_or_else(|| unknown(pod))?.containers.push(status.clone());
            if code.is_some() {
                let _ = self
                    .events
                    .send(RuntimeEvent::ContainerExited { pod: pod.to_owned(), container: status.id.clone() });
            }
            Ok(status)
        })
    }

    fn stop_container<'a>(&'a self, pod: &'a str, container: &'a str, _: Duration) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let mut pods = self.pods.lock().unwrap();
            let all = &mut pods.get_mut(pod).ok_or_else(|| unknown(pod))?.containers;
            let one = all.iter_mut().find(|one| one.id == container).ok_or_else(|| unknown(container))?;
            finish(one, 143);
            self.call(format!("stop {}", one.name));
            Ok(())
        })
    }

    fn remove_container<'a>(&'a self, pod: &'a str, container: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            if let Some(pod) = self.pods.lock().unwrap().get_mut(pod) {
                pod.containers.retain(|one| one.id != container);
            }
            Ok(())
        })
    }

    fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.events.subscribe()
    }

    fn exec<'a>(&'a self, _: &'a str, _: &'a str, command: &'a ExecSpec) -> BoxFuture<'a, Result<Session, Error>> {
        Box::pin(async move {
            self.call(format!("exec {}", command.command.join(" ")));
            let code = i32::from(command.command.first().is_some_and(|program| program == "false"));
            let exit = Box::pin(async move { Ok(code) });
            Ok(Session { stdin: None, stdout: None, stderr: None, resize: None, exit })
        })
    }

    fn attach<'a>(&'a self, _: &'a str, container: &'a str, _: bool) -> BoxFuture<'a, Result<Session, Error>> {
        Box::pin(async move { Err(unknown(container)) })
    }

    fn stats<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<ContainerStats, Error>> {
        let stats = ContainerStats { cpu_nanos: 1_500_000_000, memory_working_set_bytes: 1 << 20, pids: 2 };
        Box::pin(async move { Ok(stats) })
    }

    fn image(&self, reference: &str) -> Option<Image> {
        let images = self.images.lock().unwrap();
        images.values().find(|image| image.id == reference || image.names.iter().any(|name| name == reference)).cloned()
    }

    fn images(&self) -> Vec<Image> {
        self.images.lock().unwrap().values().cloned().collect()
    }

    fn pull<'a>(&'a self, reference: &'a str, _: &'a [PullCredentials]) -> BoxFuture<'a, Result<Image, Error>> {
        Box::pin(async move {
            self.call(format!("pull {reference}"));
            let message = "manifest unknown".to_owned();
            self.image(reference).ok_or_else(|| Error::Pull { reference: reference.to_owned(), message })
        })
    }

    fn import<'a>(
        &'a self,
        _: &'a Path,
        _: Option<&'a str>,
        _: Option<serde_json::Value>,
    ) -> BoxFuture<'a, Result<Vec<Image>, Error>> {
        Box::pin(async move { Ok(vec![]) })
    }

    fn remove_image<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.images.lock().unwrap().retain(|_, image| image.id != reference);
            Ok(())
        })
    }
}

/// A network that hands out addresses of 10.42.0.0/16.
#[derive(Default)]
pub(crate) struct FakeNetwork {
    pub(crate) attached: Mutex<BTreeSet<String>>,
}

impl PodNetwork for FakeNetwork {
    fn attach<'a>(
        &'a self,
        uid: &'a str,
        host_ports: &'a [HostPort],
    ) -> lotse_network::BoxFuture<'a, Result<Attachment, lotse_network::Error>> {
        self.attached.lock().unwrap().insert(uid.to_owned());
        let attachment = Attachment {
            uid: uid.to_owned(),
            ip: Ipv4Addr::new(10, 42, 0, 7),
            namespace: PathBuf::from("/run/netns/fake"),
            host_ports: host_ports.to_vec(),
        };
        Box::pin(async move { Ok(attachment) })
    }

    fn detach<'a>(&'a self, uid: &'a str) -> lotse_network::BoxFuture<'a, Result<(), lotse_network::Error>> {
        self.attached.lock().unwrap().remove(uid);
        Box::pin(async move { Ok(()) })
    }

    fn attachments(&self) -> Vec<Attachment> {
        let attached = self.attached.lock().unwrap();
        let attachment = |uid: &String| Attachment {
            uid: uid.clone(),
            ip: Ipv4Addr::new(10, 42, 0, 7),
            namespace: PathBuf::from("/run/netns/fake"),
            host_ports: vec![],
        };
        attached.iter().map(attachment).collect()
    }

    fn connect_loopback<'a>(
        &'a self,
        _: &'a str,
        port: u16,
    ) -> lotse_network::BoxFuture<'a, Result<tokio::net::TcpStream, lotse_network::Error>> {
        Box::pin(async move {
            tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .map_err(|source| lotse_network::Error::Io { context: "connect".into(), source })
        })
    }

    fn host_ip(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 42, 0, 1)
    }

    fn dns_ip(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 43, 0, 10)
    }
}
