//! HTTPS: TLS with optional client certificates, HTTP/1.1 and HTTP/2 on one port, upgrades, limits on slow clients.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::authn::{ConnectionIdentity, user_of_certificate};

const HANDSHAKE: Duration = Duration::from_secs(10);
/// Longest wait for the head of a request, which includes the pause between two requests of one connection. Longer than the 90 s
/// after which Go's and Rust's usual clients put an unused connection away: whoever closes first must not be the server, because a
/// request may be on its way.
const HEADERS: Duration = Duration::from_secs(100);
const DRAIN: Duration = Duration::from_secs(10);
const MAX_CONNECTIONS: usize = 4096;

/// Serves until shutdown.
pub(crate) async fn serve(
    config: rustls::ServerConfig,
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place,
            () = shutdown.cancelled() => break,
        };
        let Ok(place) = place else { break };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, or the peer is gone already: neither ends the server, and neither may spin.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = shutdown.cancelled() => break,
        };
        let (acceptor, router, watcher) = (acceptor.clone(), router.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _place = place;
            let _ = stream.set_nodelay(true);
            let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
                Err(_) => return tracing::debug!("TLS handshake took too long"),
            };
            let certificates = stream.get_ref().1.peer_certificates();
            let user = certificates.and_then(|chain| chain.first()).and_then(|leaf| user_of_certificate(leaf));
            let identity = user.map(|user| ConnectionIdentity(Arc::new(user)));
            let service = hyper::service::service_fn(move |mut request: http::Request<Incoming>| {
                if let Some(identity) = &identity {
                    request.extensions_mut().insert(identity.clone());
                }
                let response = router.clone().call(request.map(Body::new));
                async move { response.await.map_err(|never: Infallible| match never {}) }
            });
            let mut builder = Builder::new(TokioExecutor::new());
            builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(64 * 1024);
            builder
                .http2()
                .timer(TokioTimer::new())
                .keep_alive_interval(Duration::from_secs(30))
                .keep_alive_timeout(Duration::from_secs(15))
                .max_concurrent_streams(250)
                .max_header_list_size(32 * 1024);
            let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
            if let Err(error) = watcher.watch(connection).await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were still busy after {} s and are closed", DRAIN.as_secs());
    }
}
