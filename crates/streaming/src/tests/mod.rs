//! The protocols against real clients over loopback sockets: real processes behind exec, real sockets behind port-forward.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod kube_client;
mod kubectl;
mod server;
mod spdy;
mod web_socket;
