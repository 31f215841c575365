//! What every namespace has: the ServiceAccount `default` and the ConfigMap `kube-root-ca.crt`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::core::ObjectMeta;
use lotse_client::{Driver, Key, Next};

use crate::{
    Context, Error,
    context::{Controller, Managed},
};

const NAME: &str = "serviceaccount";
const DEFAULT: &str = "default";
const ROOT_CA: &str = "kube-root-ca.crt";
const CA_KEY: &str = "ca.crt";

struct Accounts;

/// Runs the controller until dropped.
pub(crate) async fn run(context: Context) {
    let (namespaces, accounts) = (context.cache::<Namespace>(), context.cache::<ServiceAccount>());
    let config_maps = context.cache::<ConfigMap>();
    namespaces.ready().await;
    accounts.ready().await;
    config_maps.ready().await;
    let namespace_of = |name: &Option<String>, wanted: &str, namespace: &Option<String>| {
        let ours = name.as_deref() == Some(wanted);
        namespace.clone().filter(|_| ours).map(Key::cluster).into_iter().collect()
    };
    Driver::new(Managed::new(Accounts, &context))
        .on_kind(&namespaces)
        .on(&accounts, move |account| namespace_of(&account.metadata.name, DEFAULT, &account.metadata.namespace))
        .on(&config_maps, move |map| namespace_of(&map.metadata.name, ROOT_CA, &map.metadata.namespace))
        .run()
        .await;
}

impl Controller for Accounts {
    const NAME: &'static str = NAME;

    async fn reconcile(&self, context: &Context, key: &Key) -> Result<Next, Error> {
        let Some(namespace) = context.cache::<Namespace>().get(key) else { return Ok(Next::Done) };
        let terminating = namespace.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Terminating");
        if terminating || namespace.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Done);
        }
        let meta = |name: &str| ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(key.name.clone()),
            ..ObjectMeta::default()
        };
        if context.cache::<ServiceAccount>().get(&Key::namespaced(&key.name, DEFAULT)).is_none() {
            let account = ServiceAccount { metadata: meta(DEFAULT), ..ServiceAccount::default() };
            allow_existing(context.create(NAME, &account).await)?;
        }
        let data: BTreeMap<_, _> = [(CA_KEY.to_owned(), context.config.ca_pem.clone())].into();
        match context.cache::<ConfigMap>().get(&Key::namespaced(&key.name, ROOT_CA)) {
            None => {
                let map = ConfigMap { metadata: meta(ROOT_CA), data: Some(data), ..ConfigMap::default() };
                allow_existing(context.create(NAME, &map).await)?;
            }
            Some(map) if map.data.as_ref() != Some(&data) => {
                let changed = ConfigMap { data: Some(data), ..(*map).clone() };
                context.replace_with(context.namespaced(&key.name), NAME, &changed).await?;
            }
            Some(_) => {}
        }
        Ok(Next::Done)
    }
}

fn allow_existing<T>(outcome: Result<T, Error>) -> Result<(), Error> {
    match outcome {
        Err(error) if error.is_already_exists() => Ok(()),
        outcome => outcome.map(drop),
    }
}
