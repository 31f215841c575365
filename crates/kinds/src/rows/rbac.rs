//! Group rbac.authorization.k8s.io, version v1.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};

use crate::{
    
    row::{Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row::<ClusterRoleBinding>()
            
            
            ,
        row::<ClusterRole>(),
        row::<RoleBinding>()
            
            
            ,
        row::<Role>(),
    ]
}
