//! The Kubernetes API server: kinds as data, generic handlers, watch, discovery, authentication, authorisation, CRDs.
