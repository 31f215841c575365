//! Merges the pod's and the container's `securityContext`.

use k8s_openapi::api::core::v1::{Container, PodSpec};
use lotse_runtime::Security;

use crate::error::{Error, Result};

/// A user or group id of the API, strictly: values that do not fit the kernel's 32 bits are refused rather than cut
/// (a cut id could be root).
fn id(value: Option<i64>, field: &str) -> Result<Option<u32>> {
    value
        .map(|value| {
            u32::try_from(value).ok().filter(|id| *id != u32::MAX).ok_or_else(|| {
                Error::config(format!("securityContext.{field}: {value} is not a valid id, use 0 to 4294967294"))
            })
        })
        .transpose()
}

/// The container's settings win over the pod's.
pub(crate) fn merge(spec: &PodSpec, container: &Container) -> Result<Security> {
    let pod = spec.security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    refuse_unknown_profile(spec, container)?;
    let mut groups = Vec::new();
    for group in pod.supplemental_groups.iter().flatten().copied().chain(pod.fs_group) {
        if let Some(group) = id(Some(group), "supplementalGroups")?
            && !groups.contains(&group)
        {
            groups.push(group);
        }
    }
    let capabilities = own.capabilities.unwrap_or_default();
    let bare = |names: Option<Vec<String>>| -> Vec<String> {
        let strip = |name: &String| name.to_ascii_uppercase().trim_start_matches("CAP_").to_owned();
        names.iter().flatten().map(strip).collect()
    };
    Ok(Security {
        run_as_user: id(own.run_as_user.or(pod.run_as_user), "runAsUser")?,
        run_as_group: id(own.run_as_group.or(pod.run_as_group), "runAsGroup")?,
        run_as_non_root: own.run_as_non_root.or(pod.run_as_non_root).unwrap_or(false),
        supplemental_groups: groups,
        privileged: own.privileged.unwrap_or(false),
        capabilities_add: bare(capabilities.add),
        capabilities_drop: bare(capabilities.drop),
        read_only_root: own.read_only_root_filesystem.unwrap_or(false),
        no_new_privileges: own.allow_privilege_escalation == Some(false),
    })
}

/// A profile that cannot be applied must stop the container, never run it unconfined (CVE-2023-2431).
fn refuse_unknown_profile(spec: &PodSpec, container: &Container) -> Result<()> {
    let own = container.security_context.as_ref().and_then(|context| context.seccomp_profile.as_ref());
    let pod = spec.security_context.as_ref().and_then(|context| context.seccomp_profile.as_ref());
    match own.or(pod) {
        Some(profile) if profile.type_ == "Localhost" => Err(Error::config(format!(
            "seccompProfile.type Localhost ({}) is not supported by this node, use RuntimeDefault or Unconfined",
            profile.localhost_profile.as_deref().unwrap_or_default()
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use k8s_openapi::api::core::v1::{Capabilities, PodSecurityContext, SeccompProfile, SecurityContext};

    use super::*;

    #[test]
    fn the_container_wins_over_the_pod() {
        let spec = PodSpec {
            security_context: Some(PodSecurityContext {
                run_as_user: Some(1000),
                run_as_group: Some(1000),
                run_as_non_root: Some(true),
                fs_group: Some(2000),
                supplemental_groups: Some(vec![3000, 2000]),
                ..Default::default()
            }),
            ..PodSpec::default()
        };
        let container = Container {
            security_context: Some(SecurityContext {
                run_as_user: Some(70),
                allow_privilege_escalation: Some(false),
                capabilities: Some(Capabilities {
                    drop: Some(vec!["ALL".into()]),
                    add: Some(vec!["CAP_NET_BIND_SERVICE".into()]),
                }),
                ..Default::default()
            }),
            ..Container::default()
        };
        let merged = merge(&spec, &container).unwrap();
        assert_eq!((merged.run_as_user, merged.run_as_group), (Some(70), Some(1000)));
        assert!(merged.run_as_non_root && merged.no_new_privileges && !merged.privileged);
        assert_eq!(merged.supplemental_groups, [3000, 2000]);
        assert_eq!(merged.capabilities_add, ["NET_BIND_SERVICE"]);
        assert_eq!(merged.capabilities_drop, ["ALL"]);
    }

    #[test]
    fn an_id_beyond_32_bits_is_refused_and_not_cut_to_root() {
        let context = PodSecurityContext { run_as_user: Some(1 << 32), ..Default::default() };
        let spec = PodSpec { security_context: Some(context), ..PodSpec::default() };
        let error = merge(&spec, &Container::default()).unwrap_err();
        assert!(error.to_string().contains("runAsUser: 4294967296"), "{error}");
    }

    #[test]
    fn a_profile_that_is_not_there_stops_the_container() {
        let profile = SeccompProfile { type_: "Localhost".into(), localhost_profile: Some("a.json".into()) };
        let context = SecurityContext { seccomp_profile: Some(profile), ..Default::default() };
        let container = Container { security_context: Some(context), ..Container::default() };
        assert!(merge(&PodSpec::default(), &container).is_err());
    }
}
