//! Subresources and reviews that are more than reading and writing an object: one row each.

mod kubelet;
mod pods;
mod reviews;
mod token;

use std::sync::Arc;

use axum::response::Response;
use futures::future::BoxFuture;

use crate::{handlers::Call, server::Server, status::Result};

type Run = fn(Arc<Server>, Call) -> BoxFuture<'static, Result<Response>>;

/// One endpoint; an empty subresource is the resource itself (reviews).
pub(crate) struct Endpoint {
    pub(crate) group: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) subresource: &'static str,
    /// The kind that is sent and answered, for discovery: group, version, kind; empty for the resource's own.
    pub(crate) speaks: (&'static str, &'static str, &'static str),
    /// The verbs, for discovery.
    pub(crate) verbs: &'static [&'static str],
    /// Serves a request.
    pub(crate) run: Run,
}

const STREAM: &[&str] = &["create", "get"];
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];
const WRITE: &[&str] = &["get", "patch", "update"];

macro_rules! endpoint {
    ($group:literal, $resource:literal, $subresource:literal, $speaks:expr, $verbs:expr, $run:path) => {
        Endpoint {
            group: $group,
            resource: $resource,
            subresource: $subresource,
            speaks: $speaks,
            verbs: $verbs,
            run: |server, call| Box::pin($run(server, call)),
        }
    };
}

const OWN: (&str, &str, &str) = ("", "", "");
const AUTHN: &str = "authentication.k8s.io";
const AUTHZ: &str = "authorization.k8s.io";

#[rustfmt::skip]
static ENDPOINTS: [Endpoint; 21] = [
    endpoint!("", "pods", "log", OWN, &["get"], kubelet::log),
    endpoint!("", "pods", "exec", ("", "v1", "PodExecOptions"), STREAM, kubelet::exec),
    endpoint!("", "pods", "attach", ("", "v1", "PodAttachOptions"), STREAM, kubelet::attach),
    endpoint!("", "pods", "portforward", ("", "v1", "PodPortForwardOptions"), STREAM, kubelet::port_forward),
    endpoint!("", "pods", "proxy", ("", "v1", "PodProxyOptions"), PROXY, kubelet::pod_proxy),
    endpoint!("", "services", "proxy", ("", "v1", "ServiceProxyOptions"), PROXY, kubelet::service_proxy),
    endpoint!("", "nodes", "proxy", ("", "v1", "NodeProxyOptions"), PROXY, kubelet::node_proxy),
    endpoint!("", "pods", "binding", ("", "v1", "Binding"), &["create"], pods::binding),
    endpoint!("", "bindings", "", OWN, &["create"], pods::plain_binding),
    endpoint!("", "pods", "eviction", ("policy", "v1", "Eviction"), &["create"], pods::eviction),
    endpoint!("", "pods", "ephemeralcontainers", OWN, WRITE, pods::ephemeral_containers),
    endpoint!("", "pods", "resize", OWN, WRITE, pods::resize),
    endpoint!("", "namespaces", "finalize", OWN, &["update"], pods::whole_object),
    endpoint!("certificates.k8s.io", "certificatesigningrequests", "approval", OWN, WRITE, pods::approval),
    endpoint!("", "serviceaccounts", "token", (AUTHN, "v1", "TokenRequest"), &["create"], token::request),
    endpoint!("authentication.k8s.io", "tokenreviews", "", OWN, &["create"], reviews::token),
    endpoint!("authentication.k8s.io", "selfsubjectreviews", "", OWN, &["create"], reviews::self_subject),
    endpoint!("authorization.k8s.io", "subjectaccessreviews", "", OWN, &["create"], reviews::subject_access),
    endpoint!("authorization.k8s.io", "localsubjectaccessreviews", "", OWN, &["create"], reviews::subject_access),
    endpoint!("authorization.k8s.io", "selfsubjectaccessreviews", "", (AUTHZ, "v1", "SelfSubjectAccessReview"), &["create"], reviews::self_access),
    endpoint!("authorization.k8s.io", "selfsubjectrulesreviews", "", OWN, &["create"], reviews::self_rules),
];

/// The endpoint of a path.
pub(crate) fn find(group: &str, resource: &str, subresource: &str) -> Option<&'static Endpoint> {
    ENDPOINTS.iter().find(|e| e.group == group && e.resource == resource && e.subresource == subresource)
}

/// Whether requests to a subresource may last as long as their client likes.
pub(crate) fn is_long_running(subresource: &str) -> bool {
    matches!(subresource, "log" | "exec" | "attach" | "portforward" | "proxy")
}
