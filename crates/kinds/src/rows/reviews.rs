//! Groups authentication.k8s.io and authorization.k8s.io, version v1: answered on the spot, never kept.

use k8s_openapi::api::{
    authentication::v1::{SelfSubjectReview, TokenReview},
    authorization::v1::{LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview},
};

use crate::{

    row::{Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row::<SelfSubjectReview>().review(),
        row::<TokenReview>().review(),
        row::<LocalSubjectAccessReview>().review(),
        row::<SelfSubjectAccessReview>().review(),
        row::<SelfSubjectRulesReview>().review(),
        row::<SubjectAccessReview>().review(),
    ]
}
