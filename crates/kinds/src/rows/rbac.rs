//! Group rbac.authorization.k8s.io, version v1.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};

use crate::{
    columns, hooks,
    row::{Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row::<ClusterRoleBinding>()
            .columns(columns::rbac::binding())
            .default(hooks::rbac::default_binding)
            .validate(hooks::rbac::validate_cluster_role_binding),
        row::<ClusterRole>().validate(hooks::rbac::validate_cluster_role),
        row::<RoleBinding>()
            .columns(columns::rbac::binding())
            .default(hooks::rbac::default_binding)
            .validate(hooks::rbac::validate_role_binding),
        row::<Role>().validate(hooks::rbac::validate_role),
    ]
}
