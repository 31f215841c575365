//! HTTP(S) entry: Ingress, TLS, limits.
