//! A connection to a running cluster, for commands.

use kube::{Client, config::Kubeconfig};

use crate::{
    exit::{Failure, Kind},
    profile::Profile,
};

/// A client with the administrator's credentials of `profile`.
pub(crate) async fn connect(profile: &Profile) -> Result<Client, Failure> {
    Client::try_from(config(profile).await?).map_err(|error| Failure::from_error("connection", &error))
}

/// Address and credentials of the running cluster of `profile`.
pub(crate) async fn config(profile: &Profile) -> Result<kube::Config, Failure> {
    if profile.daemon().is_none() {
        let message = format!("the cluster of profile {} is not running", profile.name);
        return Err(Failure::new(Kind::Unreachable, message).with_hint("`lotse up --detach` starts it"));
    }
    let path = profile.kubeconfig();
    let kubeconfig = Kubeconfig::read_from(&path).map_err(|error| Failure::from_error(path.display(), &error))?;
    kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default())
        .await
        .map_err(|error| Failure::from_error(path.display(), &error))
}
