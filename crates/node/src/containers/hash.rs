//! Decides whether a running container still is what its spec asks for.

use std::fmt::Write;

use k8s_openapi::api::core::v1::Container;
use sha2::{Digest, Sha256};

/// Label of a container instance that holds [`of`] its spec.
pub(crate) const LABEL: &str = "lotse.dev/container-hash";

/// Hash of the fields whose change asks for a new instance. Like the kubelet's, it covers the name and the image only:
/// everything else in a pod is immutable or changed in place, and fields that a newer daemon defaults differently must
/// never restart a container.
pub(crate) fn of(container: &Container) -> String {
    let mut hasher = Sha256::new();
    hasher.update(container.name.as_bytes());
    hasher.update([0]);
    hasher.update(container.image.as_deref().unwrap_or_default().as_bytes());
    let mut text = String::with_capacity(16);
    for byte in hasher.finalize().iter().take(8) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_name_and_image_ask_for_a_new_instance() {
        let container = Container { name: "a".into(), image: Some("x:1".into()), ..Container::default() };
        let mut changed = Container { working_dir: Some("/srv".into()), ..container.clone() };
        assert_eq!(of(&container), of(&changed));
        changed.image = Some("x:2".into());
        assert_ne!(of(&container), of(&changed));
    }
}
