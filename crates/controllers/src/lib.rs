//! Workloads, endpoints, volumes, garbage collection, namespaces, service accounts and the scheduler, each one reconcile.
