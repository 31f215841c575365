//! The endpoints: agrees with the client, switches protocols and puts a transport under exec, attach or port-forward.

mod command;
mod port_forward;

use std::{future::Future, time::Duration};

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
pub(crate) use command::command;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
pub(crate) use port_forward::port_forward;
use tokio::time::timeout;

use crate::{
    error::Error,
    negotiate::{Agreement, Offer, Refusal, negotiate},
};

/// How long the client may take between our `101` and the end of its HTTP.
const UPGRADE: Duration = Duration::from_secs(30);
/// How long the client may take to open its streams, as in the kubelet.
const STREAM_CREATION: Duration = Duration::from_secs(30);

/// The connection after the switch of protocols.
type Connection = TokioIo<Upgraded>;

/// Answers `request`; if the client and `offer` have a protocol in common, runs what `work` makes of it and of the
/// connection in a task of its own.
fn upgrade<F, W>(request: Request<Body>, offer: &Offer, work: F) -> Response
where
    F: FnOnce(Agreement, Connection) -> W + Send + 'static,
    W: Future<Output = Result<(), Error>> + Send + 'static,
{
    let agreement = match negotiate(request.headers(), offer) {
        Ok(agreement) => agreement,
        Err(refusal) => return refusal.into_response(),
    };
    if request.extensions().get::<OnUpgrade>().is_none() {
        let message = "unable to upgrade: this connection cannot switch protocols, use HTTP/1.1";
        return Refusal::bad_request(message).into_response();
    }
    let response = agreement.response();
    let path = request.uri().path().to_owned();
    tokio::spawn(async move {
        let ended = match timeout(UPGRADE, hyper::upgrade::on(request)).await {
            Ok(Ok(connection)) => work(agreement, TokioIo::new(connection)).await,
            Ok(Err(error)) => Err(Error::Upgrade(error)),
            Err(_) => Err(Error::UpgradeTimeout(UPGRADE)),
        };
        if let Err(error) = ended {
            tracing::debug!(path, error = &error as &dyn std::error::Error, "streaming connection ended early");
        }
    });
    response
}
