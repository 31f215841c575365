//! From a repository to objects: plain YAML, Kustomize, Helm. Pure: bytes in, objects out.
