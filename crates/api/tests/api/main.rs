//! The API server from outside: through the in-process client, through HTTPS, and with the real `kubectl`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod hostile;
mod kinds;
mod kubectl;
mod living;
mod rights;
mod support;
mod versions;
mod watching;
mod writing;
