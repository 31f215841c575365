//! The kubelet: pod life cycle, probes, volumes, resources, status, streaming.
