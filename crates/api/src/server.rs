//! The server as a value: made from a store, served in-process and over HTTPS.

use std::{
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll},
};

use axum::{Router, body::Body};
use lotse_store::Store;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::{
    authn::{ConnectionIdentity, User, token::Tokens},
    authz::Authorizer,
    bootstrap,
    config::Config,
    crd,
    metrics::Metrics,
    openapi::OpenApi,
    pipeline,
    pki::{Names, Pki, PkiError},
    registry::{Current, Registry},
    tls,
};

/// Why an API server cannot start or serve.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Keys and certificates are not to be had.
    #[error("keys and certificates are not to be had")]
    Pki(#[source] PkiError),
    /// The key of service account tokens cannot be used.
    #[error("the key of service account tokens is damaged ({what})")]
    TokenKey {
        /// What is wrong.
        what: String,
    },
    /// An object that every cluster has could not be stored.
    #[error("{what} could not be stored")]
    Bootstrap {
        /// The object.
        what: String,
        /// Why.
        #[source]
        source: Box<crate::Error>,
    },
    /// The socket failed.
    #[error("the API's socket failed")]
    Socket(#[source] std::io::Error),
}

/// Everything that requests share.
pub(crate) struct Server {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) config: Config,
    pub(crate) registry: Current,
    pub(crate) authorizer: Authorizer,
    pub(crate) tokens: Tokens,
    pub(crate) pki: Pki,
    pub(crate) kubelet: RwLock<Option<Router>>,
    pub(crate) in_flight: Semaphore,
    /// Held from choosing a cluster IP or node port until it is stored.
    pub(crate) allocation: tokio::sync::Mutex<()>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) metrics: Metrics,
    pub(crate) openapi: OpenApi,
}

/// The Kubernetes API server. Clones are the same server.
#[derive(Clone)]
pub struct ApiServer(Arc<Server>);

impl ApiServer {
    /// Opens or makes keys and certificates, stores what every cluster has, and starts following CustomResourceDefinitions.
    /// Must be called within a tokio runtime. Listens nowhere: see [`ApiServer::serve`] and [`ApiServer::client`].
    ///
    /// # Errors
    ///
    /// [`ApiError::Pki`] for unusable key files, [`ApiError::Bootstrap`] when the store refuses.
    pub async fn new(store: Arc<dyn Store>, config: Config) -> Result<Self, ApiError> {
        let names =
            Names::new(&config.cluster_domain, config.kubernetes_ip(), config.advertise_address, &config.extra_sans);
        let dir = config.pki_dir.clone();
        let pki = tokio::task::spawn_blocking(move || Pki::open(&dir, &names))
            .await
            .map_err(|error| ApiError::Socket(std::io::Error::other(error)))?
            .map_err(ApiError::Pki)?;
        let issuer = format!("https://kubernetes.default.svc.{}", config.cluster_domain);
        let tokens = Tokens::new(pki.token_key(), issuer)?;
        let server = Arc::new(Server {
            registry: Current::new(Registry::new(lotse_kinds::builtin().iter().cloned())),
            authorizer: Authorizer::new(),
            tokens,
            pki,
            kubelet: RwLock::new(None),
            in_flight: Semaphore::new(config.max_in_flight.max(1)),
            allocation: tokio::sync::Mutex::new(()),
            shutdown: CancellationToken::new(),
            metrics: Metrics::default(),
            openapi: OpenApi::default(),
            store,
            config,
        });
        crd::refresh(&server);
        bootstrap::run(&server).await?;
        crd::start(&server);
        Ok(Self(server))
    }

    /// The API as a service. Requests carry a [`ConnectionIdentity`] extension or authenticate themselves.
    pub fn router(&self) -> Router {
        Router::new().fallback(pipeline::serve).with_state(self.0.clone())
    }

    /// A client inside the process: no socket, no TLS, the same semantics. Must be called within a tokio runtime.
    pub fn client(&self, user: &str, groups: &[&str]) -> kube::Client {
        let identity = ConnectionIdentity(Arc::new(User::new(user, groups.iter().copied())));
        kube::Client::new(InProcess { router: self.router(), identity }, "default")
    }

    /// Where `log`, `exec`, `attach`, `portforward` and `proxy` lead: the kubelet's HTTP interface. May be set at any time, since
    /// the node needs a client first; until then those requests are answered with 503.
    pub fn set_kubelet(&self, router: Router) {
        *self.0.kubelet.write().unwrap_or_else(PoisonError::into_inner) = Some(router);
    }

    /// The cluster's keys and certificates.
    pub fn pki(&self) -> &Pki {
        &self.0.pki
    }

    /// A kubeconfig for the administrator.
    pub fn kubeconfig(&self, cluster_name: &str, server_url: &str) -> String {
        self.0.pki.kubeconfig(cluster_name, server_url)
    }

    /// Serves HTTPS until [`ApiServer::shutdown`]; then answers what has begun, ends the watches, and returns.
    ///
    /// # Errors
    ///
    /// [`ApiError::Pki`] when the certificates cannot be used.
    pub async fn serve(&self, listener: TcpListener) -> Result<(), ApiError> {
        self.serve_with(listener, Router::new()).await
    }

    /// Like [`ApiServer::serve`], with routes of others on the same port. They stand before the API's own, which answers every
    /// path that they do not have, and see to authentication themselves.
    ///
    /// # Errors
    ///
    /// [`ApiError::Pki`] when the certificates cannot be used.
    pub async fn serve_with(&self, listener: TcpListener, routes: Router) -> Result<(), ApiError> {
        tls::serve(
            self.0.pki.server_config().map_err(ApiError::Pki)?,
            listener,
            routes.fallback_service(self.router()),
            self.0.shutdown.clone(),
        )
        .await;
        Ok(())
    }

    /// Ends [`ApiServer::serve`], every watch, and the following of CustomResourceDefinitions.
    pub fn shutdown(&self) {
        self.0.shutdown.cancel();
    }
}

/// Calls the router with a fixed identity.
#[derive(Clone)]
struct InProcess {
    router: Router,
    identity: ConnectionIdentity,
}

impl Service<http::Request<kube::client::Body>> for InProcess {
    type Response = http::Response<Body>;
    type Error = std::convert::Infallible;
    type Future = axum::routing::future::RouteFuture<std::convert::Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<kube::client::Body>) -> Self::Future {
        request.extensions_mut().insert(self.identity.clone());
        self.router.call(request)
    }
}
